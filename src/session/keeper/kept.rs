//! What a keeper keeps of sessions that it has read: when it lets in again without asking, and when it is forgotten.

use std::{sync::Arc, time::Instant};

use super::Keeper;
use crate::{
    clock::Timestamp,
    reason::Reason,
    seal::{Farewell, KeyId},
    session::{
        Authenticated, Depth, Opened, Presented,
        cache::{self, KEPT_FOR},
        cookie::Shown,
    },
    store::notice::Notice,
    telemetry::metrics::sessions::Lookup,
};

impl Keeper {
    /// Lets in by what is kept.
    pub(super) fn kept(
        &self,
        shown: &Shown,
        presented: &Presented<'_>,
        depth: Depth,
        at: Timestamp,
    ) -> Option<Authenticated> {
        let entry = self.cache.get(shown.name()).filter(|entry| entry.opened.depth() >= depth)?;
        let lookup = self.may_use(&entry)?;
        let session = entry.opened.authenticate(presented, &self.lifetimes, at).ok()?;
        self.telemetry.metrics().sessions().looked_up(lookup);
        Some(session)
    }

    /// While the store answers, entries go out of use early enough to last through the grace should it not.
    fn may_use(&self, entry: &cache::Entry) -> Option<Lookup> {
        let now = Instant::now();
        let age = entry.age(now);
        if age < KEPT_FOR.saturating_sub(self.store_outage_grace) && self.hearing.hears(now) {
            return Some(Lookup::Hit);
        }
        let may_go_on = age < KEPT_FOR && self.hearing.may_go_on(now, self.store_outage_grace);
        may_go_on.then_some(Lookup::Grace)
    }

    /// Reads a session from the store, and keeps it.
    pub(super) async fn fetch(&self, shown: &Shown, depth: Depth) -> Result<Arc<Opened>, Reason> {
        let reading = self.cache.reading(shown.name(), Instant::now());
        let handle = self.handle(shown)?;
        let read = self.read(&handle).await;
        self.telemetry.metrics().sessions().looked_up(Lookup::Miss);
        match read {
            Ok((_, facts)) => {
                self.hearing.store_answered();
                let opened = Opened::new(*facts, depth);
                self.cache.fill(&reading, &opened);
                Ok(opened)
            }
            Err(reason) => {
                // What the store has denied once does not come in by the grace later.
                if reason != Reason::StoreUnavailable {
                    self.hearing.store_answered();
                    self.cache.forget(shown.name());
                }
                Err(reason)
            }
        }
    }

    /// Listens to what other gateways change, for as long as it is polled, and passes on what is not about a session.
    pub async fn keep_hearing(&self, pass_on: impl Fn(Notice)) {
        let hear = |notice| match notice {
            Notice::Session(name) => self.cache.forget(&name),
            Notice::KeyDropped { key, proof } => {
                self.retire(&Farewell { key: KeyId(key), proof });
            }
            other => pass_on(other),
        };
        self.hearing.keep_hearing(|| self.cache.flush(), hear).await;
    }

    /// Tells the metrics what there is to tell at a scrape.
    pub fn tell(&self) {
        let (entries, bytes) = self.cache.size();
        self.telemetry.metrics().sessions().cached(entries, bytes);
        self.telemetry.metrics().sessions().hears(self.hearing.has_heard_lately(Instant::now()));
    }
}
