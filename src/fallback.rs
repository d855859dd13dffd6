//! Administrators with client certificates, while the identity provider is down.
//!
//! Two things are kept apart: whether a provider is *down*, which [`health`] decides, and whether the *door* is open,
//! which [`door`] decides. Invariant: every part fails closed. This file holds the parts together, waits for what has to
//! be waited for, and decides nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    administrators::{Administrators, Entry},
    admission::{Admitted, Attempt, SentBy, Verdict},
    certificate::Shown,
    chain::AdminCa,
    door::Conditions,
    drill::Order,
    fetcher::Revocations,
    monitor::Monitor,
    ops::Surroundings,
    switches::Switches,
};
use crate::{
    answer::Answer,
    clock::{Clock, Timestamp},
    drain::Drain,
    reason::Reason,
    seal::KeyRing,
    server::Address,
    session::keeper::Keeper,
    telemetry::Telemetry,
};

pub mod administrators;
pub mod admission;
pub mod certificate;
pub mod chain;
pub mod crl;
pub mod door;
pub mod drill;
pub mod fetcher;
#[cfg(test)]
pub(crate) mod fixture;
pub mod health;
pub mod monitor;
pub mod ops;
pub mod revocation;
pub mod switch;
pub mod switches;

/// What the settings say of the fallback.
#[derive(Debug)]
pub struct Config {
    /// Whether there is one.
    pub enabled: bool,
    /// How its switches are kept.
    pub switches: switches::Config,
    /// The ops listeners of all gateways that share the store; none means that of these settings.
    pub processes: Vec<Address>,
    /// Whose certificates count; always there where it is enabled.
    pub certificates: Option<Certificates>,
}

/// Whose certificates count, and what is demanded of them.
#[derive(Debug)]
pub struct Certificates {
    /// Who issues them.
    pub ca: AdminCa,
    /// Whose they are.
    pub administrators: Administrators,
    /// What is demanded of each.
    pub rules: admission::Rules,
    /// Where the revocation lists are.
    pub revocations: fetcher::Config,
}

/// The administrators' way in.
#[derive(Debug)]
pub struct Fallback {
    enabled: bool,
    monitor: Arc<Monitor>,
    switches: Switches,
    checks: Option<Checks>,
    clock: Clock,
    telemetry: Telemetry,
}

/// What a certificate is checked with.
#[derive(Debug)]
struct Checks {
    ca: Arc<AdminCa>,
    administrators: Administrators,
    rules: admission::Rules,
    revocations: Revocations,
}

impl Fallback {
    /// Puts the parts together; asks nobody anything yet.
    ///
    /// # Errors
    /// [`fetcher::StartError`] when the client that fetches revocation lists cannot be set up.
    pub fn new(
        config: Config,
        monitor: Arc<Monitor>,
        keeper: &Arc<Keeper>,
        telemetry: Telemetry,
        drain: Drain,
    ) -> Result<Self, fetcher::StartError> {
        let clock = keeper.clock().clone();
        let checks = config.certificates.map(|certificates| {
            let ca = Arc::new(certificates.ca);
            let revocations = Revocations::new(
                certificates.revocations,
                Arc::clone(&ca),
                keeper.ring_in_force().clone(),
                clock.clone(),
                telemetry.clone(),
                drain,
            )?;
            let Certificates { administrators, rules, .. } = certificates;
            Ok::<_, fetcher::StartError>(Checks { ca, administrators, rules, revocations })
        });
        Ok(Self {
            enabled: config.enabled,
            monitor,
            switches: Switches::new(config.switches, Arc::clone(keeper), telemetry.clone()),
            checks: checks.transpose()?,
            clock,
            telemetry,
        })
    }

    /// The same way in by other settings: the switches stay as they stand, and what is known of the lists is known.
    ///
    /// # Errors
    /// As [`Fallback::new`].
    pub fn reloaded(&self, config: Config, keeper: &Keeper, drain: &Drain) -> Result<Self, fetcher::StartError> {
        let reloaded = |certificates: Certificates| {
            let Certificates { ca, administrators, rules, revocations } = certificates;
            let (ca, keys) = (Arc::new(ca), keeper.ring_in_force().clone());
            let revocations = if let Some(checks) = &self.checks {
                checks.revocations.reloaded(revocations, &ca, keys)?
            } else {
                let (clock, telemetry) = (self.clock.clone(), self.telemetry.clone());
                Revocations::new(revocations, Arc::clone(&ca), keys, clock, telemetry, drain.clone())?
            };
            Ok::<_, fetcher::StartError>(Checks { ca, administrators, rules, revocations })
        };
        Ok(Self {
            enabled: self.enabled,
            monitor: Arc::clone(&self.monitor),
            switches: self.switches.clone(),
            checks: config.certificates.map(reloaded).transpose()?,
            clock: self.clock.clone(),
            telemetry: self.telemetry.clone(),
        })
    }

    /// Begins what of this has not begun with the one before, and waits a little for its lists.
    pub async fn begin_after(&self, before: &Self, drain: &Drain) {
        let Some(checks) = self.checks.as_ref().filter(|_| self.enabled) else {
            return;
        };
        let has_begun = before.checks.as_ref().is_some_and(|other| checks.revocations.is_same_as(&other.revocations));
        if !has_begun {
            drain.spawn_until_stop(checks.revocations.keep_fetching());
            checks.revocations.asked_all_within(WAIT_FOR_LISTS).await;
        }
    }

    /// Begins what runs beside the requests: switches that agree, and revocation lists that are fresh. Nothing of it where
    /// there is no fallback.
    pub fn begin(&self, drain: &Drain) {
        if !self.enabled {
            return;
        }
        let switches = self.switches.clone();
        drain.spawn_until_stop(async move { switches.keep_agreeing().await });
        if let Some(checks) = &self.checks {
            drain.spawn_until_stop(checks.revocations.keep_fetching());
        }
    }

    /// Somebody threw the switches: they are looked at now.
    pub fn switches_thrown(&self) {
        self.switches.thrown();
    }

    /// How the door stands for somebody who would sign in with these providers.
    pub fn door<'a>(&self, providers: impl IntoIterator<Item = &'a String>) -> Conditions {
        Conditions {
            enabled: self.enabled,
            switches: self.switches.standing(self.clock.now()),
            providers_down: self.monitor.are_down(providers),
        }
    }

    /// How it stands for the one of several such sets for which it stands best.
    pub fn door_of_any<'a>(&self, sets: impl IntoIterator<Item = impl IntoIterator<Item = &'a String>>) -> Conditions {
        let mut sets = sets.into_iter();
        Conditions { providers_down: sets.any(|providers| self.monitor.are_down(providers)), ..self.door([]) }
    }

    /// Looks at a certificate that was shown. The revocation lists are asked only if nothing else is against it; they may
    /// have to be waited for, so the door is looked at again behind them.
    pub async fn attempt(
        &self,
        door: impl Fn() -> Conditions,
        shown: Shown<'_>,
        sent_by: SentBy,
    ) -> (Attempt, Duration) {
        let began = Instant::now();
        let before = door().open().map(drop);
        let verdict = match &self.checks {
            Some(checks) => checks.verdict(shown, self.clock.now(), before.is_ok()).await,
            None => Verdict::of_nobody(shown),
        };
        let door = before.and_then(|()| door().open());
        (admission::admit(door, verdict, sent_by), began.elapsed())
    }

    /// Who is in by that certificate, as far as it is known now; for what is only shown.
    pub fn who_is_in(&self, door: Conditions, shown: Shown<'_>) -> Option<Admitted> {
        let door = door.open();
        let checks = self.checks.as_ref().filter(|_| door.is_ok())?;
        let examined = admission::examine(Some(shown), self.clock.now(), &checks.ca, &checks.rules);
        let lists = examined.path().map(|path| checks.revocations.check_now(path));
        let verdict = examined.verdict(lists, &checks.administrators);
        admission::admit(door, verdict, SentBy::SafeOrOwnPage).into_outcome().ok()
    }

    /// Closes the door everywhere: too many different certificates were refused.
    pub async fn close_by_itself(&self) {
        self.switches.auto_close(TOO_MANY_REFUSED).await;
    }

    /// Tells the metrics how everything stands; the door, by the sets of providers that could open it.
    pub fn tell<'a>(&self, sets: impl IntoIterator<Item = impl IntoIterator<Item = &'a String>>) {
        let now = self.clock.now();
        let standing = self.switches.standing(now);
        let metrics = self.telemetry.metrics().fallback();
        metrics.set_door(self.door_of_any(sets).open().is_ok(), standing.believed && standing.armed);
    }

    /// Holds a drill with a certificate: the whole way but the door, and nobody is let in. `accepting` names the policies
    /// that would let an administrator in.
    ///
    /// # Errors
    /// [`Reason::SwitchesInvalid`] for an order that nobody with a master key of ours has sealed, or not just now,
    /// [`Reason::FallbackDisabled`] where the settings say nothing of certificates.
    pub async fn drill<'a>(
        &self,
        body: &[u8],
        ring: &KeyRing,
        accepting: impl FnOnce(&Entry) -> Vec<String>,
        sets: impl IntoIterator<Item = impl IntoIterator<Item = &'a String>>,
    ) -> Result<Answer, Reason> {
        let order = Order::open(ring, body).ok().filter(|order| order.is_fresh(self.clock.now()));
        let order = order.ok_or(Reason::SwitchesInvalid)?;
        let checks = self.checks.as_ref().ok_or(Reason::FallbackDisabled)?;
        let verdict = checks.verdict(order.shown(), self.clock.now(), true).await;
        if let (None, Some(entry), Some(leaf)) = (verdict.refused(), verdict.entry(), verdict.leaf()) {
            self.telemetry.metrics().fallback().set_not_after(entry.label(), leaf.not_after());
        }
        let accepting = verdict.entry().map(accepting).unwrap_or_default();
        let door = self.door_of_any(sets);
        Ok(Answer::json(drill::report(door, &verdict, &accepting)))
    }

    /// How everything stands, for the command line.
    pub fn status<'a>(&self, sets: impl IntoIterator<Item = impl IntoIterator<Item = &'a String>>) -> Answer {
        let providers = self.monitor.providers();
        let surroundings = Surroundings {
            enabled: self.enabled,
            door_is_open: self.door_of_any(sets).open().is_ok(),
            providers: providers.map(|name| (name.to_owned(), self.monitor.is_down(name))).collect(),
        };
        ops::status(&self.switches, &surroundings, self.clock.now())
    }

    /// Takes a record of the switches that an operator's command made.
    pub async fn throw(&self, body: &[u8]) -> Answer {
        if !self.enabled {
            return Answer::json_error(Reason::FallbackDisabled);
        }
        ops::throw(&self.switches, body).await
    }
}

impl Checks {
    async fn verdict(&self, shown: Shown<'_>, now: Timestamp, ask_lists: bool) -> Verdict {
        let examined = admission::examine(Some(shown), now, &self.ca, &self.rules);
        let lists = match examined.path().filter(|_| ask_lists) {
            Some(path) => Some(self.revocations.check(path).await),
            None => None,
        };
        examined.verdict(lists, &self.administrators)
    }
}

/// How long settings that bring other revocation lists wait for them, before they count.
const WAIT_FOR_LISTS: Duration = Duration::from_secs(2);
/// What the record says of the reason when the door closes by itself.
const TOO_MANY_REFUSED: &str = "too many different certificates of the admin CA were refused";
