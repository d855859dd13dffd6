//! Pure. What is done with a user's claims once they are verified: cleaned, merged, bounded, looked up.
//!
//! Claims that a provider merely points to (`_claim_names`, `_claim_sources`; OpenID Connect Core section 5.6.2) are
//! never fetched and never taken for the user's own.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Where a claim stands: a name at the top, or a way through nested objects.
///
/// In settings a path is one text or an array of names. A text is a top-level name first, whatever is in it
/// (`https://example.com/roles`), and only then, split at its dots, a way down (`realm_access.roles`). An array is
/// always the way down, for names that have dots themselves (`["resource_access", "my.client", "roles"]`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct ClaimPath(Written);

impl ClaimPath {
    /// The path that one text means.
    ///
    /// # Errors
    /// [`ClaimPathError`] when it is empty or beyond the limits.
    pub fn parse(text: &str) -> Result<Self, ClaimPathError> {
        Self::try_from(Written::Text(text.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Names(Vec<String>),
}

impl TryFrom<Written> for ClaimPath {
    type Error = ClaimPathError;

    fn try_from(written: Written) -> Result<Self, ClaimPathError> {
        let (names, length) = match &written {
            Written::Text(text) if text.is_empty() => return Err(ClaimPathError::Empty),
            Written::Text(text) => (1, text.len()),
            Written::Names(names) if names.is_empty() || names.iter().any(String::is_empty) => {
                return Err(ClaimPathError::Empty);
            }
            Written::Names(names) => (names.len(), names.iter().map(String::len).sum()),
        };
        if names > MAX_PATH_NAMES || length > MAX_PATH_BYTES {
            return Err(ClaimPathError::TooLong);
        }
        Ok(Self(written))
    }
}

/// Why a text or an array is no claim path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimPathError {
    /// It, or a name in it, is empty.
    #[error("a claim path has no empty names")]
    Empty,
    /// It has too many names, or they are too long.
    #[error("a claim path has at most {MAX_PATH_NAMES} names and {MAX_PATH_BYTES} bytes")]
    TooLong,
}

/// The claim at that path.
pub fn lookup<'a>(claims: &'a Map<String, Value>, path: &ClaimPath) -> Option<&'a Value> {
    match &path.0 {
        Written::Text(text) => claims.get(text).or_else(|| descend(claims, text.split('.'))),
        Written::Names(names) => descend(claims, names.iter().map(String::as_str)),
    }
}

fn descend<'a, 'p>(claims: &'a Map<String, Value>, mut names: impl Iterator<Item = &'p str>) -> Option<&'a Value> {
    let top = claims.get(names.next()?)?;
    names.try_fold(top, |value, name| value.as_object()?.get(name))
}

/// The texts that a claim holds: itself, or those in its array. Anything else in it is passed over, never converted.
pub fn as_strings(claim: &Value) -> Vec<&str> {
    match claim {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether the provider vouches for the e-mail address. Only `true`, or the exact text that Amazon Cognito sends for
/// it, says so; absent is no.
pub fn email_verified(claims: &Map<String, Value>) -> bool {
    match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(text)) => text == "true",
        _ => false,
    }
}

/// The claims that are about the user: those of the protocol, and those only pointed to, are dropped.
pub fn of_user(mut claims: Map<String, Value>) -> Map<String, Value> {
    claims.retain(|name, _| !NOT_OF_USER.contains(&name.as_str()));
    claims
}

/// Both together; where both have a claim, `first` has the word. `email_verified` only ever speaks for the address
/// that it came with.
///
/// # Errors
/// [`ClaimsTooLarge`] when the result is larger than a session may hold.
pub fn merged(first: Map<String, Value>, second: Map<String, Value>) -> Result<Map<String, Value>, ClaimsTooLarge> {
    let vouching = vouching(&first, &second);
    let mut both = first;
    for (name, value) in second {
        both.entry(name).or_insert(value);
    }
    both.remove("email_verified");
    both.extend(vouching.map(|vouching| ("email_verified".to_owned(), vouching)));
    bounded(both)
}

/// The `email_verified` that came with the address which [`merged`] will take.
fn vouching(first: &Map<String, Value>, second: &Map<String, Value>) -> Option<Value> {
    let (own, other) = (first.get("email_verified"), second.get("email_verified"));
    let word = match (first.get("email"), second.get("email")) {
        (Some(address), Some(same)) if address == same => own.or(other),
        (Some(_), _) => own,
        (None, Some(_)) => other,
        (None, None) => own.or(other),
    };
    word.cloned()
}

fn bounded(claims: Map<String, Value>) -> Result<Map<String, Value>, ClaimsTooLarge> {
    let length = serde_json::to_vec(&claims).map_err(|_| ClaimsTooLarge)?.len();
    if length > MAX_CLAIMS_BYTES {
        return Err(ClaimsTooLarge);
    }
    Ok(claims)
}

/// The claims are larger than a session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the claims are larger than {MAX_CLAIMS_BYTES} bytes")]
pub struct ClaimsTooLarge;

/// The most that one user's claims may take, as JSON.
pub const MAX_CLAIMS_BYTES: usize = 32 * 1024;
const MAX_PATH_NAMES: usize = 8;
const MAX_PATH_BYTES: usize = 512;

/// Claims of the token rather than of the user, and pointers to claims held elsewhere.
const NOT_OF_USER: [&str; 15] = [
    "iss",
    "aud",
    "azp",
    "exp",
    "iat",
    "nbf",
    "nonce",
    "jti",
    "at_hash",
    "c_hash",
    "s_hash",
    "auth_time",
    "sid",
    "_claim_names",
    "_claim_sources",
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own claims")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_path_is_a_name_first_and_a_way_down_second() {
        let claims = map(json!({
            "groups": ["a"],
            "https://example.com/roles": ["r"],
            "cognito:groups": ["c"],
            "a.b": "whole",
            "a": {"b": "nested", "c.d": "dotted", "e": {"f": 1}},
            "list": [{"x": 1}],
        }));
        for (path, expected) in [
            (json!("groups"), Some(json!(["a"]))),
            (json!("https://example.com/roles"), Some(json!(["r"]))),
            (json!("cognito:groups"), Some(json!(["c"]))),
            (json!("a.b"), Some(json!("whole"))),
            (json!(["a", "b"]), Some(json!("nested"))),
            (json!(["a", "c.d"]), Some(json!("dotted"))),
            (json!("a.e.f"), Some(json!(1))),
            (json!("a.c.d"), None),
            (json!("list.0.x"), None),
            (json!("groups.a"), None),
            (json!("a."), None),
            (json!("absent"), None),
            (json!(["a.b"]), Some(json!("whole"))),
        ] {
            let parsed: ClaimPath = serde_json::from_value(path.clone()).unwrap();
            assert_eq!(lookup(&claims, &parsed), expected.as_ref(), "{path}");
        }
    }

    #[test]
    fn claims_have_a_size() {
        let of_size = |bytes: usize| bounded(map(json!({"a": "x".repeat(bytes - r#"{"a":""}"#.len())})));
        assert!(of_size(MAX_CLAIMS_BYTES).is_ok());
        assert_eq!(of_size(MAX_CLAIMS_BYTES + 1), Err(ClaimsTooLarge));
    }

    #[test]
    fn empty_and_endless_paths_are_refused() {
        assert_eq!(ClaimPath::parse(""), Err(ClaimPathError::Empty));
        assert_eq!(ClaimPath::parse(&"x".repeat(513)), Err(ClaimPathError::TooLong));
        assert!(ClaimPath::parse(&"x".repeat(512)).is_ok());
        assert!(serde_json::from_value::<ClaimPath>(json!(vec!["a"; 8])).is_ok());
        for path in [json!([]), json!(["a", ""]), json!(vec!["a"; 9]), json!(7), json!({})] {
            assert!(serde_json::from_value::<ClaimPath>(path.clone()).is_err(), "{path}");
        }
    }

    #[test]
    fn strings_are_read_and_nothing_is_made_into_one() {
        for (claim, expected) in [
            (json!("a,b c"), vec!["a,b c"]),
            (json!(["a", "b,c", 7, null, ["d"], {"e": 1}]), vec!["a", "b,c"]),
            (json!(7), vec![]),
            (json!(true), vec![]),
            (json!({"a": "b"}), vec![]),
            (json!(null), vec![]),
        ] {
            assert_eq!(as_strings(&claim), expected, "{claim}");
        }
    }

    #[test]
    fn only_true_verifies_an_email() {
        for (claims, expected) in [
            (json!({"email_verified": true}), true),
            (json!({"email_verified": "true"}), true),
            (json!({"email_verified": "True"}), false),
            (json!({"email_verified": " true"}), false),
            (json!({"email_verified": 1}), false),
            (json!({"email_verified": [true]}), false),
            (json!({"email_verified": "false"}), false),
            (json!({"email_verified": false}), false),
            (json!({"email_verified": null}), false),
            (json!({}), false),
        ] {
            assert_eq!(email_verified(&map(claims.clone())), expected, "{claims}");
        }
    }

    #[test]
    fn protocol_claims_and_pointers_are_dropped() {
        let claims = map(json!({
            "iss": 1, "aud": 1, "azp": 1, "exp": 1, "iat": 1, "nbf": 1, "nonce": 1, "jti": 1, "at_hash": 1,
            "c_hash": 1, "s_hash": 1, "auth_time": 1, "sid": 1,
            "_claim_names": {"groups": "src"}, "_claim_sources": {"src": {"JWT": "x"}},
            "sub": "u", "email": "u@example.com", "tid": "t", "amr": ["pwd"],
        }));
        let expected = map(json!({"sub": "u", "email": "u@example.com", "tid": "t", "amr": ["pwd"]}));
        assert_eq!(of_user(claims), expected);
    }

    #[test]
    fn the_first_has_the_word_where_both_speak() {
        for (first, second, expected) in [
            (json!({"a": 1}), json!({"a": 2, "b": 3}), json!({"a": 1, "b": 3})),
            (json!({"email": "a@x"}), json!({"email": "b@x", "email_verified": true}), json!({"email": "a@x"})),
            (json!({"email": "a@x"}), json!({"email_verified": true}), json!({"email": "a@x"})),
            (
                json!({"email": "a@x"}),
                json!({"email": "a@x", "email_verified": true}),
                json!({"email": "a@x", "email_verified": true}),
            ),
            (json!({"email_verified": true}), json!({"email": "a@x"}), json!({"email": "a@x"})),
            (
                json!({}),
                json!({"email": "a@x", "email_verified": true}),
                json!({"email": "a@x", "email_verified": true}),
            ),
        ] {
            assert_eq!(merged(map(first), map(second)), Ok(map(expected)));
        }
    }

    #[test]
    fn claims_beyond_a_session_are_refused() {
        let large = map(json!({"groups": vec!["x"; MAX_CLAIMS_BYTES / 4 - 4]}));
        assert!(merged(large.clone(), Map::new()).is_ok());
        assert_eq!(merged(large, map(json!({"more": "x"}))), Err(ClaimsTooLarge));
    }

    proptest! {
        #[test]
        fn a_top_level_claim_is_found_by_its_own_name(name in "[ -~]{1,64}") {
            let claims = Map::from_iter([(name.clone(), json!(1))]);
            prop_assert_eq!(lookup(&claims, &ClaimPath::parse(&name).unwrap()), Some(&json!(1)));
        }
    }
}
