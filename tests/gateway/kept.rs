//! Sessions that a gateway keeps opened: they need no store, outlast a short outage of it, and end when another says so.

use std::time::{Duration, Instant};

use deadpool_redis::redis::Value;
use reqwest::Method;
use tokio::task::block_in_place;

use crate::support::{
    Plan, Stage, Visitor, eventually,
    redis::Server,
    traffic::{IN_TIME, Traffic, assert_unharmed},
    twin::{AsNginx, Twin},
};

const HITS: &str = r#"portcullis_session_lookups_total{result="hit"}"#;
const GRACES: &str = r#"portcullis_session_lookups_total{result="grace"}"#;

/// How often Redis was asked for a session's facts.
fn reads(redis: &Server) -> u64 {
    let stats = block_in_place(|| redis.ask::<String>(&["INFO", "commandstats"]));
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hmget:calls="));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

fn cookie_of(visitor: &Visitor) -> String {
    format!("__Host-portcullis={}", visitor.session().unwrap())
}

/// From here on the gateway hears, and has the visitor's session.
async fn is_kept(stage: &Stage, visitor: &Visitor) {
    eventually("the session comes from the cache", async || {
        let before = stage.counted(HITS).await;
        assert_eq!(visitor.fetch(Method::GET, "/").await.status, 200);
        stage.counted(HITS).await > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_kept_asks_the_store_for_nothing() {
    let stage = Plan::new().with_redis().start().await;
    let alice = stage.signed_in("alice").await;
    is_kept(&stage, &alice).await;
    let (hits, before) = (stage.counted(HITS).await, reads(stage.redis.as_ref().unwrap()));
    for _ in 0..50 {
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    }
    let more = stage.counted(HITS).await - hits;
    let read = reads(stage.redis.as_ref().unwrap()) - before;
    assert!(more + read >= 50 && read <= 50 - more, "{more} of the cache, {read} of the store");
    assert!(more > 25, "{more}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_use_outlast_a_short_outage_and_all_others_wait() {
    let plan = Plan::new().with_redis().set("SESSION__STORE_OUTAGE_GRACE", "3s");
    let mut stage = plan.start().await;
    let unused = stage.signed_in("bob").await;
    let traffic = Traffic::of(&stage, 2).await;
    let began = Instant::now();
    block_in_place(|| stage.redis.as_mut().unwrap().down());
    // The first to find out may have been answered by a store that was just going.
    eventually("the grace has begun", async || stage.counted(GRACES).await > 0).await;
    let fresh = Visitor::new(&stage);
    fresh.plant(&cookie_of(&unused));
    let refused = fresh.ask(Method::GET, "/auth/check", &[]).await;
    assert!(refused.status == 503 || refused.status == 200, "{refused:?}");
    traffic.all_see(503, began).await;
    let first = traffic.since(began).into_iter().filter(|one| one.status == 503).map(|one| one.began).min().unwrap();
    assert!(first >= began + Duration::from_secs(2), "the grace was over after {:?}", first - began);
    assert!(first <= began + Duration::from_secs(6), "the grace was over only after {:?}", first - began);
    block_in_place(|| stage.redis.as_mut().unwrap().up());
    traffic.all_see(200, Instant::now()).await;
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_delays_nobody_who_is_kept_for_long() {
    let stage = Plan::new().with_redis().start().await;
    let traffic = Traffic::of(&stage, 4).await;
    let redis = stage.redis.as_ref().unwrap();
    let began = Instant::now();
    redis.signal("STOP");
    eventually("the grace has begun", async || stage.counted(GRACES).await > 8).await;
    let known = Instant::now();
    traffic.all_see(200, known).await;
    redis.signal("CONT");
    let slow: Vec<_> = traffic.since(known).into_iter().filter(|one| one.took > IN_TIME / 3).collect();
    assert!(slow.is_empty(), "once it is known to hang, nobody waits for it: {slow:?}");
    assert!(began.elapsed() < Duration::from_secs(9), "within the grace");
    let seen = traffic.end().await;
    assert!(seen.iter().all(|one| one.status == 200), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_elsewhere_ends_here_within_a_tenth_of_a_second() {
    let plan = Plan::new().with_redis().set("LIMITS__LOGIN", "off");
    let stage = plan.start().await;
    let twin = Twin::of(&stage).await;
    let here = AsNginx::of(&stage);
    for _ in 0..10 {
        let alice = stage.signed_in("alice").await;
        let cookie = cookie_of(&alice);
        for _ in 0..5 {
            assert_eq!(twin.asked.verify("staff", &cookie).await.0, 200);
            assert_eq!(here.verify("staff", &cookie).await.0, 200);
        }
        assert_eq!(alice.fetch(Method::POST, "/auth/logout").await.status, 200);
        let ended = Instant::now();
        loop {
            let asked = Instant::now();
            let verdict = twin.asked.verify("staff", &cookie).await;
            if verdict == (401, "session_ended".to_owned()) {
                break;
            }
            assert_eq!(verdict.0, 200);
            assert!(asked < ended + Duration::from_millis(100), "still in after {:?}", asked - ended);
        }
        assert_eq!(here.verify("staff", &cookie).await, (401, "session_ended".to_owned()));
    }
    assert!(stage.counted(HITS).await > 0);
    assert_eq!(stage.counted("portcullis_revocations_heard").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_may_not_listen_asks_the_store_each_time() {
    let stage = Plan::new().with_redis().start().await;
    let alice = stage.signed_in("alice").await;
    is_kept(&stage, &alice).await;
    let redis = stage.redis.as_ref().unwrap();
    // Whoever listens is thrown out, and nobody may listen or say anything any more.
    block_in_place(|| redis.ask::<Value>(&["ACL", "SETUSER", "default", "resetchannels"]));
    block_in_place(|| redis.ask::<Value>(&["CLIENT", "KILL", "TYPE", "pubsub"]));
    eventually("it is deaf, and knows", async || stage.counted("portcullis_revocations_heard").await == 0).await;
    let (hits, before) = (stage.counted(HITS).await, reads(redis));
    for _ in 0..10 {
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    }
    assert_eq!((stage.counted(HITS).await, reads(redis) - before), (hits, 10));
    block_in_place(|| redis.ask::<Value>(&["ACL", "SETUSER", "default", "allchannels"]));
    is_kept(&stage, &alice).await;
}
