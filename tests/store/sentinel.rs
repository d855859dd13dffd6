//! The server that sentinels name: found, left when it takes no writes any more, and found again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis::store::{
    Ended, Store, StoreError, Swap,
    notice::{Beat, Notice},
    redis::{Address, Config, DEFAULT_DEADLINE, Host},
};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    behaviour,
    support::{
        PATIENCE, change, eventually,
        fleet::{Watched, as_user},
        in_an_hour, keeps_all, name,
        redis::{free_port, store},
        session, token,
        wire::Parrot,
    },
    windows,
};

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_by_the_server_that_a_sentinel_names() {
    let watched = Watched::start();
    watched.members[0].add_user(&["+role"]);
    keeps_all(&as_user(watched.config()), behaviour::cases().into_iter().chain(windows::cases())).await;
}

/// Reads and writes on and on; the longest that one of them took.
fn traffic(store: &Arc<Store>, over: &Arc<AtomicBool>) -> JoinSet<Duration> {
    let mut workers = JoinSet::new();
    for worker in 0..8_u16 {
        let (store, over) = (Arc::clone(store), Arc::clone(over));
        workers.spawn(async move {
            let mut longest = Duration::ZERO;
            let mut number = 1_000 + worker * 4_000;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                for step in 0..3 {
                    let began = Instant::now();
                    match step {
                        0 => drop(store.create(&session(number)).await),
                        1 => drop(store.facts(&name(number)).await),
                        _ => drop(store.end(&name(number), in_an_hour()).await),
                    }
                    longest = longest.max(began.elapsed());
                }
            }
            longest
        });
    }
    workers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_is_followed_and_loses_nothing_that_was_copied() {
    let mut watched = Watched::start();
    let store = Arc::new(store(watched.config()));
    let mut ear = store.listen().await.unwrap().unwrap();
    store.create(&session(1)).await.unwrap();
    store.create(&session(2)).await.unwrap();
    assert_eq!(store.end(&name(2), in_an_hour()).await, Ok(Ended::Now));
    watched.members[0].wait_for_replicas();
    let before = store.generation();

    let over = Arc::new(AtomicBool::new(false));
    let workers = traffic(&store, &over);
    watched.members[0].server.down();
    eventually("sessions are written again", async || store.create(&session(3)).await == Ok(())).await;
    over.store(true, Ordering::Relaxed);
    for longest in workers.join_all().await {
        assert!(longest < DEFAULT_DEADLINE + SLACK, "{longest:?}");
    }

    assert_eq!(watched.named(), watched.members[1].port);
    assert!(store.facts(&name(1)).await.unwrap().is_some());
    assert_eq!(store.was_ended(&name(2)).await, Ok(true));
    assert!(store.generation() > before, "endings are told again");
    assert_eq!(store.compare_and_set(&name(1), &change(1, "two")).await, Ok(Swap::Done));
    while timeout(PATIENCE, ear.next()).await.unwrap().is_some() {}
    let mut ear = store.listen().await.unwrap().unwrap();
    store.announce(Notice::Switches).await.unwrap();
    assert_eq!(timeout(PATIENCE, ear.next()).await.unwrap(), Some(Notice::Switches));
}

/// A sentinel that is asked to fail over tells the old server some eight seconds later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_the_sentinels_gave_up_is_left_before_it_knows() {
    let watched = Watched::start();
    let store = store(watched.config());
    store.create(&session(1)).await.unwrap();
    watched.members[0].wait_for_replicas();
    let _: () = watched.ask_sentinel(&["SENTINEL", "FAILOVER", "main"]);
    eventually("another server is named", async || watched.named() == watched.members[1].port).await;
    eventually("the new one is told", async || {
        store.beat(Beat { by: token(1), number: 1 }, &token(2)).await.unwrap();
        watched.members[1].says("replication", "role:master") && store.generation() > 0
    })
    .await;
    assert!(watched.members[0].says("replication", "role:master"), "it does not know yet");
    assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Now));
    let tombstone = format!("portcullis:ended:{{A}}:{}", name(1).encoded());
    let there: i64 = watched.members[1].server.ask(&["EXISTS", &tombstone]);
    assert_eq!(there, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_made_a_replica_is_left_for_the_new_one() {
    let watched = Watched::start();
    let store = Arc::new(store(watched.config()));
    store.create(&session(1)).await.unwrap();
    watched.members[0].wait_for_replicas();
    let over = Arc::new(AtomicBool::new(false));
    let workers = traffic(&store, &over);
    let _: () = watched.ask_sentinel(&["SENTINEL", "FAILOVER", "main"]);
    eventually("another server is named", async || watched.named() == watched.members[1].port).await;
    watched.members[0].replicate(&watched.members[1]);
    eventually("sessions are written again", async || store.create(&session(2)).await == Ok(())).await;
    over.store(true, Ordering::Relaxed);
    for longest in workers.join_all().await {
        assert!(longest < DEFAULT_DEADLINE + SLACK, "{longest:?}");
    }
    assert!(store.facts(&name(1)).await.unwrap().is_some());
    assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Now));
}

fn sentinels(watched: &Watched, first: Host) -> Config {
    let mut config = watched.config();
    if let Address::Sentinel(sentinels) = &mut config.address {
        sentinels.hosts.insert(0, first);
    }
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_is_wrong_hangs_or_is_gone_is_passed_over() {
    let watched = Watched::start();
    let port = watched.members[1].port.to_string();
    let replica = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
    let lines: &'static [&'static str] = vec!["+OK\r\n+OK\r\n", &*replica.leak()].leak();
    let wrong = Parrot::saying(lines, true).await;
    let hung = Parrot::saying(&[], true).await;
    let unknowing = Parrot::saying(&["+OK\r\n+OK\r\n", "*-1\r\n"], true).await;
    let gone = free_port();
    for port in [wrong.port(), hung.port(), unknowing.port(), gone] {
        let store = store(sentinels(&watched, Host { name: "127.0.0.1".to_owned(), port }));
        for number in 1..=3 {
            store.end(&name(number), in_an_hour()).await.unwrap();
        }
    }
    assert!(wrong.visitors() > 0 && hung.visitors() > 0 && unknowing.visitors() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_sentinel_or_a_server_every_answer_is_an_error_in_time() {
    let mut watched = Watched::start();
    let store = store(watched.config());
    store.ping().await.unwrap();
    watched.sentinel_down();
    store.create(&session(1)).await.unwrap();
    watched.members[1].server.down();
    watched.members[0].server.down();
    for _ in 0..3 {
        let began = Instant::now();
        let refused = store.facts(&name(1)).await;
        assert!(matches!(refused, Err(StoreError::Unreachable(_))), "{refused:?}");
        assert!(began.elapsed() < DEFAULT_DEADLINE + SLACK);
    }
    watched.members[0].server.up();
    assert!(matches!(store.facts(&name(1)).await, Err(StoreError::Unreachable(_))), "nobody says where it is");
    watched.sentinel_up();
    eventually("it is found again", async || store.facts(&name(1)).await.is_ok_and(|found| found.is_some())).await;
}
