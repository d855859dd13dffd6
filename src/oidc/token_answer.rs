//! Pure. What a token endpoint answers (RFC 6749 sections 5.1 and 5.2), read as widely as providers write it.
//!
//! The ID token stays raw text: `openidconnect` asks for it through a trait, is told there is none, and so cannot
//! verify it by rules that are not ours (`id_token.rs`).

use std::{fmt, time::Duration};

use openidconnect::{
    AccessToken, EmptyAdditionalClaims, ErrorResponse, IdToken, OAuth2TokenResponse, RefreshToken, Scope,
    TokenResponse,
    core::{CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreTokenType},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{failure::ProviderError, json::Object};
use crate::secret::Secret;

/// A successful answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct TokenAnswer {
    access_token: AccessToken,
    token_type: CoreTokenType,
    expires_in: Option<Duration>,
    refresh_token: Option<RefreshToken>,
    id_token: Option<Secret>,
}

impl TryFrom<Object> for TokenAnswer {
    type Error = UnusableAnswer;

    fn try_from(Object(members): Object) -> Result<Self, UnusableAnswer> {
        let text = |name| optional_text(&members, name);
        Ok(Self {
            access_token: text("access_token").map(AccessToken::new).ok_or(UnusableAnswer::AccessToken)?,
            token_type: token_type(text("token_type")),
            expires_in: members.get("expires_in").and_then(lifetime),
            refresh_token: text("refresh_token").map(RefreshToken::new),
            id_token: text("id_token").map(Secret::new),
        })
    }
}

impl TokenAnswer {
    /// Takes it apart.
    ///
    /// # Errors
    /// [`UnusableAnswer`] when the access token is no bearer token, or a token could not be sent anywhere.
    pub fn into_tokens(self) -> Result<Tokens, UnusableAnswer> {
        if self.token_type != CoreTokenType::Bearer {
            return Err(UnusableAnswer::NotBearer);
        }
        if !is_sendable(self.access_token.secret()) {
            return Err(UnusableAnswer::AccessToken);
        }
        let refresh = self.refresh_token.map(RefreshToken::into_secret);
        if refresh.as_deref().is_some_and(|token| token.len() > MAX_TOKEN_BYTES) {
            return Err(UnusableAnswer::RefreshToken);
        }
        Ok(Tokens {
            access: Secret::new(self.access_token.into_secret()),
            expires_in: self.expires_in,
            refresh: refresh.map(Secret::new),
            id: self.id_token,
        })
    }
}

/// The tokens of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// For the provider's own endpoints, and for upstreams.
    pub access: Secret,
    /// How long the access token lives, where the provider says so.
    pub expires_in: Option<Duration>,
    /// For new tokens.
    pub refresh: Option<Secret>,
    /// About the user; not verified.
    pub id: Option<Secret>,
}

/// Why an answer cannot be used, although it says success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableAnswer {
    /// It is not for an `Authorization: Bearer` header.
    #[error("token_type is not bearer")]
    NotBearer,
    /// It is absent, empty, too long, or not printable.
    #[error("access_token is absent, too long or not printable")]
    AccessToken,
    /// It is too long.
    #[error("refresh_token is too long")]
    RefreshToken,
    /// It does not say what is wrong.
    #[error("the error answer has no error")]
    Error,
}

impl OAuth2TokenResponse for TokenAnswer {
    type TokenType = CoreTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &CoreTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

type Gender = CoreGenderClaim;
type Encryption = CoreJweContentEncryptionAlgorithm;
type Signing = CoreJwsSigningAlgorithm;

impl TokenResponse<EmptyAdditionalClaims, Gender, Encryption, Signing> for TokenAnswer {
    fn id_token(&self) -> Option<&IdToken<EmptyAdditionalClaims, Gender, Encryption, Signing>> {
        None
    }
}

/// An error answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Object")]
pub struct ErrorAnswer {
    error: String,
    error_description: Option<String>,
    error_uri: Option<String>,
}

impl TryFrom<Object> for ErrorAnswer {
    type Error = UnusableAnswer;

    fn try_from(Object(members): Object) -> Result<Self, UnusableAnswer> {
        Ok(Self {
            error: optional_text(&members, "error").ok_or(UnusableAnswer::Error)?,
            error_description: optional_text(&members, "error_description"),
            error_uri: optional_text(&members, "error_uri"),
        })
    }
}

impl ErrorAnswer {
    /// The error, cleaned and bounded.
    pub fn cleaned(&self) -> ProviderError {
        ProviderError::cleaned(&self.error, self.error_description.as_deref(), self.error_uri.as_deref())
    }
}

impl ErrorResponse for ErrorAnswer {}

impl fmt::Display for ErrorAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.cleaned().error)
    }
}

/// A text that is there and not empty; anything else is as good as absent.
fn optional_text(members: &Map<String, Value>, name: &str) -> Option<String> {
    let text = members.get(name)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// Any case, and absent for the only type there is.
fn token_type(name: Option<String>) -> CoreTokenType {
    match name {
        Some(name) if !name.eq_ignore_ascii_case("bearer") => CoreTokenType::Extension(name),
        _ => CoreTokenType::Bearer,
    }
}

/// A number of seconds or a text of one; anything else is as good as absent.
fn lifetime(written: &Value) -> Option<Duration> {
    let seconds = match written {
        Value::String(text) => f64::from(text.trim().parse::<u32>().ok()?),
        other => other.as_f64()?,
    };
    let lifetime = Duration::try_from_secs_f64(seconds).ok()?;
    Some(lifetime.min(MAX_LIFETIME))
}

/// Whether it fits into a header: RFC 6750's characters are all visible ASCII.
fn is_sendable(token: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The longest access or refresh token.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// The longest lifetime that is believed: ten years.
const MAX_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own answers")]

    use serde_json::json;

    use super::*;

    fn read(answer: Value) -> Option<Result<Tokens, UnusableAnswer>> {
        serde_json::from_value::<TokenAnswer>(answer).ok().map(TokenAnswer::into_tokens)
    }

    fn tokens(answer: Value) -> Tokens {
        read(answer).unwrap().unwrap()
    }

    #[test]
    fn a_token_type_is_bearer_in_any_case() {
        for (kind, expected) in [
            (json!("Bearer"), true),
            (json!("bEARER"), true),
            (json!(null), true),
            (json!("DPoP"), false),
            (json!("mac"), false),
            (json!(""), true),
        ] {
            let verdict = read(json!({"access_token": "a", "token_type": kind})).unwrap();
            assert_eq!(verdict.is_ok(), expected, "{kind}");
        }
        assert_eq!(tokens(json!({"access_token": "a"})).expires_in, None);
    }

    #[test]
    fn a_lifetime_is_read_from_a_number_or_a_text() {
        for (written, expected) in [
            (json!(3600), Some(3600)),
            (json!("3600"), Some(3600)),
            (json!(3600.0), Some(3600)),
            (json!(0), Some(0)),
            (json!(-1), None),
            (json!(1e300), None),
            (json!(1e12), Some(MAX_LIFETIME.as_secs())),
            (json!("soon"), None),
            (json!(null), None),
            (json!([1]), None),
        ] {
            let lifetime = tokens(json!({"access_token": "a", "expires_in": written})).expires_in;
            assert_eq!(lifetime, expected.map(Duration::from_secs), "{written}");
        }
    }

    #[test]
    fn an_access_token_fits_into_a_header() {
        for (token, expected) in [
            (json!("12/34+~.=_-"), true),
            (json!("a b"), false),
            (json!("a\r\nX: y"), false),
            (json!("ü"), false),
            (json!("x".repeat(MAX_TOKEN_BYTES + 1)), false),
        ] {
            assert_eq!(read(json!({"access_token": token})).unwrap().is_ok(), expected);
        }
        for answer in [
            json!({}),
            json!({"access_token": ""}),
            json!(["a"]),
            json!({"access_token": 7}),
            json!({"access_token": null}),
            json!([]),
        ] {
            assert!(read(answer).is_none());
        }
    }

    #[test]
    fn a_refresh_token_has_a_length() {
        let read = |length: usize| read(json!({"access_token": "a", "refresh_token": "x".repeat(length)})).unwrap();
        assert!(read(MAX_TOKEN_BYTES).is_ok());
        assert_eq!(read(MAX_TOKEN_BYTES + 1), Err(UnusableAnswer::RefreshToken));
    }

    #[test]
    fn empty_and_absent_tokens_are_none_and_unknown_members_do_not_matter() {
        let all = tokens(json!({"access_token": "a", "refresh_token": "r", "id_token": "i", "scope": 7, "x": {}}));
        assert_eq!((all.refresh, all.id), (Some(Secret::new("r")), Some(Secret::new("i"))));
        for empty in [json!(""), json!(null)] {
            let none = tokens(json!({"access_token": "a", "refresh_token": empty, "id_token": empty}));
            assert_eq!((none.refresh, none.id), (None, None));
        }
    }

    #[test]
    fn debugging_shows_no_token() {
        let answer = json!({"access_token": "marker", "refresh_token": "marker", "id_token": "marker"});
        let answer: TokenAnswer = serde_json::from_value(answer).unwrap();
        let text = format!("{answer:?} {:?}", answer.clone().into_tokens());
        assert!(!text.contains("marker"), "{text}");
    }

    #[test]
    fn an_error_is_cleaned() {
        let error = json!({"error": "invalid_grant", "error_description": "a\r\nb", "error_uri": 7});
        let error: ErrorAnswer = serde_json::from_value(error).unwrap();
        assert_eq!(error.cleaned(), ProviderError::cleaned("invalid_grant", Some("ab"), None));
        assert_eq!(error.to_string(), "invalid_grant");
    }
}
