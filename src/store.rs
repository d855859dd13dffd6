//! Where sessions and single-use marks live: one small set of operations over memory or Redis.
//!
//! Everything that comes in is already sealed or hashed; the store sees names and opaque bytes. Updates are one
//! atomic compare-and-set on an existing record and never create one, so nothing late revives an ended session.
//! Every operation may be repeated: a retry after a lost answer has the same effect and the same result.

use std::{
    fmt,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use self::{
    notice::{Beat, Notice},
    window::{Counted, Rate, Window},
};
use crate::clock::{Clock, Timestamp};

pub mod memory;
pub mod notice;
pub mod redis;
pub mod window;

/// The store that the settings chose, and who is told how its operations go.
pub struct Store {
    backend: Backend,
    observer: Observer,
}

/// Told of every operation: its name, whether it succeeded, and how long it took.
pub type Observer = Box<dyn Fn(&'static str, bool, Duration) + Send + Sync>;

/// Which store it is.
#[derive(Clone, Debug)]
pub enum Config {
    /// In this process; for one gateway, and gone with it.
    Memory(memory::Config),
    /// Redis or Valkey; for any number of gateways.
    Redis(redis::Config),
}

#[derive(Debug)]
enum Backend {
    Memory(memory::Memory),
    Redis(redis::Redis),
}

/// Runs one operation on whichever store it is, and tells the observer.
macro_rules! each {
    ($store:expr, $inner:ident => $operation:ident ( $($argument:expr),* )) => {{
        let began = Instant::now();
        let outcome = match &$store.backend {
            Backend::Memory($inner) => $inner.$operation($($argument),*),
            Backend::Redis($inner) => $inner.$operation($($argument),*).await,
        };
        ($store.observer)(stringify!($operation), outcome.is_ok(), began.elapsed());
        outcome
    }};
}

impl Store {
    /// Sets a store up. Waits for nothing: Redis may be down.
    ///
    /// # Errors
    /// [`redis::SetupError`] when its client cannot be made from the settings.
    pub fn open(config: Config, clock: &Clock, observer: Observer) -> Result<Self, redis::SetupError> {
        let backend = match config {
            Config::Memory(config) => Backend::Memory(memory::Memory::new(config, clock.clone())),
            Config::Redis(config) => Backend::Redis(redis::Redis::new(config)?),
        };
        Ok(Self { backend, observer })
    }

    /// Writes a new session and its index entry, both or neither. A session that was written before stays as it is,
    /// so a late repetition neither overwrites an update nor revives what has ended.
    ///
    /// # Errors
    /// [`StoreError`] when the store did not do it in time, or is full; [`StoreError::Refused`] when the session has
    /// ended already, or another one bears its name.
    pub async fn create(&self, session: &NewSession) -> Result<(), StoreError> {
        each!(self, store => create(session))
    }

    /// Reads a session's version and facts, without its tokens.
    ///
    /// # Errors
    /// [`StoreError`] when the store did not answer in time or answered with something else.
    pub async fn facts(&self, name: &Name) -> Result<Option<StoredFacts>, StoreError> {
        each!(self, store => facts(name))
    }

    /// Reads a session whole.
    ///
    /// # Errors
    /// As [`Store::facts`].
    pub async fn session(&self, name: &Name) -> Result<Option<StoredSession>, StoreError> {
        each!(self, store => session(name))
    }

    /// Replaces a session's facts, and its tokens where the change has some, if its version is still the expected
    /// one. The version goes up by one.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub async fn compare_and_set(&self, name: &Name, change: &Change) -> Result<Swap, StoreError> {
        each!(self, store => compare_and_set(name, change))
    }

    /// Ends a session for good: record and index entry go, a tombstone stays until `until`. Ending what is not
    /// there leaves the tombstone all the same. All gateways hear of it, as they do of an update.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub async fn end(&self, name: &Name, until: Timestamp) -> Result<Ended, StoreError> {
        each!(self, store => end(name, until))
    }

    /// Whether a tombstone of that session stands.
    ///
    /// # Errors
    /// As [`Store::facts`].
    pub async fn was_ended(&self, name: &Name) -> Result<bool, StoreError> {
        each!(self, store => was_ended(name))
    }

    /// The names and sealed index entries of the living sessions in a group, at most [`GROUP_LIMIT`].
    ///
    /// # Errors
    /// As [`Store::facts`].
    pub async fn group(&self, group: &Name) -> Result<Vec<Member>, StoreError> {
        each!(self, store => group(group))
    }

    /// How many sessions live.
    ///
    /// # Errors
    /// As [`Store::facts`].
    pub async fn count(&self) -> Result<u64, StoreError> {
        each!(self, store => count())
    }

    /// Marks something as used until `until`. Exactly one `by` among all gateways is told [`Mark::First`], however
    /// often it asks.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub async fn mark_once(&self, name: &Name, by: &Token, until: Timestamp) -> Result<Mark, StoreError> {
        each!(self, store => mark_once(name, by, until))
    }

    /// Takes or prolongs a lock for `lease`; false if somebody else holds it.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub async fn lock(&self, name: &Name, owner: &Token, lease: Duration) -> Result<bool, StoreError> {
        each!(self, store => lock(name, owner, lease))
    }

    /// Gives a lock back if `owner` still holds it.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub async fn unlock(&self, name: &Name, owner: &Token) -> Result<(), StoreError> {
        each!(self, store => unlock(name, owner))
    }

    /// Counts `by` in a sliding window if every rate has room for one more and the window is not barred; who is refused
    /// is not counted, and who asks again is counted once. Time is the store's own, so that all gateways share it.
    /// Without rates only a bar refuses, and nothing is counted.
    ///
    /// # Errors
    /// As [`Store::create`]; memory never fails, and is never full.
    pub async fn count_in_window(&self, window: Window, rates: &[Rate], by: &Token) -> Result<Counted, StoreError> {
        each!(self, store => count_in_window(window, rates, by))
    }

    /// Lets a window admit nobody for some time; a bar that stands already stays as it is.
    ///
    /// # Errors
    /// As [`Store::count_in_window`].
    pub async fn bar_window(&self, window: Window, time: Duration) -> Result<(), StoreError> {
        each!(self, store => bar_window(window, time))
    }

    /// The record of the fallback's switches, as it was written last. It has no expiry.
    ///
    /// # Errors
    /// As [`Store::facts`]; [`StoreError::Garbage`] when something else lies there.
    pub async fn switches(&self) -> Result<Option<StoredSwitches>, StoreError> {
        each!(self, store => switches())
    }

    /// Writes a record of the switches if its epoch is higher than that of the one that lies there. What is no record at
    /// all gives way to any.
    ///
    /// # Errors
    /// As [`Store::create`]; memory never fails.
    pub async fn throw_switches(&self, switches: &StoredSwitches) -> Result<Thrown, StoreError> {
        each!(self, store => throw_switches(switches))
    }

    /// Says something to all gateways that share the store. Nobody hears what is said in memory.
    ///
    /// # Errors
    /// As [`Store::facts`]; memory never fails.
    pub async fn announce(&self, notice: Notice) -> Result<(), StoreError> {
        each!(self, store => announce(notice))
    }

    /// Says a sign of life, and looks for the store's mark on the way; `new` becomes the mark of a store that has none.
    ///
    /// # Errors
    /// As [`Store::announce`].
    pub async fn beat(&self, beat: Beat, new: &Token) -> Result<Beaten, StoreError> {
        each!(self, store => beat(beat, new))
    }

    /// Listens to what gateways say from now on, this one included; nothing if nobody shares the store.
    ///
    /// # Errors
    /// As [`Store::facts`].
    pub async fn listen(&self) -> Result<Option<redis::Ear>, StoreError> {
        match &self.backend {
            Backend::Memory(_) => Ok(None),
            Backend::Redis(redis) => redis.listen().await.map(Some),
        }
    }

    /// Whether whoever hears a beat has heard everything that was said before it. Not so in a cluster: its nodes pass on what
    /// they can, and nobody hears of the rest.
    pub const fn keeps_order(&self) -> bool {
        match &self.backend {
            Backend::Memory(_) => true,
            Backend::Redis(redis) => redis.keeps_order(),
        }
    }

    /// Whether other processes use it too.
    pub const fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// Asks the store for a sign of life.
    ///
    /// # Errors
    /// As [`Store::facts`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        each!(self, store => ping())
    }

    /// Asks every server what it says of itself, and tells what of it should worry; memory has no server.
    ///
    /// # Errors
    /// As [`Store::facts`]. What a server refuses to tell is no error.
    pub async fn inspect(&self) -> Result<Vec<redis::Inspected>, StoreError> {
        match &self.backend {
            Backend::Memory(_) => Ok(Vec::new()),
            Backend::Redis(redis) => redis.inspect().await,
        }
    }

    /// Looks whether the connections to the store are in step, and takes new ones if not: what was read does not open,
    /// and may be the answer to another question.
    pub async fn leave_if_out_of_step(&self) {
        if let Backend::Redis(redis) = &self.backend {
            redis.leave_if_out_of_step().await;
        }
    }

    /// Counts the times the connection to the store was made anew; memory never is.
    pub fn generation(&self) -> u64 {
        match &self.backend {
            Backend::Memory(_) => 0,
            Backend::Redis(redis) => redis.generation(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// What something is called in the store: a keyed hash, never the secret it was made from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name([u8; 32]);

impl Name {
    /// Takes a keyed hash.
    pub const fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash itself, for associated data.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The form that a store key takes: base64url.
    pub fn encoded(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The same, written behind a text.
    pub fn encode_onto(&self, text: &mut String) {
        URL_SAFE_NO_PAD.encode_string(self.0, text);
    }

    /// The first eight characters, by which logs speak of it.
    pub fn short(&self) -> String {
        self.encoded().chars().take(8).collect()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.short())
    }
}

/// 16 random bytes by which one caller is told from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub [u8; 16]);

/// Which update of a record this is; a new record has version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

impl Version {
    /// The version of a new record.
    pub const FIRST: Self = Self(1);

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A session to be written for the first time, at [`Version::FIRST`].
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Where it goes.
    pub name: Name,
    /// Sealed facts.
    pub facts: Vec<u8>,
    /// Sealed tokens.
    pub tokens: Vec<u8>,
    /// Sealed index entry.
    pub index: Vec<u8>,
    /// The groups it is a member of: the user, and the provider's session.
    pub groups: Vec<Name>,
    /// When it is forgotten.
    pub until: Timestamp,
}

/// What verify reads of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFacts {
    /// Which update this is.
    pub version: Version,
    /// Sealed facts.
    pub facts: Vec<u8>,
}

/// A session whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Which update this is.
    pub version: Version,
    /// Sealed facts.
    pub facts: Vec<u8>,
    /// Sealed tokens.
    pub tokens: Vec<u8>,
}

/// An update of a session.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that was read.
    pub expected: Version,
    /// Facts sealed for the version after it.
    pub facts: Vec<u8>,
    /// New sealed tokens, if they change.
    pub tokens: Option<Vec<u8>>,
}

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Written.
    Done,
    /// Somebody else wrote since it was read.
    Stale,
    /// There is no such session any more.
    Gone,
}

/// How ending a session went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It lived until now.
    Now,
    /// It was not there.
    Before,
}

/// Who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The asker.
    First,
    /// Somebody else.
    Again,
}

/// How a sign of life was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// How many servers say it on: who hears it that often has heard what each of them said before.
    pub servers: u32,
    /// What the store bears for as long as it has its data. Whoever sees another one knows that all data was lost.
    pub mark: Token,
}

/// A living session in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The session's name.
    pub name: Name,
    /// Its sealed index entry.
    pub index: Vec<u8>,
}

/// A record of the fallback's switches.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSwitches {
    /// Its number, in the open: a higher one wins.
    pub epoch: u64,
    /// Sealed record.
    pub sealed: Vec<u8>,
}

impl fmt::Debug for StoredSwitches {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StoredSwitches").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// How throwing the switches went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thrown {
    /// Written, now or by an earlier try.
    Done,
    /// Another record of this epoch, or of a higher one, lies there.
    Stale,
}

/// Most members that a group's list returns; beyond it the newest.
pub const GROUP_LIMIT: usize = 1_000;

/// Why a session whose tombstone stands is not created.
const ENDED_BEFORE: &str = "the session has ended already";

/// Why a session is not created under another one's name.
const NAME_TAKEN: &str = "another session bears that name";

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No connection, or it broke.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// The deadline passed.
    #[error("the store did not answer within {0:?}")]
    Deadline(Duration),
    /// The store answered with an error: read-only, out of memory, no permission.
    #[error("the store refused: {0}")]
    Refused(String),
    /// The store answered with something that is not ours.
    #[error("the store's answer makes no sense: {0}")]
    Garbage(String),
    /// The memory store holds as many sessions or marks as it may.
    #[error("the memory store is full ({0})")]
    Full(&'static str),
}

impl StoreError {
    /// A bounded label for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Deadline(_) => "deadline",
            Self::Refused(_) => "refused",
            Self::Garbage(_) => "garbage",
            Self::Full(_) => "full",
        }
    }
}
