//! Fetches revocation lists, keeps the last good ones, and answers what they say of a path.
//!
//! Invariant: each address is asked by one task at a time, and no address waits for another. A request never waits for the
//! network longer than [`WAIT_ON_MISS`]. What counts is decided in `revocation.rs`, by the clock that was given; this
//! file holds no rule.

use std::{
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{Request, StatusCode};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{sleep, timeout, timeout_at},
};
use url::Url;

use self::shelf::{Kept, Shelf};
use crate::{
    clock::{Clock, Timestamp},
    drain::Drain,
    fallback::{
        chain::{AdminCa, Path},
        crl::RevocationList,
        revocation::{Book, Good, Rules},
    },
    outbound::{
        self, Outbound, OutboundError,
        destination::{PlainHttp, Reachable},
    },
    reason::Reason,
    seal::RingInForce,
    telemetry::{
        Event, Telemetry,
        fallback::{CrlNews, FallbackEvent},
    },
};

mod shelf;

/// Where the lists come from, and where they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// One list of every authority.
    pub urls: Vec<Url>,
    /// Where the last good ones are kept for a restart.
    pub folder: Option<PathBuf>,
    /// For how long they count.
    pub rules: Rules,
    /// The client's trust and deadlines. Plain http is spoken whatever it says: lists are signed.
    pub outbound: outbound::Config,
}

/// The revocation lists. Clones share them.
#[derive(Clone, Debug)]
pub struct Revocations(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    sources: Vec<Source>,
    desk: Mutex<Desk>,
    landed: Notify,
    client: Outbound,
    ca: Arc<AdminCa>,
    shelf: Option<Arc<Shelf>>,
    clock: Clock,
    telemetry: Telemetry,
    drain: Drain,
}

#[derive(Debug)]
struct Source {
    url: Url,
    shown: String,
    reachable: Reachable,
}

#[derive(Debug)]
struct Desk {
    book: Book,
    /// Which addresses are being asked.
    flying: Vec<bool>,
}

/// One address being asked. It lands however the task ends.
struct Flight {
    revocations: Revocations,
    address: usize,
}

/// Why there is no list, and what the log may say of the cause.
type Failed = (Reason, String);

impl Revocations {
    /// Reads what was kept; asks nobody yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(
        config: Config,
        ca: Arc<AdminCa>,
        keys: RingInForce,
        clock: Clock,
        telemetry: Telemetry,
        drain: Drain,
    ) -> Result<Self, StartError> {
        if config.urls.len() > MOST_LISTS {
            return Err(StartError::TooMany);
        }
        let client = Outbound::new(&outbound::Config { plain_http: PlainHttp::Anywhere, ..config.outbound.clone() })?;
        let desk = Desk { book: Book::new(config.urls.len(), config.rules), flying: vec![false; config.urls.len()] };
        let revocations = Self(Arc::new(Shared {
            sources: config.urls.iter().cloned().map(Source::new).collect(),
            desk: Mutex::new(desk),
            landed: Notify::new(),
            client,
            ca,
            shelf: config.folder.clone().map(|folder| Arc::new(Shelf::new(folder, keys))),
            config,
            clock,
            telemetry,
            drain,
        }));
        revocations.restore();
        Ok(revocations)
    }

    /// The lists as other settings want them: the very same where these settings change nothing, or else others that know
    /// what these know.
    ///
    /// # Errors
    /// As [`Revocations::new`].
    pub fn reloaded(&self, config: Config, ca: &Arc<AdminCa>, keys: RingInForce) -> Result<Self, StartError> {
        let shared = &self.0;
        if shared.config == config && shared.ca.is_same_as(ca) {
            return Ok(self.clone());
        }
        let (clock, telemetry, drain) = (shared.clock.clone(), shared.telemetry.clone(), shared.drain.clone());
        let new = Self::new(config, Arc::clone(ca), keys, clock, telemetry, drain)?;
        let before = |source: &Source| shared.sources.iter().position(|other| other.url == source.url);
        let addresses: Vec<_> = new.0.sources.iter().map(before).collect();
        new.desk().book.take_over(&self.desk().book, &addresses, |authority| ca.has(authority));
        Ok(new)
    }

    /// Whether both are one.
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits until every address was asked, or the time is over.
    pub async fn asked_all_within(&self, limit: Duration) {
        let all = async {
            while !self.desk().book.is_complete() {
                sleep(LOOK_EVERY / 10).await;
            }
        };
        let _ = timeout(limit, all).await;
    }

    /// Fetches every list whenever it is due, for as long as somebody else has these.
    pub fn keep_fetching(&self) -> impl Future<Output = ()> + use<> {
        let theirs = Arc::downgrade(&self.0);
        async move {
            while let Some(shared) = theirs.upgrade() {
                let this = Self(shared);
                this.begin_due();
                this.set_gauges();
                drop(this);
                sleep(LOOK_EVERY).await;
            }
        }
    }

    /// What the lists say of a path. If one is missing, waits a little for those that are being fetched.
    ///
    /// # Errors
    /// The reason of [`Book::check`].
    pub async fn check(&self, path: &Path) -> Result<Good, Reason> {
        let deadline = tokio::time::Instant::now() + WAIT_ON_MISS;
        loop {
            let mut landed = pin!(self.0.landed.notified());
            // From here on a landing is noticed, also one before the wait.
            landed.as_mut().enable();
            match self.look(path) {
                (Err(reason), true) if timeout_at(deadline, landed).await.is_err() => return Err(reason),
                (Err(_), true) => {}
                (verdict, _) => return verdict,
            }
        }
    }

    /// The same, as far as it is known now.
    ///
    /// # Errors
    /// The reason of [`Book::check`].
    pub fn check_now(&self, path: &Path) -> Result<Good, Reason> {
        self.look(path).0
    }

    /// What the lists say now, and whether it is worth waiting for more.
    fn look(&self, path: &Path) -> (Result<Good, Reason>, bool) {
        let verdict = self.desk().book.check(path, self.0.clock.now());
        if matches!(verdict, Ok(_) | Err(Reason::Revoked)) {
            return (verdict, false);
        }
        self.begin_due();
        let desk = self.desk();
        // Asked again: one may have landed just now.
        (desk.book.check(path, self.0.clock.now()), desk.flying.contains(&true))
    }

    /// Begins to ask every address that is due and is not being asked.
    fn begin_due(&self) {
        let now = self.0.clock.now();
        let mut desk = self.desk();
        let due: Vec<usize> = desk.book.due(now).into_iter().filter(|address| !desk.flying[*address]).collect();
        for address in &due {
            desk.flying[*address] = true;
        }
        drop(desk);
        for address in due {
            let flight = Flight { revocations: self.clone(), address };
            self.0.drain.spawn_until_stop(async move { flight.fetch().await });
        }
    }

    fn restore(&self) {
        let Some(files) = &self.0.shelf else {
            return;
        };
        let now = self.0.clock.now();
        for (address, source) in self.0.sources.iter().enumerate() {
            let kept = files.get(&source.url).map_err(|error| error.to_string()).and_then(|kept| {
                let read = |kept: Kept| {
                    let list = RevocationList::read_of_any_age(&kept.bytes, &self.0.ca, now);
                    list.map(|list| (list, kept.fetched)).map_err(|unusable| unusable.to_string())
                };
                kept.map(read).transpose()
            });
            match kept {
                Ok(Some((list, fetched))) => self.desk().book.restore(address, list, fetched),
                Ok(None) => {}
                Err(cause) => self.not_kept(source, &cause),
            }
        }
    }

    fn set_gauges(&self) {
        let now = self.0.clock.now();
        let desk = self.desk();
        for (address, source) in self.0.sources.iter().enumerate() {
            if let Some(in_use) = desk.book.in_use(address, now) {
                let metrics = self.0.telemetry.metrics().fallback();
                metrics.set_crl(&source.shown, in_use.age, in_use.this_update);
            }
        }
    }

    fn not_kept(&self, source: &Source, cause: &str) {
        self.0.telemetry.event(&Event::Fallback(FallbackEvent::CrlNotKept { url: &source.shown, cause }));
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn new(url: Url) -> Self {
        Self { shown: shown(&url), reachable: Reachable::of([&url]), url }
    }
}

impl Flight {
    async fn fetch(self) {
        let shared = &self.revocations.0;
        let Some(source) = shared.sources.get(self.address) else {
            return;
        };
        // A list counts from the moment at which it was asked for.
        let (began, asked) = (Instant::now(), shared.clock.now());
        let (outcome, bytes) = match self.ask(source).await {
            Ok((list, bytes)) => (Ok(list), bytes),
            Err(failed) => (Err(failed), Vec::new()),
        };
        let outcome = self.enter(outcome, asked);
        let took = began.elapsed();
        let told = outcome.as_ref().map(|news| *news).map_err(|(reason, cause)| (*reason, cause.as_str()));
        let event = FallbackEvent::CrlFetched { url: &source.shown, outcome: told, took };
        shared.telemetry.event(&Event::Fallback(event));
        if outcome.is_ok() {
            self.keep(source, Kept { fetched: asked, bytes }).await;
        }
    }

    /// Asks for the list and reads it.
    async fn ask(&self, source: &Source) -> Result<(RevocationList, Vec<u8>), Failed> {
        let shared = Arc::clone(&self.revocations.0);
        let request = Request::get(source.url.as_str()).body(Vec::new());
        let request = request.map_err(|error| (Reason::CrlUnavailable, error.to_string()))?;
        let answer = shared.client.call(request, &source.reachable).await.map_err(|error| not_fetched(&error))?;
        if answer.status() != StatusCode::OK {
            return Err((Reason::CrlUnavailable, format!("the answer is {}, not 200", answer.status().as_u16())));
        }
        // Reading checks a signature and as many entries as fit into the limit: not where requests are served.
        let reading = spawn_blocking(move || {
            let bytes = answer.into_body();
            let list = RevocationList::read(&bytes, &shared.ca, shared.config.rules.max_age, shared.clock.now());
            list.map(|list| (list, bytes)).map_err(|unusable| (unusable.reason(), unusable.to_string()))
        });
        reading.await.map_err(|error| (Reason::CrlUnavailable, error.to_string()))?
    }

    /// Writes into the book what came, and tells those who wait for it.
    fn enter(&self, outcome: Result<RevocationList, Failed>, asked: Timestamp) -> Result<CrlNews, Failed> {
        let (list, cause) = match outcome {
            Ok(list) => (Ok(list), OLDER.to_owned()),
            Err((reason, cause)) => (Err(reason), cause),
        };
        let news = list.as_ref().ok().map(|list| (list.this_update(), list.next_update()));
        let entered = self.revocations.desk().book.arrived(self.address, asked, list);
        self.revocations.0.landed.notify_waiters();
        match (entered, news) {
            (Ok(()), Some((this_update, next_update))) => Ok(CrlNews { this_update, next_update }),
            (Ok(()), None) => Err((Reason::CrlUnavailable, cause)),
            (Err(reason), _) => Err((reason, cause)),
        }
    }

    async fn keep(&self, source: &Source, kept: Kept) {
        let Some(files) = self.revocations.0.shelf.clone() else {
            return;
        };
        let url = source.url.clone();
        let keeping = spawn_blocking(move || files.put(&url, &kept).map_err(|error| error.to_string()));
        if let Err(cause) = keeping.await.unwrap_or_else(|error| Err(error.to_string())) {
            self.revocations.not_kept(source, &cause);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut desk = self.revocations.desk();
        if let Some(flying) = desk.flying.get_mut(self.address) {
            *flying = false;
        }
        drop(desk);
        self.revocations.0.landed.notify_waiters();
    }
}

/// Why the lists cannot be fetched at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There are more addresses than there may be.
    #[error("there are more than {MOST_LISTS} addresses of revocation lists")]
    TooMany,
    /// The client cannot be made.
    #[error("the client for revocation lists: {0}")]
    Client(#[from] OutboundError),
}

fn not_fetched(error: &OutboundError) -> Failed {
    let reason = match error {
        OutboundError::TooLarge => Reason::CrlInvalid,
        OutboundError::Malformed(_)
        | OutboundError::NotPermitted(_)
        | OutboundError::NotConnected(_)
        | OutboundError::NoWholeAnswer(_) => Reason::CrlUnavailable,
    };
    (reason, error.to_string())
}

/// An address for log and metrics: without user, query and fragment, which may be secret.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The most addresses; so many are asked at once at most.
pub const MOST_LISTS: usize = 16;
/// How long a request waits for a list that is missing; nginx waits no longer for verify than this and a silent store take.
pub const WAIT_ON_MISS: Duration = Duration::from_millis(500);
/// Between two looks at what is due, in real time.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const OLDER: &str = "is older than one seen before";

#[cfg(test)]
mod tests;
