//! A provider that is down: how the gateway finds out, what people see, and how it ends.

use std::time::{Duration, Instant};

use dev_idp::{Endpoint, Switch, Trouble};
use http::Method;

use crate::support::{Plan, Stage, Visitor, eventually, within};

/// Lets so much time go by, a probe's pause at a time, and each probe that is due end.
pub(crate) async fn pass(stage: &Stage, pause: Duration, times: usize) {
    pass_for(stage, 1, pause, times).await;
}

/// The same for so many gateways that share the stage's clock and metrics.
pub(crate) async fn pass_for(stage: &Stage, gateways: u64, pause: Duration, times: usize) {
    for _ in 0..times {
        let probes = probes(stage).await;
        stage.advance(pause);
        eventually("the provider is probed", || async { self::probes(stage).await >= probes + gateways }).await;
    }
}

pub(crate) async fn probes(stage: &Stage) -> u64 {
    let good = stage.counted("oauth2_idp_health_checks_total{idp=\"main\",result=\"success\"}").await;
    good + stage.counted("oauth2_idp_health_checks_total{idp=\"main\",result=\"failure\"}").await
}

/// Whether the gateway holds the provider to be down.
pub(crate) async fn is_down(stage: &Stage) -> bool {
    stage.counted("oauth2_idp_fallback_mode{idp=\"main\"}").await == 1
}

/// The provider goes away, and the gateway finds out.
pub(crate) async fn provider_dies(stage: &Stage) {
    stage.idp.stop().await;
    pass(stage, TEN_SECONDS, 3).await;
    eventually("the provider is found down", || async { is_down(stage).await }).await;
}

/// The provider comes back, and the gateway believes it.
pub(crate) async fn provider_recovers(stage: &Stage) {
    stage.idp.restart().await.unwrap();
    pass(stage, MINUTE, 6).await;
    eventually("the provider is found up", || async { !is_down(stage).await }).await;
}

pub(crate) const TEN_SECONDS: Duration = Duration::from_secs(10);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn while_the_provider_is_down_a_visitor_is_told_so_at_once_and_sessions_go_on() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    eventually("the first probe ends", || async { probes(&stage).await >= 1 }).await;
    provider_dies(&stage).await;

    let stranger = Visitor::new(&stage);
    let began = Instant::now();
    let page = stranger.get("/reports?year=2026&part=1").await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(page.refusal(), (503, "idp_down"));
    assert!(page.location().is_none() && !page.header("retry-after").is_empty(), "{page:?}");
    assert!(page.body.contains("is not answering"), "{}", page.body);
    let script = stranger.fetch(Method::GET, "/api/whoami").await;
    assert_eq!(script.status, 401);

    let anyway = page.body.split("href=\"").find(|piece| piece.contains("anyway=yes")).unwrap();
    let anyway = anyway.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    let tried = stranger.visit(&stranger.url("/").join(&anyway).unwrap()).await;
    assert_eq!(tried.location().unwrap().path(), "/authorize", "{tried:?}");
    let direct = stranger.get("/auth/login?rd=%2Freports").await;
    assert_eq!(direct.refusal(), (503, "idp_down"));
    assert!(direct.body.contains("anyway=yes"), "{}", direct.body);

    assert_eq!(alice.get("/").await.status, 200);
}

#[tokio::test]
async fn once_the_provider_is_back_and_stays_so_people_are_sent_to_sign_in_again() {
    let stage = Stage::usual().await;
    eventually("the first probe ends", || async { probes(&stage).await >= 1 }).await;
    provider_dies(&stage).await;
    stage.idp.restart().await.unwrap();
    pass(&stage, MINUTE, 4).await;
    assert!(is_down(&stage).await, "four good probes are too few");
    assert_eq!(stage.counted("oauth2_idp_stability_period_active{idp=\"main\"}").await, 1);
    assert_eq!(Visitor::new(&stage).get("/").await.refusal(), (503, "idp_down"));
    pass(&stage, MINUTE, 2).await;
    eventually("the provider is found up", || async { !is_down(&stage).await }).await;
    assert_eq!(stage.counted("oauth2_idp_stability_period_active{idp=\"main\"}").await, 0);
    assert_eq!(stage.signed_in("alice").await.get("/").await.status, 200);
}

#[tokio::test]
async fn a_provider_that_hangs_or_is_half_broken_is_down_too() {
    for (trouble, endpoint) in [
        (Trouble::Hang, Endpoint::Discovery),
        (Trouble::Unavailable, Endpoint::Discovery),
        (Trouble::Hang, Endpoint::Jwks),
        (Trouble::Unavailable, Endpoint::Jwks),
    ] {
        let stage = Plan::new().set("HEALTH__TIMEOUT", "200ms").start().await;
        eventually("the first probe ends", || async { probes(&stage).await >= 1 }).await;
        stage.idp.trouble(endpoint, trouble);
        pass(&stage, TEN_SECONDS, 2).await;
        assert!(!is_down(&stage).await, "two failures are too few");
        pass(&stage, TEN_SECONDS, 1).await;
        eventually("it is found down", || async { is_down(&stage).await }).await;
    }
}

#[tokio::test]
async fn a_provider_that_answers_with_something_else_is_down_too() {
    let stage = Stage::usual().await;
    eventually("the first probe ends", || async { probes(&stage).await >= 1 }).await;
    for switch in [
        Switch::DiscoveryWrongIssuer,
        Switch::DiscoveryGarbage,
        Switch::DiscoveryOversized,
        Switch::DiscoveryRedirects,
        Switch::KeySetUnusable,
    ] {
        stage.idp.set(switch);
        pass(&stage, TEN_SECONDS, 3).await;
        eventually("it is found down", || async { is_down(&stage).await }).await;
        assert_eq!(Visitor::new(&stage).get("/").await.refusal(), (503, "idp_down"), "{switch:?}");
        stage.idp.clear(switch);
        pass(&stage, MINUTE, 6).await;
        eventually("it is found up", || async { !is_down(&stage).await }).await;
    }
}

#[tokio::test]
async fn failures_that_alternate_with_successes_bring_nobody_down_and_nobody_up() {
    let stage = Stage::usual().await;
    eventually("the first probe ends", || async { probes(&stage).await >= 1 }).await;
    for _ in 0..6 {
        stage.idp.trouble(Endpoint::Discovery, Trouble::Unavailable);
        pass(&stage, TEN_SECONDS, 1).await;
        stage.idp.relieve(Endpoint::Discovery);
        pass(&stage, TEN_SECONDS, 1).await;
        assert!(!is_down(&stage).await);
    }
}

/// The one test that waits as long as an operator does.
#[tokio::test]
async fn from_the_providers_death_to_the_verdict_it_takes_forty_real_seconds_at_most() {
    let stage = Plan::new().on_real_time().start().await;
    eventually("the first probe ends", || async { probes(&stage).await >= 1 }).await;
    let died = Instant::now();
    stage.idp.stop().await;
    within(Duration::from_secs(40), "the provider is found down", || is_down(&stage)).await;
    assert!(died.elapsed() > Duration::from_secs(15), "down after {:?}: not by the rule", died.elapsed());
    assert_eq!(Visitor::new(&stage).get("/").await.refusal(), (503, "idp_down"));
}
