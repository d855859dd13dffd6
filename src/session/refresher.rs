//! Refreshes tokens: one task in the whole fleet per session, off every request's path.
//!
//! Invariants: a refresh token is used by whoever holds the session's lock, and only after the attempt was written
//! down; new tokens are written by compare-and-set on a session that still lives. So a lost answer is known to have
//! been lost, and a slow or absent provider signs nobody out.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Clock, Timestamp},
    drain::Drain,
    oidc::{
        profile::Profile,
        provider::{Identified, Provider, RefreshFailure, Refreshed, Revocable},
    },
    random,
    reason::Reason,
    session::{
        Facts, REFRESH_RETRY_AFTER, TokenState, Tokens,
        cookie::Handle,
        keeper::{Edit, Keeper},
        turns::Turns,
    },
    store::Token,
    telemetry::{EndCause, Event, Telemetry},
};

/// What refreshing takes. Clones share everything.
#[derive(Clone, Debug)]
pub struct Refresher(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    keeper: Arc<Keeper>,
    provider: Arc<Provider>,
    profile: Profile,
    clock: Clock,
    telemetry: Telemetry,
    drain: Drain,
    turns: Turns,
    resting: Turns,
}

/// How a refresh that somebody waits for ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// When the access token expires, if the provider said so.
    pub access_expires_at: Option<Timestamp>,
}

impl Refresher {
    /// Puts the refresher together.
    pub fn new(
        keeper: Arc<Keeper>,
        provider: Arc<Provider>,
        profile: Profile,
        clock: Clock,
        telemetry: Telemetry,
        drain: Drain,
    ) -> Self {
        let (turns, resting) = (Turns::default(), Turns::default());
        Self(Arc::new(Parts { keeper, provider, profile, clock, telemetry, drain, turns, resting }))
    }

    /// Refreshes in the background if nobody in this process does so already, or has just failed to: while a provider
    /// is down, every request of every session would begin another refresh.
    pub fn begin(&self, handle: Arc<Handle>) {
        let Some(rest) = self.0.resting.take(*handle.name()) else {
            return;
        };
        let Some(turn) = self.0.turns.take(*handle.name()) else {
            return;
        };
        let this = self.clone();
        self.0.drain.spawn(async move {
            let outcome = this.alone(&handle, Demand::WhenDue).await;
            drop(turn);
            if outcome.is_err() {
                let _ = tokio::time::timeout(REFRESH_RETRY_AFTER, this.0.drain.stopping()).await;
            }
            drop(rest);
        });
    }

    /// Refreshes now, or waits for whoever does; the task goes on if the caller goes away.
    ///
    /// # Errors
    /// The reason why there are no fresh tokens.
    pub async fn refresh(&self, handle: Arc<Handle>, seen: TokenState) -> Result<Fresh, Reason> {
        let this = self.clone();
        let task = self.0.drain.spawn(async move { this.until_fresh(&handle, seen).await });
        task.await.unwrap_or(Err(Reason::Internal))
    }

    async fn until_fresh(&self, handle: &Handle, seen: TokenState) -> Result<Fresh, Reason> {
        let deadline = tokio::time::Instant::now() + WAIT_FOR_OTHERS;
        loop {
            if let Some(_turn) = self.0.turns.take(*handle.name()) {
                match self.alone(handle, Demand::NewerThan(seen.revision)).await {
                    Err(Reason::RefreshBusy) => {}
                    settled => return settled,
                }
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(Reason::RefreshBusy);
            }
            tokio::time::sleep(POLL_OTHERS).await;
        }
    }

    /// Takes the fleet's lock, keeps it alive, refreshes, and gives it back.
    async fn alone(&self, handle: &Handle, demand: Demand) -> Result<Fresh, Reason> {
        let parts = &self.0;
        let owner = Token(random::bytes().map_err(|_| Reason::Internal)?);
        let lock = *handle.name();
        let store = parts.keeper.store();
        let unavailable = |_| Reason::StoreUnavailable;
        if !store.lock(&lock, &owner, LEASE).await.map_err(unavailable)? {
            return Err(Reason::RefreshBusy);
        }
        let keep_lock = async {
            loop {
                tokio::time::sleep(LEASE / 3).await;
                let _ = store.lock(&lock, &owner, LEASE).await;
            }
        };
        let outcome = tokio::select! {
            outcome = self.locked(handle, demand) => outcome,
            () = keep_lock => Err(Reason::Internal),
        };
        let _ = store.unlock(&lock, &owner).await;
        outcome
    }

    async fn locked(&self, handle: &Handle, demand: Demand) -> Result<Fresh, Reason> {
        let (_, facts, tokens) = self.0.keeper.read_whole(handle).await?;
        if demand.is_met_by(&facts.tokens, self.0.clock.now()) {
            return Ok(fresh(&facts));
        }
        let Some(refresh_token) = tokens.refresh.clone() else {
            return Err(Reason::RefreshTokenMissing);
        };
        let retry = facts.tokens.attempt.is_some();
        let revision = facts.tokens.revision;
        self.note_attempt(handle, revision, Some(self.0.clock.now())).await?;
        let identified = Identified { issuer: &facts.issuer, subject: &facts.subject, id_token: Some(&tokens.id) };
        match self.0.provider.refresh(&refresh_token, identified).await {
            Ok(refreshed) => self.keep(handle, revision, tokens, refreshed).await,
            Err(failure) => Err(self.give_up(handle, revision, facts.expires_at, retry, failure).await),
        }
    }

    async fn keep(&self, handle: &Handle, revision: u64, old: Tokens, refreshed: Refreshed) -> Result<Fresh, Reason> {
        let now = self.0.clock.now();
        let tokens = Tokens {
            access: refreshed.access.clone(),
            refresh: refreshed.refresh.clone().or(old.refresh),
            id: refreshed.id.clone().unwrap_or(old.id),
        };
        let apply = |facts: &mut Facts| {
            if facts.tokens.revision != revision {
                return Edit::Leave;
            }
            facts.tokens.issued_at = now;
            facts.tokens.access_expires_at = refreshed.access_expires_at;
            facts.tokens.refreshable = tokens.refresh.is_some();
            facts.tokens.attempt = None;
            if let Some(claims) = &refreshed.claims {
                facts.user = self.0.profile.user(&facts.subject, claims);
            }
            Edit::Tokens(Box::new(tokens.clone()))
        };
        let facts = match self.0.keeper.update(handle, apply).await {
            Err(reason @ (Reason::SessionEnded | Reason::SessionUnknown)) => {
                self.give_back(&tokens).await;
                return Err(reason);
            }
            written => written?,
        };
        self.0.telemetry.event(&Event::Refreshed { session: *handle.name() });
        if let Some(failure) = &refreshed.userinfo_failure {
            let provider = self.0.provider.name();
            let event = Event::ProviderFailed { provider, operation: "userinfo", cause: &failure.cause };
            self.0.telemetry.event(&event);
        }
        Ok(fresh(&facts))
    }

    /// The session ended while the provider made these: its sign-out could not give them back.
    async fn give_back(&self, tokens: &Tokens) {
        let revocable = Revocable { refresh: tokens.refresh.as_ref(), access: Some(&tokens.access) };
        if let Err(failure) = self.0.provider.revoke(revocable).await {
            let provider = self.0.provider.name();
            self.0.telemetry.event(&Event::ProviderFailed { provider, operation: "revoke", cause: &failure.cause });
        }
    }

    async fn give_up(
        &self,
        handle: &Handle,
        revision: u64,
        expires_at: Timestamp,
        retry: bool,
        failure: RefreshFailure,
    ) -> Reason {
        let session = *handle.name();
        let told = failure.failure().clone();
        let reason = match failure {
            RefreshFailure::InvalidGrant(_) if retry => {
                self.drop_tokens(handle, revision).await;
                Reason::RefreshLost
            }
            RefreshFailure::InvalidGrant(_) => {
                self.0.keeper.end(handle, expires_at, EndCause::RefreshRejected).await;
                Reason::RefreshRejected
            }
            RefreshFailure::NotSent(_) | RefreshFailure::Rejected(_) => {
                let _ = self.note_attempt(handle, revision, None).await;
                told.reason
            }
            RefreshFailure::Lost(_) => told.reason,
            RefreshFailure::BadAnswer(_) if told.reason == Reason::TokenResponseInvalid => told.reason,
            RefreshFailure::BadAnswer(_) => {
                self.0.keeper.end(handle, expires_at, EndCause::RefreshRejected).await;
                told.reason
            }
        };
        self.0.telemetry.event(&Event::RefreshFailed { session, reason, cause: &told.cause });
        reason
    }

    async fn note_attempt(&self, handle: &Handle, revision: u64, at: Option<Timestamp>) -> Result<(), Reason> {
        let note = |facts: &mut Facts| {
            if facts.tokens.revision != revision || facts.tokens.attempt == at {
                return Edit::Leave;
            }
            facts.tokens.attempt = at;
            Edit::Facts
        };
        self.0.keeper.update(handle, note).await.map(|_| ())
    }

    async fn drop_tokens(&self, handle: &Handle, revision: u64) {
        let drop = |facts: &mut Facts| {
            if facts.tokens.revision != revision {
                return Edit::Leave;
            }
            facts.tokens.refreshable = false;
            facts.tokens.attempt = None;
            Edit::Tokens(Box::default())
        };
        let _ = self.0.keeper.update(handle, drop).await;
    }
}

/// What would make a refresh needless once the lock is held.
#[derive(Clone, Copy, Debug)]
enum Demand {
    /// The tokens are not due.
    WhenDue,
    /// Somebody else refreshed since this revision was seen.
    NewerThan(u64),
}

impl Demand {
    fn is_met_by(self, state: &TokenState, now: Timestamp) -> bool {
        match self {
            Self::WhenDue => !state.refresh_due(now),
            Self::NewerThan(revision) => state.revision > revision,
        }
    }
}

fn fresh(facts: &Facts) -> Fresh {
    Fresh { access_expires_at: facts.tokens.access_expires_at }
}

/// How long the fleet's lock on one refresh lasts without being renewed.
const LEASE: Duration = Duration::from_secs(6);
/// How long somebody who asked for fresh tokens waits for another's refresh.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(12);
const POLL_OTHERS: Duration = Duration::from_millis(50);
