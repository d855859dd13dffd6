//! Sessions between cookie and store: find, create, update, end.
//!
//! Waits for the store and asks the pure parts; holds no rule of its own. Updates are compare-and-set loops over the
//! newest record, so an idle write, a refresh and a logout may meet in any order and none undoes another.
//!
//! What was read is kept for a moment and lets in again without asking, as long as this gateway hears what the others
//! change. It only ever lets in: where what is kept would refuse, the store has the word.

use std::{
    sync::Arc,
    time::{Duration, Instant as Moment},
};

use cookie::Cookie;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::{
    clock::{Clock, Timestamp},
    drain::Drain,
    inbound::Inbound,
    origin::Site,
    random,
    reason::Reason,
    seal::{Farewell, KeyId, KeyRing, RingInForce},
    session::{
        Authenticated, Client, Depth, Facts, Lifetimes, Presented, Tokens,
        cache::{self, Cache},
        cookie::{self as session_cookie, Handle, Shown},
        ending::{Endings, Outcome},
        hearing::Hearing,
        index::Entry,
        turns::Turns,
    },
    store::{Change, NewSession, Store, StoreError, Swap, Version, notice::Notice},
    telemetry::{EndCause, Event, Telemetry},
};

mod kept;

/// What keeping sessions takes.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<Store>,
    ring: Arc<KeyRing>,
    in_force: RingInForce,
    cookie: session_cookie::Config,
    lifetimes: Lifetimes,
    clock: Clock,
    telemetry: Telemetry,
    endings: Arc<Endings>,
    touching: Turns,
    cache: Arc<Cache>,
    hearing: Arc<Hearing>,
    store_outage_grace: Duration,
}

/// What the settings say about sessions.
#[derive(Debug)]
pub struct Config {
    /// The key ring.
    pub keys: KeyRing,
    /// How the cookie looks.
    pub cookie: session_cookie::Config,
    /// How long sessions live and what they are bound to.
    pub lifetimes: Lifetimes,
    /// How much of what was read is kept.
    pub cache: cache::Config,
    /// How long sessions that are kept go on while the store cannot be reached; at most [`LONGEST_GRACE`].
    pub store_outage_grace: Duration,
}

/// A session that a request's cookie opened.
#[derive(Debug)]
pub struct Found {
    /// Proof that it lives.
    pub session: Authenticated,
    /// What its cookie shows.
    pub shown: Shown,
    /// When it lived.
    pub at: Timestamp,
}

impl Keeper {
    /// Puts the keeper together.
    pub fn new(config: Config, store: Arc<Store>, clock: Clock, telemetry: Telemetry) -> Self {
        let ring = Arc::new(config.keys);
        Self {
            endings: Arc::default(),
            touching: Turns::default(),
            cache: Arc::new(Cache::new(config.cache)),
            hearing: Arc::new(Hearing::new(Arc::clone(&store), telemetry.clone())),
            store_outage_grace: config.store_outage_grace,
            store,
            in_force: RingInForce::new(Arc::clone(&ring)),
            ring,
            cookie: config.cookie,
            lifetimes: config.lifetimes,
            clock,
            telemetry,
        }
    }

    /// A keeper with other settings, and with all that this one knows. Its ring is not in force yet.
    #[must_use]
    pub fn reloaded(&self, config: Config) -> Self {
        Self {
            store: Arc::clone(&self.store),
            ring: Arc::new(config.keys),
            in_force: self.in_force.clone(),
            cookie: config.cookie,
            lifetimes: config.lifetimes,
            clock: self.clock.clone(),
            telemetry: self.telemetry.clone(),
            endings: Arc::clone(&self.endings),
            touching: self.touching.clone(),
            cache: Arc::clone(&self.cache),
            hearing: Arc::clone(&self.hearing),
            store_outage_grace: config.store_outage_grace,
        }
    }

    /// Puts this keeper's ring in force, and tells which keys open nothing from now on.
    pub fn take_over(&self) -> Vec<Farewell> {
        self.in_force.replace(&self.ring)
    }

    /// Lets an accepted key open nothing any more, because another gateway has given it up; false if there is none, or if
    /// it is the one that seals here.
    pub fn retire(&self, farewell: &Farewell) -> bool {
        let retired = self.in_force.retire(farewell);
        if retired {
            self.telemetry.event(&Event::KeyRetired { key: farewell.key });
        } else if self.in_force.load().sealing().says(farewell) {
            self.telemetry.event(&Event::SealingKeyGivenUp { key: farewell.key });
        }
        retired
    }

    /// Tells the other gateways of a key that opens nothing here any more: again and again, for as long as a session under
    /// it may live, because one may have been deaf or away; not if the key is taken up again.
    pub async fn announce(&self, farewell: Farewell) {
        let Farewell { key: KeyId(key), proof } = farewell;
        let until = self.clock.now().plus(self.lifetimes.absolute);
        while self.clock.now() < until && self.in_force.load().by_id(farewell.key).is_none() {
            let _ = self.store.announce(Notice::KeyDropped { key, proof }).await;
            tokio::time::sleep(ANNOUNCE_EVERY).await;
        }
    }

    /// How long sessions live.
    pub const fn lifetimes(&self) -> &Lifetimes {
        &self.lifetimes
    }

    /// Whether browsers leave the session's cookie out of navigations that another site began.
    pub const fn cookie_is_strict(&self) -> bool {
        self.cookie.strict
    }

    /// What its times are by.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The key ring, for other sealed things.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// The ring in force, for what outlives this keeper.
    pub const fn ring_in_force(&self) -> &RingInForce {
        &self.in_force
    }

    /// The store, for marks and locks.
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Looks at every cookie of our name and gives the first that opens a live session, at least that much of it. Those that we did not make cost
    /// nothing and hide none; of our own, [`SESSIONS_SHOWN`] are looked up.
    ///
    /// # Errors
    /// [`Reason::StoreUnavailable`] as soon as one could not be looked up, since each further one might take as long; else
    /// the reason of the cookie that came furthest.
    pub async fn find(&self, inbound: &Inbound, presented: &Presented<'_>, depth: Depth) -> Result<Found, Reason> {
        let mut refusal = Reason::NoSession;
        let mut looked_up = 0;
        for value in inbound.cookies(|name| self.cookie.is_name_on(presented.site, name)) {
            let shown = session_cookie::read(&self.ring, presented.site.name(), value);
            looked_up += usize::from(shown.is_ok());
            if looked_up > SESSIONS_SHOWN {
                break;
            }
            let opened = self.open(shown, presented, depth).await;
            self.note_binding(&opened, inbound, presented);
            match opened {
                Ok(found) => return Ok(found),
                Err(Reason::StoreUnavailable) => return Err(Reason::StoreUnavailable),
                Err(reason) if is_further(refusal, reason) => refusal = reason,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    async fn open(
        &self,
        shown: Result<Shown, Reason>,
        presented: &Presented<'_>,
        depth: Depth,
    ) -> Result<Found, Reason> {
        let shown = shown?;
        if self.endings.knows(shown.name()) {
            return Err(Reason::SessionEnded);
        }
        let at = self.clock.now();
        if let Some(session) = self.kept(&shown, presented, depth, at) {
            return Ok(Found { session, shown, at });
        }
        let opened = match Box::pin(self.fetch(&shown, depth)).await {
            // Whoever waited for a store that then did not answer may still be within the grace.
            Err(Reason::StoreUnavailable) => {
                let session = self.kept(&shown, presented, depth, self.clock.now()).ok_or(Reason::StoreUnavailable)?;
                return Ok(Found { session, shown, at });
            }
            fetched => fetched?,
        };
        let at = self.clock.now();
        let session = opened.authenticate(presented, &self.lifetimes, at)?;
        Ok(Found { session, shown, at })
    }

    /// What opens the session of a cookie.
    ///
    /// # Errors
    /// [`Reason::SessionMalformed`] if its master key has gone from the ring in the meantime.
    pub fn handle(&self, shown: &Shown) -> Result<Handle, Reason> {
        shown.handle(&self.ring).ok_or(Reason::SessionMalformed)
    }

    /// What does not open is read once more, on a new connection if the old one is out of step and gives others' records.
    async fn read(&self, handle: &Handle) -> Result<(Version, Box<Facts>), Reason> {
        match self.read_once(handle).await {
            Err(Reason::SessionUnreadable) => Box::pin(self.store.leave_if_out_of_step()).await,
            read => return read,
        }
        self.read_once(handle).await.inspect_err(|reason| self.note_unreadable(*reason, handle))
    }

    fn note_unreadable(&self, reason: Reason, handle: &Handle) {
        if reason == Reason::SessionUnreadable {
            self.telemetry.event(&Event::SessionUnreadable { session: *handle.name() });
        }
    }

    async fn read_once(&self, handle: &Handle) -> Result<(Version, Box<Facts>), Reason> {
        let stored = self.store.facts(handle.name()).await.map_err(|error| self.unavailable("facts", &error))?;
        let Some(stored) = stored else {
            return Err(self.why_missing(handle).await);
        };
        let facts = Facts::open(handle.key(), handle.name(), stored.version, stored.facts);
        facts.map(|facts| (stored.version, Box::new(facts))).map_err(|_| Reason::SessionUnreadable)
    }

    async fn why_missing(&self, handle: &Handle) -> Reason {
        match self.store.was_ended(handle.name()).await {
            Ok(true) => Reason::SessionEnded,
            Ok(false) => Reason::SessionUnknown,
            Err(error) => self.unavailable("was_ended", &error),
        }
    }

    /// Writes a new session and makes its cookie. Its id is fresh, whatever the browser showed.
    ///
    /// # Errors
    /// [`Reason::StoreUnavailable`], or [`Reason::ClaimsTooLarge`] if it is larger than a session may be.
    pub async fn create(
        &self,
        site: &Site,
        facts: &Facts,
        tokens: &Tokens,
        entry: &Entry,
    ) -> Result<Cookie<'static>, Reason> {
        let secret = Zeroizing::new(random::bytes().map_err(|_| Reason::Internal)?);
        let (value, handle) = session_cookie::mint(&self.ring, site.name(), &secret);
        let session = self.sealed(&handle, facts, tokens, entry)?;
        self.store.create(&session).await.map_err(|error| self.unavailable("create", &error))?;
        self.telemetry.event(&Event::SessionCreated { session: *handle.name(), user: &facts.user.id });
        Ok(self.cookie.issue(site, &value, self.lifetimes.absolute))
    }

    fn sealed(&self, handle: &Handle, facts: &Facts, tokens: &Tokens, entry: &Entry) -> Result<NewSession, Reason> {
        let (key, name) = (handle.key(), handle.name());
        let nonce = || random::bytes().map_err(|_| Reason::Internal);
        let too_large = |_| Reason::ClaimsTooLarge;
        Ok(NewSession {
            name: *name,
            facts: facts.seal(key, name, Version::FIRST, nonce()?).map_err(too_large)?,
            tokens: tokens.seal(key, name, facts.tokens.revision, nonce()?).map_err(too_large)?,
            index: entry.seal(self.ring.sealing(), name, nonce()?).map_err(too_large)?,
            groups: entry.groups(self.ring.sealing()),
            until: facts.expires_at,
        })
    }

    /// Reads a session's facts and tokens, newest version.
    ///
    /// # Errors
    /// As [`Keeper::find`], without looking at lifetimes or binding.
    pub async fn read_whole(&self, handle: &Handle) -> Result<(Version, Facts, Tokens), Reason> {
        match self.read_whole_once(handle).await {
            Err(Reason::SessionUnreadable) => Box::pin(self.store.leave_if_out_of_step()).await,
            read => return read,
        }
        self.read_whole_once(handle).await.inspect_err(|reason| self.note_unreadable(*reason, handle))
    }

    async fn read_whole_once(&self, handle: &Handle) -> Result<(Version, Facts, Tokens), Reason> {
        let stored = self
            .store
            .session(handle.name())
            .await
            .map_err(|error| self.unavailable("session", &error))?
            .ok_or(Reason::SessionUnknown)?;
        let unreadable = |_| Reason::SessionUnreadable;
        let facts = Facts::open(handle.key(), handle.name(), stored.version, stored.facts).map_err(unreadable)?;
        let tokens =
            Tokens::open(handle.key(), handle.name(), facts.tokens.revision, &stored.tokens).map_err(unreadable)?;
        Ok((stored.version, facts, tokens))
    }

    /// Changes a session's facts, and its tokens where the edit gives some, against whatever else happens to it.
    /// The edit says [`Edit::Leave`] when there is nothing to do any more.
    ///
    /// # Errors
    /// [`Reason::SessionUnknown`] once the session is gone, [`Reason::StoreUnavailable`], [`Reason::RefreshBusy`] if
    /// others kept changing it.
    pub async fn update(&self, handle: &Handle, edit: impl Fn(&mut Facts) -> Edit) -> Result<Facts, Reason> {
        for _ in 0..UPDATE_ATTEMPTS {
            let (version, mut facts) = self.read(handle).await?;
            let tokens = match edit(&mut facts) {
                Edit::Leave => return Ok(*facts),
                Edit::Facts => None,
                Edit::Tokens(tokens) => {
                    facts.tokens.revision = facts.tokens.revision.saturating_add(1);
                    Some(tokens)
                }
            };
            let change = Self::change(handle, version, &facts, tokens.as_deref())?;
            let swap = self.store.compare_and_set(handle.name(), &change).await;
            match swap.map_err(|error| self.unavailable("compare_and_set", &error))? {
                Swap::Done => {
                    self.cache.forget(handle.name());
                    return Ok(*facts);
                }
                Swap::Stale => {}
                Swap::Gone => return Err(Reason::SessionUnknown),
            }
        }
        Err(Reason::RefreshBusy)
    }

    fn change(handle: &Handle, version: Version, facts: &Facts, tokens: Option<&Tokens>) -> Result<Change, Reason> {
        let nonce = || random::bytes().map_err(|_| Reason::Internal);
        let too_large = |_| Reason::ClaimsTooLarge;
        let seal_tokens = |tokens: &Tokens| {
            tokens.seal(handle.key(), handle.name(), facts.tokens.revision, nonce()?).map_err(too_large)
        };
        Ok(Change {
            expected: version,
            facts: facts.seal(handle.key(), handle.name(), version.next(), nonce()?).map_err(too_large)?,
            tokens: tokens.map(seal_tokens).transpose()?,
        })
    }

    /// Writes down that a session was used.
    ///
    /// # Errors
    /// As [`Keeper::update`].
    pub async fn touch(&self, handle: &Handle) -> Result<Facts, Reason> {
        let now = self.clock.now();
        let later = |facts: &mut Facts| {
            if facts.last_seen >= now {
                return Edit::Leave;
            }
            facts.last_seen = now;
            Edit::Facts
        };
        self.update(handle, later).await
    }

    /// Writes down beside the answer that a session was used.
    pub fn touch_aside(self: &Arc<Self>, handle: Arc<Handle>, drain: &Drain) {
        if let Some(turn) = self.touching.take(*handle.name()) {
            let this = Arc::clone(self);
            drain.spawn(async move {
                let _ = this.touch(&handle).await;
                drop(turn);
            });
        }
    }

    /// Whether the stored time of last use is old enough to be written again.
    pub fn wants_touch(&self, facts: &Facts, now: Timestamp) -> bool {
        now.since(facts.last_seen) >= self.lifetimes.idle_write_after()
    }

    /// Ends a session for good. With the store down the ending is kept and made good as soon as it is back.
    pub async fn end(&self, handle: &Handle, expires_at: Timestamp, cause: EndCause) -> Outcome {
        self.cache.forget(handle.name());
        let outcome = self.endings.end(&self.store, handle.name(), expires_at).await;
        if outcome != Outcome::Before {
            let pending = outcome == Outcome::Pending;
            self.telemetry.event(&Event::SessionEnded { session: *handle.name(), cause, pending });
        }
        outcome
    }

    /// Ends all sessions that a browser shows, within [`END_WITHIN`].
    pub async fn end_shown(&self, inbound: &Inbound, site: &Site, cause: EndCause) {
        let by = Instant::now() + END_WITHIN;
        let latest = self.latest_end();
        for handle in self.shown(inbound, site) {
            self.end_by(by, &handle, latest, cause, self.end(&handle, latest, cause)).await;
        }
    }

    /// Ends a session that a browser shows, and gives its tokens where they could be read before that. It is final here
    /// at once; a store that has not answered by the deadline hears of it later.
    pub async fn end_with_tokens(
        &self,
        handle: &Handle,
        cause: EndCause,
        by: Instant,
    ) -> (Outcome, Option<(Facts, Tokens)>) {
        let latest = self.latest_end();
        let mut whole = None;
        let ending = async {
            whole = self.read_whole(handle).await.ok().map(|(_, facts, tokens)| (facts, tokens));
            self.end(handle, latest, cause).await
        };
        (self.end_by(by, handle, latest, cause, ending).await, whole)
    }

    /// When a session that was not read has ended at the latest.
    fn latest_end(&self) -> Timestamp {
        self.clock.now().plus(self.lifetimes.absolute)
    }

    async fn end_by(
        &self,
        by: Instant,
        handle: &Handle,
        latest: Timestamp,
        cause: EndCause,
        ending: impl Future<Output = Outcome>,
    ) -> Outcome {
        self.endings.remember(*handle.name(), latest);
        self.cache.forget(handle.name());
        timeout_at(by, ending).await.unwrap_or_else(|_| {
            self.telemetry.event(&Event::SessionEnded { session: *handle.name(), cause, pending: true });
            Outcome::Pending
        })
    }

    /// The handles of all cookies of our name that we made, within a bound.
    pub fn shown(&self, inbound: &Inbound, site: &Site) -> Vec<Handle> {
        let shown = inbound.cookies(|name| self.cookie.is_name_on(site, name));
        let read = |value| session_cookie::read(&self.ring, site.name(), value).ok()?.handle(&self.ring);
        shown.filter_map(read).take(SESSIONS_SHOWN).collect()
    }

    /// The `Set-Cookie` that takes the session cookie away.
    pub fn clear_cookie(&self, site: &Site) -> Cookie<'static> {
        self.cookie.clear(site)
    }

    /// Makes endings good that the store has missed, for as long as it is polled.
    pub async fn keep_settling(&self) {
        loop {
            self.endings.settle(&self.store, self.clock.now()).await;
            self.cache.sweep(Moment::now());
            tokio::time::sleep(SETTLE_EVERY).await;
        }
    }

    /// A session that another client shows is worth a line, whether it was refused for it or not.
    fn note_binding(&self, opened: &Result<Found, Reason>, inbound: &Inbound, presented: &Presented<'_>) {
        let reason = opened.as_ref().map_or_else(|reason| Some(*reason), |found| found.session.drift());
        if let (Some(reason @ (Reason::BindingAddress | Reason::BindingUserAgent)), Client::Browser { address, .. }) =
            (reason, presented.client)
        {
            self.telemetry.event(&Event::BindingViolated {
                request_id: inbound.request_id_text(),
                reason,
                refused: opened.is_err(),
                client: address,
            });
        }
    }

    fn unavailable(&self, operation: &'static str, error: &StoreError) -> Reason {
        self.hearing.store_failed(error);
        self.telemetry.event(&Event::StoreFailed { operation, error });
        Reason::StoreUnavailable
    }
}

/// What an update does.
#[derive(Debug)]
pub enum Edit {
    /// Nothing: it is as it should be.
    Leave,
    /// Writes the facts.
    Facts,
    /// Writes the facts and new tokens, one revision on.
    Tokens(Box<Tokens>),
}

/// Of several cookies, the one that came furthest gives the reason: an expired session says more than a stranger's
/// cookie beside it.
fn is_further(so_far: Reason, new: Reason) -> bool {
    let rank = |reason| match reason {
        Reason::NoSession => 0,
        Reason::SessionMalformed => 1,
        Reason::SessionUnknown => 2,
        _ => 3,
    };
    rank(new) > rank(so_far)
}

/// Most sessions of one request's cookies that are looked up, or ended.
pub const SESSIONS_SHOWN: usize = 8;

/// How long a person who signs out, or in anew, waits for the store; after that it hears of the endings later.
pub const END_WITHIN: Duration = Duration::from_millis(900);
/// Longest time that sessions go on without the store; what is kept must last longer.
pub const LONGEST_GRACE: Duration = Duration::from_secs(20);
/// How often a key that was given up is told of.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);
/// How often endings that the store has missed are offered to it.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// How often an update is tried against others that change the same session.
const UPDATE_ATTEMPTS: usize = 8;
