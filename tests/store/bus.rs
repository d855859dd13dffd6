//! What gateways hear of each other through Redis.

use std::time::Duration;

use portcullis::{
    secret::Secret,
    store::{
        Beaten, Ended, Store, StoredSwitches, Swap, Thrown,
        notice::{Beat, Notice},
        redis::{Config, Ear},
    },
};
use tokio::time::timeout;

use crate::support::{
    PATIENCE, change, in_an_hour, name,
    redis::{Server, store},
    session, token,
};

const FAREWELL: Notice = Notice::KeyDropped { key: [1, 2, 3, 4], proof: [5; 16] };

async fn next(ear: &mut Ear) -> Option<Notice> {
    timeout(PATIENCE, ear.next()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_a_session_or_the_switches_is_heard_by_all_who_listen() {
    let server = Server::start();
    let (one, other) = (server.store(), server.store());
    let mut ears = Vec::new();
    for store in [&one, &other] {
        ears.push(store.listen().await.unwrap().unwrap());
    }
    let created = session(1);
    one.create(&created).await.unwrap();
    assert_eq!(one.compare_and_set(&created.name, &change(1, "two")).await, Ok(Swap::Done));
    assert_eq!(one.compare_and_set(&created.name, &change(1, "late")).await, Ok(Swap::Stale));
    assert_eq!(one.end(&created.name, in_an_hour()).await, Ok(Ended::Now));
    let switches = StoredSwitches { epoch: 1, sealed: b"switches".to_vec() };
    assert_eq!(one.throw_switches(&switches).await, Ok(Thrown::Done));
    assert_eq!(one.announce(FAREWELL).await, Ok(()));
    let beat = Beat { by: token(1), number: 7 };
    assert_eq!(one.beat(beat, &token(9)).await, Ok(Beaten { servers: 1, mark: token(9) }));
    let said =
        [Notice::Session(created.name), Notice::Session(created.name), Notice::Switches, FAREWELL, Notice::Beat(beat)];
    for ear in &mut ears {
        for notice in said {
            assert_eq!(next(ear).await, Some(notice));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_notice_is_passed_over_and_an_ear_ends_with_its_connection() {
    let mut server = Server::start();
    let store = server.store();
    let mut ear = store.listen().await.unwrap().unwrap();
    let _: i64 = server.ask(&["PUBLISH", "portcullis:bus", "something else"]);
    let _: i64 = server.ask(&["PUBLISH", "other:bus", "w"]);
    let _: i64 = server.ask(&["PUBLISH", "portcullis:bus", "w"]);
    assert_eq!(next(&mut ear).await, Some(Notice::Switches));
    server.down();
    assert_eq!(next(&mut ear).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_publish_still_ends_and_changes_sessions() {
    let server = Server::start();
    let _: () = server.ask(&["ACL", "SETUSER", "mute", "on", ">password", "~portcullis:*", "resetchannels", "+@all"]);
    let mute = store(Config {
        username: Some("mute".to_owned()),
        password: Some(Secret::new("password".to_owned())),
        ..server.config()
    });
    let created = session(1);
    mute.create(&created).await.unwrap();
    assert_eq!(mute.compare_and_set(&created.name, &change(1, "two")).await, Ok(Swap::Done));
    assert_eq!(mute.end(&created.name, in_an_hour()).await, Ok(Ended::Now));
    assert_eq!(mute.end(&name(1), in_an_hour()).await, Ok(Ended::Before));
    mute.listen().await.unwrap_err();
    mute.announce(Notice::Switches).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_stays_for_as_long_as_the_data() {
    let server = Server::start();
    let (one, other) = (server.store(), server.store());
    let mark =
        async |store: &Store, new: u8| store.beat(Beat { by: token(new), number: 1 }, &token(new)).await.unwrap().mark;
    assert_eq!(mark(&one, 1).await, token(1));
    assert_eq!(mark(&other, 2).await, token(1), "the mark of whoever came first");
    let _: i64 = server.ask(&["PEXPIRE", "portcullis:mark", "1000"]);
    assert_eq!(mark(&one, 1).await, token(1));
    assert!(server.ask::<i64>(&["PTTL", "portcullis:mark"]) > 1_000, "it was prolonged");
    let _: () = server.ask(&["FLUSHALL"]);
    assert_eq!(mark(&other, 2).await, token(2), "another one after the data is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_still_says_beats_on() {
    let server = Server::start();
    let store = server.store();
    let mut ear = store.listen().await.unwrap().unwrap();
    let _: () = server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let beat = Beat { by: token(1), number: 1 };
    assert_eq!(store.beat(beat, &token(1)).await, Ok(Beaten { servers: 1, mark: token(0) }));
    assert_eq!(next(&mut ear).await, Some(Notice::Beat(beat)));
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_takes_no_longer_than_the_deadline() {
    let server = Server::start();
    let deadline = Duration::from_millis(50);
    let store = store(Config { deadline, ..server.config() });
    server.signal("STOP");
    timeout(PATIENCE, store.listen()).await.unwrap().unwrap_err();
    server.signal("CONT");
}
