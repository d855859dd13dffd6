//! A few connections that everybody shares, and the one attempt at a time to make another.
//!
//! Commands run side by side on clones of the live connections. Where one is broken, the others probably are too: all
//! that stood when the command began are forgotten, so that its second try gets a new one. Whoever finds none leads an attempt to make one and the others wait for its outcome. If the leader goes
//! away half-way, one of those who wait leads the next: nothing runs on its own, and every wait ends with its
//! caller's deadline.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Object, Pool, PoolError};
use deadpool_redis::redis::aio::MultiplexedConnection;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    client::SetupError,
    reply::{Failure, Remedy},
    source::Source,
};
use crate::store::StoreError;

/// The live connections.
pub(super) struct Connections {
    pool: Pool<Source>,
    wanted: usize,
    state: Mutex<State>,
    generation: Arc<AtomicU64>,
    distrusted: AtomicU64,
}

/// A clone of a live connection.
#[derive(Clone)]
pub(super) struct Lent {
    pub(super) connection: MultiplexedConnection,
    serial: Serial,
    newest: Serial,
    made: Instant,
}

/// Connections are numbered as they are made.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Serial(u64);

#[derive(Default)]
struct State {
    live: Vec<Lent>,
    newest: Serial,
    turns: usize,
    broken: bool,
    /// When the last attempt failed, or began if it has not ended.
    tried: Option<Instant>,
    attempt: Option<watch::Receiver<Outcome>>,
}

/// How an attempt ended, once it has.
type Outcome = Option<Result<(), Failure>>;

/// What a caller does next.
enum Turn {
    Use(Lent),
    Wait(watch::Receiver<Outcome>),
    Lead(Attempt),
}

/// An attempt to connect, by the one caller who leads it.
struct Attempt {
    not_before: Option<Instant>,
    announce: watch::Sender<Outcome>,
}

impl Connections {
    /// Connections from this source, `wanted` of them once there is work. Makes none yet. Nodes of a cluster count
    /// together how often a connection was made anew.
    pub(super) fn new(source: Source, wanted: usize, generation: Arc<AtomicU64>) -> Result<Self, SetupError> {
        let pool = Pool::builder(source).max_size(wanted).build();
        let pool = pool.map_err(|error| SetupError::Client(error.to_string()))?;
        Ok(Self { pool, wanted, state: Mutex::default(), generation, distrusted: AtomicU64::new(0) })
    }

    /// Where the connections come from.
    pub(super) fn source(&self) -> &Source {
        self.pool.manager()
    }

    /// A live connection, made now if there is none.
    pub(super) async fn lend(&self) -> Result<Lent, Failure> {
        loop {
            match self.turn() {
                Turn::Use(lent) => return Ok(lent),
                Turn::Wait(attempt) => outcome_of(attempt).await?,
                Turn::Lead(attempt) => return Box::pin(self.connect(attempt)).await,
            }
        }
    }

    /// Forgets the connections up to this one; each is closed when its last command has ended.
    pub(super) fn forget(&self, newest: Serial) {
        let mut state = self.state();
        let before = state.live.len();
        state.live.retain(|lent| lent.serial > newest);
        state.broken |= state.live.len() < before;
    }

    /// Forgets the connections up to this one, and what they have yet to answer: it may be the answer to another question.
    pub(super) fn distrust(&self, newest: Serial) {
        self.distrusted.fetch_max(newest.0, Ordering::AcqRel);
        self.forget(newest);
    }

    /// Whether an answer on that connection counts for nothing.
    pub(super) fn distrusts(&self, lent: &Lent) -> bool {
        lent.serial.0 <= self.distrusted.load(Ordering::Acquire)
    }

    /// All live connections.
    pub(super) fn live(&self) -> Vec<Lent> {
        let state = self.state();
        state.live.iter().map(|lent| Lent { newest: state.newest, ..lent.clone() }).collect()
    }

    /// The newest connection so far.
    pub(super) fn newest(&self) -> Serial {
        self.state().newest
    }

    /// How often a connection was made after one was lost or could not be made.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn turn(&self) -> Turn {
        let mut state = self.state();
        let attempt = state.attempt.clone().filter(is_under_way);
        let enough = state.live.len() >= self.wanted || attempt.is_some() || state.is_resting();
        match (state.next(), attempt) {
            (Some(lent), _) if enough => Turn::Use(lent),
            (_, Some(attempt)) => Turn::Wait(attempt),
            _ => Turn::Lead(state.begin()),
        }
    }

    async fn connect(&self, attempt: Attempt) -> Result<Lent, Failure> {
        if let Some(rested) = attempt.not_before {
            sleep_until(rested).await;
        }
        let made = self.pool.get().await.map(Object::take);
        let outcome = made.map_err(why_not);
        let mut state = self.state();
        let lent = outcome.map(|connection| state.admit(connection, &self.generation));
        if lent.is_err() {
            state.tried = Some(Instant::now());
            state.broken = true;
        }
        state.attempt = None;
        drop(state);
        let outcome = lent.as_ref().map(drop).map_err(Clone::clone);
        attempt.announce.send_replace(Some(outcome));
        lent
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// The newest connection there was when this one was lent.
    pub(super) const fn newest(&self) -> Serial {
        self.newest
    }

    /// Whether it is too young to be blamed for a server that takes no writes.
    pub(super) fn is_new(&self) -> bool {
        self.made.elapsed() < SETTLED
    }
}

impl State {
    /// The live connections in turn.
    fn next(&mut self) -> Option<Lent> {
        let turn = self.turns.checked_rem(self.live.len())?;
        self.turns = self.turns.wrapping_add(1);
        let lent = self.live.get(turn)?.clone();
        Some(Lent { newest: self.newest, ..lent })
    }

    fn begin(&mut self) -> Attempt {
        let (announce, attempt) = watch::channel(None);
        self.attempt = Some(attempt);
        let before = self.tried.replace(Instant::now());
        Attempt { not_before: before.map(|tried| tried + PACE), announce }
    }

    fn admit(&mut self, connection: MultiplexedConnection, generation: &AtomicU64) -> Lent {
        self.newest = Serial(self.newest.0.saturating_add(1));
        let lent = Lent { connection, serial: self.newest, newest: self.newest, made: Instant::now() };
        self.live.push(lent.clone());
        self.tried = None;
        if std::mem::take(&mut self.broken) {
            generation.fetch_add(1, Ordering::AcqRel);
        }
        lent
    }

    /// With another connection at hand, a failed attempt is not soon followed by the next.
    fn is_resting(&self) -> bool {
        self.tried.is_some_and(|tried| tried.elapsed() < REST)
    }
}

/// Waits for an attempt that another caller leads; a leader that went away leaves no outcome.
async fn outcome_of(mut attempt: watch::Receiver<Outcome>) -> Result<(), Failure> {
    match attempt.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
        Err(_) => Ok(()),
    }
}

/// A leader that went away took the sender with it.
fn is_under_way(attempt: &watch::Receiver<Outcome>) -> bool {
    attempt.has_changed().is_ok()
}

fn why_not(error: PoolError<Failure>) -> Failure {
    match error {
        PoolError::Backend(failure) => failure,
        _ => Failure { error: StoreError::Unreachable("no connection to be had".to_owned()), remedy: Remedy::None },
    }
}

/// Least time between a failed attempt to connect and the next: at most 20 a second, however many ask.
pub(super) const PACE: Duration = Duration::from_millis(50);

/// Least time between a failed attempt and the next while another connection works.
const REST: Duration = Duration::from_secs(1);

/// From this age on, a connection to a server that takes no writes is worth replacing.
const SETTLED: Duration = Duration::from_secs(1);
