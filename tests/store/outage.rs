//! Redis that is down, hangs, comes back: nobody waits past the deadline, and the first command afterwards succeeds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis::store::{
    Ended, Mark, Store, StoreError, Swap, Version,
    redis::{Config, DEFAULT_DEADLINE},
    window::{Counted, Kind, Rate, Window},
};
use tokio::task::JoinSet;

use crate::support::{
    HOUR, change, eventually, in_an_hour, name,
    redis::{Server, free_port, store},
    session, token,
    wire::{Line, Parrot, loopback},
};

/// What a crowded machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(200);

fn with_default_deadline(server: &Server) -> Config {
    Config { deadline: DEFAULT_DEADLINE, ..server.config() }
}

/// What many callers at once are told, and how long the slowest waited.
async fn crowd(store: &Arc<Store>, callers: usize) -> (Vec<Result<(), StoreError>>, Duration) {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let started = Instant::now();
            let answer = store.facts(&name(1)).await.map(drop);
            (answer, started.elapsed())
        });
    }
    let answers = tasks.join_all().await;
    let slowest = answers.iter().map(|(_, time)| *time).max().unwrap();
    (answers.into_iter().map(|(answer, _)| answer).collect(), slowest)
}

#[tokio::test]
async fn a_gateway_starts_while_redis_is_down_and_finds_it_when_it_is_up() {
    let mut server = Server::prepared(&[]);
    let store = store(server.config());
    let answer = store.ping().await;
    assert!(matches!(answer, Err(StoreError::Unreachable(_))), "{answer:?}");
    assert_eq!(store.generation(), 0);
    server.up();
    assert_eq!(store.ping().await, Ok(()));
    assert_eq!(store.generation(), 1);
}

#[tokio::test]
async fn a_dead_port_is_noticed_at_once_by_everybody() {
    let config = Config { deadline: DEFAULT_DEADLINE, ..Config::new(loopback(free_port())) };
    let store = Arc::new(store(config));
    let (answers, slowest) = crowd(&store, 200).await;
    for answer in answers {
        assert!(matches!(answer, Err(StoreError::Unreachable(_))), "{answer:?}");
    }
    assert!(slowest < DEFAULT_DEADLINE, "{slowest:?}");
}

#[tokio::test]
async fn a_crowd_before_a_broken_server_makes_few_attempts() {
    let parrot = Parrot::saying(&[""], false).await;
    let store = Arc::new(store(parrot.config()));
    let (answers, slowest) = crowd(&store, 200).await;
    assert!(answers.iter().all(Result::is_err));
    assert!(slowest < DEFAULT_DEADLINE + SLACK, "{slowest:?}");
    let most = 2 + slowest.as_millis() / 50;
    let visitors = parrot.visitors();
    assert!(u128::try_from(visitors).unwrap() <= most, "{visitors} attempts in {slowest:?}");
}

#[tokio::test]
async fn a_hanging_redis_gives_every_caller_the_deadline() {
    let server = Server::start();
    let store = Arc::new(store(with_default_deadline(&server)));
    store.ping().await.unwrap();
    server.signal("STOP");
    let alone = store.ping().await;
    assert_eq!(alone, Err(StoreError::Deadline(DEFAULT_DEADLINE)));
    for _ in 0..2 {
        let (answers, slowest) = crowd(&store, 50).await;
        for answer in answers {
            assert_eq!(answer, Err(StoreError::Deadline(DEFAULT_DEADLINE)));
        }
        assert!(slowest < DEFAULT_DEADLINE + SLACK, "{slowest:?}");
    }
    let started = Instant::now();
    let end = store.end(&name(1), in_an_hour()).await;
    assert_eq!(end, Err(StoreError::Deadline(DEFAULT_DEADLINE)));
    assert!(started.elapsed() < DEFAULT_DEADLINE + SLACK);
    server.signal("CONT");
    assert_eq!(store.ping().await, Ok(()));
    assert_eq!(store.generation(), 1);
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_gives_the_deadline() {
    let parrot = Parrot::saying(&[], true).await;
    let store = Arc::new(store(parrot.config()));
    let (answers, slowest) = crowd(&store, 50).await;
    for answer in answers {
        assert_eq!(answer, Err(StoreError::Deadline(DEFAULT_DEADLINE)));
    }
    assert!(slowest < DEFAULT_DEADLINE + SLACK, "{slowest:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_while_connecting_leaves_the_others_unharmed() {
    let server = Server::start();
    server.signal("STOP");
    let store = Arc::new(server.store());
    let leader = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.ping().await })
    };
    tokio::task::yield_now().await;
    let mut others = JoinSet::new();
    for _ in 0..10 {
        let store = Arc::clone(&store);
        others.spawn(async move { store.ping().await });
    }
    tokio::task::yield_now().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    server.signal("CONT");
    for answer in others.join_all().await {
        assert_eq!(answer, Ok(()));
    }
}

#[tokio::test]
async fn the_first_command_after_a_restart_succeeds() {
    let mut server = Server::start();
    let store = store(with_default_deadline(&server));
    store.create(&session(1)).await.unwrap();
    store.end(&name(2), in_an_hour()).await.unwrap();
    for round in 1..=5 {
        for _ in 0..4 {
            store.ping().await.unwrap();
        }
        server.down();
        server.up();
        match round {
            1 => assert!(store.facts(&name(1)).await.unwrap().is_some()),
            2 => {
                let swap = store.compare_and_set(&name(1), &change(1, "two")).await;
                assert_eq!(swap, Ok(Swap::Done));
            }
            3 => assert_eq!(store.was_ended(&name(2)).await, Ok(true)),
            4 => {
                let mark = store.mark_once(&name(3), &token(1), in_an_hour()).await;
                assert_eq!(mark, Ok(Mark::First));
            }
            _ => assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Now)),
        }
        assert_eq!(store.generation(), round);
    }
}

#[tokio::test]
async fn a_crowd_after_a_restart_notices_nothing() {
    let mut server = Server::start();
    let store = Arc::new(server.store());
    crowd(&store, 20).await;
    server.down();
    server.up();
    let (answers, _) = crowd(&store, 100).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

#[tokio::test]
async fn between_down_and_up_every_answer_is_an_error_and_then_all_is_well() {
    let mut server = Server::start();
    let store = store(with_default_deadline(&server));
    store.create(&session(1)).await.unwrap();
    server.down();
    for _ in 0..3 {
        let started = Instant::now();
        let answer = store.facts(&name(1)).await;
        assert!(matches!(answer, Err(StoreError::Unreachable(_))), "{answer:?}");
        assert!(started.elapsed() < DEFAULT_DEADLINE);
    }
    server.up();
    assert!(store.facts(&name(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn an_answer_that_is_lost_is_given_again() {
    let server = Server::start();
    let line = Line::to(server.socket()).await;
    let config = Config { address: line.address(), ..server.config() };
    let store = store(config);
    load_scripts(&store).await;

    line.swallow_the_next_answer();
    store.create(&session(1)).await.unwrap();
    assert!(line.was_cut());
    line.swallow_the_next_answer();
    let swap = store.compare_and_set(&name(1), &change(1, "two")).await;
    assert!(line.was_cut());
    assert_eq!(swap, Ok(Swap::Done));
    let facts = store.facts(&name(1)).await.unwrap().unwrap();
    assert_eq!(facts.version, Version(2));

    line.swallow_the_next_answer();
    let mark = store.mark_once(&name(2), &token(1), in_an_hour()).await;
    assert!(line.was_cut());
    assert_eq!(mark, Ok(Mark::First));
    line.swallow_the_next_answer();
    let rates = [Rate::new(1, HOUR).unwrap()];
    let counted = store.count_in_window(window(2), &rates, &token(1)).await;
    assert!(line.was_cut());
    assert_eq!(counted, Ok(Counted::Admitted), "counted once");
    line.swallow_the_next_answer();
    let lock = store.lock(&name(2), &token(1), Duration::from_secs(60)).await;
    assert!(line.was_cut());
    assert_eq!(lock, Ok(true));
    line.swallow_the_next_answer();
    assert_eq!(store.unlock(&name(2), &token(1)).await, Ok(()));
    assert!(line.was_cut());

    line.swallow_the_next_answer();
    let end = store.end(&name(1), in_an_hour()).await;
    assert!(line.was_cut());
    assert_eq!(end, Ok(Ended::Now));
    assert_eq!(store.count().await, Ok(0));
}

fn window(number: u16) -> Window {
    Window { kind: Kind::SignIn, name: name(number) }
}

/// So that the next answer is the one to the step itself; makes both connections too.
async fn load_scripts(store: &Store) {
    let other = session(99);
    store.create(&other).await.unwrap();
    let swap = store.compare_and_set(&other.name, &change(1, "x")).await;
    assert_eq!(swap, Ok(Swap::Done));
    store.end(&other.name, in_an_hour()).await.unwrap();
    let until = in_an_hour();
    store.mark_once(&other.name, &token(1), until).await.unwrap();
    let minute = Duration::from_secs(60);
    assert_eq!(store.lock(&other.name, &token(1), minute).await, Ok(true));
    store.count_in_window(window(99), &[Rate::new(1, HOUR).unwrap()], &token(1)).await.unwrap();
    store.unlock(&other.name, &token(1)).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_does_not_hide_that_somebody_else_wrote() {
    let server = Server::start();
    let line = Line::to(server.socket()).await;
    let config = Config { address: line.address(), ..server.config() };
    let (store, direct) = (store(config), server.store());
    load_scripts(&store).await;
    store.create(&session(1)).await.unwrap();
    let swap = direct.compare_and_set(&name(1), &change(1, "theirs")).await;
    assert_eq!(swap, Ok(Swap::Done));
    line.swallow_the_next_answer();
    let swap = store.compare_and_set(&name(1), &change(1, "ours")).await;
    assert_eq!(swap, Ok(Swap::Stale));
    assert!(line.was_cut());
}

#[tokio::test]
async fn clients_that_are_thrown_out_come_back() {
    let server = Server::start();
    let store = server.store();
    for _ in 0..4 {
        store.ping().await.unwrap();
    }
    let _: () = server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert_eq!(store.ping().await, Ok(()));
    assert_eq!(store.generation(), 1);
}

#[tokio::test]
async fn it_shares_as_many_connections_as_it_was_told() {
    let server = Server::start();
    let store = Arc::new(server.store());
    for _ in 0..3 {
        crowd(&store, 50).await;
    }
    eventually("two connections", async || {
        let clients: String = server.ask(&["CLIENT", "LIST"]);
        // One of them is the asker's own.
        clients.lines().count() == 3
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_stays_broken_is_its_owners_trouble_alone() {
    let server = Server::start();
    let store = Arc::new(server.store());
    store.create(&session(1)).await.unwrap();
    let broken = format!("portcullis:session:{{A}}:{}", name(2).encoded());
    let _: () = server.ask(&["HSET", &broken, "v", "1", "f", "cut", "t", "cut", "i", "i"]);
    let over = Arc::new(AtomicBool::new(false));
    let mut owners = JoinSet::new();
    for _ in 0..8 {
        let (store, over) = (Arc::clone(&store), Arc::clone(&over));
        owners.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                assert!(matches!(store.facts(&name(2)).await, Err(StoreError::Garbage(_))));
            }
        });
    }
    let connected = || -> u64 {
        let stats: String = server.ask(&["INFO", "stats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().parse().unwrap()
    };
    let (began, before) = (Instant::now(), connected());
    let mut outcomes = Vec::new();
    while began.elapsed() < Duration::from_secs(2) {
        outcomes.push(store.facts(&name(1)).await.map(|found| found.is_some()));
    }
    over.store(true, Ordering::Relaxed);
    while let Some(owner) = owners.join_next().await {
        owner.unwrap();
    }
    let failed: Vec<_> = outcomes.iter().filter(|outcome| **outcome != Ok(true)).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), outcomes.len(), failed[0]);
    let made = connected() - before;
    assert!(made <= 10, "{made} connections");
}
