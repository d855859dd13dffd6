//! A client that believes nothing and reports everything: it sends what a test tells it to and shows what came back.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dev_idp::{Client, DevIdp, Endpoint, Settings, Switch};
use jsonwebtoken::{Algorithm, DecodingKey, crypto, jwk::Jwk};
use reqwest::{Response, StatusCode, header::LOCATION, redirect};
use serde_json::Value;
use url::Url;

pub(crate) const CALLBACK: &str = "https://app.test/auth/callback?tenant=1";
pub(crate) const AFTER_LOGOUT: &str = "https://app.test/bye";
/// The pair of RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(crate) struct RelyingParty {
    pub(crate) idp: DevIdp,
    pub(crate) http: reqwest::Client,
}

/// An ID token taken apart.
pub(crate) struct IdToken {
    pub(crate) text: String,
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl RelyingParty {
    /// A public client `app` at a fresh provider.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// The same with other settings; the client is added.
    pub(crate) async fn with(mut settings: Settings) -> Self {
        settings.clients.push(Client::public("app", CALLBACK).returning_to(AFTER_LOGOUT));
        let idp = dev_idp::start(settings).await.unwrap();
        let http = reqwest::Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { idp, http }
    }

    /// The same with a switch on.
    pub(crate) async fn facing(switch: Switch) -> Self {
        let party = Self::start().await;
        party.idp.set(switch);
        party
    }

    /// An authorization URL for `app`, with some parameters changed, or taken away by an empty value.
    pub(crate) fn authorization_url(&self, changes: &[(&str, &str)]) -> Url {
        let mut parameters = BTreeMap::from([
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid profile email offline_access"),
            ("state", "the-state"),
            ("nonce", "the-nonce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        parameters.extend(changes.iter().copied());
        parameters.retain(|_, value| !value.is_empty());
        Url::parse_with_params(&self.idp.url(Endpoint::Authorize), parameters).unwrap()
    }

    pub(crate) async fn authorize(&self, changes: &[(&str, &str)]) -> Response {
        self.http.get(self.authorization_url(changes)).send().await.unwrap()
    }

    /// Signs alice in at once and returns the parameters of the callback.
    pub(crate) async fn callback(&self, changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let changes: Vec<_> = [("login_hint", "alice")].into_iter().chain(changes.iter().copied()).collect();
        callback_parameters(&self.authorize(&changes).await)
    }

    pub(crate) async fn code(&self, changes: &[(&str, &str)]) -> String {
        self.callback(changes).await["code"].clone()
    }

    pub(crate) async fn post(&self, endpoint: Endpoint, form: &[(&str, &str)]) -> Response {
        self.http.post(self.idp.url(endpoint)).form(form).send().await.unwrap()
    }

    /// Sends a form to the token endpoint as `app`.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let form: Vec<_> = form.iter().copied().chain([("client_id", "app")]).collect();
        answered(self.post(Endpoint::Token, &form).await).await
    }

    pub(crate) async fn redeem(&self, code: &str) -> (StatusCode, Value) {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ])
        .await
    }

    pub(crate) async fn refresh(&self, token: &str) -> (StatusCode, Value) {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// The token answer of a whole sign-in.
    pub(crate) async fn sign_in(&self, changes: &[(&str, &str)]) -> Value {
        let (status, answer) = self.redeem(&self.code(changes).await).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    pub(crate) async fn userinfo(&self, access_token: &str) -> (StatusCode, Value) {
        let request = self.http.get(self.idp.url(Endpoint::Userinfo)).bearer_auth(access_token);
        answered(request.send().await.unwrap()).await
    }

    pub(crate) async fn document(&self, endpoint: Endpoint) -> Value {
        self.http.get(self.idp.url(endpoint)).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn keys(&self) -> Vec<Value> {
        self.document(Endpoint::Jwks).await["keys"].as_array().unwrap().clone()
    }

    /// Which keys of the published set verify this token, by position.
    pub(crate) async fn verifying_keys(&self, token: &IdToken) -> Vec<usize> {
        let Ok(algorithm) = serde_json::from_value::<Algorithm>(token.header["alg"].clone()) else {
            return Vec::new();
        };
        let keys = self.keys().await;
        (0..keys.len()).filter(|place| verifies(token, algorithm, &keys[*place])).collect()
    }
}

pub(crate) async fn answered(response: Response) -> (StatusCode, Value) {
    (response.status(), response.json().await.unwrap_or_default())
}

/// The parameters that a redirect to the callback carries, beside the callback's own.
pub(crate) fn callback_parameters(response: &Response) -> BTreeMap<String, String> {
    assert_eq!(response.status(), StatusCode::FOUND);
    let location = response.headers()[LOCATION].to_str().unwrap();
    assert!(location.starts_with(CALLBACK), "{location}");
    let mut parameters: BTreeMap<_, _> = Url::parse(location).unwrap().query_pairs().into_owned().collect();
    parameters.remove("tenant");
    parameters
}

pub(crate) fn id_token(answer: &Value) -> IdToken {
    let text = answer["id_token"].as_str().unwrap().to_owned();
    let parts: Vec<_> = text.split('.').collect();
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    IdToken { header: json(parts[0]), claims: json(parts[1]), text }
}

fn verifies(token: &IdToken, algorithm: Algorithm, key: &Value) -> bool {
    let Some(key) = serde_json::from_value::<Jwk>(key.clone()).ok() else {
        return false;
    };
    let Ok(key) = DecodingKey::from_jwk(&key) else {
        return false;
    };
    let (message, signature) = token.text.rsplit_once('.').unwrap();
    crypto::verify(signature, message.as_bytes(), &key, algorithm).unwrap_or(false)
}
