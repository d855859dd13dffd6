//! The gateway hangs, or is stopped and started, while people work: nginx says "try again", nothing is let through,
//! and nothing is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use tokio::task::JoinHandle;

use crate::support::{Plan, Reply, Stage, Visitor, eventually, free_port, nginx::NGINX_PATIENCE};

/// Sessions live in Redis, and the gateway is a process of its own.
async fn stage() -> Stage {
    Plan::new().with_redis().without_gateway().start().await
}

#[track_caller]
fn says_try_again(reply: &Reply, script: bool) {
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"), "{reply:?}");
    assert!(reply.header("set-cookie").is_empty() && reply.location().is_none(), "{reply:?}");
    if script {
        assert_eq!(reply.json()["error"], "unavailable");
    } else {
        assert!(reply.body.contains("<html"), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_gateway_hangs_everybody_is_told_to_try_again_and_afterwards_nothing_is_lost() {
    let stage = stage().await;
    let program = stage.start_program("gateway").await;
    let (alice, stranger) = (stage.signed_in("alice").await, Visitor::new(&stage));
    let session = alice.session();
    let signing_in = Visitor::new(&stage);
    let callback = signing_in.up_to_callback("bob", "/docs/").await;
    stage.upstream.forget();
    program.signal("STOP");
    let began = Instant::now();
    let mut asked = 0;
    while began.elapsed() < HANGING {
        let each = Instant::now();
        let (page, script) = (alice.get("/"), alice.fetch(Method::GET, "/api/whoami"));
        let (page, script, stranger) = tokio::join!(page, script, stranger.get("/admin"));
        let took = each.elapsed();
        says_try_again(&page, false);
        says_try_again(&script, true);
        says_try_again(&stranger, false);
        assert!(took < NGINX_PATIENCE, "{took:?}");
        asked += 1;
    }
    assert!(asked >= 10, "{asked}");
    assert!(stage.upstream.requests().is_empty(), "nothing is let through");
    program.signal("CONT");
    eventually("it is back", async || alice.get("/").await.status == 200).await;
    assert_eq!(alice.session(), session, "the same session");
    assert_eq!(stranger.fetch(Method::GET, "/").await.refusal(), (401, "no_session"));
    assert_eq!(signing_in.visit(&callback).await.status, 302, "a sign-in goes on where it stopped");
    assert_eq!(signing_in.get("/docs/").await.status, 200);
}

/// People who work until it is over, and how often they were let in.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    served: AtomicUsize,
}

/// Asks for a page again and again until told to stop; gives every status, and the longest that an answer took.
fn traffic(visitor: Visitor, load: &Arc<Load>) -> JoinHandle<(Vec<u16>, Duration)> {
    let load = Arc::clone(load);
    tokio::spawn(async move {
        let (mut statuses, mut longest) = (Vec::new(), Duration::ZERO);
        while !load.over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let status = visitor.fetch(Method::GET, "/api/whoami").await.status;
            longest = longest.max(began.elapsed());
            statuses.push(status);
            load.served.fetch_add(usize::from(status == 200), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (statuses, longest)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_under_load_the_gateway_lets_nobody_in_whom_it_did_not_know_and_forgets_nobody() {
    let stage = stage().await;
    let mut program = stage.start_program("first").await;
    let alice = stage.signed_in("alice").await;
    let load = Arc::new(Load::default());
    let cookie = format!("__Host-portcullis={}", alice.session().unwrap());
    let known: Vec<_> = (0..3)
        .map(|_| {
            let visitor = Visitor::new(&stage);
            visitor.plant(&cookie);
            traffic(visitor, &load)
        })
        .collect();
    let strangers: Vec<_> = (0..2).map(|_| traffic(Visitor::new(&stage), &load)).collect();
    stage.upstream.forget();
    for (number, kindly) in [true, false, true].into_iter().enumerate() {
        let before = load.served.load(Ordering::Relaxed);
        eventually("people work", async || load.served.load(Ordering::Relaxed) > before + 100).await;
        if kindly {
            let (status, said) = program.end().await;
            assert!(status.success(), "{said}");
        } else {
            program.signal("KILL");
            drop(program);
        }
        says_try_again(&alice.get("/").await, false);
        says_try_again(&alice.fetch(Method::GET, "/").await, true);
        program = stage.start_program(&format!("next-{number}")).await;
    }
    assert_eq!(alice.get("/").await.status, 200, "the same session");
    load.over.store(true, Ordering::Relaxed);
    for person in known {
        let (statuses, longest) = person.await.unwrap();
        assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
        assert!(statuses.len() > 60 && statuses.contains(&503), "{statuses:?}");
        assert!(longest < NGINX_PATIENCE, "{longest:?}");
    }
    for stranger in strangers {
        let (statuses, longest) = stranger.await.unwrap();
        assert!(statuses.iter().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
        assert!(statuses.contains(&401), "{statuses:?}");
        assert!(longest < NGINX_PATIENCE, "{longest:?}");
    }
    let seen = stage.upstream.requests();
    assert!(seen.iter().all(|request| request.headers["x-auth-request-user"] == "subject-of-alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_of_two_gateways_dead_every_refusal_is_still_told_by_the_other() {
    let mut stage = Plan::new().with_redis().set("SESSION__STORE_OUTAGE_GRACE", "0s").start().await;
    let session = stage.signed_in("bob").await.session().unwrap();
    let bob = || {
        let bob = Visitor::new(&stage);
        bob.plant(&format!("__Host-portcullis={session}"));
        bob
    };
    let dead = format!("server 127.0.0.1:{} max_fails=0; server unix:", free_port());
    stage.nginx.reread("portcullis/portcullis.conf", |text| text.replacen("server unix:", &dead, 1));
    // Each on a connection of its own: an nginx that rereads its files closes those that are kept when it likes.
    eventually("both are asked", async || {
        bob().get("/").await;
        stage.nginx.error_log().contains("Connection refused")
    })
    .await;
    let bob = bob();
    for _ in 0..4 {
        assert_eq!(bob.get("/api/whoami").await.status, 200);
        assert_eq!(bob.fetch(Method::GET, "/admin").await.refusal(), (403, "policy_denied"));
        assert_eq!(Visitor::new(&stage).fetch(Method::GET, "/").await.refusal(), (401, "no_session"));
    }
    tokio::task::block_in_place(|| stage.redis.as_mut().unwrap().down());
    for _ in 0..4 {
        assert_eq!(bob.fetch(Method::GET, "/").await.refusal(), (503, "store_unavailable"));
    }
}

/// Two gateways that are processes of their own.
async fn stage_of_two() -> Stage {
    Plan::new().with_redis().of_two().without_gateway().start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_of_two_gateways_hangs_the_other_goes_on_and_nobody_waits_for_long() {
    let stage = stage_of_two().await;
    let (hanging, _other) =
        (stage.start_program_of_two(0, "first").await, stage.start_program_of_two(1, "second").await);
    let (alice, stranger) = (stage.signed_in("alice").await, Visitor::new(&stage));
    stage.upstream.forget();
    hanging.signal("STOP");
    let (began, mut seen) = (Instant::now(), Vec::new());
    while began.elapsed() < HANGING {
        let each = Instant::now();
        let (known, unknown) = tokio::join!(alice.fetch(Method::GET, "/"), stranger.fetch(Method::GET, "/admin"));
        assert!(each.elapsed() < NGINX_PATIENCE + Duration::from_millis(500), "{:?}", each.elapsed());
        for (reply, usual) in [(&known, 200), (&unknown, 401)] {
            if reply.status != usual {
                says_try_again(reply, true);
            }
        }
        seen.push((known.status, unknown.status));
    }
    let count = |status| seen.iter().filter(|(known, _)| *known == status).count();
    assert!(count(200) > 5 && count(503) > 5, "nginx asks both in turn: {seen:?}");
    let let_in = stage.upstream.requests();
    assert!(let_in.iter().all(|request| request.headers["x-auth-request-user"] == "subject-of-alice"));
    hanging.signal("CONT");
    stage.asking(0).answers().await;
    for _ in 0..10 {
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
        assert_eq!(stranger.fetch(Method::GET, "/").await.refusal(), (401, "no_session"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_that_are_killed_in_turn_under_load_nobody_notices_anything() {
    let stage = stage_of_two().await;
    let mut programs = [stage.start_program_of_two(0, "0-0").await, stage.start_program_of_two(1, "1-0").await];
    let alice = stage.signed_in("alice").await;
    let load = Arc::new(Load::default());
    let known: Vec<_> = (0..3)
        .map(|_| {
            let visitor = Visitor::new(&stage);
            visitor.plant(&format!("__Host-portcullis={}", alice.session().unwrap()));
            traffic(visitor, &load)
        })
        .collect();
    let strangers: Vec<_> = (0..2).map(|_| traffic(Visitor::new(&stage), &load)).collect();
    for round in 1..=3 {
        for (number, program) in programs.iter_mut().enumerate() {
            let before = load.served.load(Ordering::Relaxed);
            eventually("people work", async || load.served.load(Ordering::Relaxed) > before + 100).await;
            program.signal("KILL");
            let before = load.served.load(Ordering::Relaxed);
            eventually("people go on", async || load.served.load(Ordering::Relaxed) > before + 50).await;
            *program = stage.start_program_of_two(number, &format!("{number}-{round}")).await;
        }
    }
    load.over.store(true, Ordering::Relaxed);
    for (people, usual) in [(known, 200), (strangers, 401)] {
        for person in people {
            let (statuses, longest) = person.await.unwrap();
            assert!(statuses.iter().all(|status| *status == usual), "{statuses:?}");
            assert!(longest < NGINX_PATIENCE, "{longest:?}");
        }
    }
}

/// How long the gateway hangs.
const HANGING: Duration = Duration::from_secs(30);
