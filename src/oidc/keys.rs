//! The key set in use, and when a newer one may be fetched.
//!
//! A token under an unknown key has the set fetched again, the first time at once and then at most once per
//! [`PAUSE_BETWEEN_FETCHES`], whoever asks and however many ask together. A fetch that fails leaves the old set in use.

use std::{
    future::Future,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::Mutex;

use super::{failure::Failure, jwk::KeySet};
use crate::{
    clock::{Clock, Timestamp},
    reason::Reason,
};

/// The key set of one provider.
#[derive(Debug)]
pub struct Keys {
    current: RwLock<Arc<KeySet>>,
    fetched: Mutex<Option<Fetched>>,
}

/// The last fetch out of turn.
#[derive(Debug)]
struct Fetched {
    at: Timestamp,
    outcome: Result<(), Failure>,
}

impl Keys {
    /// Starts with that set.
    pub fn new(first: KeySet) -> Self {
        Self { current: RwLock::new(Arc::new(first)), fetched: Mutex::new(None) }
    }

    /// The set in use.
    pub fn current(&self) -> Arc<KeySet> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Puts that set to use.
    pub fn replace(&self, keys: KeySet) -> Arc<KeySet> {
        let keys = Arc::new(keys);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::clone(&keys);
        keys
    }

    /// A set that is newer than `seen`: one that somebody else fetched meanwhile, or that `fetch` brings. `None` when
    /// the last fetch brought none that is newer, and it is too early for another.
    ///
    /// # Errors
    /// The [`Failure`] of the fetch, for everybody until the next one: nobody knows then whether the provider has the
    /// key.
    pub async fn newer_than(
        &self,
        seen: &Arc<KeySet>,
        clock: &Clock,
        fetch: impl Future<Output = Result<KeySet, Failure>>,
    ) -> Result<Option<Arc<KeySet>>, Failure> {
        let mut fetched = self.fetched.lock().await;
        let current = self.current();
        if !Arc::ptr_eq(&current, seen) {
            return Ok(Some(current));
        }
        let at = clock.now();
        match fetched.as_ref() {
            Some(last) if !is_due(last.at, at, PAUSE_BETWEEN_FETCHES) => {
                return last.outcome.clone().map(|()| None);
            }
            _ => {}
        }
        // Noted before and after, so that a fetch whose caller goes away counts too.
        let interrupted = Failure::new(Reason::ProviderUnreachable, "a key fetch was interrupted");
        *fetched = Some(Fetched { at, outcome: Err(interrupted) });
        let outcome = fetch.await;
        let noted = outcome.as_ref().map(|_| ()).map_err(Failure::clone);
        *fetched = Some(Fetched { at, outcome: noted });
        outcome.map(|keys| Some(self.replace(keys)))
    }
}

/// Whether `period` has gone by; a clock that was set back does not hold anything up for longer than that.
pub(super) fn is_due(since: Timestamp, now: Timestamp, period: Duration) -> bool {
    now.since(since) >= period || since.since(now) >= period
}

/// How long an unknown key has to wait for the next fetch.
pub const PAUSE_BETWEEN_FETCHES: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own keys")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key_set() -> KeySet {
        KeySet::parse(br#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#).unwrap()
    }

    #[tokio::test]
    async fn an_unknown_key_fetches_at_once_and_then_once_a_minute() {
        let (keys, fetches) = (Keys::new(key_set()), AtomicUsize::new(0));
        let down = || Failure::new(Reason::ProviderUnreachable, "down");
        for (second, works, newer, expected) in [
            (0, true, Ok(true), 1),
            (1, true, Ok(false), 1),
            (59, true, Ok(false), 1),
            (60, false, Err(down()), 2),
            (61, true, Err(down()), 2),
            (120, true, Ok(true), 3),
            (100, true, Ok(false), 3),
            (60, true, Ok(true), 4),
        ] {
            let seen = keys.current();
            let clock = Clock::manual(Timestamp::from_seconds(1000 + second));
            let found = keys
                .newer_than(&seen, &clock, async {
                    fetches.fetch_add(1, Ordering::Relaxed);
                    if works { Ok(key_set()) } else { Err(down()) }
                })
                .await;
            assert_eq!(found.map(|keys| keys.is_some()), newer, "at {second} s");
            assert_eq!(fetches.load(Ordering::Relaxed), expected, "at {second} s");
        }
    }

    #[tokio::test]
    async fn a_fetch_whose_caller_goes_away_counts() {
        let (keys, clock) = (Keys::new(key_set()), Clock::manual(Timestamp::from_seconds(1)));
        let seen = keys.current();
        let never = keys.newer_than(&seen, &clock, std::future::pending());
        assert!(tokio::time::timeout(Duration::from_millis(10), never).await.is_err());
        let fetch = std::future::ready(Ok(key_set()));
        let early = keys.newer_than(&seen, &clock, fetch).await.unwrap_err();
        assert_eq!(early.reason, Reason::ProviderUnreachable);
    }

    #[tokio::test]
    async fn a_thousand_callers_fetch_once_and_all_have_the_newer_set() {
        let (keys, fetches) = (Arc::new(Keys::new(key_set())), Arc::new(AtomicUsize::new(0)));
        let seen = keys.current();
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let (keys, fetches, seen) = (keys.clone(), fetches.clone(), seen.clone());
                tokio::spawn(async move {
                    let fetch = async {
                        fetches.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                        Ok(key_set())
                    };
                    keys.newer_than(&seen, &Clock::system(), fetch).await
                })
            })
            .collect();
        for caller in callers {
            assert!(caller.await.unwrap().unwrap().is_some());
        }
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
    }
}
