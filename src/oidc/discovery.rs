//! Pure. What a provider says about itself (OpenID Connect Discovery 1.0), read for what is needed and no more.
//!
//! The document must be the configured issuer's own, and everything it sends us to must be https. It is read
//! member by member: `openidconnect`'s `ProviderMetadata` demands members that nothing here uses
//! (`subject_types_supported`, `response_types_supported`) and falls over a broken one that nothing here uses either (a
//! relative `service_documentation`, a text where it wants a boolean).

use serde_json::{Map, Value};
use url::Url;

use super::jwk::Algorithm;
use crate::outbound::destination::{PlainHttp, Reachable};

/// A provider's name, to the letter: `https://op.example` and `https://op.example/` are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    document: Url,
}

impl Issuer {
    /// Takes a configured issuer.
    ///
    /// # Errors
    /// [`IssuerError`] when it is no URL, not https (or http on loopback where `plain_http` allows that), or has a
    /// user, a query or a fragment.
    pub fn parse(text: &str, plain_http: PlainHttp) -> Result<Self, IssuerError> {
        let url = Url::parse(text).map_err(|_| IssuerError::NotAUrl)?;
        if !plain_http.permits(&url) {
            return Err(IssuerError::NotHttps);
        }
        let bare = url.query().is_none() && url.fragment().is_none() && has_no_user(&url);
        if !bare || text.trim() != text {
            return Err(IssuerError::NotBare);
        }
        let stem = text.strip_suffix('/').unwrap_or(text);
        let document = Url::parse(&format!("{stem}{WELL_KNOWN}")).map_err(|_| IssuerError::NotAUrl)?;
        Ok(Self { text: text.to_owned(), document })
    }

    /// The issuer as it was written, and as `iss` must be.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its host, by which people know it.
    pub fn host(&self) -> &str {
        self.document.host_str().unwrap_or_default()
    }

    /// Where its discovery document is.
    pub const fn document(&self) -> &Url {
        &self.document
    }
}

/// Why a text is no issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// It does not parse.
    #[error("an issuer is an absolute URL")]
    NotAUrl,
    /// It is not https.
    #[error("an issuer is https (http only on loopback, in development mode)")]
    NotHttps,
    /// It has parts that an issuer has not.
    #[error("an issuer has no user, query, fragment or surrounding space")]
    NotBare,
}

/// What is known of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Where browsers are sent to sign in.
    pub authorization_endpoint: Url,
    /// Where codes and refresh tokens are exchanged.
    pub token_endpoint: Url,
    /// Where its public keys are.
    pub jwks_uri: Url,
    /// Where claims can be asked for.
    pub userinfo_endpoint: Option<Url>,
    /// Where browsers are sent to sign out.
    pub end_session_endpoint: Option<Url>,
    /// Where tokens are given back (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// The configured algorithms that it announces for ID tokens; all of them where it announces none.
    pub algorithms: Vec<Algorithm>,
    /// Whether it announces `offline_access`.
    pub offers_offline_access: bool,
    /// Whether it announces `prompt=select_account` (Initiating User Registration via OpenID Connect 1.0 has the list).
    pub offers_account_choice: bool,
    /// Whether it announces `iss` in authorization responses (RFC 9207).
    pub announces_issuer: bool,
}

impl Metadata {
    /// Reads the discovery document of that issuer.
    ///
    /// # Errors
    /// [`MetadataError`], naming what is not usable.
    pub fn parse(
        document: &[u8],
        issuer: &Issuer,
        plain_http: PlainHttp,
        configured: &[Algorithm],
    ) -> Result<Self, MetadataError> {
        let members: Map<String, Value> = serde_json::from_slice(document).map_err(|_| MetadataError::NotAnObject)?;
        let document = Document { members: &members, plain_http };
        if document.text("issuer") != Some(issuer.as_str()) {
            return Err(MetadataError::Issuer);
        }
        Ok(Self {
            authorization_endpoint: document.required("authorization_endpoint")?,
            token_endpoint: document.required("token_endpoint")?,
            jwks_uri: document.required("jwks_uri")?,
            userinfo_endpoint: document.endpoint("userinfo_endpoint")?,
            end_session_endpoint: document.endpoint("end_session_endpoint")?,
            revocation_endpoint: document.endpoint("revocation_endpoint")?,
            algorithms: document.algorithms(configured)?,
            offers_offline_access: document.announces("scopes_supported", "offline_access"),
            offers_account_choice: document.announces("prompt_values_supported", "select_account"),
            announces_issuer: members.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        })
    }

    /// The `prompt` that lets the user take another account. Every provider knows `login` (OpenID Connect Core section
    /// 15.1), and some refuse what they do not know.
    pub const fn account_prompt(&self) -> &'static str {
        if self.offers_account_choice { "select_account" } else { "login" }
    }

    /// Where our own requests to this provider may go.
    pub fn reachable(&self, issuer: &Issuer) -> Reachable {
        let needed = [issuer.document(), &self.token_endpoint, &self.jwks_uri];
        let offered = [&self.userinfo_endpoint, &self.revocation_endpoint];
        Reachable::of(needed.into_iter().chain(offered.into_iter().flatten()))
    }
}

/// Why a discovery document is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It is not JSON, or no object.
    #[error("the discovery document is no JSON object")]
    NotAnObject,
    /// It is somebody else's.
    #[error("the discovery document's issuer is not exactly the configured one")]
    Issuer,
    /// A required endpoint is not there.
    #[error("the discovery document has no {0}")]
    Missing(&'static str),
    /// An endpoint is not https.
    #[error("the discovery document's {0} is no https URL without user and fragment")]
    Endpoint(&'static str),
    /// It signs with nothing that is allowed.
    #[error("the provider announces no ID token algorithm that is allowed")]
    Algorithms,
}

struct Document<'a> {
    members: &'a Map<String, Value>,
    plain_http: PlainHttp,
}

impl<'a> Document<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.members.get(name).and_then(Value::as_str)
    }

    fn list(&self, name: &str) -> Option<Vec<&'a str>> {
        let items = self.members.get(name)?.as_array()?;
        Some(items.iter().filter_map(Value::as_str).collect())
    }

    fn announces(&self, list: &str, item: &str) -> bool {
        self.list(list).is_some_and(|items| items.contains(&item))
    }

    fn required(&self, name: &'static str) -> Result<Url, MetadataError> {
        self.endpoint(name)?.ok_or(MetadataError::Missing(name))
    }

    fn endpoint(&self, name: &'static str) -> Result<Option<Url>, MetadataError> {
        let text = match self.members.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.len() <= MAX_ENDPOINT_BYTES => text,
            Some(_) => return Err(MetadataError::Endpoint(name)),
        };
        let url = Url::parse(text).map_err(|_| MetadataError::Endpoint(name))?;
        if self.plain_http.permits(&url) && url.fragment().is_none() && has_no_user(&url) {
            return Ok(Some(url));
        }
        Err(MetadataError::Endpoint(name))
    }

    fn algorithms(&self, configured: &[Algorithm]) -> Result<Vec<Algorithm>, MetadataError> {
        let Some(announced) = self.list("id_token_signing_alg_values_supported") else {
            return Ok(configured.to_vec());
        };
        let both: Vec<Algorithm> =
            configured.iter().copied().filter(|algorithm| announced.contains(&algorithm.name())).collect();
        if both.is_empty() {
            return Err(MetadataError::Algorithms);
        }
        Ok(both)
    }
}

fn has_no_user(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
const MAX_ENDPOINT_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own documents")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://op.example/tenant/";

    fn honest() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://login.example/authorize?p=policy",
            "token_endpoint": "https://op.example/token",
            "jwks_uri": "https://keys.example/jwks",
        })
    }

    fn parse(changes: &Value) -> Result<Metadata, MetadataError> {
        let mut document = honest();
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        let issuer = Issuer::parse(ISSUER, PlainHttp::Refused).unwrap();
        let bytes = document.to_string().into_bytes();
        Metadata::parse(&bytes, &issuer, PlainHttp::Refused, &Algorithm::ALL)
    }

    #[track_caller]
    fn check(changes: &Value, expected: Option<MetadataError>) {
        assert_eq!(parse(changes).err(), expected, "{changes}");
    }

    #[test]
    fn an_issuer_is_kept_to_the_letter_and_joined_with_one_slash() {
        for (text, document) in [
            ("https://op.example", "https://op.example/.well-known/openid-configuration"),
            ("https://op.example/", "https://op.example/.well-known/openid-configuration"),
            ("https://op.example/a", "https://op.example/a/.well-known/openid-configuration"),
            ("https://op.example/a/", "https://op.example/a/.well-known/openid-configuration"),
            ("https://op.example:8443/a/v2.0", "https://op.example:8443/a/v2.0/.well-known/openid-configuration"),
        ] {
            let issuer = Issuer::parse(text, PlainHttp::Refused).unwrap();
            assert_eq!((issuer.as_str(), issuer.document().as_str(), issuer.host()), (text, document, "op.example"));
        }
    }

    #[test]
    fn an_issuer_is_a_bare_https_url() {
        for (text, expected) in [
            ("op.example", IssuerError::NotAUrl),
            ("", IssuerError::NotAUrl),
            ("http://op.example", IssuerError::NotHttps),
            ("http://127.0.0.1", IssuerError::NotHttps),
            ("https://op.example?x", IssuerError::NotBare),
            ("https://op.example#x", IssuerError::NotBare),
            ("https://user@op.example", IssuerError::NotBare),
            (" https://op.example", IssuerError::NotBare),
        ] {
            assert_eq!(Issuer::parse(text, PlainHttp::Refused), Err(expected), "{text}");
        }
        assert!(Issuer::parse("http://127.0.0.1:9", PlainHttp::Loopback).is_ok());
        assert!(Issuer::parse("http://op.example", PlainHttp::Loopback).is_err());
    }

    #[test]
    fn a_document_of_another_issuer_is_refused() {
        for issuer in
            ["https://op.example/tenant", "https://op.example/tenant/INVALID", "https://OP.example/tenant/", ""]
        {
            check(&json!({"issuer": issuer}), Some(MetadataError::Issuer));
        }
        check(&json!({"issuer": null}), Some(MetadataError::Issuer));
        check(&json!({"issuer": [ISSUER]}), Some(MetadataError::Issuer));
    }

    #[test]
    fn endpoints_are_there_and_https() {
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
            check(&json!({name: null}), Some(MetadataError::Missing(name)));
        }
        for name in ["token_endpoint", "userinfo_endpoint", "end_session_endpoint", "revocation_endpoint"] {
            for url in [
                "http://op.example/",
                "http://127.0.0.1/",
                "/relative",
                "",
                "javascript:alert(1)",
                "file:///x",
                "https://user:x@op.example/",
                "https://op.example/#x",
            ] {
                check(&json!({name: url}), Some(MetadataError::Endpoint(name)));
            }
            check(&json!({name: 7}), Some(MetadataError::Endpoint(name)));
            check(&json!({name: "https://op.example/x?y=z"}), None);
        }
    }

    #[test]
    fn an_endpoint_has_a_length() {
        let with = |length: usize| format!("https://op.example/{}", "x".repeat(length - "https://op.example/".len()));
        check(&json!({"token_endpoint": with(MAX_ENDPOINT_BYTES)}), None);
        check(
            &json!({"token_endpoint": with(MAX_ENDPOINT_BYTES + 1)}),
            Some(MetadataError::Endpoint("token_endpoint")),
        );
    }

    #[test]
    fn what_nothing_uses_cannot_sink_the_document() {
        check(
            &json!({
                "service_documentation": "relative", "claims_parameter_supported": "yes", "scopes_supported": [7, "openid"],
                "subject_types_supported": null, "display_values_supported": {}, "unknown": [[[]]],
                "userinfo_signing_alg_values_supported": "none", "response_types_supported": 7,
            }),
            None,
        );
    }

    #[test]
    fn algorithms_are_those_of_both() {
        let all = Algorithm::ALL.to_vec();
        for (announced, expected) in [
            (json!(["RS256", "none", "HS256", "ML-DSA-44", 7]), Ok(vec![Algorithm::Rs256])),
            (json!(["EdDSA", "ES256"]), Ok(vec![Algorithm::Es256, Algorithm::EdDsa])),
            (json!(null), Ok(all.clone())),
            (json!("RS256"), Ok(all)),
            (json!(["HS256", "none"]), Err(MetadataError::Algorithms)),
            (json!([]), Err(MetadataError::Algorithms)),
        ] {
            let found = parse(&json!({"id_token_signing_alg_values_supported": announced}));
            assert_eq!(found.map(|metadata| metadata.algorithms), expected);
        }
    }

    #[test]
    fn announcements_are_exact() {
        let silent = parse(&json!({})).unwrap();
        assert!(!silent.offers_offline_access && !silent.announces_issuer);
        assert_eq!(silent.account_prompt(), "login");
        let announcing = parse(&json!({
            "scopes_supported": ["openid", "offline_access"],
            "authorization_response_iss_parameter_supported": true,
            "prompt_values_supported": ["none", "login", "select_account"],
        }))
        .unwrap();
        assert!(announcing.offers_offline_access && announcing.announces_issuer);
        assert_eq!(announcing.account_prompt(), "select_account");
        let unclear = parse(&json!({"authorization_response_iss_parameter_supported": "true"}));
        assert!(!unclear.unwrap().announces_issuer);
    }

    #[test]
    fn we_reach_what_we_call_and_not_where_browsers_go() {
        let metadata = parse(&json!({"userinfo_endpoint": "https://graph.example/userinfo"})).unwrap();
        let reachable = metadata.reachable(&Issuer::parse(ISSUER, PlainHttp::Refused).unwrap());
        for (url, expected) in [
            ("https://op.example/x", true),
            ("https://keys.example/x", true),
            ("https://graph.example/x", true),
            ("https://login.example/x", false),
        ] {
            assert_eq!(reachable.contains(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let issuer = Issuer::parse(ISSUER, PlainHttp::Refused).unwrap();
            prop_assert!(Metadata::parse(&bytes, &issuer, PlainHttp::Refused, &Algorithm::ALL).is_err());
        }
    }
}
