//! Ended sessions, as this process remembers them: final here at once, and in the store as soon as it listens.
//!
//! Invariant: an ending that was promised is kept until the store has its tombstone, and laid again after every
//! reconnect, since a store may have lost what it last wrote. Bounded: settled endings go first, the soonest forgotten
//! of them.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    clock::Timestamp,
    store::{Ended, Name, Store},
};

/// The endings this process knows of.
#[derive(Debug, Default)]
pub struct Endings {
    known: Mutex<Known>,
    /// How many; mostly none, and every verify asks.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Known {
    sessions: HashMap<Name, Ending>,
    generation: u64,
}

#[derive(Clone, Copy, Debug)]
struct Ending {
    until: Timestamp,
    settled: bool,
}

/// Whether the store has heard of an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has; the session lived until now.
    Done,
    /// It has, and knew of no such session.
    Before,
    /// It will, once it answers again.
    Pending,
}

impl Endings {
    /// Whether that session was ended here.
    pub fn knows(&self, name: &Name) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.known().sessions.contains_key(name)
    }

    /// Ends a session: here first, then in the store.
    pub async fn end(&self, store: &Store, name: &Name, until: Timestamp) -> Outcome {
        self.remember(*name, until);
        match store.end(name, until).await {
            Ok(ended) => {
                self.settled(name);
                if ended == Ended::Now { Outcome::Done } else { Outcome::Before }
            }
            Err(_) => Outcome::Pending,
        }
    }

    /// Tells the store what it has missed: endings it never heard, and all of them after a reconnect.
    pub async fn settle(&self, store: &Store, now: Timestamp) {
        self.forget_past(now);
        if store.ping().await.is_err() {
            return;
        }
        for (name, until) in self.unsettled(store.generation()) {
            if store.end(&name, until).await.is_err() {
                return;
            }
            self.settled(&name);
        }
    }

    /// Ends a session here, until the store hears of it.
    pub(super) fn remember(&self, name: Name, until: Timestamp) {
        let mut known = self.known();
        if known.sessions.len() >= ENDINGS_LIMIT && !known.sessions.contains_key(&name) {
            known.drop_one();
        }
        known.sessions.insert(name, Ending { until, settled: false });
        self.count.store(known.sessions.len(), Ordering::Release);
    }

    fn settled(&self, name: &Name) {
        if let Some(ending) = self.known().sessions.get_mut(name) {
            ending.settled = true;
        }
    }

    fn forget_past(&self, now: Timestamp) {
        let mut known = self.known();
        known.sessions.retain(|_, ending| ending.until > now);
        self.count.store(known.sessions.len(), Ordering::Release);
    }

    fn unsettled(&self, generation: u64) -> Vec<(Name, Timestamp)> {
        let mut known = self.known();
        if known.generation != generation {
            known.generation = generation;
            known.sessions.values_mut().for_each(|ending| ending.settled = false);
        }
        known
            .sessions
            .iter()
            .filter(|(_, ending)| !ending.settled)
            .map(|(name, ending)| (*name, ending.until))
            .collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn drop_one(&mut self) {
        let first = self.sessions.iter().min_by_key(|(_, ending)| (!ending.settled, ending.until));
        let oldest = first.map(|(name, _)| *name);
        if let Some(name) = oldest {
            self.sessions.remove(&name);
        }
    }
}

/// Most endings that are remembered; settled ones make room for new ones.
const ENDINGS_LIMIT: usize = 100_000;
