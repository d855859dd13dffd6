//! Pure. Which claims about a person a scope releases (OpenID Connect Core 5.4).

use serde_json::{Map, Value, json};

use crate::settings::Person;

/// The claims beside `sub` that these scopes release. Groups and roles come with `profile` or `groups`.
pub(crate) fn released(person: &Person, scopes: &[String]) -> Map<String, Value> {
    let granted = |scope: &str| scopes.iter().any(|granted| granted == scope);
    let mut claims = Map::new();
    if granted("profile") {
        claims.insert("name".to_owned(), json!(person.full_name()));
        claims.insert("given_name".to_owned(), json!(person.given_name));
        claims.insert("family_name".to_owned(), json!(person.family_name));
        claims.insert("preferred_username".to_owned(), json!(person.login));
    }
    if granted("email") {
        claims.insert("email".to_owned(), json!(person.email));
        claims.insert("email_verified".to_owned(), json!(person.email_verified));
    }
    if granted("profile") || granted("groups") {
        claims.insert("groups".to_owned(), json!(person.groups));
        claims.insert("https://example.com/roles".to_owned(), json!(person.roles));
        claims.insert("realm_access".to_owned(), json!({"roles": person.roles}));
    }
    if granted("profile") {
        claims.extend(person.more_claims.clone());
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_releases_its_own_claims_and_no_more() {
        let person = Person::new("dora", "Dean").in_groups(&["staff"]).with_claim("tid", json!("7"));
        let check = |scopes: &[&str], expected: &[&str]| {
            let scopes: Vec<_> = scopes.iter().map(ToString::to_string).collect();
            let mut names: Vec<_> = released(&person, &scopes).into_iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(names, expected, "{scopes:?}");
        };
        check(&["openid"], &[]);
        check(&["openid", "email"], &["email", "email_verified"]);
        check(&["groups"], &["groups", "https://example.com/roles", "realm_access"]);
        check(
            &["profile"],
            &[
                "name",
                "given_name",
                "family_name",
                "preferred_username",
                "groups",
                "https://example.com/roles",
                "realm_access",
                "tid",
            ],
        );
    }
}
