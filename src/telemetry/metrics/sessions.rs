//! Metrics of what is kept of sessions, and of hearing what other gateways change.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

type Whole = Gauge<u64, AtomicU64>;

/// The metrics of the cache and of the channel on which gateways hear each other.
#[derive(Debug)]
pub struct SessionMetrics {
    lookups: Family<ResultLabel, Counter>,
    hits: Counter,
    misses: Counter,
    graces: Counter,
    entries: Whole,
    bytes: Whole,
    hears: Whole,
    subscriptions: Counter,
    delay_seconds: Histogram,
}

/// How a session was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// In the cache.
    Hit,
    /// In the store.
    Miss,
    /// In the cache, because the store cannot be reached.
    Grace,
}

labels! {
    ResultLabel { result: &'static str }
}

impl SessionMetrics {
    pub(super) fn new() -> Self {
        let lookups = Family::<ResultLabel, Counter>::default();
        let counter = |result| lookups.get_or_create_owned(&ResultLabel { result });
        Self {
            hits: counter("hit"),
            misses: counter("miss"),
            graces: counter("grace"),
            lookups,
            entries: Whole::default(),
            bytes: Whole::default(),
            hears: Whole::default(),
            subscriptions: Counter::default(),
            delay_seconds: Histogram::new(DELAY_BUCKETS),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("portcullis_session_lookups", "Sessions looked up, by where", self.lookups.clone());
        registry.register("portcullis_session_cache_entries", "Sessions in the cache", self.entries.clone());
        registry.register("portcullis_session_cache_bytes", "What they take, about", self.bytes.clone());
        registry.register(
            "portcullis_revocations_heard",
            "Whether this gateway hears what others revoke (1) or asks the store each time (0)",
            self.hears.clone(),
        );
        registry.register(
            "portcullis_revocation_subscriptions",
            "Subscriptions to the channel of revocations",
            self.subscriptions.clone(),
        );
        registry.register(
            "portcullis_revocation_delay_seconds",
            "Time from saying something on the channel to hearing it",
            self.delay_seconds.clone(),
        );
    }

    /// Counts a session that was looked up.
    pub fn looked_up(&self, lookup: Lookup) {
        match lookup {
            Lookup::Hit => self.hits.inc(),
            Lookup::Miss => self.misses.inc(),
            Lookup::Grace => self.graces.inc(),
        };
    }

    /// Sets how much the cache holds.
    pub fn cached(&self, entries: usize, bytes: u64) {
        self.entries.set(u64::try_from(entries).unwrap_or(u64::MAX));
        self.bytes.set(bytes);
    }

    /// Sets whether this gateway hears the others.
    pub fn hears(&self, hears: bool) {
        self.hears.set(u64::from(hears));
    }

    /// Counts a new subscription.
    pub(super) fn subscribed(&self) {
        self.subscriptions.inc();
    }

    /// Counts something that was said here and heard here.
    pub fn heard(&self, took: Duration) {
        self.delay_seconds.observe(took.as_secs_f64());
    }
}

const DELAY_BUCKETS: [f64; 9] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1];
