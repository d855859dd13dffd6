//! Redis that answers, but not as one would like: no writes, no memory, no sense.

use std::time::{Duration, Instant};

use portcullis::store::{
    Ended, Store, StoreError, Swap,
    redis::{Config, DEFAULT_DEADLINE},
    window::{Kind, Rate, Window},
};

use crate::support::{
    HOUR, change, eventually, in_an_hour, name,
    redis::{Server, free_port, store},
    session, token,
    wire::{Parrot, loopback},
};

fn refusal<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

async fn writes_are_refused(store: &Store, code: &str) {
    let update = store.compare_and_set(&name(1), &change(1, "two")).await;
    assert!(refusal(update).starts_with(code));
    assert!(refusal(store.create(&session(2)).await).starts_with(code));
    let until = in_an_hour();
    let mark = store.mark_once(&name(3), &token(1), until).await;
    assert!(refusal(mark).starts_with(code));
    let window = Window { kind: Kind::SignIn, name: name(3) };
    let counted = store.count_in_window(window, &[Rate::new(1, HOUR).unwrap()], &token(1)).await;
    assert!(refusal(counted).starts_with(code));
    assert!(refusal(store.bar_window(window, HOUR).await).starts_with(code));
}

async fn writes_work(store: &Store) {
    let update = store.compare_and_set(&name(1), &change(1, "two")).await;
    assert_eq!(update, Ok(Swap::Done));
    assert_eq!(store.create(&session(2)).await, Ok(()));
    assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Now));
}

#[tokio::test]
async fn a_replica_of_a_dead_master_still_answers_verify() {
    let server = Server::start();
    let store = server.store();
    store.create(&session(1)).await.unwrap();
    let nobody = free_port().to_string();
    let _: () = server.ask(&["REPLICAOF", "127.0.0.1", &nobody]);
    assert!(store.facts(&name(1)).await.unwrap().is_some());
    assert_eq!(store.count().await, Ok(1));
    assert_eq!(store.group(&name(0)).await.unwrap().len(), 1);
    writes_are_refused(&store, "READONLY").await;
    assert!(refusal(store.end(&name(1), in_an_hour()).await).starts_with("READONLY"));
    let _: () = server.ask(&["REPLICAOF", "NO", "ONE"]);
    writes_work(&store).await;
}

#[tokio::test]
async fn a_replica_that_was_connected_to_as_a_master_is_asked_for_anew() {
    let server = Server::start();
    let store = server.store();
    for _ in 0..4 {
        store.ping().await.unwrap();
    }
    let settled = Instant::now() + Duration::from_secs(1);
    eventually("the connections have settled", async || Instant::now() > settled).await;
    let nobody = free_port().to_string();
    let _: () = server.ask(&["REPLICAOF", "127.0.0.1", &nobody]);
    for _ in 0..3 {
        refusal(store.mark_once(&name(1), &token(1), in_an_hour()).await);
    }
    assert_eq!(store.generation(), 1, "once, and not for every refusal");
}

#[tokio::test]
async fn too_few_replicas_stop_writes_only() {
    let server = Server::start();
    let store = server.store();
    store.create(&session(1)).await.unwrap();
    let _: () = server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert!(store.facts(&name(1)).await.unwrap().is_some());
    writes_are_refused(&store, "NOREPLICAS").await;
    let _: () = server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    writes_work(&store).await;
}

#[tokio::test]
async fn without_memory_sessions_can_be_read_and_ended_but_not_written() {
    let server = Server::start();
    let store = server.store();
    store.create(&session(1)).await.unwrap();
    store.create(&session(4)).await.unwrap();
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(store.facts(&name(1)).await.unwrap().is_some());
    assert_eq!(store.count().await, Ok(2));
    writes_are_refused(&store, "OOM").await;
    assert_eq!(store.end(&name(4), in_an_hour()).await, Ok(Ended::Now));
    assert_eq!(store.was_ended(&name(4)).await, Ok(true));
    assert_eq!(store.end(&name(5), in_an_hour()).await, Ok(Ended::Before));
    assert_eq!(store.was_ended(&name(5)).await, Ok(true));
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    writes_work(&store).await;
}

/// The answers to the two greetings of each connection.
const GREETED: &str = "+OK\r\n+OK\r\n";

/// What servers say that are not Redis, or not whole.
#[tokio::test]
async fn answers_without_sense_are_errors_in_time() {
    let check = async |lines: &'static [&'static str], stays: bool, expected: &str| {
        let parrot = Parrot::saying(lines, stays).await;
        let store = store(parrot.config());
        let started = Instant::now();
        let error = store.facts(&name(1)).await.unwrap_err();
        assert_eq!(error.label(), expected, "{lines:?}: {error:?}");
        assert!(started.elapsed() < DEFAULT_DEADLINE + Duration::from_millis(200));
        assert!(!error.to_string().contains("marker"), "{error}");
    };
    check(&["HTTP/1.1 400 marker\r\n\r\n"], false, "garbage").await;
    check(&["HTTP/1.1 400 marker\r\n\r\n"], true, "garbage").await;
    check(&[GREETED, "$6\r\nmarker\r\n"], true, "garbage").await;
    check(&[GREETED, "*1\r\n$6\r\nmarker\r\n"], true, "garbage").await;
    check(&[GREETED, ":1\r\n"], true, "garbage").await;
    check(&[GREETED, "marker\r\n"], true, "garbage").await;
    let truncated = &[GREETED, "*2\r\n$1\r\n1\r\n$100\r\nmarker"];
    check(truncated, true, "deadline").await;
    check(truncated, false, "garbage").await;
    check(&[GREETED, "-ERR marker\r\n"], true, "refused").await;
    check(&[GREETED, "$-5\r\n"], true, "garbage").await;
    check(&[GREETED, "*2\r\n$1\r\n1\r\n$900000000000\r\nmarker"], true, "deadline").await;
    let loading = &[GREETED, "-LOADING marker\r\n"];
    check(loading, true, "deadline").await;
}

#[tokio::test]
async fn the_password_shows_in_no_error() {
    let parrot = Parrot::saying(&["-ERR unknown command 'AUTH', with args beginning with: 'marker'\r\n"], true).await;
    for address in [parrot.config().address, loopback(free_port())] {
        let config = Config {
            username: Some("gateway".to_owned()),
            password: Some(portcullis::secret::Secret::new("marker")),
            ..Config::new(address)
        };
        let shown = format!("{config:?}");
        let store = store(config);
        let error = store.ping().await.unwrap_err();
        let all = format!("{shown} {store:?} {error} {error:?}");
        assert!(!all.contains("marker"), "{all}");
    }
}
