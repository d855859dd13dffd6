//! A provider over real HTTP on loopback, answering by script; what is asked of it is as much a result as what comes back.

#![expect(clippy::unwrap_used, reason = "a test's own set-up")]

mod authorization;
mod refresh;

use std::{
    collections::HashMap,
    sync::{
        Mutex as StdMutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::{known::FRESH_FOR, *};
use crate::{
    oidc::signing::{SigningKey, key_set},
    oidc::{discovery::Issuer, jwk::Algorithm, request::ClientAuthentication},
    outbound::{self, destination::PlainHttp},
};

const NOW: u64 = 1_700_000_000;
const CLIENT: &str = "client:+%ü";
const SECRET: &str = "s:e%c+r&t ü";

/// What one path answers.
#[derive(Clone)]
enum Answer {
    Json(u16, Value),
    Body(u16, &'static str, String),
    Redirect(String),
    Close,
    Silence,
}

/// What was asked.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    target: String,
    authorization: String,
    body: String,
}

impl Asked {
    fn form(&self) -> HashMap<String, String> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }
}

struct Stub {
    url: String,
    answers: Arc<StdMutex<HashMap<String, Answer>>>,
    asked: Arc<StdMutex<Vec<Asked>>>,
    key: SigningKey,
    clock: Clock,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stub {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(StdMutex::new(HashMap::new()));
        let asked = Arc::new(StdMutex::new(Vec::new()));
        let serving = tokio::spawn(serve(listener, Arc::clone(&answers), Arc::clone(&asked)));
        let stub = Self {
            url,
            answers,
            asked,
            key: SigningKey::generate(Algorithm::Es256, Some("first")),
            clock: Clock::manual(Timestamp::from_seconds(NOW)),
            serving,
        };
        stub.answer("/.well-known/openid-configuration", Answer::Json(200, stub.document(&json!({}))));
        stub.answer("/jwks", Answer::Body(200, "application/json", key_set(&[&stub.key])));
        stub.answer("/token", Answer::Json(200, stub.tokens(&json!({}))));
        stub.answer("/userinfo", Answer::Json(200, json!({"sub": "user", "email": "u@example.com"})));
        stub.answer("/revoke", Answer::Body(200, "text/plain", String::new()));
        stub
    }

    fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn document(&self, changes: &Value) -> Value {
        let url = &self.url;
        changed(
            json!({
                "issuer": url,
                "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"),
                "jwks_uri": format!("{url}/jwks"),
                "userinfo_endpoint": format!("{url}/userinfo"),
                "end_session_endpoint": format!("{url}/end"),
                "revocation_endpoint": format!("{url}/revoke"),
                "scopes_supported": ["openid", "offline_access"],
            }),
            changes,
        )
    }

    fn claims(&self, changes: &Value) -> Value {
        changed(
            json!({
                "iss": self.url, "aud": CLIENT, "sub": "user", "nonce": "n", "iat": NOW, "exp": NOW + 300, "sid": "s",
                "groups": ["staff"],
            }),
            changes,
        )
    }

    fn id_token(&self, changes: &Value) -> String {
        self.key.token(&self.claims(changes))
    }

    fn tokens(&self, changes: &Value) -> Value {
        changed(
            json!({
                "access_token": "access", "token_type": "bEARER", "expires_in": "3600", "refresh_token": "refresh",
                "id_token": self.id_token(&json!({})),
            }),
            changes,
        )
    }

    fn asked_at(&self, path: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        let at = |asked: &&Asked| asked.target.split('?').next() == Some(path);
        asked.iter().filter(at).cloned().collect()
    }

    fn config(&self) -> Config {
        let issuer = Issuer::parse(&self.url, PlainHttp::Loopback).unwrap();
        Config {
            client_authentication: ClientAuthentication::SecretBasic(Secret::new(SECRET)),
            ..Config::new("stub", issuer, CLIENT)
        }
    }

    fn provider(&self) -> Provider {
        self.provider_with(self.config())
    }

    fn provider_with(&self, config: Config) -> Provider {
        let outbound = Outbound::new(&outbound::Config {
            plain_http: PlainHttp::Loopback,
            connect_timeout: Duration::from_millis(500),
            whole_timeout: Duration::from_secs(1),
            ..outbound::Config::default()
        });
        Provider::new(config, outbound.unwrap(), self.clock.clone()).unwrap()
    }

    fn before(&self) -> Identified<'_> {
        Identified { issuer: &self.url, subject: "user", id_token: None }
    }
}

/// The object with some members replaced; `null` takes one away.
fn changed(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
    object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object
}

async fn serve(
    listener: TcpListener,
    answers: Arc<StdMutex<HashMap<String, Answer>>>,
    asked: Arc<StdMutex<Vec<Asked>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
        let service = service_fn(move |request: Request<Incoming>| {
            let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
            async move {
                let path = request.uri().path().to_owned();
                note(request, &asked).await;
                let answer = answers.lock().unwrap().get(&path).cloned();
                respond(answer.unwrap_or(Answer::Json(404, json!({})))).await
            }
        });
        let connection = hyper::server::conn::http1::Builder::new();
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
    }
}

async fn note(request: Request<Incoming>, asked: &StdMutex<Vec<Asked>>) {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let noted = Asked {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        authorization: authorization.map_or("", |value| value.to_str().unwrap()).to_owned(),
        body: String::new(),
    };
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.into()).unwrap();
    asked.lock().unwrap().push(Asked { body, ..noted });
}

async fn respond(answer: Answer) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let response = Response::builder();
    let response = match answer {
        Answer::Json(status, body) => {
            response.status(status).header(header::CONTENT_TYPE, "application/json").body(Full::from(body.to_string()))
        }
        Answer::Body(status, kind, body) => {
            response.status(status).header(header::CONTENT_TYPE, kind).body(Full::from(body))
        }
        Answer::Redirect(to) => response.status(302).header(header::LOCATION, to).body(Full::default()),
        Answer::Close => return Err("closed".into()),
        Answer::Silence => std::future::pending::<Result<_, _>>().await,
    };
    Ok(response?)
}

fn redirect_uri() -> Url {
    Url::parse("https://app.example/auth/callback").unwrap()
}

async fn exchange(provider: &Provider) -> Result<SignedIn, Failure> {
    let (code, nonce, verifier) = (Secret::new("marker-code"), Secret::new("n"), Secret::new("marker-verifier"));
    provider.exchange(&code, &redirect_uri(), &nonce, &verifier).await
}

fn oauth_error(code: &str) -> Answer {
    Answer::Json(400, json!({"error": code, "error_description": "marker-code, marker-refresh: no\r\n"}))
}

#[tokio::test]
async fn a_sign_in_asks_for_what_it_must_and_brings_the_user() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    let signed_in = exchange(&provider).await.unwrap();
    assert_eq!((signed_in.issuer.as_str(), signed_in.subject.as_str()), (stub.url.as_str(), "user"));
    assert_eq!(signed_in.sid.as_deref(), Some("s"));
    let claims = json!({"sub": "user", "groups": ["staff"], "email": "u@example.com"});
    assert_eq!(Value::Object(signed_in.claims), claims);
    assert_eq!(signed_in.tokens.access, Secret::new("access"));
    assert_eq!(signed_in.tokens.refresh, Some(Secret::new("refresh")));
    assert_eq!(signed_in.tokens.access_expires_at, Some(Timestamp::from_seconds(NOW + 3600)));

    let [token] = &stub.asked_at("/token")[..] else { unreachable!("one token request") };
    assert_eq!((token.method.as_str(), token.target.as_str()), ("POST", "/token"));
    let form = token.form();
    for (name, value) in [
        ("grant_type", "authorization_code"),
        ("code", "marker-code"),
        ("code_verifier", "marker-verifier"),
        ("redirect_uri", redirect_uri().as_str()),
    ] {
        assert_eq!(form.get(name).map(String::as_str), Some(value));
    }
    assert!(!form.contains_key("client_secret"));
    let [userinfo] = &stub.asked_at("/userinfo")[..] else { unreachable!("one userinfo request") };
    assert_eq!((userinfo.method.as_str(), userinfo.target.as_str()), ("GET", "/userinfo"));
    assert_eq!((userinfo.authorization.as_str(), userinfo.body.as_str()), ("Bearer access", ""));
}

#[tokio::test]
async fn the_client_authenticates_as_configured() {
    use base64::engine::general_purpose::STANDARD;
    let urlencoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", urlencoded(CLIENT), urlencoded(SECRET))));
    let secret = || Secret::new(SECRET);
    for (authentication, header, id, in_body) in [
        (ClientAuthentication::SecretBasic(secret()), basic.as_str(), None, None),
        (ClientAuthentication::SecretPost(secret()), "", Some(CLIENT), Some(SECRET)),
        (ClientAuthentication::None, "", Some(CLIENT), None),
    ] {
        let stub = Stub::start().await;
        let provider = stub.provider_with(Config { client_authentication: authentication, ..stub.config() });
        exchange(&provider).await.unwrap();
        let asked = stub.asked_at("/token").remove(0);
        let form = asked.form();
        assert_eq!(asked.authorization, header);
        assert_eq!(form.get("client_id").map(String::as_str), id);
        assert_eq!(form.get("client_secret").map(String::as_str), in_body);
    }
}

#[tokio::test]
async fn every_bad_token_answer_has_its_reason_and_no_secret_in_it() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    for (answer, expected) in [
        (oauth_error("invalid_grant"), Reason::CodeRejected),
        (oauth_error("invalid_client"), Reason::ProviderError),
        (Answer::Json(401, json!({"error": "invalid_client"})), Reason::ProviderError),
        (Answer::Json(400, json!({"message": "marker-code"})), Reason::TokenResponseInvalid),
        (Answer::Json(500, json!({"error": "invalid_grant"})), Reason::ProviderUnreachable),
        (Answer::Json(503, json!({})), Reason::ProviderUnreachable),
        (Answer::Json(429, json!({})), Reason::ProviderUnreachable),
        (Answer::Redirect(format!("{}/userinfo", stub.url)), Reason::TokenResponseInvalid),
        (Answer::Close, Reason::ProviderUnreachable),
        (Answer::Silence, Reason::ProviderUnreachable),
        (Answer::Body(200, "text/html", "<html>".to_owned()), Reason::TokenResponseInvalid),
        (Answer::Body(200, "application/json", String::new()), Reason::TokenResponseInvalid),
        (Answer::Json(200, json!(["marker-code"])), Reason::TokenResponseInvalid),
        (Answer::Json(200, json!({"access_token": {"marker-code": 1}})), Reason::TokenResponseInvalid),
        (Answer::Json(200, stub.tokens(&json!({"token_type": "DPoP"}))), Reason::TokenResponseInvalid),
        (Answer::Json(200, stub.tokens(&json!({"id_token": null}))), Reason::IdTokenMissing),
        (Answer::Json(200, stub.tokens(&json!({"id_token": "a.b.c"}))), Reason::IdTokenMalformed),
    ] {
        stub.answer("/token", answer);
        let failure = exchange(&provider).await.unwrap_err();
        assert_eq!(failure.reason, expected, "{failure}");
        assert!(!format!("{failure:?}").contains("marker"), "{failure:?}");
    }
    assert!(stub.asked_at("/userinfo").is_empty());
}

#[tokio::test]
async fn no_userinfo_is_asked_for_on_a_token_that_is_not_believed() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    for (changes, expected) in [
        (json!({"iss": "https://op.example"}), Reason::IdTokenIssuer),
        (json!({"aud": "other"}), Reason::IdTokenAudience),
        (json!({"nonce": "n1"}), Reason::IdTokenNonce),
        (json!({"exp": 1}), Reason::IdTokenExpired),
        (json!({"at_hash": "x"}), Reason::IdTokenAccessTokenHash),
    ] {
        let id_token = stub.id_token(&changes);
        stub.answer("/token", Answer::Json(200, stub.tokens(&json!({"id_token": id_token}))));
        assert_eq!(exchange(&provider).await.unwrap_err().reason, expected);
    }
    assert!(stub.asked_at("/userinfo").is_empty());
}

#[tokio::test]
async fn a_bad_userinfo_answer_ends_the_sign_in() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    for (answer, expected) in [
        (Answer::Json(200, json!({"sub": "userinvalid"})), Reason::UserinfoSubject),
        (Answer::Json(200, json!([{"sub": "user"}])), Reason::UserinfoInvalid),
        (Answer::Body(200, "application/jwt", "a.b.c".to_owned()), Reason::UserinfoInvalid),
        (Answer::Json(401, json!({})), Reason::UserinfoInvalid),
        (Answer::Redirect(format!("{}/jwks", stub.url)), Reason::UserinfoInvalid),
        (Answer::Json(500, json!({})), Reason::ProviderUnreachable),
        (Answer::Close, Reason::ProviderUnreachable),
        (Answer::Json(200, json!({"sub": "user", "x": "x".repeat(40_000)})), Reason::ClaimsTooLarge),
    ] {
        stub.answer("/userinfo", answer);
        assert_eq!(exchange(&provider).await.unwrap_err().reason, expected);
    }
}

#[tokio::test]
async fn userinfo_is_left_alone_where_settings_or_provider_say_so() {
    let stub = Stub::start().await;
    let off = stub.provider_with(Config { userinfo: false, ..stub.config() });
    exchange(&off).await.unwrap();
    let document = stub.document(&json!({"userinfo_endpoint": null}));
    stub.answer("/.well-known/openid-configuration", Answer::Json(200, document));
    exchange(&stub.provider()).await.unwrap();
    assert!(stub.asked_at("/userinfo").is_empty());
}

#[tokio::test]
async fn keys_rotated_just_before_signing_are_found_on_the_first_try() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    exchange(&provider).await.unwrap();
    let rotated = SigningKey::generate(Algorithm::Ps256, Some("second"));
    stub.answer("/jwks", Answer::Body(200, "application/json", key_set(&[&rotated])));
    let id_token = rotated.token(&stub.claims(&json!({})));
    stub.answer("/token", Answer::Json(200, stub.tokens(&json!({"id_token": id_token}))));
    exchange(&provider).await.unwrap();
    assert_eq!(stub.asked_at("/jwks").len(), 2);
}

#[tokio::test]
async fn unknown_keys_fetch_at_most_once_a_minute_and_cost_nothing_known() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    let honest = Answer::Json(200, stub.tokens(&json!({})));
    exchange(&provider).await.unwrap();
    let stranger = SigningKey::generate(Algorithm::Es256, Some("stranger"));
    let unknown = stranger.token(&stub.claims(&json!({})));
    let unknown = Answer::Json(200, stub.tokens(&json!({"id_token": unknown})));
    let keys = Answer::Body(200, "application/json", key_set(&[&stub.key]));
    for (key_set, expected, fetches) in [
        (Answer::Json(503, json!({})), Reason::ProviderUnreachable, 2),
        (keys.clone(), Reason::IdTokenKey, 3),
        (Answer::Body(200, "text/html", "<html>".to_owned()), Reason::ProviderMetadataInvalid, 4),
    ] {
        stub.answer("/jwks", key_set);
        stub.answer("/token", unknown.clone());
        for _ in 0..10 {
            assert_eq!(exchange(&provider).await.unwrap_err().reason, expected);
        }
        assert_eq!(stub.asked_at("/jwks").len(), fetches);
        stub.answer("/token", honest.clone());
        exchange(&provider).await.unwrap();
        stub.clock.advance(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_refresh_whose_keys_cannot_be_fetched_is_lost_and_not_bad() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    provider.discovery.discover_if_due().await.unwrap();
    let rotated = SigningKey::generate(Algorithm::Es256, Some("second"));
    let id_token = rotated.token(&stub.claims(&json!({})));
    stub.answer("/token", Answer::Json(200, stub.tokens(&json!({"id_token": id_token}))));
    stub.answer("/jwks", Answer::Silence);
    for _ in 0..2 {
        let failure = provider.refresh(&Secret::new("r"), stub.before()).await.unwrap_err();
        assert_eq!(refresh::kind(&failure), "lost");
    }
    stub.clock.advance(Duration::from_secs(60));
    stub.answer("/jwks", Answer::Body(200, "application/json", key_set(&[&rotated])));
    provider.refresh(&Secret::new("r"), stub.before()).await.unwrap();
}

#[tokio::test]
async fn keys_that_change_twice_within_a_minute_cost_a_refresh_and_not_the_session() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    provider.discovery.discover_if_due().await.unwrap();
    let rotated = ["second", "third"].map(|name| SigningKey::generate(Algorithm::Es256, Some(name)));
    let outcomes = [None, Some("lost")];
    for (key, expected) in rotated.iter().zip(outcomes) {
        let id_token = key.token(&stub.claims(&json!({"nonce": null})));
        stub.answer("/token", Answer::Json(200, stub.tokens(&json!({"id_token": id_token}))));
        stub.answer("/jwks", Answer::Body(200, "application/json", key_set(&[key])));
        let outcome = provider.refresh(&Secret::new("r"), stub.before()).await;
        assert_eq!(outcome.as_ref().err().map(refresh::kind), expected);
    }
    stub.clock.advance(Duration::from_secs(60));
    provider.refresh(&Secret::new("r"), stub.before()).await.unwrap();
}

#[tokio::test]
async fn a_user_can_ask_for_another_account() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    for (account, expected) in [(Account::Any, None), (Account::Ask, Some("login"))] {
        let request = provider.authorization_request(&redirect_uri(), account).await.unwrap();
        let pairs: HashMap<String, String> = request.url.query_pairs().into_owned().collect();
        assert_eq!(pairs.get("prompt").map(String::as_str), expected);
    }
}

#[tokio::test]
async fn an_unusable_discovery_document_starts_no_sign_in() {
    let stub = Stub::start().await;
    for (answer, expected) in [
        (
            Answer::Json(200, stub.document(&json!({"issuer": format!("{}/", stub.url)}))),
            Reason::ProviderMetadataInvalid,
        ),
        (
            Answer::Json(200, stub.document(&json!({"token_endpoint": "http://op.example/"}))),
            Reason::ProviderMetadataInvalid,
        ),
        (
            Answer::Json(200, stub.document(&json!({"jwks_uri": format!("{}/nowhere", stub.url)}))),
            Reason::ProviderMetadataInvalid,
        ),
        (Answer::Json(404, json!({})), Reason::ProviderMetadataInvalid),
        (Answer::Redirect(format!("{}/jwks", stub.url)), Reason::ProviderMetadataInvalid),
        (Answer::Body(200, "text/html", "<html>".to_owned()), Reason::ProviderMetadataInvalid),
        (Answer::Json(503, json!({})), Reason::ProviderUnreachable),
        (Answer::Close, Reason::ProviderUnreachable),
    ] {
        stub.answer("/.well-known/openid-configuration", answer);
        let provider = stub.provider();
        let failure = provider.authorization_request(&redirect_uri(), Account::Any).await.unwrap_err();
        assert_eq!(failure.reason, expected, "{failure}");
        assert!(!provider.ready());
    }
}

#[tokio::test]
async fn many_callers_of_a_provider_that_is_down_cause_one_attempt() {
    let stub = Stub::start().await;
    stub.answer("/.well-known/openid-configuration", Answer::Json(503, json!({})));
    let provider = Arc::new(stub.provider());
    let refused = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (provider, refused) = (Arc::clone(&provider), Arc::clone(&refused));
            tokio::spawn(async move {
                let answer = provider.authorization_request(&redirect_uri(), Account::Any).await;
                refused.fetch_add(usize::from(answer.is_err()), Ordering::Relaxed);
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(refused.load(Ordering::Relaxed), 100);
    assert_eq!(stub.asked_at("/.well-known/openid-configuration").len(), 1);
}

#[tokio::test]
async fn discovery_is_tried_until_the_provider_is_there() {
    let stub = Stub::start().await;
    stub.answer("/.well-known/openid-configuration", Answer::Json(503, json!({})));
    let provider = Arc::new(stub.provider());
    let kept = Arc::clone(&provider);
    let discovering = tokio::spawn(async move { kept.keep_discovering().await });
    while stub.asked_at("/.well-known/openid-configuration").is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!provider.ready());
    stub.answer("/.well-known/openid-configuration", Answer::Json(200, stub.document(&json!({}))));
    let ready = async {
        while !provider.ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ready).await.unwrap();
    discovering.abort();
}

#[tokio::test]
async fn what_is_known_is_renewed_after_twelve_hours_and_kept_while_that_fails() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    let times = || stub.asked_at("/.well-known/openid-configuration").len();
    for (advance, answer, works, expected) in [
        (0, Answer::Json(200, stub.document(&json!({}))), true, 1),
        (FRESH_FOR.as_secs() - 1, Answer::Close, true, 1),
        (1, Answer::Json(503, json!({})), false, 2),
        (0, Answer::Json(200, stub.document(&json!({"issuer": "https://other.example"}))), false, 3),
        (0, Answer::Json(200, stub.document(&json!({"end_session_endpoint": null}))), true, 4),
        (0, Answer::Close, true, 4),
    ] {
        stub.clock.advance(Duration::from_secs(advance));
        stub.answer("/.well-known/openid-configuration", answer);
        assert_eq!(provider.discovery.discover_if_due().await.is_ok(), works);
        assert!(provider.ready());
        assert_eq!(times(), expected);
    }
    assert_eq!(provider.logout_url(None, &redirect_uri()), None);
}

#[tokio::test]
async fn an_issuer_in_the_response_is_compared_exactly_and_missed_where_announced() {
    let stub = Stub::start().await;
    let slash = format!("{}/", stub.url);
    let encoded = stub.url.replace(':', "%3A");
    for (announced, iss, expected) in [
        (true, Some(stub.url.as_str()), None),
        (true, None, Some(Reason::IssuerMissing)),
        (true, Some(""), Some(Reason::IssuerMismatch)),
        (true, Some(slash.as_str()), Some(Reason::IssuerMismatch)),
        (false, Some(encoded.as_str()), Some(Reason::IssuerMismatch)),
        (false, Some(stub.url.as_str()), None),
        (false, None, None),
    ] {
        let document = stub.document(&json!({"authorization_response_iss_parameter_supported": announced}));
        stub.answer("/.well-known/openid-configuration", Answer::Json(200, document));
        let verdict = stub.provider().check_issuer(iss).await;
        assert_eq!(verdict.err().map(|failure| failure.reason), expected, "{announced} {iss:?}");
    }
    stub.answer("/.well-known/openid-configuration", Answer::Close);
    assert!(stub.provider().check_issuer(Some(&stub.url)).await.is_ok());
    let unknown = stub.provider().check_issuer(None).await.unwrap_err();
    assert_eq!(unknown.reason, Reason::ProviderUnreachable);
}
