//! Several providers on one site, and several sites behind one gateway.

use std::sync::Arc;

use dev_idp::{Client, DevIdp, Endpoint, Trouble};
use portcullis::{oidc::providers::WAITING_FOR_PROVIDER, server::Address};
use reqwest::{Method, cookie::CookieStore};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinSet,
};
use url::Url;

use crate::support::{APP, Plan, Reply, Stage, Visitor, certificates::Certificates, eventually, free_port};

const POLICIES: [(&str, &str); 6] = [
    ("POLICY__STAFF__RULES", r#"[{ allow = true, providers = ["main"], groups = ["staff"] }]"#),
    ("POLICY__ADMINS__RULES", r#"[{ allow = true, providers = ["main"], groups = ["admins"] }]"#),
    ("POLICY__EVERYONE__RULES", r#"[{ allow = true, providers = ["main", "partners"], everyone = true }]"#),
    ("POLICY__FRESH__RULES", r#"[{ allow = true, providers = ["main"], everyone = true }]"#),
    ("POLICY__EDITORS__RULES", r#"[{ allow = true, providers = ["main"], everyone = true }]"#),
    ("POLICY__REALM_ADMINS__RULES", r#"[{ allow = true, providers = ["main"], everyone = true }]"#),
];

/// One more server of nginx, all of it under one policy; `{…}` is for [`Plan::site`] to fill in.
fn server(port: &str, name: &str, policy: &str) -> String {
    const SERVER: &str = r"
server {
    listen 127.0.0.1:PORT ssl;
    server_name NAME;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    include portcullis/snippets/portcullis-server.conf;
    location / {
        auth_request /_portcullis/POLICY;
        include portcullis/snippets/portcullis-protect.conf;
        include portcullis/snippets/portcullis-identity.conf;
        proxy_pass http://{application};
    }
}
";
    SERVER.replace("PORT", port).replace("NAME", name).replace("POLICY", policy)
}

struct Scene {
    stage: Stage,
    partners: DevIdp,
}

impl Scene {
    /// One site that both providers' people sign in to.
    async fn of_two_providers() -> Self {
        let plan = POLICIES.into_iter().fold(Plan::new(), |plan, (key, rules)| plan.set(key, rules));
        let plan = plan.set("PROVIDER__MAIN__DISPLAY_NAME", "Staff").site(&server("{other}", APP, "everyone"));
        let scene =
            Self::with_partners(plan, |https, name| format!("https://{APP}:{https}/auth/callback/{name}")).await;
        let callback = scene.stage.url("/auth/callback/main");
        scene
            .stage
            .idp
            .register(Client::public("gateway", &callback).returning_to(&scene.stage.url("/auth/signed-out")));
        scene
    }

    /// Two sites, each with a provider of its own.
    async fn of_two_sites() -> Self {
        let plan = Plan::new()
            .set("SITE__MAIN__PROVIDERS", r#"["main"]"#)
            .set("SITE__OTHER__PROVIDERS", r#"["partners"]"#)
            .set("LISTENER__APPLICATION__SITE", "main")
            .site(&server("{port}", "localhost", "staff"));
        Self::with_partners(plan, |https, _| format!("https://localhost:{https}/auth/callback")).await
    }

    async fn with_partners(plan: Plan, callback: impl Fn(u16, &str) -> String) -> Self {
        let folder = TempDir::new().unwrap();
        let certificates = Certificates::make(folder.path());
        let https = free_port();
        let partners = partners(&certificates, &callback(https, "partners"), https).await;
        let plan = plan
            .set("PROVIDER__PARTNERS__ISSUER", partners.issuer())
            .set("PROVIDER__PARTNERS__CLIENT_ID", "gateway")
            .set("PROVIDER__PARTNERS__AUTHENTICATION", "none")
            .set("PROVIDER__PARTNERS__DISPLAY_NAME", "Partners")
            .set("PROVIDER__PARTNERS__CA_FILE", format!("{}/ca.pem", folder.path().display()));
        let plan = if callback(https, "x").contains("localhost") {
            plan.set("SITE__OTHER__PUBLIC_URL", format!("https://localhost:{https}"))
        } else {
            plan
        };
        let stage = plan.standing_on(folder, certificates).start_at(https).await;
        Self { stage, partners }
    }

    /// A page for everybody, on the same site as the usual one.
    fn for_all(&self) -> Url {
        Url::parse(&format!("https://{APP}:{}/", self.stage.nginx.other)).unwrap()
    }

    fn codes_exchanged(&self) -> usize {
        self.stage.asked(Endpoint::Token) + self.partners.requests_to(Endpoint::Token).len()
    }
}

async fn partners(certificates: &Certificates, callback: &str, https: u16) -> DevIdp {
    let back = format!("https://{APP}:{https}/auth/signed-out");
    let settings = dev_idp::Settings {
        clients: vec![Client::public("gateway", callback).returning_to(&back)],
        tls: Some(certificates.for_provider()),
        ..dev_idp::Settings::default()
    };
    dev_idp::start(settings).await.unwrap()
}

/// Follows the chooser's link that says so.
async fn choose(visitor: &Visitor, chooser: &Reply, name: &str) -> Reply {
    let link = chooser.body.split("<a class=\"button\" href=\"").find(|part| part.contains(&format!(">{name}<")));
    let href = link.unwrap_or_else(|| panic!("no {name}: {}", chooser.body)).split('"').next().unwrap();
    visitor.visit(&chooser.url.join(&href.replace("&#38;", "&").replace("&amp;", "&")).unwrap()).await
}

async fn chooser(visitor: &Visitor, path: &str) -> Reply {
    let mut reply = visitor.get(path).await;
    while let Some(next) = reply.location() {
        reply = visitor.visit(&next).await;
    }
    assert_eq!((reply.status, reply.url.path()), (200, "/auth/login"), "{reply:?}");
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn people_choose_where_their_account_is() {
    let scene = Scene::of_two_providers().await;
    let alice = Visitor::new(&scene.stage);
    let page = chooser(&alice, "/deep?a=b&c=d").await;
    assert!(page.body.contains("Choose where your account is"), "{}", page.body);
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(alice.cookies().is_empty(), "nothing has begun yet");
    let authorize = choose(&alice, &page, "Staff").await;
    let there = alice.follow(authorize, "alice").await;
    assert_eq!((there.status, there.url.as_str()), (200, scene.stage.url("/deep?a=b&c=d").as_str()));
    assert!(scene.partners.requests_to(Endpoint::Authorize).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_counts_only_by_the_provider_that_the_rule_names() {
    let scene = Scene::of_two_providers().await;
    let alice = Visitor::new(&scene.stage);
    let page = chooser(&alice, "/").await;
    let authorize = choose(&alice, &page, "Partners").await;
    let refused = alice.follow(authorize, "alice").await;
    assert_eq!(refused.refusal(), (403, "policy_denied"), "the partners' staff is not ours");
    assert!(alice.session().is_some(), "she is known all the same");
    assert_eq!(alice.visit(&scene.for_all()).await.status, 200);
    assert_eq!(scene.stage.asked(Endpoint::Token), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_the_site_does_not_have_cannot_be_asked_for() {
    let scene = Scene::of_two_providers().await;
    let alice = Visitor::new(&scene.stage);
    for provider in ["", "other", "MAIN", "main&provider=partners"] {
        let reply = alice.get(&format!("/auth/login?rd=/&provider={provider}")).await;
        let expected = if provider.contains('&') { "parameter_repeated" } else { "provider_unknown" };
        assert_eq!(reply.refusal(), (400, expected), "{provider}");
    }
}

/// The attack: one provider lets the sign-in begin with itself and brings the other's code.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_where_another_providers_answers_come_is_refused_before_a_code_is_sent() {
    let scene = Scene::of_two_providers().await;
    let check = async |change: fn(&mut Url), reason: &str| {
        let alice = Visitor::new(&scene.stage);
        let mut callback = alice.up_to_callback("alice", "/auth/login?rd=/&provider=partners").await;
        assert_eq!(callback.path(), "/auth/callback/partners");
        change(&mut callback);
        let reply = alice.visit(&callback).await;
        assert_eq!(reply.refusal(), (400, reason), "{callback}");
        assert!(alice.session().is_none());
    };
    check(|url| url.set_path("/auth/callback/main"), "issuer_mismatch").await;
    check(|url| url.set_path("/auth/callback"), "issuer_mismatch").await;
    check(|url| url.set_path("/auth/callback/other"), "issuer_mismatch").await;
    check(
        |url| {
            let own = url.query_pairs().into_owned().filter(|(name, _)| name != "iss");
            let other = ("iss".to_owned(), "https://other.example".to_owned());
            let pairs: Vec<_> = own.chain([other]).collect();
            url.query_pairs_mut().clear().extend_pairs(pairs);
        },
        "issuer_mismatch",
    )
    .await;
    assert_eq!(scene.codes_exchanged(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_provider_in_trouble_is_no_trouble_of_the_others() {
    let scene = Scene::of_two_providers().await;
    scene.partners.trouble(Endpoint::Token, Trouble::Unavailable);
    let alice = Visitor::new(&scene.stage);
    let page = chooser(&alice, "/").await;
    let authorize = choose(&alice, &page, "Partners").await;
    let down = alice.follow(authorize, "alice").await;
    assert_eq!(down.refusal(), (503, "provider_unreachable"), "{down:?}");
    assert!(down.body.contains("Partners") && down.body.contains("provider=partners"), "{}", down.body);
    let page = chooser(&alice, "/").await;
    let authorize = choose(&alice, &page, "Staff").await;
    assert_eq!(alice.follow(authorize, "alice").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_for_a_silent_provider_leave_room_for_those_of_another() {
    let plan = POLICIES.into_iter().fold(Plan::new(), |plan, (key, rules)| plan.set(key, rules));
    let plan = plan.set("LIMITS__LOGIN", "off").site(&server("{other}", APP, "everyone"));
    let mut scene =
        Scene::with_partners(plan, |https, name| format!("https://{APP}:{https}/auth/callback/{name}")).await;
    scene.stage.stop_gateway().await;
    scene.partners.trouble(Endpoint::Discovery, Trouble::Hang);
    scene.stage.start_gateway().await;
    let stranger = Arc::new(Visitor::new(&scene.stage));
    let mut waiting = JoinSet::new();
    for _ in 0..WAITING_FOR_PROVIDER + 20 {
        let stranger = Arc::clone(&stranger);
        waiting.spawn(async move { stranger.get("/auth/login?provider=partners").await.refusal().0 });
    }
    for _ in 0..20 {
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), 503);
    }
    eventually("the others' provider is known", async || {
        Visitor::new(&scene.stage).get("/auth/login?provider=main").await.status == 302
    })
    .await;
    assert!(waiting.try_join_next().is_none(), "they still wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_goes_on_to_the_sessions_own_provider() {
    let scene = Scene::of_two_providers().await;
    for (name, issuer) in [("Partners", scene.partners.issuer()), ("Staff", scene.stage.idp.issuer())] {
        let alice = Visitor::new(&scene.stage);
        let page = chooser(&alice, "/").await;
        let authorize = choose(&alice, &page, name).await;
        alice.follow(authorize, "alice").await;
        let out = alice.get("/auth/logout").await;
        let to = out.location().unwrap_or_else(|| panic!("{out:?}"));
        assert!(to.as_str().starts_with(issuer), "{name}: {to}");
        assert!(alice.session().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_site_has_a_sign_in_of_its_own() {
    let scene = Scene::of_two_sites().await;
    let alice = scene.stage.signed_in("alice").await;
    let other = Url::parse(&format!("https://localhost:{}/", scene.stage.nginx.https)).unwrap();
    let sent = alice.visit(&other).await;
    assert_eq!(sent.status, 302, "nobody is signed in there");
    assert_eq!(sent.location().unwrap().host_str(), Some("localhost"));
    let there = alice.follow(sent, "alice").await;
    assert_eq!((there.status, there.url.as_str()), (200, other.as_str()));
    assert_eq!(scene.partners.requests_to(Endpoint::Token).len(), 1);
    assert_eq!(scene.stage.asked(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_site_is_nobody_at_another() {
    let scene = Scene::of_two_sites().await;
    let alice = scene.stage.signed_in("alice").await;
    let cookie = format!("__Host-portcullis={}", alice.session().unwrap());
    let other = Url::parse(&format!("https://localhost:{}/", scene.stage.nginx.https)).unwrap();
    let thief = Visitor::new(&scene.stage);
    let reply = thief.send(Method::GET, &other, &[("cookie", &cookie)]).await;
    assert_eq!(reply.refusal(), (401, "session_malformed"));
    let login = format!("https://localhost:{}/auth/login?provider=main", scene.stage.nginx.https);
    assert_eq!(thief.visit(&login.parse().unwrap()).await.refusal(), (400, "provider_unknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_asks_about_the_visitors_of_its_own_site() {
    let scene = Scene::of_two_sites().await;
    let alice = scene.stage.signed_in("alice").await;
    let other = Url::parse(&format!("https://localhost:{}/", scene.stage.nginx.https)).unwrap();
    let reply = alice.visit(&other).await;
    alice.follow(reply, "alice").await;
    let elsewhere = alice.jar.cookies(&other).unwrap().to_str().unwrap().to_owned();
    let Address::Unix { path, .. } = scene.stage.listener("application") else { panic!("a Unix socket") };
    let check = async |cookies: &str, expected: &str| {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let request =
            format!("GET /auth/check HTTP/1.1\r\nHost: gateway\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(expected), "{answer}");
    };
    check(&alice.cookies(), "HTTP/1.1 200 ").await;
    check(&elsewhere, "HTTP/1.1 401 ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_takes_anothers_name_takes_neither_its_sessions_nor_its_tokens() {
    let plan = Plan::new()
        .with_redis()
        .set("SITE__MAIN__PROVIDERS", r#"["main"]"#)
        .set("SITE__OTHER__PROVIDERS", r#"["partners"]"#)
        .set("LISTENER__APPLICATION__SITE", "main")
        .site(&server("{port}", "localhost", "staff"));
    let mut scene = Scene::with_partners(plan, |https, _| format!("https://localhost:{https}/auth/callback")).await;
    let alice = scene.stage.signed_in("alice").await;
    scene.stage.stop_gateway().await;
    scene.stage.start_gateway().await;
    assert_eq!(alice.get("/").await.status, 200, "the control");
    scene.stage.stop_gateway().await;
    let (main, partners) = (scene.stage.idp.issuer().to_owned(), scene.partners.issuer().to_owned());
    scene.stage.change("PROVIDER__MAIN__ISSUER", &partners);
    scene.stage.change("PROVIDER__PARTNERS__ISSUER", &main);
    scene.stage.start_gateway().await;
    assert_eq!(alice.fetch(Method::GET, "/").await.refusal(), (401, "session_wrong_provider"));
    assert_eq!(alice.fetch(Method::GET, "/auth/check").await.refusal(), (401, "session_wrong_provider"));
    assert_eq!(alice.fetch(Method::POST, "/auth/logout").await.status, 200);
    scene.stage.stop_gateway().await;
    assert!(scene.partners.requests_to(Endpoint::Revoke).is_empty(), "it is told others' tokens");
}
