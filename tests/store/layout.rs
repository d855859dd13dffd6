//! What lies in Redis: the keys, that each of them expires, and that prefixes and databases keep to themselves.

use std::time::Duration;

use deadpool_redis::redis;
use portcullis::store::{
    Ended, Mark, Name, NewSession, Store, StoreError, StoredSwitches, Swap, Thrown, memory,
    redis::{Config, Redis},
    window::{Counted, Kind, Rate, Window},
};
use tokio::time::timeout;

use crate::support::{
    HOUR, change, in_an_hour, name, now,
    redis::{Server, store},
    session, token,
};

/// Everything that a store can write.
async fn write_everything(store: &Store) {
    for number in [1, 2] {
        store.create(&session(number)).await.unwrap();
    }
    store.compare_and_set(&name(1), &change(1, "two")).await.unwrap();
    store.end(&name(2), in_an_hour()).await.unwrap();
    store.end(&name(3), in_an_hour()).await.unwrap();
    store.mark_once(&name(4), &token(1), in_an_hour()).await.unwrap();
    store.lock(&name(5), &token(1), HOUR).await.unwrap();
    store.count_in_window(window(6), &[Rate::new(1, HOUR).unwrap()], &token(1)).await.unwrap();
    store.bar_window(window(7), HOUR).await.unwrap();
    store.throw_switches(&switches(8)).await.unwrap();
}

fn switches(epoch: u64) -> StoredSwitches {
    StoredSwitches { epoch, sealed: b"sealed".to_vec() }
}

fn window(number: u16) -> Window {
    Window { kind: Kind::SignIn, name: name(number) }
}

fn keys(server: &Server) -> Vec<String> {
    let mut keys: Vec<String> = server.ask(&["KEYS", "*"]);
    keys.sort();
    keys
}

#[tokio::test]
async fn the_keys_are_as_documented_and_every_one_but_the_switches_expires() {
    let server = Server::start();
    write_everything(&server.store()).await;
    let hash = |number| name(number).encoded();
    let mut expected = vec![
        format!("portcullis:session:{{A}}:{}", hash(1)),
        format!("portcullis:ended:{{A}}:{}", hash(2)),
        format!("portcullis:ended:{{A}}:{}", hash(3)),
        format!("portcullis:group:{}", hash(0)),
        "portcullis:live:{A}".to_owned(),
        format!("portcullis:once:{}", hash(4)),
        format!("portcullis:lock:{}", hash(5)),
        format!("portcullis:window:login:{{{}}}", hash(6)),
        format!("portcullis:barred:login:{{{}}}", hash(7)),
    ];
    expected.sort();
    let (switches, others): (Vec<_>, _) = keys(&server).into_iter().partition(|key| key == "portcullis:switches");
    assert_eq!((switches.len(), others), (1, expected.clone()));
    let left: i64 = server.ask(&["PTTL", "portcullis:switches"]);
    assert_eq!(left, -1, "the switches have no expiry");
    let most = i64::try_from(HOUR.as_millis()).unwrap();
    for key in expected {
        let left: i64 = server.ask(&["PTTL", &key]);
        assert!((1..=most).contains(&left), "{key} has {left} ms left");
    }
}

#[tokio::test]
async fn an_ended_session_leaves_nothing_but_its_tombstone() {
    let server = Server::start();
    let store = server.store();
    store.create(&session(1)).await.unwrap();
    assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Now));
    let tombstone = format!("portcullis:ended:{{A}}:{}", name(1).encoded());
    assert_eq!(keys(&server), [tombstone]);
}

#[tokio::test]
async fn a_tombstone_never_gets_shorter() {
    let server = Server::start();
    let store = server.store();
    store.end(&name(1), in_an_hour()).await.unwrap();
    let soon = now().plus(Duration::from_secs(1));
    store.end(&name(1), soon).await.unwrap();
    let tombstone = format!("portcullis:ended:{{A}}:{}", name(1).encoded());
    let left: i64 = server.ask(&["PTTL", &tombstone]);
    assert!(left > 3_000_000, "{left}");
}

#[tokio::test]
async fn a_group_lasts_as_long_as_its_longest_session_and_drops_those_that_are_due() {
    let server = Server::start();
    let store = server.store();
    let short = NewSession { until: now().plus(Duration::from_millis(1)), ..session(1) };
    store.create(&session(2)).await.unwrap();
    store.create(&short).await.unwrap();
    crate::support::eventually("the short session is over", async || store.facts(&name(1)).await == Ok(None)).await;
    store.create(&session(3)).await.unwrap();
    let group = format!("portcullis:group:{}", name(0).encoded());
    for set in [group.as_str(), "portcullis:live:{A}"] {
        let members: u64 = server.ask(&["ZCARD", set]);
        assert_eq!(members, 2, "{set}");
        let left: i64 = server.ask(&["PTTL", set]);
        assert!(left > 3_000_000, "{set} has {left} ms left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_dies_half_way_is_counted_right() {
    let server = Server::start();
    let whole = server.store();
    let mut died = 0;
    for number in 1..=150 {
        let patience = Duration::from_micros(u64::from(number) * 10);
        let gateway = server.store();
        died += u32::from(timeout(patience, gateway.create(&session(number))).await.is_err());
        whole.create(&session(200 + number)).await.unwrap();
        died += u32::from(timeout(patience, gateway.end(&name(200 + number), in_an_hour())).await.is_err());
    }
    assert!(died > 0, "nothing was cut off");
    whole.create(&session(500)).await.unwrap();
    whole.create(&session(500)).await.unwrap();
    whole.end(&name(500), in_an_hour()).await.unwrap();
    whole.end(&name(500), in_an_hour()).await.unwrap();
    crate::support::eventually("all records are counted, and nothing else", async || {
        let records: Vec<String> = server.ask(&["KEYS", "portcullis:session:*"]);
        whole.count().await == Ok(records.len() as u64)
    })
    .await;
}

#[tokio::test]
async fn sessions_are_counted_without_a_scan_over_all_shards() {
    let server = Server::start();
    let store = server.store();
    for first in 0..=u8::MAX {
        let name = Name::new([first; 32]);
        store.create(&NewSession { name, ..session(1) }).await.unwrap();
    }
    let sets: Vec<String> = server.ask(&["KEYS", "portcullis:live:*"]);
    assert_eq!(sets.len(), 64);
    let _: () = server.ask(&["CONFIG", "RESETSTAT"]);
    assert_eq!(store.count().await, Ok(256));
    let stats: String = server.ask(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_zcount:calls=64,") && !stats.contains("scan"), "{stats}");
}

#[tokio::test]
async fn facts_are_read_in_one_command_that_leaves_the_tokens_where_they_are() {
    let server = Server::start();
    let store = server.store();
    store.create(&session(1)).await.unwrap();
    let _: () = server.ask(&["CONFIG", "RESETSTAT"]);
    store.facts(&name(1)).await.unwrap();
    let stats: String = server.ask(&["INFO", "commandstats"]);
    let used: Vec<_> = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_"))
        .filter(|line| !line.starts_with("config") && !line.starts_with("client"))
        .collect();
    assert!(used.len() == 1 && used[0].starts_with("hmget:calls=1,"), "{used:?}");
}

#[tokio::test]
async fn prefixes_keep_to_themselves() {
    let server = Server::start();
    let with = |prefix: &str| store(Config { prefix: prefix.to_owned(), ..server.config() });
    let (one, other) = (with("one"), with("other"));
    write_everything(&one).await;
    assert!(keys(&server).iter().all(|key| key.starts_with("one:")));
    nothing_is_there(&other).await;
}

#[tokio::test]
async fn databases_keep_to_themselves() {
    let server = Server::start();
    let at = |database| store(Config { database, ..server.config() });
    let (third, first) = (at(3), at(0));
    write_everything(&third).await;
    assert_eq!(keys(&server), Vec::<String>::new());
    nothing_is_there(&first).await;
    assert_eq!(third.count().await, Ok(1));
}

async fn nothing_is_there(store: &Store) {
    assert_eq!(store.facts(&name(1)).await, Ok(None));
    assert_eq!(store.was_ended(&name(2)).await, Ok(false));
    assert_eq!(store.count().await, Ok(0));
    assert_eq!(store.group(&name(0)).await, Ok(Vec::new()));
    let mark = store.mark_once(&name(4), &token(2), in_an_hour()).await;
    assert_eq!(mark, Ok(Mark::First));
    assert_eq!(store.lock(&name(5), &token(2), HOUR).await, Ok(true));
    for number in [6, 7] {
        let counted = store.count_in_window(window(number), &[Rate::new(1, HOUR).unwrap()], &token(2)).await;
        assert_eq!(counted, Ok(Counted::Admitted));
    }
}

#[tokio::test]
async fn what_is_not_ours_is_garbage_and_never_a_session() {
    let server = Server::start();
    let store = server.store();
    let key = |number| format!("portcullis:session:{{A}}:{}", name(number).encoded());
    let _: () = server.ask(&["SET", &key(1), "marker"]);
    for (number, version) in [(2, ""), (3, "0"), (4, "-1"), (5, "1.0"), (6, "marker")] {
        let _: () = server.ask(&["HSET", &key(number), "v", version, "f", "f", "t", "t", "i", "i"]);
    }
    let _: () = server.ask(&["HSET", &key(7), "v", "1", "t", "t"]);
    let _: () = server.ask(&["HSET", &key(8), "f", "f", "t", "t"]);
    let _: () = server.ask(&["LPUSH", &key(9), "marker"]);
    for number in 1..=9 {
        is_garbage(&store.facts(&name(number)).await);
        is_garbage(&store.session(&name(number)).await);
        is_garbage(&store.compare_and_set(&name(number), &change(1, "x")).await);
    }
    let ended = store.end(&name(1), in_an_hour()).await;
    assert_eq!(ended, Ok(Ended::Now), "garbage can be ended");
    assert_eq!(store.facts(&name(1)).await, Ok(None));
}

#[tokio::test]
async fn garbage_in_the_other_keys_is_called_so() {
    let server = Server::start();
    let store = server.store();
    let hash = |number| name(number).encoded();
    let _: () = server.ask(&["LPUSH", &format!("portcullis:once:{}", hash(1)), "marker"]);
    let _: () = server.ask(&["LPUSH", &format!("portcullis:lock:{}", hash(1)), "marker"]);
    let _: () = server.ask(&["SET", &format!("portcullis:group:{}", hash(1)), "marker"]);
    let _: () = server.ask(&["SET", &format!("portcullis:window:login:{{{}}}", hash(1)), "marker"]);
    let no_name = format!("portcullis:group:{}", hash(2));
    let _: () = server.ask(&["ZADD", &no_name, "9e15", "marker"]);
    is_garbage(&store.mark_once(&name(1), &token(1), in_an_hour()).await);
    is_garbage(&store.lock(&name(1), &token(1), HOUR).await);
    is_garbage(&store.unlock(&name(1), &token(1)).await);
    is_garbage(&store.count_in_window(window(1), &[Rate::new(1, HOUR).unwrap()], &token(1)).await);
    is_garbage(&store.group(&name(1)).await);
    is_garbage(&store.group(&name(2)).await);
    let _: () = server.ask(&["SET", "portcullis:live:{A}", "marker"]);
    is_garbage(&store.count().await);
    is_garbage(&store.create(&session(1)).await);
    assert_eq!(store.facts(&name(1)).await, Ok(None));
}

#[tokio::test]
async fn garbage_in_place_of_the_switches_is_called_so_and_gives_way() {
    let server = Server::start();
    let store = server.store();
    let key = "portcullis:switches";
    for garbage in [&["SET", key, "marker"] as &[_], &["LPUSH", key, "marker"], &["SET", key, "99999999999999999999"]] {
        let _: () = server.ask(&["DEL", key]);
        let _: redis::Value = server.ask(garbage);
        is_garbage(&store.switches().await);
    }
    let _: () = server.ask(&["DEL", key]);
    let _: () = server.ask(&["LPUSH", key, "marker"]);
    assert_eq!(store.throw_switches(&switches(1)).await, Ok(Thrown::Done));
    assert_eq!(store.switches().await, Ok(Some(switches(1))));
    let _: () = server.ask(&["SET", key, "marker"]);
    assert_eq!(store.throw_switches(&switches(1)).await, Ok(Thrown::Done));
}

#[tokio::test]
async fn a_full_redis_that_evicts_what_expires_keeps_the_switches() {
    let server = Server::start_with(&["--maxmemory", "3mb", "--maxmemory-policy", "volatile-lru"]);
    let store = server.store();
    store.throw_switches(&switches(1)).await.unwrap();
    let large = "x".repeat(64 << 10);
    for number in 0..100 {
        let _: () = server.ask(&["SET", &format!("filler:{number}"), &large, "PX", "3600000"]);
    }
    let stats: String = server.ask(&["INFO", "stats"]);
    assert!(!stats.contains("evicted_keys:0\r\n"), "nothing was evicted");
    assert_eq!(store.switches().await, Ok(Some(switches(1))));
}

fn is_garbage<T: std::fmt::Debug>(answer: &Result<T, StoreError>) {
    let Err(StoreError::Garbage(what)) = answer else {
        panic!("not garbage: {answer:?}");
    };
    assert!(!what.contains("marker"), "{what}");
}

#[tokio::test]
async fn after_a_flush_everybody_is_simply_unknown() {
    let server = Server::start();
    let store = server.store();
    write_everything(&store).await;
    let _: () = server.ask(&["FLUSHALL"]);
    nothing_is_there(&store).await;
    let swap = store.compare_and_set(&name(1), &change(2, "late")).await;
    assert_eq!(swap, Ok(Swap::Gone));
    assert_eq!(store.create(&session(1)).await, Ok(()));
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_brought_again() {
    let server = Server::start();
    let store = server.store();
    write_everything(&store).await;
    let _: () = server.ask(&["FLUSHALL"]);
    let _: () = server.ask(&["SCRIPT", "FLUSH"]);
    write_everything(&store).await;
    assert_eq!(store.count().await, Ok(1));
}

#[test]
fn the_defaults_are_those_of_the_settings() {
    let config = Config::new(crate::support::wire::loopback(6379));
    assert_eq!(config.prefix, "portcullis");
    assert_eq!(config.deadline, Duration::from_millis(800));
    assert_eq!(config.connections.get(), 1);
    assert!(Redis::new(config).is_ok());
    assert!(memory::Config::default().max_sessions > 0);
}
