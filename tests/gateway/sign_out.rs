//! Signing out here and at the provider.

use dev_idp::{Endpoint, Switch};
use reqwest::Method;

use crate::support::{Plan, Stage, Visitor, eventually};

const TYPED: &[(&str, &str)] = &[
    ("Accept", "text/html"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Site", "none"),
];
const FOREIGN: &[(&str, &str)] = &[
    ("Accept", "text/html"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Site", "cross-site"),
];
const FORM: &[(&str, &str)] = &[
    ("Accept", "text/html"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Site", "same-origin"),
];

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_here_and_at_the_provider() {
    for (method, headers) in [(Method::GET, TYPED), (Method::POST, FORM)] {
        let stage = Stage::usual().await;
        let alice = stage.signed_in("alice").await;
        let session = alice.session().unwrap();
        let out = alice.ask(method.clone(), "/auth/logout", headers).await;
        assert_eq!(out.status, if method == Method::POST { 303 } else { 302 });
        let to = out.location().unwrap();
        assert_eq!(to.path(), "/end_session");
        assert!(to.query_pairs().any(|(name, value)| name == "id_token_hint" && !value.is_empty()));
        assert!(
            to.query_pairs()
                .any(|(name, value)| name == "post_logout_redirect_uri" && value == stage.url("/auth/signed-out"))
        );
        assert!(out.header("set-cookie").starts_with("__Host-portcullis=; "), "{out:?}");
        let done = alice.follow(out, "alice").await;
        assert_eq!((done.status, done.url.path()), (200, "/auth/signed-out"));
        assert_eq!(stage.asked(Endpoint::EndSession), 1);
        assert!(alice.session().is_none());
        let thief = Visitor::new(&stage);
        thief.plant(&format!("__Host-portcullis={session}"));
        assert_eq!(thief.ask(Method::GET, "/", &[]).await.refusal(), (401, "session_ended"));
        assert!((stage.metric(r#"oauth2_session_ended_total{reason="logout"}"#).await - 1.0).abs() < f64::EPSILON);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_works_whatever_state_it_brings() {
    for switch in [Switch::LogoutWrongState, Switch::LogoutMissingState] {
        let stage = Stage::usual().await;
        stage.idp.set(switch);
        let alice = stage.signed_in("alice").await;
        let out = alice.ask(Method::GET, "/auth/logout", TYPED).await;
        let done = alice.follow(out, "alice").await;
        assert_eq!((done.status, done.url.path()), (200, "/auth/signed-out"));
    }
    let stage = Stage::usual().await;
    let reply = Visitor::new(&stage)
        .get("/auth/signed-out?state=%3Cscript%3E&state=2&by=provider&x=https://evil.example")
        .await;
    assert_eq!(reply.status, 200);
    assert!(!reply.body.contains("evil") && !reply.body.contains("<script"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_signs_nobody_out() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let asked = alice.ask(Method::GET, "/auth/logout", FOREIGN).await;
    assert_eq!(asked.status, 200);
    assert!(asked.body.contains("<form") && asked.body.contains("/auth/logout"), "a page asks first");
    let image = [("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image"), ("Sec-Fetch-Site", "cross-site")];
    assert_eq!(alice.ask(Method::GET, "/auth/logout", &image).await.refusal(), (403, "cross_site"));
    assert_eq!(alice.ask(Method::POST, "/auth/logout", FOREIGN).await.refusal(), (403, "cross_site"));
    let ahead: Vec<_> = TYPED.iter().copied().chain([("Sec-Purpose", "prefetch;prerender")]).collect();
    assert_eq!(alice.ask(Method::GET, "/auth/logout", &ahead).await.status, 200, "fetched ahead: a page that asks");
    assert_eq!(alice.get("/").await.status, 200, "still signed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_signs_out_and_gets_json() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let reply = alice.fetch(Method::POST, "/auth/logout").await;
    assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some("signed_out")));
    assert_eq!(alice.fetch(Method::GET, "/").await.refusal(), (401, "no_session"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_one_is_simply_signed_out() {
    let stage = Stage::usual().await;
    let reply = Visitor::new(&stage).ask(Method::GET, "/auth/logout", TYPED).await;
    assert_eq!(reply.status, 200);
    assert!(reply.location().is_none());
    assert_eq!(stage.asked(Endpoint::EndSession), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_given_back_where_the_settings_say_so() {
    for (setting, expected) in [("true", 2), ("false", 0)] {
        let stage = Plan::new()
            .set("PROVIDER__MAIN__REVOKE_TOKENS", setting)
            .set("PROVIDER__MAIN__OFFLINE_ACCESS", "true")
            .start()
            .await;
        let alice = stage.signed_in("alice").await;
        alice.fetch(Method::POST, "/auth/logout").await;
        if expected > 0 {
            eventually("tokens are revoked", async || stage.asked(Endpoint::Revoke) == expected).await;
        }
        assert_eq!(stage.asked(Endpoint::Revoke), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_logout_leaves_the_visitor_on_our_page() {
    let stage = Stage::usual().await;
    stage.idp.set(Switch::DiscoveryWithoutEndSession);
    let mut stage = stage;
    stage.stop_gateway().await;
    stage.start_gateway().await;
    let alice = stage.signed_in("alice").await;
    let reply = alice.ask(Method::GET, "/auth/logout", TYPED).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains("signed out") || reply.body.contains("Signed out"), "{}", reply.body);
}
