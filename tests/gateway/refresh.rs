//! Fresh tokens: one refresh at a time, nobody signed out by a slow or absent provider, no lost answer misread.

use std::time::Duration;

use dev_idp::{Endpoint, Switch, Trouble};
use reqwest::Method;

use crate::support::{Plan, Stage, Visitor, eventually};

async fn stage() -> Stage {
    plan().start().await
}

fn plan() -> Plan {
    Plan::new().set("PROVIDER__MAIN__OFFLINE_ACCESS", "true")
}

fn grants(stage: &Stage) -> usize {
    let requests = stage.idp.requests_to(Endpoint::Token);
    requests.iter().filter(|request| request.parameter("grant_type") == Some("refresh_token")).count()
}

const ALMOST_EXPIRED: Duration = Duration::from_secs(250);

#[tokio::test(flavor = "multi_thread")]
async fn a_script_refreshes_and_the_absolute_expiry_stays() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.advance(Duration::from_secs(100));
    let reply = alice.fetch(Method::POST, "/auth/refresh").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json(), serde_json::json!({"status": "success", "expires_in": 300}));
    assert_eq!(alice.fetch(Method::GET, "/auth/check").await.json()["absolute_expires_in"], 14_300);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.status, 200, "the rotated token works");
    assert_eq!(grants(&stage), 2);
    assert!((stage.metric(r#"oauth2_token_refresh_total{result="success"}"#).await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_or_a_refresh_token_there_is_nothing_to_refresh() {
    let stage = stage().await;
    assert_eq!(Visitor::new(&stage).fetch(Method::POST, "/auth/refresh").await.refusal(), (401, "no_session"));
    let without = Plan::new().set("PROVIDER__MAIN__OFFLINE_ACCESS", "false").start().await;
    let bob = without.signed_in("bob").await;
    assert_eq!(bob.fetch(Method::POST, "/auth/refresh").await.refusal(), (400, "refresh_token_missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_at_expiry_use_one_grant_and_none_waits_for_the_provider() {
    let stage = plan().with_redis().start().await;
    let alice = stage.signed_in("alice").await;
    stage.advance(ALMOST_EXPIRED);
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(1_500)));
    let began = std::time::Instant::now();
    let asked = (0..100).map(|_| alice.fetch(Method::GET, "/"));
    for reply in futures_util::future::join_all(asked).await {
        assert_eq!(reply.status, 200);
    }
    assert!(began.elapsed() < Duration::from_millis(1_400), "somebody waited: {:?}", began.elapsed());
    eventually("one refresh", async || stage.metric(r#"oauth2_token_refresh_total{result="success"}"#).await >= 1.0)
        .await;
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    assert_eq!(grants(&stage), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_refresh_at_once_share_one_grant() {
    let stage = plan().with_redis().set("LIMITS__REFRESH_SESSION", "off").start().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(300)));
    let asked = (0..10).map(|_| alice.fetch(Method::POST, "/auth/refresh"));
    for reply in futures_util::future::join_all(asked).await {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert_eq!(grants(&stage), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_provider_signs_nobody_out() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.stop().await;
    stage.advance(ALMOST_EXPIRED);
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.refusal(), (503, "provider_unreachable"));
    stage.advance(Duration::from_secs(120));
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    stage.idp.restart().await.unwrap();
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.status, 200, "and refreshes again when it is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_provider_is_not_asked_again_by_every_request() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.stop().await;
    stage.advance(ALMOST_EXPIRED);
    let failures = r#"oauth2_token_refresh_failures_total{reason="provider_unreachable"}"#;
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    eventually("the first refresh has failed", async || stage.metric(failures).await >= 1.0).await;
    for _ in 0..50 {
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    }
    assert!(stage.metric(failures).await < 2.0, "refreshed {} times", stage.metric(failures).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_trouble_signs_nobody_out() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.trouble(Endpoint::Token, Trouble::Unavailable);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.refusal(), (503, "provider_unreachable"));
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    stage.idp.relieve(Endpoint::Token);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_costs_the_tokens_and_not_the_session() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.set(Switch::RefreshAnswerLost);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.refusal(), (503, "provider_unreachable"));
    stage.idp.clear(Switch::RefreshAnswerLost);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.refusal(), (400, "refresh_lost"));
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200, "the session lives on");
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.refusal(), (400, "refresh_token_missing"));
    let used: Vec<_> = stage
        .idp
        .requests_to(Endpoint::Token)
        .iter()
        .filter_map(|request| request.parameter("refresh_token").map(str::to_owned))
        .collect();
    assert_eq!(used[0], used[1], "the same token was tried again, never an older one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_not_forgotten_over_an_outage() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.set(Switch::RefreshAnswerLost);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.refusal(), (503, "provider_unreachable"));
    stage.idp.clear(Switch::RefreshAnswerLost);
    stage.idp.stop().await;
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.refusal(), (503, "provider_unreachable"));
    stage.idp.restart().await.unwrap();
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.refusal(), (400, "refresh_lost"));
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_ask_a_provider_in_trouble_again_and_again() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.advance(ALMOST_EXPIRED);
    stage.idp.trouble(Endpoint::Token, Trouble::Unavailable);
    stage.idp.clear_log();
    for _ in 0..20 {
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    }
    eventually("one attempt failed", async || {
        stage.metric(r#"oauth2_token_refresh_total{result="failure"}"#).await >= 1.0
    })
    .await;
    for _ in 0..20 {
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    }
    assert_eq!(stage.asked(Endpoint::Token), 1);
    stage.idp.relieve(Endpoint::Token);
    stage.advance(Duration::from_secs(16));
    eventually("it is tried again later", async || {
        alice.fetch(Method::GET, "/").await;
        stage.metric(r#"oauth2_token_refresh_total{result="success"}"#).await >= 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tokens_wait_for_a_store_in_trouble() {
    let mut stage = plan().with_redis().start().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(600)));
    let (client, url) = (alice.client.clone(), alice.url("/auth/refresh"));
    let refresh = tokio::spawn(async move {
        client.post(url).header("Sec-Fetch-Site", "same-origin").send().await.unwrap().status().as_u16()
    });
    eventually("the refresh is at the provider", async || grants(&stage) == 1).await;
    stage.redis.as_mut().unwrap().down();
    eventually("the provider has answered", async || {
        stage.idp.requests_to(Endpoint::Token).last().is_some_and(|request| request.status.is_some())
    })
    .await;
    stage.redis.as_mut().unwrap().up();
    assert_eq!(refresh.await.unwrap(), 200);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.status, 200, "the new token was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_the_provider_has_ended_ends_the_session() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.revoke_all();
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.refusal(), (401, "refresh_rejected"));
    assert_eq!(alice.fetch(Method::GET, "/").await.refusal(), (401, "session_ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_rotate_keeps_its_token() {
    let stage = stage().await;
    stage.idp.set(Switch::RefreshWithoutRefreshToken);
    let alice = stage.signed_in("alice").await;
    for _ in 0..3 {
        assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_taken_anew_at_a_refresh() {
    let stage = stage().await;
    let bob = stage.signed_in("bob").await;
    assert_eq!(bob.get("/admin").await.status, 403);
    stage.idp.enrol(dev_idp::Person::new("bob", "Builder").in_groups(&["staff", "admins"]));
    assert_eq!(bob.fetch(Method::POST, "/auth/refresh").await.status, 200);
    assert_eq!(bob.get("/admin").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_during_a_refresh_is_final() {
    let stage = plan().with_redis().start().await;
    let alice = stage.signed_in("alice").await;
    let session = alice.session().unwrap();
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(800)));
    let refresh = alice.fetch(Method::POST, "/auth/refresh");
    let logout = async {
        eventually("the refresh is at the provider", async || grants(&stage) == 1).await;
        alice.fetch(Method::POST, "/auth/logout").await
    };
    let (refreshed, out) = tokio::join!(refresh, logout);
    assert_eq!(out.status, 200);
    assert_eq!(refreshed.refusal(), (401, "session_ended"), "{refreshed:?}");
    // Both tokens of the session, and both that the refresh brought when nobody was there any more to have them.
    eventually("all tokens are given back", async || stage.asked(Endpoint::Revoke) == 4).await;
    let thief = Visitor::new(&stage);
    thief.plant(&format!("__Host-portcullis={session}"));
    assert_eq!(thief.ask(Method::GET, "/", &[]).await.refusal(), (401, "session_ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_applications_own_side_refreshes_with_the_visitors_cookie() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    let portcullis::server::Address::Unix { path, .. } = stage.listener("application") else { panic!("a Unix socket") };
    let client = reqwest::Client::builder().unix_socket(path).build().unwrap();
    let cookie = format!("__Host-portcullis={}", alice.session().unwrap());
    let ask = async |method: Method, path: &str, cookie: &str| {
        let reply =
            client.request(method, format!("http://gateway{path}")).header("Cookie", cookie).send().await.unwrap();
        reply.status().as_u16()
    };
    assert_eq!(ask(Method::POST, "/auth/refresh", &cookie).await, 200);
    assert_eq!(ask(Method::POST, "/auth/check", &cookie).await, 200);
    assert_eq!(ask(Method::GET, "/auth/userinfo", &cookie).await, 200);
    assert_eq!(ask(Method::GET, "/auth/userinfo", "").await, 401);
    assert_eq!(ask(Method::GET, "/auth/verify?policy=staff", &cookie).await, 404);
    assert_eq!(ask(Method::GET, "/auth/login", &cookie).await, 404);
}
