//! Opened sessions, kept for a moment by the record's name: what was read stands, what it means is decided anew each time.
//!
//! Invariants: an entry is what one read of the store gave, for [`KEPT_FOR`] at most. What a request is allowed never
//! lies here: site, policy, client and time are judged from the entry as they are from the store, so that both say the
//! same. A read that began before its session was forgotten fills nothing. Bounded in entries and in bytes.

use std::{
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quick_cache::{Weighter, sync};

use crate::{session::Opened, store::Name};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most sessions; 0 keeps none.
    pub entries: usize,
    /// Most bytes that they take together.
    pub bytes: usize,
}

impl Config {
    /// Nothing is kept.
    pub const NOTHING: Self = Self { entries: 0, bytes: 0 };
}

/// Opened sessions.
pub struct Cache {
    entries: sync::Cache<Name, Entry, Weight, BuildHasherDefault<NameHasher>>,
    /// How often something was forgotten, by the first byte of its name; forgetting everything counts in all of them.
    forgotten: [AtomicU64; STRIPES],
    keeps: bool,
}

/// An opened session, and when its read began.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The session.
    pub opened: Arc<Opened>,
    /// When the read that gave it began.
    pub read_at: Instant,
}

/// A read of the store that may fill the cache.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    name: Name,
    forgotten: u64,
    began: Instant,
}

impl Cache {
    /// An empty one.
    pub fn new(config: Config) -> Self {
        let bytes = u64::try_from(config.bytes).unwrap_or(u64::MAX);
        let least = bytes.div_ceil(u64::try_from(config.entries).unwrap_or(u64::MAX).max(1));
        Self {
            entries: sync::Cache::with(
                config.entries,
                bytes,
                Weight { least },
                BuildHasherDefault::default(),
                sync::DefaultLifecycle::default(),
            ),
            forgotten: [const { AtomicU64::new(0) }; STRIPES],
            keeps: config.entries > 0,
        }
    }

    /// What is kept of a session.
    pub fn get(&self, name: &Name) -> Option<Entry> {
        self.entries.get(name)
    }

    /// Begins a read of the store.
    pub fn reading(&self, name: &Name, now: Instant) -> Reading {
        Reading { name: *name, forgotten: self.stripe(name).load(Ordering::Acquire), began: now }
    }

    /// Keeps what a read gave, unless the session was forgotten since the read began.
    pub fn fill(&self, reading: &Reading, opened: &Arc<Opened>) {
        if !self.keeps || self.is_out_of_date(reading) {
            return;
        }
        self.entries.insert(reading.name, Entry { opened: Arc::clone(opened), read_at: reading.began });
        // Forgetting counts first and removes then: whichever of the two comes last finds the other's work.
        if self.is_out_of_date(reading) {
            self.entries.remove(&reading.name);
        }
    }

    /// Forgets a session: it has ended or changed.
    pub fn forget(&self, name: &Name) {
        self.stripe(name).fetch_add(1, Ordering::AcqRel);
        self.entries.remove(name);
    }

    /// Forgets everything: nobody knows what was missed.
    pub fn flush(&self) {
        for stripe in &self.forgotten {
            stripe.fetch_add(1, Ordering::AcqRel);
        }
        self.entries.clear();
    }

    /// Drops what has been kept for too long.
    pub fn sweep(&self, now: Instant) {
        self.entries.retain(|_, entry| entry.age(now) < KEPT_FOR);
    }

    /// How many sessions are kept, and the bytes that they take.
    pub fn size(&self) -> (usize, u64) {
        (self.entries.len(), self.entries.weight())
    }

    fn is_out_of_date(&self, reading: &Reading) -> bool {
        self.stripe(&reading.name).load(Ordering::Acquire) != reading.forgotten
    }

    fn stripe(&self, name: &Name) -> &AtomicU64 {
        &self.forgotten[usize::from(name.as_bytes()[0]) % STRIPES]
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Entry {
    /// How long ago the read that gave it began.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.read_at)
    }
}

/// One bound for two: each entry weighs its bytes, and at least as much as lets the allowed number of them fill all bytes.
#[derive(Clone, Debug)]
struct Weight {
    least: u64,
}

impl Weighter<Name, Entry> for Weight {
    fn weight(&self, _name: &Name, entry: &Entry) -> u64 {
        let bytes = entry.opened.bytes() + ENTRY_BYTES;
        u64::try_from(bytes).unwrap_or(u64::MAX).max(self.least)
    }
}

/// A name is a keyed hash, so any part of it will do; those who lack the key cannot choose it.
#[derive(Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some((_, last)) = bytes.split_last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    /// The length that comes before the bytes says nothing.
    fn write_usize(&mut self, _length: usize) {}
}

/// How long an opened session is kept at most.
pub const KEPT_FOR: Duration = Duration::from_secs(30);

/// How many sessions are kept unless the settings say otherwise.
pub const DEFAULT_ENTRIES: usize = 50_000;

/// How many bytes they take unless the settings say otherwise.
pub const DEFAULT_BYTES: usize = 48 * 1024 * 1024;

/// What an entry takes beside what it holds: its name, its place, and what the allocator adds.
const ENTRY_BYTES: usize = 128;

/// So many parts of all sessions have a count of their own of what was forgotten: a read of one part does not mind what
/// is forgotten in the others.
const STRIPES: usize = 256;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use proptest::prelude::*;

    use super::*;
    use crate::session::tests::{facts, opened};

    const ROOM: Config = Config { entries: 1_000, bytes: 10_000_000 };

    fn name(number: u16) -> Name {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&number.to_be_bytes());
        hash[30..].copy_from_slice(&number.to_be_bytes());
        Name::new(hash)
    }

    fn fill(cache: &Cache, number: u16, at: Instant) {
        cache.fill(&cache.reading(&name(number), at), &opened(facts()));
    }

    #[test]
    fn what_was_read_is_kept_until_it_is_forgotten() {
        let (cache, now) = (Cache::new(ROOM), Instant::now());
        fill(&cache, 1, now);
        fill(&cache, 2, now);
        assert!(cache.get(&name(1)).is_some());
        cache.forget(&name(1));
        assert!(cache.get(&name(1)).is_none());
        assert!(cache.get(&name(2)).is_some());
        cache.flush();
        assert!(cache.get(&name(2)).is_none());
    }

    #[test]
    fn a_read_that_began_before_its_session_was_forgotten_fills_nothing() {
        let (cache, now) = (Cache::new(ROOM), Instant::now());
        let (one, other) = (name(0x100), name(0x200));
        let began = [one, other].map(|name| cache.reading(&name, now));
        cache.forget(&one);
        for reading in &began {
            cache.fill(reading, &opened(facts()));
        }
        assert!(cache.get(&one).is_none());
        assert!(cache.get(&other).is_some());
        let began = cache.reading(&name(3), now);
        cache.flush();
        cache.fill(&began, &opened(facts()));
        assert!(cache.get(&name(3)).is_none());
    }

    #[test]
    fn what_is_made_of_an_entry_later_does_not_change_what_it_weighs() {
        let cache = Cache::new(ROOM);
        let values =
            [http::HeaderValue::from_static("a value"), http::HeaderValue::try_from("x".repeat(4_000)).unwrap()];
        for number in 0..100 {
            let session = opened(facts());
            cache.fill(&cache.reading(&name(number), Instant::now()), &session);
            session.told(|| crate::session::Told::new(1, &values));
        }
        let (entries, bytes) = cache.size();
        assert!(entries == 100 && bytes > 100);
        for number in 0..100 {
            cache.forget(&name(number));
        }
        assert_eq!(cache.size(), (0, 0));
    }

    #[test]
    fn what_is_too_old_is_swept_away() {
        let (cache, now) = (Cache::new(ROOM), Instant::now());
        fill(&cache, 1, now);
        fill(&cache, 2, now + Duration::from_secs(1));
        cache.sweep(now + KEPT_FOR);
        assert!(cache.get(&name(1)).is_none());
        assert!(cache.get(&name(2)).is_some());
    }

    #[test]
    fn a_cache_for_nothing_keeps_nothing() {
        let cache = Cache::new(Config { entries: 0, ..ROOM });
        fill(&cache, 1, Instant::now());
        assert!(cache.get(&name(1)).is_none());
        assert_eq!(cache.size().0, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn it_holds_no_more_than_it_may_in_number_and_in_bytes(
            entries in 1..2_000_usize, bytes in 1_000..2_000_000_usize, claims in 0..3_000_usize,
        ) {
            let cache = Cache::new(Config { entries, bytes });
            let mut facts = facts();
            facts.user.claims = "x".repeat(claims);
            let opened = opened(facts);
            for number in 0..3_000 {
                cache.fill(&cache.reading(&name(number), Instant::now()), &opened);
            }
            let (kept, weight) = cache.size();
            prop_assert!(kept <= entries, "{} of {}", kept, entries);
            prop_assert!(weight <= u64::try_from(bytes).unwrap_or(0));
            prop_assert!(kept * (opened.bytes() + ENTRY_BYTES) <= bytes);
        }

        /// Threads fill and forget at once: what was forgotten last and never filled after is not there.
        #[test]
        fn nothing_that_was_forgotten_comes_back(rounds in 1..40_u16) {
            let cache = Cache::new(ROOM);
            let session = opened(facts());
            for number in 0..rounds {
                let reading = cache.reading(&name(number), Instant::now());
                std::thread::scope(|scope| {
                    scope.spawn(|| cache.fill(&reading, &session));
                    scope.spawn(|| cache.forget(&name(number)));
                });
                prop_assert!(cache.get(&name(number)).is_none());
            }
        }
    }
}
