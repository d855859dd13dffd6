//! What the store's tests are made of: names and sessions, a real Redis, a cut in the line, patience with an end.

use std::{pin::Pin, sync::Arc, time::Duration};

use portcullis::{
    clock::{Clock, Timestamp},
    store::{Change, Name, NewSession, Store, Token, Version, redis::Config},
};
use tokio::{
    task::{LocalSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval},
};

pub(crate) mod certificates;
pub(crate) mod fleet;
pub(crate) mod redis;
pub(crate) mod wire;

/// Long enough for a crowded machine; tests of the deadline itself set their own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn name(number: u16) -> Name {
    let mut hash = [7; 32];
    hash[..2].copy_from_slice(&number.to_be_bytes());
    Name::new(hash)
}

pub(crate) fn token(number: u8) -> Token {
    Token([number; 16])
}

pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

pub(crate) fn in_an_hour() -> Timestamp {
    now().plus(HOUR)
}

/// A session of the group `name(0)`, with bytes that are not text.
pub(crate) fn session(number: u16) -> NewSession {
    let part = |kind: u8| {
        let mut part = vec![kind, 0, 0xff, b'\r', b'\n'];
        part.extend(number.to_be_bytes());
        part
    };
    NewSession {
        name: name(number),
        facts: part(b'f'),
        tokens: part(b't'),
        index: part(b'i'),
        groups: vec![name(0)],
        until: in_an_hour(),
    }
}

pub(crate) fn change(expected: u64, facts: &str) -> Change {
    Change { expected: Version(expected), facts: facts.into(), tokens: None }
}

/// A promise with its name, to be kept by any store.
pub(crate) type Case = (&'static str, fn(Arc<Store>) -> Pin<Box<dyn Future<Output = ()>>>);

/// Keeps all promises with one server, where each has keys of its own.
pub(crate) async fn keeps_all(config: &Config, cases: impl Iterator<Item = Case>) {
    for (number, (name, case)) in cases.enumerate() {
        let prefix = format!("case{number}");
        let config = Config { prefix, deadline: PATIENCE, ..config.clone() };
        let store = Arc::new(redis::store(config));
        let local = LocalSet::new();
        let kept = local.run_until(async { spawn_local(case(store)).await }).await;
        assert!(kept.is_ok(), "{name}");
    }
}

/// Asks again and again until the answer is yes; fails when patience ends.
pub(crate) async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    let mut tick = interval(Duration::from_millis(5));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !ask().await {
        assert!(started.elapsed() < PATIENCE, "never happened: {what}");
        tick.tick().await;
    }
}
