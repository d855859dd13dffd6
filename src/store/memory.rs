//! The embedded store: everything in this process, behind one lock that is held briefly and never waited under.
//!
//! What has expired is gone to the millisecond: every operation first takes away what is due, found at the front of
//! an order by expiry. Nothing grows without bound: a session keeps its place until its tombstone has expired too,
//! so ending one always succeeds.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Beaten, Change, Ended, GROUP_LIMIT, Mark, Member, Name, NewSession, StoreError, StoredFacts, StoredSession,
    StoredSwitches, Swap, Thrown, Token, Version,
    notice::{Beat, Notice},
    window::{Counted, Rate, Window, Windows},
};
use crate::clock::{Clock, Timestamp};

/// How much the store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most sessions, tombstones of ended ones included.
    pub max_sessions: usize,
    /// Most single-use marks, and as many locks.
    pub max_marks: usize,
    /// Most sliding windows of each kind; beyond it the one that is due soonest makes room.
    pub max_windows: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_sessions: DEFAULT_MAX_SESSIONS, max_marks: DEFAULT_MAX_MARKS, max_windows: DEFAULT_MAX_WINDOWS }
    }
}

/// Sessions in this process.
pub struct Memory {
    config: Config,
    clock: Clock,
    held: Mutex<Held>,
    windows: Mutex<Windows>,
    switches: Mutex<Option<StoredSwitches>>,
}

/// The operations; [`super::Store`] says what each promises.
#[expect(clippy::missing_errors_doc, reason = "the errors are described where callers meet the operations, on Store")]
impl Memory {
    /// An empty store.
    pub fn new(config: Config, clock: Clock) -> Self {
        let windows = Mutex::new(Windows::new(config.max_windows));
        Self { config, clock, held: Mutex::default(), windows, switches: Mutex::default() }
    }

    /// See [`super::Store::create`].
    pub fn create(&self, session: &NewSession) -> Result<(), StoreError> {
        let mut held = self.current();
        if held.ended.contains_key(&session.name) {
            return Err(StoreError::Refused(super::ENDED_BEFORE.to_owned()));
        }
        if let Some(record) = held.sessions.get(&session.name) {
            return record.already_is(session);
        }
        if held.places() >= self.config.max_sessions {
            return Err(StoreError::Full("sessions"));
        }
        if session.until > self.clock.now() {
            held.insert(session);
        }
        Ok(())
    }

    /// See [`super::Store::facts`].
    pub fn facts(&self, name: &Name) -> Result<Option<StoredFacts>, StoreError> {
        Ok(self.current().sessions.get(name).map(Record::facts))
    }

    /// See [`super::Store::session`].
    pub fn session(&self, name: &Name) -> Result<Option<StoredSession>, StoreError> {
        Ok(self.current().sessions.get(name).map(Record::session))
    }

    /// See [`super::Store::compare_and_set`].
    pub fn compare_and_set(&self, name: &Name, change: &Change) -> Result<Swap, StoreError> {
        let mut held = self.current();
        let Some(record) = held.sessions.get_mut(name) else {
            return Ok(Swap::Gone);
        };
        Ok(record.apply(change))
    }

    /// See [`super::Store::end`].
    pub fn end(&self, name: &Name, until: Timestamp) -> Result<Ended, StoreError> {
        let mut held = self.current();
        let lived = held.remove_session(name);
        let known = held.ended.contains_key(name);
        if !lived && !known && held.places() >= self.config.max_sessions {
            return Err(StoreError::Full("tombstones"));
        }
        held.bury(*name, until);
        Ok(if lived { Ended::Now } else { Ended::Before })
    }

    /// See [`super::Store::was_ended`].
    pub fn was_ended(&self, name: &Name) -> Result<bool, StoreError> {
        Ok(self.current().ended.contains_key(name))
    }

    /// See [`super::Store::group`].
    pub fn group(&self, group: &Name) -> Result<Vec<Member>, StoreError> {
        let held = self.current();
        let members = held.groups.get(group).into_iter().flatten().rev();
        Ok(members.filter_map(|(_, name)| held.member(name)).take(GROUP_LIMIT).collect())
    }

    /// See [`super::Store::count`].
    pub fn count(&self) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.current().sessions.len()).unwrap_or(u64::MAX))
    }

    /// See [`super::Store::mark_once`].
    pub fn mark_once(&self, name: &Name, by: &Token, until: Timestamp) -> Result<Mark, StoreError> {
        let mut held = self.current();
        if let Some((first, _)) = held.marks.get(name) {
            return Ok(if first == by { Mark::First } else { Mark::Again });
        }
        if held.marks.len() >= self.config.max_marks {
            return Err(StoreError::Full("marks"));
        }
        held.marks.insert(*name, (*by, until));
        held.expiries.insert((until, Kind::Mark, *name));
        Ok(Mark::First)
    }

    /// See [`super::Store::lock`].
    pub fn lock(&self, name: &Name, owner: &Token, lease: Duration) -> Result<bool, StoreError> {
        let mut held = self.current();
        match held.locks.get(name) {
            Some((holder, _)) if holder != owner => return Ok(false),
            None if held.locks.len() >= self.config.max_marks => {
                return Err(StoreError::Full("locks"));
            }
            _ => {}
        }
        held.unlock(name);
        let until = self.clock.now().plus(lease);
        held.locks.insert(*name, (*owner, until));
        held.expiries.insert((until, Kind::Lock, *name));
        Ok(true)
    }

    /// See [`super::Store::unlock`].
    pub fn unlock(&self, name: &Name, owner: &Token) -> Result<(), StoreError> {
        let mut held = self.current();
        if held.locks.get(name).is_some_and(|(holder, _)| holder == owner) {
            held.unlock(name);
        }
        Ok(())
    }

    /// See [`super::Store::count_in_window`].
    pub fn count_in_window(&self, window: Window, rates: &[Rate], by: &Token) -> Result<Counted, StoreError> {
        Ok(self.windows().count(window, rates, by, self.clock.now()))
    }

    /// See [`super::Store::bar_window`].
    pub fn bar_window(&self, window: Window, time: Duration) -> Result<(), StoreError> {
        self.windows().bar(window, time, self.clock.now());
        Ok(())
    }

    /// See [`super::Store::switches`].
    pub fn switches(&self) -> Result<Option<StoredSwitches>, StoreError> {
        Ok(self.thrown().clone())
    }

    /// See [`super::Store::throw_switches`].
    pub fn throw_switches(&self, switches: &StoredSwitches) -> Result<Thrown, StoreError> {
        let mut held = self.thrown();
        match &*held {
            Some(held) if held == switches => return Ok(Thrown::Done),
            Some(held) if held.epoch >= switches.epoch => return Ok(Thrown::Stale),
            _ => *held = Some(switches.clone()),
        }
        Ok(Thrown::Done)
    }

    /// See [`super::Store::announce`].
    pub const fn announce(&self, _notice: Notice) -> Result<(), StoreError> {
        Ok(())
    }

    /// See [`super::Store::beat`].
    pub const fn beat(&self, _beat: Beat, new: &Token) -> Result<Beaten, StoreError> {
        Ok(Beaten { servers: 0, mark: *new })
    }

    /// See [`super::Store::ping`].
    pub const fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn thrown(&self) -> MutexGuard<'_, Option<StoredSwitches>> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that has not expired by now.
    fn current(&self) -> MutexGuard<'_, Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.purge(self.clock.now());
        held
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Memory").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What the lock guards. Each entry with an expiry stands in `expiries` exactly once.
#[derive(Default)]
struct Held {
    sessions: HashMap<Name, Record>,
    groups: HashMap<Name, BTreeSet<(Timestamp, Name)>>,
    ended: HashMap<Name, Timestamp>,
    marks: HashMap<Name, (Token, Timestamp)>,
    locks: HashMap<Name, (Token, Timestamp)>,
    expiries: BTreeSet<(Timestamp, Kind, Name)>,
}

/// What expires.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Session,
    Tombstone,
    Mark,
    Lock,
}

impl Held {
    fn purge(&mut self, now: Timestamp) {
        while let Some(&(until, kind, name)) = self.expiries.first()
            && until <= now
        {
            self.expiries.pop_first();
            match kind {
                Kind::Session => drop(self.remove_session(&name)),
                Kind::Tombstone => drop(self.ended.remove(&name)),
                Kind::Mark => drop(self.marks.remove(&name)),
                Kind::Lock => drop(self.locks.remove(&name)),
            }
        }
    }

    fn places(&self) -> usize {
        self.sessions.len().saturating_add(self.ended.len())
    }

    fn insert(&mut self, session: &NewSession) {
        for group in &session.groups {
            let members = self.groups.entry(*group).or_default();
            members.insert((session.until, session.name));
        }
        self.expiries.insert((session.until, Kind::Session, session.name));
        self.sessions.insert(session.name, Record::new(session));
    }

    fn remove_session(&mut self, name: &Name) -> bool {
        let Some(record) = self.sessions.remove(name) else {
            return false;
        };
        self.expiries.remove(&(record.until, Kind::Session, *name));
        for group in &record.groups {
            self.leave(group, (record.until, *name));
        }
        true
    }

    fn leave(&mut self, group: &Name, member: (Timestamp, Name)) {
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(&member);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Leaves a tombstone; one that stands longer already stays.
    fn bury(&mut self, name: Name, until: Timestamp) {
        let until = match self.ended.get(&name) {
            Some(&stands) => stands.max(until),
            None => until,
        };
        if let Some(before) = self.ended.insert(name, until) {
            self.expiries.remove(&(before, Kind::Tombstone, name));
        }
        self.expiries.insert((until, Kind::Tombstone, name));
    }

    fn unlock(&mut self, name: &Name) {
        if let Some((_, until)) = self.locks.remove(name) {
            self.expiries.remove(&(until, Kind::Lock, *name));
        }
    }

    fn member(&self, name: &Name) -> Option<Member> {
        let record = self.sessions.get(name)?;
        Some(Member { name: *name, index: record.index.clone() })
    }
}

struct Record {
    version: Version,
    facts: Vec<u8>,
    tokens: Vec<u8>,
    index: Vec<u8>,
    groups: Vec<Name>,
    until: Timestamp,
}

impl Record {
    fn new(session: &NewSession) -> Self {
        Self {
            version: Version::FIRST,
            facts: session.facts.clone(),
            tokens: session.tokens.clone(),
            index: session.index.clone(),
            groups: session.groups.clone(),
            until: session.until,
        }
    }

    fn facts(&self) -> StoredFacts {
        StoredFacts { version: self.version, facts: self.facts.clone() }
    }

    fn session(&self) -> StoredSession {
        StoredSession { version: self.version, facts: self.facts.clone(), tokens: self.tokens.clone() }
    }

    /// A repeated creation is fine, an updated record included; a different one of that name is not.
    fn already_is(&self, session: &NewSession) -> Result<(), StoreError> {
        let same = self.facts == session.facts && self.tokens == session.tokens && self.index == session.index;
        if same || self.version != Version::FIRST {
            return Ok(());
        }
        Err(StoreError::Refused(super::NAME_TAKEN.to_owned()))
    }

    fn apply(&mut self, change: &Change) -> Swap {
        let next = change.expected.next();
        if self.version == next && self.has(change) {
            return Swap::Done;
        }
        if self.version != change.expected {
            return Swap::Stale;
        }
        self.version = next;
        self.facts.clone_from(&change.facts);
        if let Some(tokens) = &change.tokens {
            self.tokens.clone_from(tokens);
        }
        Swap::Done
    }

    fn has(&self, change: &Change) -> bool {
        let tokens = change.tokens.as_ref();
        self.facts == change.facts && tokens.is_none_or(|tokens| *tokens == self.tokens)
    }
}

/// Sessions that the store holds unless the settings say otherwise.
pub const DEFAULT_MAX_SESSIONS: usize = 100_000;

/// Marks, and locks, that the store holds unless the settings say otherwise.
pub const DEFAULT_MAX_MARKS: usize = 100_000;

/// Sliding windows of each kind that the store holds unless the settings say otherwise.
pub const DEFAULT_MAX_WINDOWS: usize = 100_000;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_000);
    const HOUR: Duration = Duration::from_secs(3_600);
    const MILLI: Duration = Duration::from_millis(1);
    const ALMOST_AN_HOUR: Duration = Duration::from_millis(3_599_999);

    fn store(max_sessions: usize, max_marks: usize) -> (Memory, Clock) {
        let clock = Clock::manual(START);
        let config = Config { max_sessions, max_marks, ..Config::default() };
        (Memory::new(config, clock.clone()), clock)
    }

    fn name(number: u8) -> Name {
        Name::new([number; 32])
    }

    fn session(number: u8) -> NewSession {
        NewSession {
            name: name(number),
            facts: vec![number],
            tokens: vec![number],
            index: vec![number],
            groups: vec![name(200)],
            until: START.plus(HOUR),
        }
    }

    /// How many entries are held, of every kind; nothing may be left behind.
    fn entries(store: &Memory) -> usize {
        let held = store.current();
        held.sessions.len()
            + held.groups.len()
            + held.ended.len()
            + held.marks.len()
            + held.locks.len()
            + held.expiries.len()
    }

    #[test]
    fn everything_is_there_to_the_last_millisecond_and_gone_at_the_next() {
        let (store, clock) = store(10, 10);
        let (token, until) = (Token([1; 16]), START.plus(HOUR));
        store.create(&session(1)).unwrap();
        store.end(&name(2), until).unwrap();
        store.mark_once(&name(3), &token, until).unwrap();
        store.lock(&name(4), &token, HOUR).unwrap();

        clock.advance(ALMOST_AN_HOUR);
        assert!(store.facts(&name(1)).unwrap().is_some());
        assert!(store.was_ended(&name(2)).unwrap());
        let other = Token([2; 16]);
        assert_eq!(store.mark_once(&name(3), &other, until), Ok(Mark::Again));
        assert_eq!(store.lock(&name(4), &other, HOUR), Ok(false));

        clock.advance(MILLI);
        assert_eq!(entries(&store), 0);
        assert_eq!(store.lock(&name(4), &other, HOUR), Ok(true));
    }

    #[test]
    fn a_prolonged_lock_lasts_from_its_last_renewal() {
        let (store, clock) = store(1, 1);
        let (owner, other) = (Token([1; 16]), Token([2; 16]));
        assert_eq!(store.lock(&name(1), &owner, HOUR), Ok(true));
        clock.advance(ALMOST_AN_HOUR);
        assert_eq!(store.lock(&name(1), &owner, HOUR), Ok(true));
        clock.advance(ALMOST_AN_HOUR);
        assert_eq!(store.lock(&name(1), &other, HOUR), Ok(false));
        clock.advance(MILLI);
        assert_eq!(store.lock(&name(1), &other, HOUR), Ok(true));
    }

    #[test]
    fn each_kind_says_when_it_is_full() {
        let (store, _clock) = store(1, 1);
        let (token, until) = (Token([1; 16]), START.plus(HOUR));
        store.create(&session(1)).unwrap();
        store.mark_once(&name(1), &token, until).unwrap();
        store.lock(&name(1), &token, HOUR).unwrap();

        assert_eq!(store.create(&session(2)), Err(StoreError::Full("sessions")));
        let mark = store.mark_once(&name(2), &token, until);
        assert_eq!(mark, Err(StoreError::Full("marks")));
        let lock = store.lock(&name(2), &token, HOUR);
        assert_eq!(lock, Err(StoreError::Full("locks")));
        let stranger = store.end(&name(2), until);
        assert_eq!(stranger, Err(StoreError::Full("tombstones")));
    }

    #[test]
    fn a_full_store_still_ends_its_sessions_and_has_room_again_after_their_tombstones() {
        let (store, clock) = store(1, 1);
        store.create(&session(1)).unwrap();
        assert_eq!(store.end(&name(1), START.plus(HOUR)), Ok(Ended::Now));
        assert_eq!(store.create(&session(2)), Err(StoreError::Full("sessions")));
        clock.advance(HOUR);
        let later = NewSession { until: clock.now().plus(HOUR), ..session(2) };
        assert_eq!(store.create(&later), Ok(()));
    }

    #[test]
    fn the_same_owner_renews_though_the_locks_are_full() {
        let (store, _clock) = store(1, 1);
        let owner = Token([1; 16]);
        assert_eq!(store.lock(&name(1), &owner, HOUR), Ok(true));
        assert_eq!(store.lock(&name(1), &owner, HOUR), Ok(true));
    }

    #[test]
    fn ending_leaves_the_groups_and_a_later_shorter_end_shortens_nothing() {
        let (store, clock) = store(10, 10);
        store.create(&session(1)).unwrap();
        store.end(&name(1), START.plus(HOUR)).unwrap();
        store.end(&name(1), START.plus(MILLI)).unwrap();
        assert_eq!(store.group(&name(200)), Ok(Vec::new()));
        clock.advance(MILLI);
        assert_eq!(store.was_ended(&name(1)), Ok(true));
        clock.advance(HOUR);
        assert_eq!(entries(&store), 0);
    }
}
