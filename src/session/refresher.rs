//! Refreshes tokens: one task in the whole fleet per session, off every request's path.
//!
//! Invariants: a refresh token is used by whoever holds the session's lock, and only after it was written down that it
//! may be used up; new tokens are written by compare-and-set on a session that still lives. So a lost answer is known to have
//! been lost, and a slow or absent provider signs nobody out.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Clock, Timestamp},
    drain::Drain,
    oidc::{
        provider::{Identified, RefreshFailure, Refreshed, Revocable},
        providers::{Member, Providers},
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
    providers: Arc<Providers>,
    clock: Clock,
    telemetry: Telemetry,
    drain: Drain,
    turns: Turns,
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
        providers: Arc<Providers>,
        clock: Clock,
        telemetry: Telemetry,
        drain: Drain,
    ) -> Self {
        let turns = Turns::default();
        Self(Arc::new(Parts { keeper, providers, clock, telemetry, drain, turns }))
    }

    /// The same with another keeper and other providers; whoever is being refreshed still is.
    #[must_use]
    pub fn reloaded(&self, keeper: Arc<Keeper>, providers: Arc<Providers>) -> Self {
        let Parts { clock, telemetry, drain, turns, .. } = &*self.0;
        let (clock, telemetry, drain, turns) = (clock.clone(), telemetry.clone(), drain.clone(), turns.clone());
        Self(Arc::new(Parts { keeper, providers, clock, telemetry, drain, turns }))
    }

    /// Refreshes in the background if nobody in this process does so already.
    pub fn begin(&self, handle: Arc<Handle>) {
        let Some(turn) = self.0.turns.take(*handle.name()) else {
            return;
        };
        let this = self.clone();
        self.0.drain.spawn(async move {
            let _ = this.alone(&handle, Demand::WhenDue).await;
            drop(turn);
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
        // A lease that cannot be renewed stops nothing: the token may be on its way to the provider already, and what
        // comes of it is written only if nobody else has written meanwhile.
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
        let member = self.0.providers.named(&facts.provider).ok_or(Reason::SessionWrongProvider)?;
        let before = facts.tokens;
        self.note(handle, before.revision, true).await?;
        let identified = Identified { issuer: &facts.issuer, subject: &facts.subject, id_token: Some(&tokens.id) };
        match member.provider().refresh(&refresh_token, identified).await {
            Ok(refreshed) => self.keep(handle, member, before.revision, tokens, refreshed).await,
            Err(failure) => Err(self.give_up(handle, before, facts.expires_at, failure).await),
        }
    }

    async fn keep(
        &self,
        handle: &Handle,
        member: &Member,
        revision: u64,
        old: Tokens,
        refreshed: Refreshed,
    ) -> Result<Fresh, Reason> {
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
            facts.tokens.in_doubt = false;
            facts.tokens.retry_at = now;
            if let Some(claims) = &refreshed.claims {
                facts.user = member.user(&facts.subject, claims);
            }
            Edit::Tokens(Box::new(tokens.clone()))
        };
        let facts = match self.written(handle, apply).await {
            Err(reason @ (Reason::SessionEnded | Reason::SessionUnknown)) => {
                self.give_back(member, &tokens).await;
                return Err(reason);
            }
            written => written?,
        };
        self.0.telemetry.event(&Event::Refreshed { session: *handle.name() });
        if let Some(failure) = &refreshed.userinfo_failure {
            let provider = member.provider().name();
            let event = Event::ProviderFailed { provider, operation: "userinfo", cause: &failure.cause };
            self.0.telemetry.event(&event);
        }
        Ok(fresh(&facts))
    }

    /// Writes what the provider has answered. The old refresh token may be used up, so a store in trouble is waited for.
    async fn written(&self, handle: &Handle, apply: impl Fn(&mut Facts) -> Edit) -> Result<Facts, Reason> {
        let deadline = tokio::time::Instant::now() + WAIT_FOR_STORE;
        loop {
            match self.0.keeper.update(handle, &apply).await {
                Err(Reason::StoreUnavailable | Reason::RefreshBusy) if tokio::time::Instant::now() < deadline => {}
                settled => return settled,
            }
            tokio::time::sleep(POLL_STORE).await;
        }
    }

    /// The session ended while the provider made these: its sign-out could not give them back.
    async fn give_back(&self, member: &Member, tokens: &Tokens) {
        let revocable = Revocable { refresh: tokens.refresh.as_ref(), access: Some(&tokens.access) };
        if let Err(failure) = member.provider().revoke(revocable).await {
            let provider = member.provider().name();
            self.0.telemetry.event(&Event::ProviderFailed { provider, operation: "revoke", cause: &failure.cause });
        }
    }

    /// What becomes of the session follows from what the provider can have done with the refresh token.
    async fn give_up(
        &self,
        handle: &Handle,
        before: TokenState,
        expires_at: Timestamp,
        failure: RefreshFailure,
    ) -> Reason {
        let session = *handle.name();
        let told = failure.failure().clone();
        let reason = match failure {
            RefreshFailure::InvalidGrant(_) if before.in_doubt => {
                self.drop_tokens(handle, before.revision).await;
                Reason::RefreshLost
            }
            RefreshFailure::InvalidGrant(_) => {
                self.0.keeper.end(handle, expires_at, EndCause::RefreshRejected).await;
                Reason::RefreshRejected
            }
            RefreshFailure::NotSent(_) | RefreshFailure::Rejected(_) => {
                let _ = self.note(handle, before.revision, before.in_doubt).await;
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

    /// Writes down whether the token is in doubt, and that none is tried by itself for a while.
    async fn note(&self, handle: &Handle, revision: u64, in_doubt: bool) -> Result<(), Reason> {
        let retry_at = self.0.clock.now().plus(REFRESH_RETRY_AFTER);
        let note = |facts: &mut Facts| {
            let state = &mut facts.tokens;
            if state.revision != revision || (state.in_doubt == in_doubt && state.retry_at == retry_at) {
                return Edit::Leave;
            }
            state.in_doubt = in_doubt;
            state.retry_at = retry_at;
            Edit::Facts
        };
        self.0.keeper.update(handle, note).await.map(|_| ())
    }

    /// New tokens may have come meanwhile, to a gateway that was cut off when its lock ran out. A provider that sees a used
    /// token again may have ended what came of it, so that they are in doubt.
    async fn drop_tokens(&self, handle: &Handle, revision: u64) {
        let drop = |facts: &mut Facts| {
            if facts.tokens.revision != revision {
                facts.tokens.in_doubt = true;
                return Edit::Facts;
            }
            facts.tokens.refreshable = false;
            facts.tokens.in_doubt = false;
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
/// How long new tokens wait for a store in trouble before they are lost.
const WAIT_FOR_STORE: Duration = Duration::from_secs(30);
const POLL_STORE: Duration = Duration::from_millis(250);
