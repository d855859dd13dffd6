//! Fresh tokens on two gateways: each rotation uses exactly one grant, nobody waits for the provider, and nobody is signed
//! out, whoever goes away in the middle of it.

use std::time::{Duration, Instant};

use dev_idp::{Endpoint, Trouble};
use futures_util::future::join_all;
use reqwest::Method;

use crate::{
    fleet_revocation::stage_with_line,
    support::{Plan, Stage, Visitor, eventually, line::Noise, twin::AsNginx, within},
};

fn plan() -> Plan {
    let plan = Plan::new().of_two().set("PROVIDER__MAIN__OFFLINE_ACCESS", "true");
    plan.set("LIMITS__REFRESH_SESSION", "off")
}

async fn stage() -> Stage {
    plan().with_redis().start().await
}

fn grants(stage: &Stage) -> usize {
    let requests = stage.idp.requests_to(Endpoint::Token);
    requests.iter().filter(|request| request.parameter("grant_type") == Some("refresh_token")).count()
}

async fn refreshes(stage: &Stage, result: &str) -> u64 {
    stage.counted(&format!("oauth2_token_refresh_total{{result=\"{result}\"}}")).await
}

/// A hundred requests at once: to nginx, and to each gateway itself.
async fn hundred(alice: &Visitor, gateways: &[AsNginx; 2], cookie: &str) {
    let through_nginx = join_all((0..34).map(|_| async { alice.fetch(Method::GET, "/").await.status }));
    let to_each = join_all((0..66).map(|number| async move { gateways[number % 2].verify("staff", cookie).await.0 }));
    let began = Instant::now();
    let (some, others) = tokio::join!(through_nginx, to_each);
    assert!([some, others].concat().iter().all(|status| *status == 200), "nobody is refused");
    assert!(began.elapsed() < UNDELAYED, "somebody waited: {:?}", began.elapsed());
}

/// With a token endpoint that takes so long, three times over: the provider ends the whole grant when a rotated token
/// comes again, so that a second use of one would be seen by the next rotation at the latest.
async fn one_grant_a_rotation(provider_takes: Duration, rotations: usize) {
    let stage = stage().await;
    let gateways = [stage.asking(0), stage.asking(1)];
    let alice = stage.signed_in("alice").await;
    let cookie = format!("__Host-portcullis={}", alice.session().unwrap());
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(provider_takes));
    for rotation in 1..=rotations {
        stage.advance(ALMOST_EXPIRED);
        hundred(&alice, &gateways, &cookie).await;
        eventually("one of them refreshes", async || grants(&stage) == rotation).await;
        let began = Instant::now();
        while refreshes(&stage, "success").await < rotation as u64 {
            assert!(began.elapsed() < provider_takes + ADDED, "it never ends");
            let asked = Instant::now();
            assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
            assert!(asked.elapsed() < UNDELAYED, "{:?}", asked.elapsed());
        }
        hundred(&alice, &gateways, &cookie).await;
        assert_eq!(grants(&stage), rotation);
    }
    assert_eq!(refreshes(&stage, "failure").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_at_expiry_on_two_gateways_use_one_grant() {
    one_grant_a_rotation(Duration::from_millis(100), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_takes_three_seconds_delays_nobody() {
    one_grant_a_rotation(Duration::from_secs(3), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_takes_longer_than_a_lock_lasts_is_asked_once_all_the_same() {
    one_grant_a_rotation(Duration::from_millis(6_500), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_goes_on_without_those_who_asked_for_it() {
    let stage = stage().await;
    let gateways = [stage.asking(0), stage.asking(1)];
    let cookie = stage.cookie_of("alice").await;
    stage.advance(ALMOST_EXPIRED);
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(600)));
    let demands = join_all(gateways.iter().cycle().take(10).map(|gateway| {
        let demand = gateway.script_if_there(Method::POST, "/auth/refresh", &cookie);
        tokio::time::timeout(Duration::from_millis(200), demand)
    }));
    assert!(demands.await.iter().all(Result::is_err), "they have all gone away");
    eventually("it is done all the same", async || refreshes(&stage, "success").await == 1).await;
    stage.idp.relieve(Endpoint::Token);
    for gateway in &gateways {
        assert_eq!(gateway.verify("staff", &cookie).await.0, 200);
    }
    assert_eq!(grants(&stage), 1);
    let again = gateways[1].script_if_there(Method::POST, "/auth/refresh", &cookie).await.unwrap();
    assert_eq!((again.0, grants(&stage)), (200, 2), "with the token that came of it: {again:?}");
    assert_eq!(refreshes(&stage, "failure").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_with_the_answer_on_its_way_loses_the_tokens_and_not_the_session() {
    let mut stage = stage().await;
    let there = stage.asking(1);
    let (cookie, bob) = (stage.cookie_of("alice").await, stage.cookie_of("bob").await);
    stage.advance(ALMOST_EXPIRED);
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_secs(5)));
    assert_eq!(stage.asking(0).verify("staff", &cookie).await.0, 200);
    eventually("the provider has rotated the token", async || grants(&stage) == 1).await;
    stage.kill_replica(0);
    stage.idp.relieve(Endpoint::Token);
    for _ in 0..20 {
        assert_eq!(there.verify("staff", &cookie).await.0, 200);
    }
    let demand = there.script_if_there(Method::POST, "/auth/refresh", &cookie).await.unwrap();
    assert_eq!((demand.0, demand.1.as_str()), (400, "refresh_lost"), "{demand:?}");
    assert_eq!(there.verify("staff", &cookie).await.0, 200, "the session lives on");
    let demand = there.script_if_there(Method::POST, "/auth/refresh", &cookie).await.unwrap();
    assert_eq!((demand.0, demand.1.as_str()), (400, "refresh_token_missing"), "{demand:?}");
    stage.start_replica(0).await;
    for gateway in [stage.asking(0), stage.asking(1)] {
        assert_eq!(gateway.verify("staff", &cookie).await.0, 200);
        assert_eq!(gateway.verify("staff", &bob).await.0, 200, "nor does it cost anybody else a thing");
    }
    assert_eq!(there.script_if_there(Method::POST, "/auth/refresh", &bob).await.unwrap().0, 200);
}

/// The store is out of one gateway's reach for longer than its lock lasts, with the provider's answer in its hands.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_comes_back_with_new_tokens_after_another_tried_the_old_one_signs_nobody_out() {
    let (stage, _redis, line) = stage_with_line(plan()).await;
    let (here, there) = (stage.asking(0), stage.asking(1));
    let cookie = stage.cookie_of("alice").await;
    stage.advance(ALMOST_EXPIRED);
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(1_500)));
    assert_eq!(there.verify("staff", &cookie).await.0, 200);
    eventually("the provider has rotated the token", async || grants(&stage) == 1).await;
    line.garble(Noise::Instead("-ERR marker\r\n"));
    let tried = async {
        let demand = here.script_if_there(Method::POST, "/auth/refresh", &cookie).await.unwrap();
        assert_eq!((demand.0, demand.1.as_str()), (400, "refresh_lost"), "{demand:?}");
    };
    let comes_back = async {
        within(Duration::from_secs(12), "the lock is over", async || grants(&stage) == 2).await;
        line.garble(Noise::None);
        eventually("the new tokens are written", async || refreshes(&stage, "success").await == 1).await;
    };
    tokio::join!(tried, comes_back);
    stage.idp.relieve(Endpoint::Token);
    let demand = here.script_if_there(Method::POST, "/auth/refresh", &cookie).await.unwrap();
    assert_eq!((demand.0, demand.1.as_str()), (400, "refresh_lost"), "the provider has ended the grant: {demand:?}");
    for gateway in [&here, &there] {
        assert_eq!(gateway.verify("staff", &cookie).await.0, 200, "the session lives on");
    }
}

const ALMOST_EXPIRED: Duration = Duration::from_secs(250);
/// What a crowd of a hundred may take where nobody waits for the provider.
const UNDELAYED: Duration = Duration::from_secs(2);
/// What a crowded machine adds to the provider's own time.
const ADDED: Duration = Duration::from_secs(5);
