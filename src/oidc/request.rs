//! Pure. What is asked of a provider: the authorization URL, and the `openidconnect` client that writes the rest.
//!
//! Always the code flow, PKCE S256, `state`, `nonce` and `response_mode=query`. Everything in the URL comes from the
//! settings or was drawn for this one sign-in; nothing a browser sent can reach it. Client id and secret are
//! form-urlencoded before Basic encodes them (RFC 6749 section 2.3.1); `openidconnect` does that.

use std::{borrow::Cow, time::Duration};

use openidconnect::{
    AuthType, AuthUrl, ClientId, ClientSecret, CsrfToken, EmptyAdditionalClaims, EndpointNotSet, EndpointSet,
    IssuerUrl, JsonWebKeySet, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenUrl,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreGenderClaim, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreRevocableToken, CoreTokenIntrospectionResponse,
    },
};
use url::Url;

use super::{
    discovery::Metadata,
    token_answer::{ErrorAnswer, TokenAnswer},
};
use crate::secret::Secret;

/// `openidconnect`'s client, with answers of our own and no way to verify an ID token.
pub type Client<HasRevocationUrl = EndpointNotSet> = openidconnect::Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    ErrorAnswer,
    TokenAnswer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    ErrorAnswer,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    HasRevocationUrl,
    EndpointSet,
    EndpointNotSet,
>;

/// How we prove to the provider who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Not at all: a public client, which PKCE alone protects.
    None,
    /// `client_secret_basic`.
    SecretBasic(Secret),
    /// `client_secret_post`.
    SecretPost(Secret),
}

/// The client of one provider.
pub fn client(client_id: &str, authentication: &ClientAuthentication, issuer: &Url, metadata: &Metadata) -> Client {
    let client = openidconnect::Client::new(
        ClientId::new(client_id.to_owned()),
        IssuerUrl::from_url(issuer.clone()),
        JsonWebKeySet::default(),
    );
    let client = match authentication {
        ClientAuthentication::None => client,
        ClientAuthentication::SecretBasic(secret) => {
            client.set_client_secret(ClientSecret::new(secret.reveal().to_owned())).set_auth_type(AuthType::BasicAuth)
        }
        ClientAuthentication::SecretPost(secret) => {
            client.set_client_secret(ClientSecret::new(secret.reveal().to_owned())).set_auth_type(AuthType::RequestBody)
        }
    };
    client
        .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()))
        .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone()))
}

/// What one sign-in asks for.
#[derive(Clone, Copy, Debug)]
pub struct SignIn<'a> {
    /// Where the browser comes back to.
    pub redirect_uri: &'a Url,
    /// Comes back with the browser.
    pub state: &'a Secret,
    /// Comes back in the ID token.
    pub nonce: &'a Secret,
    /// Goes with the code.
    pub verifier: &'a Secret,
    /// Besides `openid`, which is always asked for.
    pub scopes: &'a [&'a str],
    /// From the settings.
    pub extra_parameters: &'a [(String, String)],
    /// How long ago the user may have authenticated.
    pub max_age: Option<Duration>,
    /// What this sign-in prompts for, besides what the settings' own `prompt` says.
    pub prompt: Option<&'a str>,
}

/// The URL that starts a sign-in.
pub fn authorization_url(client: &Client, asked: SignIn<'_>) -> Url {
    let state = CsrfToken::new(asked.state.reveal().to_owned());
    let nonce = Nonce::new(asked.nonce.reveal().to_owned());
    let verifier = PkceCodeVerifier::new(asked.verifier.reveal().to_owned());
    let scopes = asked.scopes.iter().filter(|scope| **scope != "openid");
    let mut request = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
        .add_scopes(scopes.map(|scope| Scope::new((*scope).to_owned())))
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
        .set_redirect_uri(Cow::Owned(RedirectUrl::from_url(asked.redirect_uri.clone())))
        .add_extra_param("response_mode", "query");
    if let Some(max_age) = asked.max_age {
        request = request.set_max_age(max_age);
    }
    for (name, value) in asked.extra_parameters.iter().filter(|(name, _)| name != "prompt") {
        request = request.add_extra_param(name, value);
    }
    if let Some(prompt) = prompt(asked) {
        request = request.add_extra_param("prompt", prompt);
    }
    request.url().0
}

/// One parameter of distinct words (OpenID Connect Core section 3.1.2.1).
fn prompt(asked: SignIn<'_>) -> Option<String> {
    let configured = asked.extra_parameters.iter().find(|(name, _)| name == "prompt");
    let mut words: Vec<&str> = configured.map(|(_, value)| value.split(' ').collect()).unwrap_or_default();
    match asked.prompt {
        // `none` stands alone, and asks for the opposite.
        Some(word) => {
            words.retain(|other| *other != "none" && *other != word);
            words.push(word);
        }
        None if words.is_empty() => return None,
        None => {}
    }
    Some(words.join(" "))
}

/// Whether the settings may not give a parameter of that name: the flow's safety hangs on it, or a setting of its own
/// says it.
pub fn is_reserved_parameter(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Whether that can be a scope (RFC 6749 section 3.3).
pub fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

const RESERVED: [&str; 16] = [
    "",
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "id_token_hint",
    "max_age",
    "nonce",
    "redirect_uri",
    "registration",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own URLs")]

    use std::collections::BTreeMap;

    use super::*;

    fn metadata() -> Metadata {
        let url = |text| Url::parse(text).unwrap();
        Metadata {
            authorization_endpoint: url("https://op.example/authorize?p=policy"),
            token_endpoint: url("https://op.example/token"),
            jwks_uri: url("https://op.example/jwks"),
            userinfo_endpoint: None,
            end_session_endpoint: None,
            revocation_endpoint: None,
            algorithms: vec![],
            offers_offline_access: false,
            offers_account_choice: false,
            announces_issuer: false,
        }
    }

    #[test]
    fn the_authorization_url_has_each_parameter_once() {
        let issuer = Url::parse("https://op.example").unwrap();
        let client = client("client &=", &ClientAuthentication::None, &issuer, &metadata());
        let url = authorization_url(
            &client,
            SignIn {
                redirect_uri: &Url::parse("https://app.example/auth/callback").unwrap(),
                state: &Secret::new("state"),
                nonce: &Secret::new("nonce"),
                // RFC 7636 appendix B.
                verifier: &Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
                scopes: &["openid", "email", "offline_access"],
                extra_parameters: &[("audience".to_owned(), "https://api/?x=1&y".to_owned())],
                max_age: Some(Duration::from_secs(3600)),
                prompt: None,
            },
        );
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let expected = BTreeMap::from([
            ("p", "policy"),
            ("response_type", "code"),
            ("response_mode", "query"),
            ("client_id", "client &="),
            ("redirect_uri", "https://app.example/auth/callback"),
            ("state", "state"),
            ("nonce", "nonce"),
            ("scope", "openid email offline_access"),
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("code_challenge_method", "S256"),
            ("max_age", "3600"),
            ("audience", "https://api/?x=1&y"),
        ]);
        assert_eq!(pairs.len(), expected.len());
        let found: BTreeMap<&str, &str> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
        assert_eq!(url.path(), "/authorize");
    }

    #[test]
    fn settings_cannot_replace_what_the_flow_hangs_on() {
        for name in ["state", "nonce", "redirect_uri", "response_type", "code_challenge_method", "request", ""] {
            assert!(is_reserved_parameter(name), "{name}");
        }
        for name in ["audience", "prompt", "hd", "access_type", "identity_provider", "acr_values"] {
            assert!(!is_reserved_parameter(name), "{name}");
        }
    }

    #[test]
    fn a_prompt_is_one_parameter_of_distinct_words() {
        for (configured, word, expected) in [
            (None, None, None),
            (None, Some("login"), Some("login")),
            (Some("consent"), None, Some("consent")),
            (Some("consent"), Some("login"), Some("consent login")),
            (Some("login consent"), Some("login"), Some("consent login")),
            (Some("none"), Some("login"), Some("login")),
        ] {
            let extra: Vec<_> = configured.map(|words| ("prompt".to_owned(), words.to_owned())).into_iter().collect();
            let url = Url::parse("https://app.example/").unwrap();
            let secret = Secret::new("s".repeat(43));
            let issuer = Url::parse("https://op.example").unwrap();
            let client = client("c", &ClientAuthentication::None, &issuer, &metadata());
            let asked = SignIn {
                redirect_uri: &url,
                state: &secret,
                nonce: &secret,
                verifier: &secret,
                scopes: &[],
                extra_parameters: &extra,
                max_age: None,
                prompt: word,
            };
            let url = authorization_url(&client, asked);
            let prompts: Vec<_> =
                url.query_pairs().filter(|(name, _)| name == "prompt").map(|(_, value)| value.into_owned()).collect();
            assert_eq!(prompts, Vec::from_iter(expected), "{configured:?} {word:?}");
        }
    }

    #[test]
    fn a_scope_is_one_word() {
        for (text, expected) in [
            ("openid", true),
            ("https://graph.example/.default", true),
            ("a b", false),
            ("", false),
            ("a\"b", false),
            ("a\\b", false),
            ("ü", false),
        ] {
            assert_eq!(is_scope(text), expected, "{text}");
        }
    }
}
