//! Whoever signs out at one of two gateways is refused by the other within a tenth of a second, whatever is under way
//! there, whatever it keeps, and whether it hears or not; and nothing revives the session.

use std::time::{Duration, Instant};

use dev_idp::{Endpoint, Trouble};
use reqwest::Method;
use tokio::task::block_in_place;

use crate::support::{
    Plan, Stage, eventually,
    line::Line,
    redis::Server,
    traffic::{HEARD_WITHIN, Traffic, assert_unharmed},
    twin::AsNginx,
};

fn plan() -> Plan {
    Plan::new().of_two().set("PROVIDER__MAIN__OFFLINE_ACCESS", "true").set("LIMITS__LOGIN", "off")
}

fn ended() -> (u16, String) {
    (401, "session_ended".to_owned())
}

fn passes() -> (u16, String) {
    (200, String::new())
}

/// Has both gateways keep a session, as far as they keep any.
async fn known_to(gateways: [&AsNginx; 2], cookie: &str) {
    for gateway in gateways {
        for _ in 0..3 {
            assert_eq!(gateway.verify("staff", cookie).await, passes());
        }
    }
}

/// Signs out; gives when that was answered.
async fn sign_out(here: &AsNginx, cookie: &str) -> Instant {
    let (status, _, said) = here.script_if_there(Method::POST, "/auth/logout", cookie).await.unwrap();
    assert_eq!((status, said.contains(r#""pending":false"#)), (200, true), "{said}");
    Instant::now()
}

/// Looks again and again: nobody passes who asks later than a gateway may take to hear of it.
async fn is_refused_in_time(there: &AsNginx, cookie: &str, since: Instant) {
    while since.elapsed() < 3 * HEARD_WITHIN {
        let asked_after = since.elapsed();
        let verdict = there.verify("staff", cookie).await;
        assert!(
            verdict == ended() || (verdict.0 == 200 && asked_after < HEARD_WITHIN),
            "{verdict:?} {asked_after:?} later"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_out_at_one_gateway_is_refused_by_the_other_though_it_keeps_the_session() {
    let stage = plan().with_redis().start().await;
    let gateways = [stage.asking(0), stage.asking(1)];
    let traffic = Traffic::of(&stage, 2).await;
    for round in 0..6 {
        let (here, there) = (&gateways[round % 2], &gateways[(round + 1) % 2]);
        let cookie = stage.cookie_of("alice").await;
        known_to([here, there], &cookie).await;
        let answered = sign_out(here, &cookie).await;
        assert_eq!(here.verify("staff", &cookie).await, ended(), "at once, here");
        is_refused_in_time(there, &cookie, answered).await;
    }
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_while_somebody_signs_out_elsewhere_is_not_kept() {
    let stage = plan().with_redis().start().await;
    let (here, there) = (stage.asking(0), stage.asking(1));
    let traffic = Traffic::of(&stage, 2).await;
    for _ in 0..12 {
        let cookie = stage.cookie_of("alice").await;
        let reads = (0..40).map(|_| there.verify("staff", &cookie));
        let (answered, read) = tokio::join!(sign_out(&here, &cookie), futures_util::future::join_all(reads));
        assert!(read.iter().all(|verdict| *verdict == passes() || *verdict == ended()), "{read:?}");
        is_refused_in_time(&there, &cookie, answered).await;
    }
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_is_under_way_at_the_other_gateway_revives_nothing() {
    let stage = plan().with_redis().start().await;
    let (here, there) = (stage.asking(0), stage.asking(1));
    let cookie = stage.cookie_of("alice").await;
    known_to([&here, &there], &cookie).await;
    let traffic = Traffic::of(&stage, 2).await;
    let grants = || stage.asked(Endpoint::Token);
    let before = grants();
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(700)));
    let refresh = there.script_if_there(Method::POST, "/auth/refresh", &cookie);
    let signs_out = async {
        eventually("the refresh is at the provider", async || grants() > before).await;
        let answered = sign_out(&here, &cookie).await;
        is_refused_in_time(&there, &cookie, answered).await;
    };
    let (refreshed, ()) = tokio::join!(refresh, signs_out);
    let (status, reason, _) = refreshed.unwrap();
    assert_eq!((status, reason.as_str()), (401, "session_ended"), "the new tokens came too late");
    for gateway in [&here, &there] {
        assert_eq!(gateway.verify("staff", &cookie).await, ended());
    }
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_use_that_is_written_meanwhile_revives_nothing() {
    let stage = plan().with_redis().start().await;
    let (here, there) = (stage.asking(0), stage.asking(1));
    for _ in 0..12 {
        let cookie = stage.cookie_of("alice").await;
        known_to([&here, &there], &cookie).await;
        // Each look writes the time of use from here on, until one has.
        stage.advance(Duration::from_secs(200));
        let looks = (0..10).map(|_| there.verify("staff", &cookie));
        let (answered, _) = tokio::join!(sign_out(&here, &cookie), futures_util::future::join_all(looks));
        is_refused_in_time(&there, &cookie, answered).await;
        assert_eq!(here.verify("staff", &cookie).await, ended());
    }
}

/// The other gateway's Redis is at the end of a line.
pub(crate) async fn stage_with_line(plan: Plan) -> (Stage, Server, Line) {
    let redis = block_in_place(Server::start);
    let line = Line::to(redis.socket()).await;
    let socket = format!("unix://{}", redis.socket().display());
    let plan = plan.set("STORE__KIND", "redis").set("STORE__REDIS__URL", socket);
    (plan.set_for_the_other("STORE__REDIS__URL", line.url()).start().await, redis, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_subscription_is_dead_without_knowing_goes_by_nothing_that_it_keeps() {
    let (stage, _redis, line) = stage_with_line(plan()).await;
    let (here, there) = (stage.asking(0), stage.asking(1));
    let traffic = Traffic::of(&stage, 2).await;
    for _ in 0..4 {
        let cookie = stage.cookie_of("alice").await;
        known_to([&here, &there], &cookie).await;
        eventually("the other gateway listens", async || line.deafen() > 0).await;
        let answered = sign_out(&here, &cookie).await;
        is_refused_in_time(&there, &cookie, answered).await;
    }
    assert_unharmed(&traffic.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_store_has_denied_once_no_grace_lets_in() {
    let (stage, mut redis, line) = stage_with_line(plan()).await;
    let (here, there) = (stage.asking(0), stage.asking(1));
    let cookie = stage.cookie_of("alice").await;
    known_to([&here, &there], &cookie).await;
    eventually("the other gateway listens", async || line.deafen() > 0).await;
    let answered = sign_out(&here, &cookie).await;
    is_refused_in_time(&there, &cookie, answered).await;
    block_in_place(|| redis.down());
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let verdict = there.verify("staff", &cookie).await;
        assert!(verdict == ended() || verdict == (503, "store_unavailable".to_owned()), "{verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_every_connection_is_dead_lets_nobody_in_without_a_grace() {
    let (stage, _redis, line) = stage_with_line(plan().set("SESSION__STORE_OUTAGE_GRACE", "0s")).await;
    let (here, there) = (stage.asking(0), stage.asking(1));
    let cookie = stage.cookie_of("alice").await;
    known_to([&here, &there], &cookie).await;
    assert!(line.die() > 0);
    let answered = sign_out(&here, &cookie).await;
    let unavailable = (503, "store_unavailable".to_owned());
    tokio::time::sleep_until((answered + HEARD_WITHIN).into()).await;
    let verdict = there.verify("staff", &cookie).await;
    assert!(verdict == unavailable || verdict == ended(), "{verdict:?}");
    eventually("it has taken new connections", async || there.verify("staff", &cookie).await == ended()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_right_after_a_sign_out_brings_nobody_back() {
    for grace in ["0s", "10s"] {
        let mut stage = plan().with_redis().set("SESSION__STORE_OUTAGE_GRACE", grace).start().await;
        let (here, there) = (stage.asking(0), stage.asking(1));
        let bob = stage.cookie_of("bob").await;
        for _ in 0..3 {
            let cookie = stage.cookie_of("alice").await;
            known_to([&here, &there], &cookie).await;
            known_to([&here, &there], &bob).await;
            let answered = sign_out(&here, &cookie).await;
            // A server that is killed before it has told everybody has told nobody: then the grace lets in who was kept.
            if grace != "0s" {
                tokio::time::sleep_until((answered + HEARD_WITHIN).into()).await;
            }
            block_in_place(|| stage.redis.as_mut().unwrap().down());
            tokio::time::sleep_until((answered + HEARD_WITHIN).into()).await;
            while answered.elapsed() < 6 * HEARD_WITHIN {
                let verdict = there.verify("staff", &cookie).await;
                assert!(verdict == ended() || verdict == (503, "store_unavailable".to_owned()), "{verdict:?}");
                assert_eq!(here.verify("staff", &cookie).await, ended());
            }
            block_in_place(|| stage.redis.as_mut().unwrap().up());
            for gateway in [&here, &there] {
                assert_eq!(gateway.verify("staff", &cookie).await, ended(), "it was on the disk");
                assert_eq!(gateway.verify("staff", &bob).await, passes(), "and so was he");
            }
        }
    }
}
