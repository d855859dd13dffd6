//! Counts who asks for what, and says who must wait; `rule` says which limit applies to whom.
//!
//! The counting is the store's, so all gateways count together. A store in trouble refuses nobody and lets nobody
//! through uncounted: this process then counts by itself, and that is counted too. While it does, the store is asked
//! once in a while, so that a hanging one delays few.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::rule::{Config, Failure, Whose};
use crate::{
    clock::Clock,
    random,
    reason::Reason,
    route::Limited,
    session::keeper::{Found, Keeper},
    store::{
        StoreError, Token,
        memory::DEFAULT_MAX_WINDOWS,
        window::{Counted, Kind, Window, Windows},
    },
    telemetry::{Event, Telemetry},
};

pub mod rule;

/// What counting takes.
pub struct Limits {
    config: Config,
    keeper: Arc<Keeper>,
    clock: Clock,
    telemetry: Telemetry,
    alone: Arc<Mutex<Alone>>,
}

/// What this process counts by itself.
struct Alone {
    windows: Windows,
    /// When the store is asked again, if it failed.
    ask_again: Option<Instant>,
}

/// Too many; how long until there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

impl Limits {
    /// Nobody has been counted yet.
    pub fn new(config: Config, keeper: Arc<Keeper>, clock: Clock, telemetry: Telemetry) -> Self {
        let alone = Alone { windows: Windows::new(DEFAULT_MAX_WINDOWS), ask_again: None };
        Self { config, keeper, clock, telemetry, alone: Arc::new(Mutex::new(alone)) }
    }

    /// Other figures, and all that was counted.
    #[must_use]
    pub fn reloaded(&self, config: Config, keeper: Arc<Keeper>) -> Self {
        Self {
            config,
            keeper,
            clock: self.clock.clone(),
            telemetry: self.telemetry.clone(),
            alone: Arc::clone(&self.alone),
        }
    }

    /// Counts an address that asks for an endpoint.
    ///
    /// # Errors
    /// [`Wait`] if it asked too often.
    pub async fn admit(&self, limited: Limited, client: IpAddr) -> Result<(), Wait> {
        for kind in rule::before(limited) {
            self.count(*kind, Whose::Address(client), Some(client)).await?;
        }
        Ok(())
    }

    /// Counts a refresh that was asked for.
    ///
    /// # Errors
    /// [`Wait`] if that session, or all of that user's, asked too often.
    pub async fn admit_refresh(&self, found: &Found) -> Result<(), Wait> {
        let facts = found.session.facts();
        self.count(Kind::SessionRefresh, Whose::Session(found.shown.name()), None).await?;
        let user = Whose::User { issuer: &facts.issuer, subject: &facts.subject };
        self.count(Kind::UserRefresh, user, None).await
    }

    /// Counts a callback that failed. Failures of real sign-ins are never refused here; too many of them, and the
    /// address begins no other for a while.
    ///
    /// # Errors
    /// [`Wait`] for a callback that came without a sign-in, if too many did.
    pub async fn failed(&self, reason: Reason, client: IpAddr) -> Result<(), Wait> {
        let failure = Failure::of(reason);
        for kind in rule::after(failure) {
            let counted = self.count(*kind, Whose::Address(client), Some(client)).await;
            match (failure, counted) {
                (_, Ok(())) => {}
                (Failure::Tried, Err(_)) => self.bar(client).await,
                (Failure::Stray | Failure::NotTheirs, Err(wait)) => return Err(wait),
            }
        }
        Ok(())
    }

    /// Counts a certificate of the admin CA that was refused; one that is shown again counts once.
    ///
    /// # Errors
    /// [`Wait`] if there were too many different ones: the door is to be closed.
    pub async fn refused_certificate(&self, fingerprint: &[u8; 32]) -> Result<(), Wait> {
        let mut by = [0; 16];
        by.copy_from_slice(&fingerprint[..16]);
        self.count_once(Kind::RefusedCertificate, Whose::Fleet, None, Token(by)).await
    }

    async fn bar(&self, client: IpAddr) {
        let window = rule::window(self.keeper.ring(), Kind::SignIn, Whose::Address(client));
        let wait = self.config.failed_sign_in_wait;
        if self.may_ask() {
            let outcome = self.keeper.store().bar_window(window, wait).await;
            if self.heard("bar_window", outcome).is_some() {
                return;
            }
        }
        self.telemetry.metrics().limit_counted_alone();
        self.alone().windows.bar(window, wait, self.clock.now());
    }

    /// Counts a request, each for itself.
    async fn count(&self, kind: Kind, whose: Whose<'_>, client: Option<IpAddr>) -> Result<(), Wait> {
        // Without randomness nobody can be told from another.
        let by = random::bytes().map(Token).map_err(|_| Wait(ASK_AGAIN))?;
        self.count_once(kind, whose, client, by).await
    }

    async fn count_once(&self, kind: Kind, whose: Whose<'_>, client: Option<IpAddr>, by: Token) -> Result<(), Wait> {
        if !self.config.limits(kind) {
            return Ok(());
        }
        let window = rule::window(self.keeper.ring(), kind, whose);
        match self.counted(window, by).await {
            Counted::Admitted => Ok(()),
            Counted::Refused { wait } => {
                self.telemetry.event(&Event::Limited { limit: kind.label(), client, wait });
                Err(Wait(wait))
            }
        }
    }

    /// Counts in the store, or here when it does not.
    async fn counted(&self, window: Window, by: Token) -> Counted {
        let rates = self.config.rates(window.kind);
        if self.may_ask() {
            let outcome = self.keeper.store().count_in_window(window, rates, &by).await;
            if let Some(counted) = self.heard("count_in_window", outcome) {
                return counted;
            }
        }
        self.telemetry.metrics().limit_counted_alone();
        self.alone().windows.count(window, rates, &by, self.clock.now())
    }

    /// Whether the store is to be asked: after a failure only once in a while, and by one caller.
    fn may_ask(&self) -> bool {
        let now = Instant::now();
        let mut alone = self.alone();
        match alone.ask_again {
            Some(at) if now < at => false,
            Some(_) => {
                alone.ask_again = Some(now + ASK_AGAIN);
                true
            }
            None => true,
        }
    }

    fn heard<T>(&self, operation: &'static str, outcome: Result<T, StoreError>) -> Option<T> {
        let failed = outcome.as_ref().err();
        self.alone().ask_again = failed.map(|_| Instant::now() + ASK_AGAIN);
        if let Some(error) = failed {
            self.telemetry.event(&Event::StoreFailed { operation, error });
        }
        outcome.ok()
    }

    fn alone(&self) -> MutexGuard<'_, Alone> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Limits").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How long this process counts by itself before it asks a store that failed again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
