//! What became of the settings that were read again, and of keys that another gateway gave up.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::clock::Timestamp;

/// The metrics of reloads.
#[derive(Debug, Default)]
pub(super) struct ReloadMetrics {
    reloads: Family<ResultLabel, Counter>,
    last_is_in_use: Gauge<u64, AtomicU64>,
    last_success: Gauge<u64, AtomicU64>,
    keys_retired: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl ReloadMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        for result in [DONE, REFUSED] {
            let _ = self.reloads.get_or_create(&ResultLabel { result });
        }
        self.last_is_in_use.set(1);
        registry.register("portcullis_reloads", "Settings read again by their result", self.reloads.clone());
        registry.register(
            "portcullis_last_reload_successful",
            "Whether the settings that were read last are in use",
            self.last_is_in_use.clone(),
        );
        registry.register(
            "portcullis_last_reload_success_timestamp_seconds",
            "When settings were read again and taken into use, zero if never",
            self.last_success.clone(),
        );
        registry.register(
            "portcullis_keys_retired",
            "Session keys that open nothing here because another gateway gave them up",
            self.keys_retired.clone(),
        );
    }

    pub(super) fn done(&self, at: Timestamp) {
        self.reloads.get_or_create(&ResultLabel { result: DONE }).inc();
        self.last_is_in_use.set(1);
        self.last_success.set(at.seconds());
    }

    pub(super) fn refused(&self) {
        self.reloads.get_or_create(&ResultLabel { result: REFUSED }).inc();
        self.last_is_in_use.set(0);
    }

    pub(super) fn key_retired(&self) {
        self.keys_retired.inc();
    }
}

const DONE: &str = "done";
const REFUSED: &str = "refused";
