//! The program itself, at log level trace, through good and bad days; then every secret, token, cookie, code and state
//! that was in play is looked for wherever somebody could read it, and found nowhere.
//!
//! What may be seen is said in [`may_show`]: a cookie in the `Set-Cookie` that carries it, state and nonce on the way to
//! the provider, and the ID token as the hint of a sign-out there (OpenID Connect RP-Initiated Logout 1.0 section 2).

mod needles;

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use deadpool_redis::redis::{self, FromRedisValue};
use dev_idp::{Endpoint, Switch};
use reqwest::Method;
use serde_json::json;
use url::Url;

use crate::support::{
    APP, Plan, Reply, Stage, Visitor,
    binary::{Binary, run, said},
    eventually, redis as redis_server,
};
use needles::{Kind, Needle, Place};

const CLIENT_SECRET: &str = "m4rker:client+secret%41&more=1";
const CSP_REPORT: &str = "application/csp-report";
const SESSION_KEY: &[u8; 32] = b"m4rker of the session key: 32 b!";
const REDIS_PASSWORD: &str = "m4rker-redis-password";
const WRONG_REDIS_PASSWORD: &str = "m4rker-wrong-redis-password";

#[tokio::test(flavor = "multi_thread")]
async fn with_json_lines_nothing_secret_is_seen_anywhere() {
    nothing_secret_is_seen_anywhere("json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_lines_for_people_nothing_secret_is_seen_anywhere() {
    nothing_secret_is_seen_anywhere("text").await;
}

async fn nothing_secret_is_seen_anywhere(format: &str) {
    let mut day = Day::begin(format).await;
    let alice = day.sign_in_and_use().await;
    day.fail_to_sign_in().await;
    day.be_refused(&alice).await;
    let bob = day.sign_out(&alice).await;
    day.lose_the_store(&bob).await;
    let metrics = day.ask_ops("/metrics").await;
    let stored = day.stored();
    let written = day.end_the_gateway(&bob).await;
    assert!(written.contains("content security policy broken"), "the report is in the log");
    let elsewhere = day.run_with_a_wrong_password().await;

    let mut places = vec![
        Place::new("metrics", metrics, "oauth2_authorization_total"),
        Place::new("Redis", stored, "portcullis:session:"),
        Place::new("the log", written, "sign-in failed"),
        Place::new("the log of the gateway with a wrong password", elsewhere, "wrong user name or password"),
        Place::new("the audit log", day.file("audit.log"), "session_created"),
        Place::new("nginx's access log", day.stage.nginx.access_log(), "/deep/link"),
        Place::new("nginx's error log", day.file("nginx/logs/error.log"), "nginx.sock"),
        Place::new("what the application got", day.told_to_the_application(), "alice@example.com"),
    ];
    places.extend(day.seen.iter().flat_map(shown));
    let needles = day.needles();
    for place in &places {
        assert!(place.text.contains(place.control), "{} says nothing: {}", place.name, place.text);
        for needle in needles.iter().filter(|needle| needle.found_in(place)) {
            assert!(may_show(needle, place), "{} shows {needle:?}: {}", place.name, needle.excerpt(place));
        }
    }
    let shown = |kind| {
        let mut of_kind = needles.iter().filter(|needle| needle.kind == kind);
        of_kind.any(|needle| places.iter().any(|place| needle.found_in(place)))
    };
    for kind in [Kind::SessionCookie, Kind::TransactionCookie, Kind::State, Kind::Nonce, Kind::IdToken] {
        assert!(shown(kind), "{kind:?} is not found where it must be, so nothing follows from not finding it");
    }
}

/// What of a secret may be where.
fn may_show(needle: &Needle, place: &Place) -> bool {
    let starts = |with: &str| place.text.starts_with(with);
    match (needle.kind, place.name.as_str()) {
        (Kind::SessionCookie, "set-cookie") => starts("__Host-portcullis="),
        (Kind::TransactionCookie, "set-cookie") => starts("__Host-portcullis-sign-in-"),
        (Kind::State | Kind::Nonce, "location") => place.leads_to("/authorize"),
        (Kind::IdToken, "location") => place.leads_to("/end_session"),
        _ => false,
    }
}

/// Each header and the body of an answer, as a place of its own.
fn shown(reply: &Reply) -> Vec<Place> {
    let headers = reply.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        Place::new(name.as_str(), value, "")
    });
    let body = Place::new(format!("the body of {}", reply.url), reply.body.clone(), "");
    headers.chain([body]).collect()
}

/// Everything that happens, and what comes to light of it.
struct Day {
    stage: Stage,
    gateway: Option<Binary>,
    redis: redis_server::Server,
    ops: std::path::PathBuf,
    seen: Vec<Reply>,
    secrets: Vec<Needle>,
}

impl Day {
    async fn begin(format: &str) -> Self {
        let redis = redis_server::Server::start_with(&["--requirepass", REDIS_PASSWORD]);
        let folder = tempfile::TempDir::new().unwrap();
        let ops = redis.folder().join("ops.sock");
        let plan = Plan::new()
            .without_gateway()
            .authenticating("client_secret_basic", CLIENT_SECRET)
            .set("SESSION__KEY", STANDARD.encode(SESSION_KEY))
            .set("SESSION__CACHE_ENTRIES", "0")
            .set("STORE__KIND", "redis")
            .set("STORE__REDIS__URL", format!("redis+unix://{}", redis.socket().display()))
            .set("STORE__REDIS__PASSWORD", REDIS_PASSWORD)
            .set("PROVIDER__MAIN__OFFLINE_ACCESS", "true")
            .set("PROVIDER__MAIN__REVOKE_TOKENS", "true")
            .set("LISTENER__OPS__ADDRESS", format!("unix:{}", ops.display()))
            .set("LOG__FORMAT", format)
            .set("LOG__FILTER", "trace")
            .set("LOG__AUDIT", folder.path().join("audit.log").display().to_string())
            .set("LOG__AUDIT_ALLOWED", "true");
        let certificates = crate::support::certificates::Certificates::make(folder.path());
        let stage = plan.standing_on(folder, certificates).start().await;
        let gateway = Some(Binary::serve(&stage.settings_file(), &stage.environment(), "gateway"));
        let day = Self { stage, gateway, redis, ops, seen: Vec::new(), secrets: planted() };
        let visitor = Visitor::new(&day.stage);
        eventually("the gateway answers", async || visitor.get("/auth/health").await.status == 200).await;
        day
    }

    /// A person signs in, works, and refreshes.
    async fn sign_in_and_use(&mut self) -> Visitor {
        let alice = Visitor::new(&self.stage);
        let reply = self.open(&alice, "alice", "/deep/link?a=b").await;
        assert_eq!((reply.status, reply.url.path()), (200, "/deep/link"), "{reply:?}");
        for (method, path, status) in [
            (Method::GET, "/auth/userinfo", 200),
            (Method::GET, "/auth/check", 200),
            (Method::POST, "/auth/check", 200),
            (Method::POST, "/auth/refresh", 200),
            (Method::POST, "/auth/refresh", 200),
            (Method::GET, "/api/whoami", 200),
            (Method::GET, "/admin", 200),
        ] {
            let reply = self.fetch(&alice, method, path, &[]).await;
            assert_eq!(reply.status, status, "{reply:?}");
        }
        alice
    }

    /// Sign-ins that go wrong, by somebody's fault.
    async fn fail_to_sign_in(&mut self) {
        for (switch, reason) in [
            (Switch::AuthorizationError, "provider_fault"),
            (Switch::AuthorizationWrongState, "transaction_missing"),
            (Switch::AuthorizationWrongIssuer, "issuer_mismatch"),
            (Switch::IdTokenWrongNonce, "id_token_nonce"),
            (Switch::IdTokenExpired, "id_token_expired"),
            (Switch::SignatureBrokenRs256, "id_token_signature"),
            (Switch::TokenAnswerNotJson, "token_response_invalid"),
            (Switch::UserinfoWrongSubject, "userinfo_subject"),
        ] {
            self.stage.idp.set(switch);
            let carol = Visitor::new(&self.stage);
            let reply = self.open(&carol, "carol", "/x").await;
            assert_eq!(reply.header("x-portcullis-reason"), reason, "{switch:?}: {reply:?}");
            self.stage.idp.clear(switch);
        }
        let mallory = Visitor::new(&self.stage);
        let callback = self.up_to_callback(&mallory, "bob").await;
        let jar = mallory.cookies();
        assert_eq!(self.visit(&mallory, &callback, &[]).await.status, 302);
        let replay = self.visit(&mallory, &callback, &[("Cookie", &jar)]).await;
        assert_eq!(replay.refusal(), (400, "transaction_used"), "{replay:?}");
        self.report(&mallory, &callback).await;
        let stranger = Visitor::new(&self.stage);
        assert_eq!(self.visit(&stranger, &callback, &[]).await.refusal(), (400, "transaction_missing"));
        let transaction = self.up_to_callback(&stranger, "bob").await;
        let altered = format!("{}x", stranger.cookies());
        let refused = self.visit(&stranger, &transaction, &[("Cookie", &altered)]).await;
        assert_eq!(refused.refusal(), (400, "transaction_unreadable"), "{refused:?}");
    }

    /// A browser reports something about the page at that address, which holds a code.
    async fn report(&self, visitor: &Visitor, page: &Url) {
        let page = page.as_str();
        let violation = json!({
            "document-uri": page, "referrer": page, "blocked-uri": page, "source-file": page, "script-sample": page,
            "effective-directive": page, "violated-directive": page, "original-policy": page, "disposition": page,
        });
        for report in [json!({"csp-report": violation}), json!({"csp-report": page}), json!({page: violation})] {
            let post = visitor.client.post(visitor.url("/auth/csp-report")).header("content-type", CSP_REPORT);
            let status = post.body(report.to_string()).send().await.unwrap().status();
            assert_eq!(status, if report["csp-report"].is_object() { 204 } else { 400 });
        }
    }

    /// Requests that are refused behind the gate.
    async fn be_refused(&mut self, alice: &Visitor) {
        let cookie = alice.session().unwrap();
        let (front, back) = cookie.split_at(cookie.len() / 2);
        for value in [format!("{back}{front}"), front.to_owned(), format!("{cookie}{cookie}"), format!("{cookie}=")] {
            let stranger = Visitor::new(&self.stage);
            stranger.plant(&format!("__Host-portcullis={value}"));
            let reply = self.fetch(&stranger, Method::GET, "/api/whoami", &[]).await;
            assert_eq!(reply.status, 401, "{reply:?}");
        }
        for (method, path, status) in [
            (Method::POST, "/auth/refresh?access_token=x", 403),
            (Method::GET, "/auth/nowhere", 404),
            (Method::GET, "/auth/login?rd=https://evil.example/", 403),
        ] {
            let reply = self.fetch(alice, method, path, &[("sec-fetch-site", "cross-site")]).await;
            assert_eq!(reply.status, status, "{reply:?}");
        }
        let bob = Visitor::new(&self.stage);
        let reply = self.open(&bob, "bob", "/admin").await;
        assert_eq!(reply.refusal(), (403, "policy_denied"), "{reply:?}");
    }

    /// A grant that the provider ends, and a person who leaves; gives somebody who stays.
    async fn sign_out(&mut self, alice: &Visitor) -> Visitor {
        let revoked = Visitor::new(&self.stage);
        self.open(&revoked, "alice", "/").await;
        self.stage.idp.revoke_all();
        let refused = self.fetch(&revoked, Method::POST, "/auth/refresh", &[]).await;
        assert_eq!(refused.refusal(), (401, "refresh_rejected"), "{refused:?}");
        let out = self.visit(alice, &alice.url("/auth/logout"), &[]).await;
        assert_eq!(out.status, 302, "{out:?}");
        let done = self.follow(alice, out, "alice").await;
        assert_eq!((done.status, done.url.path()), (200, "/auth/signed-out"), "{done:?}");
        let asked = async || self.stage.asked(Endpoint::Revoke) > 0;
        eventually("the tokens are given back", asked).await;
        let bob = Visitor::new(&self.stage);
        self.open(&bob, "bob", "/").await;
        bob
    }

    async fn lose_the_store(&mut self, bob: &Visitor) {
        let stranger = Visitor::new(&self.stage);
        let callback = self.up_to_callback(&stranger, "alice").await;
        self.redis.down();
        assert_eq!(self.fetch(bob, Method::GET, "/api/whoami", &[]).await.status, 503);
        assert_eq!(self.fetch(bob, Method::POST, "/auth/refresh", &[]).await.status, 503);
        assert_eq!(self.visit(&stranger, &callback, &[]).await.refusal(), (503, "store_unavailable"));
        self.redis.up();
        let back = eventually("the store is back", async || bob.fetch(Method::GET, "/api/whoami").await.status == 200);
        back.await;
    }

    /// Ends the gateway while somebody is on the way back from the provider; gives what it has said.
    async fn end_the_gateway(&mut self, bob: &Visitor) -> String {
        let stranger = Visitor::new(&self.stage);
        let callback = self.up_to_callback(&stranger, "alice").await;
        let (status, said) = self.gateway.take().unwrap().end().await;
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(self.visit(&stranger, &callback, &[]).await.status, 503);
        assert_eq!(self.visit(bob, &bob.url("/deep/link?x=y"), &[]).await.status, 503);
        said
    }

    async fn run_with_a_wrong_password(&mut self) -> String {
        let mut environment = self.stage.environment();
        environment.push(("PORTCULLIS_STORE__REDIS__PASSWORD".to_owned(), WRONG_REDIS_PASSWORD.to_owned()));
        let gateway = Binary::serve(&self.stage.settings_file(), &environment, "wrong");
        let dave = Visitor::new(&self.stage);
        eventually("the gateway answers", async || dave.get("/auth/health").await.status == 200).await;
        let reply = self.open(&dave, "bob", "/").await;
        assert_eq!(reply.refusal(), (503, "store_unavailable"), "{reply:?}");
        let (status, said) = gateway.end().await;
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    /// Opens a page and goes wherever that leads, signing in as `login` on the way.
    async fn open(&mut self, visitor: &Visitor, login: &str, path: &str) -> Reply {
        let reply = self.visit(visitor, &visitor.url(path), &[]).await;
        self.follow(visitor, reply, login).await
    }

    async fn follow(&mut self, visitor: &Visitor, mut reply: Reply, login: &str) -> Reply {
        for _ in 0..12 {
            let Some(next) = reply.location() else {
                return reply;
            };
            reply = self.visit(visitor, &hinted(next, login), &[]).await;
        }
        panic!("no end of redirects: {reply:?}");
    }

    async fn up_to_callback(&mut self, visitor: &Visitor, login: &str) -> Url {
        let login_page = self.visit(visitor, &visitor.url("/auth/login"), &[]).await;
        let authorize = hinted(login_page.location().unwrap(), login);
        let answered = self.visit(visitor, &authorize, &[]).await;
        let callback = answered.location().unwrap();
        assert_eq!(callback.path(), "/auth/callback");
        callback
    }

    async fn visit(&mut self, visitor: &Visitor, url: &Url, more: &[(&str, &str)]) -> Reply {
        let navigation = [
            ("accept", "text/html"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-site", "none"),
        ];
        self.send(visitor, Method::GET, url, &[&navigation, more].concat()).await
    }

    async fn fetch(&mut self, visitor: &Visitor, method: Method, path: &str, more: &[(&str, &str)]) -> Reply {
        let script = [("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
        let own = [("sec-fetch-site", "same-origin")];
        let site = if more.is_empty() { own.as_slice() } else { more };
        self.send(visitor, method, &visitor.url(path), &[&script, site].concat()).await
    }

    /// Asks, keeps what the application's side answered, and every secret that shows in it.
    async fn send(&mut self, visitor: &Visitor, method: Method, url: &Url, headers: &[(&str, &str)]) -> Reply {
        let reply = visitor.send(method, url, headers).await;
        self.secrets.extend(needles::in_answer(&reply));
        self.secrets.extend(needles::at_provider(&self.stage.idp));
        if url.host_str() == Some(APP) {
            self.seen.push(reply.clone());
        }
        reply
    }

    async fn ask_ops(&self, path: &str) -> String {
        let client = reqwest::Client::builder().unix_socket(self.ops.clone()).build().unwrap();
        client.get(format!("http://gateway{path}")).send().await.unwrap().text().await.unwrap()
    }

    /// All that Redis holds now, and all that it was ever told to write.
    fn stored(&self) -> String {
        let url = format!("redis+unix://{}?pass={REDIS_PASSWORD}", self.redis.socket().display());
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let mut texts = Vec::new();
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
            let read: &[&str] = match kind.as_str() {
                "string" => &["GET"],
                "hash" => &["HGETALL"],
                "set" => &["SMEMBERS"],
                "zset" => &["ZRANGE", "0", "-1"],
                "list" => &["LRANGE", "0", "-1"],
                other => panic!("nobody reads a {other} here"),
            };
            let mut command = redis::cmd(read[0]);
            command.arg(&key);
            read[1..].iter().for_each(|word| {
                command.arg(word);
            });
            texts.push(key);
            texts.extend(bytes(command.query(&mut connection).unwrap()));
        }
        for file in fs::read_dir(self.redis.folder().join("appendonlydir")).unwrap() {
            texts.push(fs::read(file.unwrap().path()).unwrap());
        }
        needles::latin(&texts.concat())
    }

    fn file(&self, name: &str) -> String {
        needles::latin(&fs::read(self.stage.folder.path().join(name)).unwrap())
    }

    fn told_to_the_application(&self) -> String {
        format!("{:?}", self.stage.upstream.requests())
    }

    /// Everything that must not be found, each kind at least once.
    fn needles(&mut self) -> Vec<Needle> {
        self.secrets.extend(needles::at_provider(&self.stage.idp));
        let mut needles = std::mem::take(&mut self.secrets);
        needles.sort();
        needles.dedup();
        for kind in Kind::ALL {
            assert!(needles.iter().any(|needle| needle.kind == *kind), "there was no {kind:?}");
        }
        needles
    }
}

/// The secrets that were chosen.
fn planted() -> Vec<Needle> {
    vec![
        Needle::new(Kind::ClientSecret, CLIENT_SECRET),
        Needle::new(Kind::ClientSecret, "gateway:m4rker%3Aclient%2Bsecret%2541%26more%3D1"),
        Needle::of_bytes(Kind::SessionKey, SESSION_KEY),
        Needle::new(Kind::RedisPassword, REDIS_PASSWORD),
        Needle::new(Kind::RedisPassword, WRONG_REDIS_PASSWORD),
        Needle::new(Kind::Marker, "m4rker"),
    ]
}

fn bytes(value: redis::Value) -> Vec<Vec<u8>> {
    match value {
        redis::Value::Array(values) | redis::Value::Set(values) => values.into_iter().flat_map(bytes).collect(),
        redis::Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [key, value]).flat_map(bytes).collect(),
        value => vec![Vec::<u8>::from_redis_value(value).unwrap()],
    }
}

fn hinted(mut url: Url, login: &str) -> Url {
    if url.path() == Endpoint::Authorize.path() {
        url.query_pairs_mut().append_pair("login_hint", login);
    }
    url
}

#[test]
fn settings_that_are_wrong_are_told_without_what_they_hold() {
    let folder = tempfile::TempDir::new().unwrap();
    let check = |text: &str, environment: &[(&str, &str)], keys: &[&str]| {
        let file = folder.path().join("portcullis.toml");
        fs::write(&file, text).unwrap();
        for command in ["check", "serve", "healthcheck"] {
            let output = run(&[command, "--config", file.to_str().unwrap()], environment);
            let told = said(&output);
            assert_eq!(output.status.code(), Some(2), "{command}: {told}");
            for key in keys {
                assert!(told.contains(key), "{command}: {key} in {told}");
            }
            assert!(!told.contains("m4rker") && !told.contains("panicked"), "{command}: {told}");
        }
    };
    check(&spoilt(folder.path()), &[], SPOILT_KEYS);
    check("mode = 'm4rker'\n", &[], &["mode: "]);
    check("client_secret = 'm4rker\n", &[], &["portcullis.toml:1:"]);
    check("x = 1\nclient_secret = m4rker\n", &[], &["portcullis.toml:2:"]);
    check("", &[("PORTCULLIS_SESSION__KEY", "m4rker")], &["session.key", "PORTCULLIS_SESSION__KEY"]);
    check("", &[("PORTCULLIS_STORE__REDIS__URL", "redis//:m4rker@x")], &["PORTCULLIS_STORE__REDIS__URL"]);
    check("", &[("SESSION_ENCRYPTION_KEY", "m4rker")], &["SESSION_ENCRYPTION_KEY"]);
    check("", &[("REDIS_URL", "http://u:m4rker@x")], &["store.redis.url"]);
    check("", &[("PORTCULLIS_SERVER__BODY_BYTES", "m4rker")], &["server.body_bytes"]);
}

/// Each secret where it does not belong, or not as it must be.
fn spoilt(folder: &Path) -> String {
    fs::write(folder.join("secret"), "m4rker\nm4rker\n").unwrap();
    format!(
        r#"
        [listener.nginx]
        kind = "m4rker"
        address = "m4rker"
        [site.main]
        public_url = "https://u:m4rker@app.test"
        [provider.main]
        issuer = "https://u:m4rker@op.test"
        client_id = "gateway"
        client_secret = "m4rker"
        client_secret_file = "{secret}"
        ca_file = "{secret}"
        [session]
        key = "m4rker"
        key_old_file = "{secret}"
        idle_timeout = "m4rker"
        [store]
        kind = "redis"
        [store.redis]
        url = "redis://u:m4rker@cache:m4rker"
        [log]
        format = "m4rker"
        filter = "m4rker=m4rker=m4rker"
        "#,
        secret = folder.join("secret").display()
    )
}

const SPOILT_KEYS: &[&str] = &[
    "listener.nginx.kind: ",
    "log.format: ",
    "provider.main.client_secret",
    "provider.main.issuer: ",
    "session.key: ",
    "session.key_old_file: ",
    "site.main.public_url: ",
    "store.redis.url: ",
];
