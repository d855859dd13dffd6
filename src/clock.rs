//! Wall time: the only file that reads it, and the type everything else takes it as.
//!
//! Rules never ask what time it is; they are told. A test holds a [`Clock::manual`] and moves it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A moment given in milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A moment given in whole seconds since the epoch, as JWT claims are (RFC 7519 section 2).
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000
    }

    /// This moment moved forward; stops at the end of time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(by)))
    }

    /// This moment moved back; stops at the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(by)))
    }

    /// As people write it, in whole seconds: `2026-11-22 07:30:00 UTC`.
    pub fn in_words(self) -> String {
        let rfc3339 = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.seconds())).to_string();
        rfc3339.replace('T', " ").replace('Z', " UTC")
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where the gateway reads wall time: the system's, or a test's hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's own clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`] moves it. Clones share the hand.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(start.0))))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Manual(hand) => Timestamp(hand.load(Ordering::Acquire)),
        }
    }

    /// Moves a manual clock forward; the system's clock does not obey.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(hand) = &self.0 {
            hand.fetch_add(whole_millis(by), Ordering::AcqRel);
        }
    }
}

fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(whole_millis(since_epoch))
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_both_ends_of_time() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp(0).minus(second), Timestamp(0));
        assert_eq!(Timestamp(u64::MAX).plus(second), Timestamp(u64::MAX));
        assert_eq!(Timestamp(500).since(Timestamp(1_500)), Duration::ZERO);
    }

    #[test]
    fn clones_of_a_manual_clock_share_one_hand() {
        let clock = Clock::manual(Timestamp::from_seconds(10));
        let twin = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!(twin.now(), Timestamp::from_seconds(15));
    }
}
