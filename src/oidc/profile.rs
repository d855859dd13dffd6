//! Pure. Which claims make the user: from a set of claims to what the session keeps.

use serde_json::{Map, Value};

use crate::{
    oidc::claims::{self, ClaimPath},
    session::User,
};

/// Where to find what is not always in the same claim.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The claim that names the user to upstreams; `sub` unless set.
    pub user: ClaimPath,
    /// The claim that lists the groups.
    pub groups: ClaimPath,
}

impl Profile {
    /// The user that a set of claims describes.
    pub fn user(&self, subject: &str, claims: &Map<String, Value>) -> User {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().into();
        let id = claims::lookup(claims, &self.user).and_then(Value::as_str).unwrap_or(subject);
        let groups = claims::lookup(claims, &self.groups).map(claims::as_strings).unwrap_or_default();
        User {
            id: id.into(),
            email: text("email"),
            email_verified: claims::email_verified(claims),
            preferred_username: text("preferred_username"),
            name: text("name"),
            groups: groups.into_iter().map(Into::into).collect(),
            claims: Value::Object(claims.clone()).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use serde_json::json;

    use super::*;

    fn user(claims: &Value) -> User {
        let profile = Profile { user: ClaimPath::parse("sub").unwrap(), groups: ClaimPath::parse("groups").unwrap() };
        profile.user("subject", claims.as_object().unwrap())
    }

    #[test]
    fn claims_of_the_wrong_kind_say_nothing() {
        let user = user(&json!({"email": 7, "email_verified": "yes", "groups": {"a": 1}, "name": ["x"]}));
        assert_eq!(user.email, "");
        assert!(!user.email_verified);
        assert!(user.groups.is_empty());
        assert_eq!(user.id, "subject");
    }

    #[test]
    fn a_single_group_is_a_list_of_one() {
        assert_eq!(user(&json!({"groups": "staff"})).groups, ["staff"]);
    }
}
