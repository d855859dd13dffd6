//! A store that is down, slow or lying signs nobody out and lets nobody in.

use std::time::{Duration, Instant};

use deadpool_redis::redis::Value;
use reqwest::Method;

use crate::support::{Plan, Stage, Visitor, eventually};

/// Nobody is let in without the store: `kept.rs` has what the grace makes of this.
fn plan() -> Plan {
    let plan = Plan::new().with_redis().set("PROVIDER__MAIN__OFFLINE_ACCESS", "true");
    plan.set("SESSION__STORE_OUTAGE_GRACE", "0s")
}

async fn stage() -> Stage {
    plan().start().await
}

/// A gateway that asks the store each time.
async fn stage_that_keeps_nothing() -> Stage {
    plan().set("SESSION__CACHE_ENTRIES", "0").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_down_nobody_is_let_in_or_signed_out_or_sent_to_sign_in() {
    let mut stage = stage().await;
    let alice = stage.signed_in("alice").await;
    let session = alice.session();
    stage.upstream.forget();
    stage.redis.as_mut().unwrap().down();
    let began = Instant::now();
    let page = alice.get("/").await;
    assert_eq!(page.refusal(), (503, "store_unavailable"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(page.header("retry-after"), "5");
    assert!(page.header("set-cookie").is_empty() && page.location().is_none());
    let script = alice.fetch(Method::GET, "/api/whoami").await;
    assert_eq!((script.status, script.json()["error"].as_str()), (503, Some("unavailable")));
    assert_eq!(Visitor::new(&stage).fetch(Method::GET, "/").await.refusal(), (401, "no_session"));
    let stranger = Visitor::new(&stage);
    let callback = stranger.up_to_callback("bob", "/x").await;
    assert_eq!(stranger.visit(&callback).await.refusal(), (503, "store_unavailable"));
    assert!(stage.upstream.requests().is_empty());
    stage.redis.as_mut().unwrap().up();
    assert_eq!(alice.get("/").await.status, 200, "the first request after the restart succeeds");
    assert_eq!(alice.session(), session, "the cookie was left alone");
    let reply = stranger.visit(&callback).await;
    assert_eq!(reply.status, 302, "the sign-in goes on where it stopped: {reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_hanging_the_answer_comes_within_a_second() {
    let stage = stage_that_keeps_nothing().await;
    let alice = stage.signed_in("alice").await;
    stage.redis.as_ref().unwrap().signal("STOP");
    let began = Instant::now();
    assert_eq!(alice.get("/").await.refusal(), (503, "store_unavailable"));
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    stage.redis.as_ref().unwrap().signal("CONT");
    eventually("it goes on", async || alice.get("/").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_hanging_several_cookies_take_no_longer_than_one() {
    let stage = stage_that_keeps_nothing().await;
    let (alice, bob) = (stage.signed_in("alice").await, stage.signed_in("bob").await);
    let both = [alice, bob].map(|visitor| format!("__Host-portcullis={}", visitor.session().unwrap())).join("; ");
    stage.redis.as_ref().unwrap().signal("STOP");
    let began = Instant::now();
    let reply = Visitor::new(&stage).ask(Method::GET, "/api/whoami", &[("Cookie", &both)]).await;
    stage.redis.as_ref().unwrap().signal("CONT");
    assert_eq!(reply.refusal(), (503, "store_unavailable"), "the gateway's own answer, not nginx's");
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_while_redis_is_down_is_kept_and_made_good() {
    let mut stage = stage().await;
    let alice = stage.signed_in("alice").await;
    let session = alice.session().unwrap();
    stage.redis.as_mut().unwrap().down();
    let headers = [
        ("Accept", "text/html"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Site", "none"),
    ];
    let out = alice.ask(Method::GET, "/auth/logout", &headers).await;
    assert_eq!(out.status, 200);
    assert!(alice.session().is_none(), "the cookie is gone");
    let thief = Visitor::new(&stage);
    thief.plant(&format!("__Host-portcullis={session}"));
    assert_eq!(thief.fetch(Method::GET, "/").await.refusal(), (401, "session_ended"));
    stage.redis.as_mut().unwrap().up();
    eventually("the store has heard of it", async || {
        stage.metric("oauth2_active_sessions_count{method=\"oidc\"}").await < 0.5
    })
    .await;
    stage.stop_gateway().await;
    stage.start_gateway().await;
    assert_eq!(
        thief.fetch(Method::GET, "/").await.refusal(),
        (401, "session_ended"),
        "also for a gateway that was not there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_not_ours_let_nobody_in() {
    let stage = stage_that_keeps_nothing().await;
    let redis = stage.redis.as_ref().unwrap();
    let trouble = (503, "store_unavailable");
    for (field, value, expected) in
        [("f", "garbage", trouble), ("f", "", trouble), ("v", "2", (401, "session_unreadable")), ("v", "x", trouble)]
    {
        let alice = stage.signed_in("alice").await;
        redis.ask::<Value>(&["EVAL", "for _, k in ipairs(redis.call('KEYS', 'portcullis:session:*')) do redis.call('HSET', k, ARGV[1], ARGV[2]) end return 1", "0", field, value]);
        let reply = alice.fetch(Method::GET, "/").await;
        assert_eq!(reply.refusal(), expected, "{field}={value:?}: {reply:?}");
        redis.ask::<Value>(&["FLUSHALL"]);
    }
    let failures = stage.metric(r#"oauth2_session_signature_failures_total{reason="session_unreadable"}"#).await;
    assert!(failures >= 1.0, "{failures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sessions_record_does_not_open_under_anothers_name() {
    let stage = stage_that_keeps_nothing().await;
    let bob = stage.signed_in("bob").await;
    let before = stage.redis.as_ref().unwrap().ask::<Vec<String>>(&["KEYS", "portcullis:session:*"]);
    let alice = stage.signed_in("alice").await;
    let redis = stage.redis.as_ref().unwrap();
    let after = redis.ask::<Vec<String>>(&["KEYS", "portcullis:session:*"]);
    let alices = after.iter().find(|key| !before.contains(key)).unwrap();
    redis.ask::<Value>(&["COPY", alices, &before[0], "REPLACE"]);
    assert_eq!(bob.fetch(Method::GET, "/").await.refusal(), (401, "session_unreadable"));
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_everybody_is_asked_to_sign_in_and_nothing_worse() {
    let stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.redis.as_ref().unwrap().ask::<Value>(&["FLUSHALL"]);
    eventually("it is noticed", async || alice.fetch(Method::GET, "/").await.status == 401).await;
    assert_eq!(alice.fetch(Method::GET, "/").await.refusal(), (401, "session_unknown"));
    assert_eq!(alice.sign_in("alice", "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_the_gateway_that_made_it() {
    let mut stage = stage().await;
    let alice = stage.signed_in("alice").await;
    stage.stop_gateway().await;
    stage.start_gateway().await;
    assert_eq!(alice.get("/").await.status, 200);
}
