//! From settings to a gateway: the first one, and those that take its place when the settings have changed.
//!
//! Invariant: a gateway that is made from another shares everything that bears state with it, so that whatever is under way
//! ends as it began; and nothing of the other one changes until its place is taken.

use std::sync::{Arc, Mutex};

use super::{Config, Gateway, StartError};
use crate::{
    account::Account,
    clock::Clock,
    csp_report::Budget,
    drain::Drain,
    fallback::{self, Fallback, health, monitor::Monitor},
    limits::{self, Limits},
    oidc::{
        providers::{self, Providers},
        sign_in::{self, SignIn},
        sign_out::SignOut,
    },
    origin::Sites,
    pages::{SiteLook, policy::Delivery},
    session::{
        keeper::{self, Keeper},
        refresher::Refresher,
    },
    store::{self, Store},
    telemetry::Telemetry,
    verify::{
        identity::{self, Identity},
        matching::Matching,
        policy::Policies,
    },
};

/// What no settings change: the same in the gateway before a reload and in the one after.
#[derive(Clone)]
pub(super) struct Lasting {
    pub(super) csp_lines: Arc<Mutex<Budget>>,
    pub(super) monitor: Arc<Monitor>,
    pub(super) store: Arc<Store>,
    telemetry: Telemetry,
    drain: Drain,
}

impl Gateway {
    /// Puts a gateway together. Waits for nothing: provider and store may be down.
    ///
    /// # Errors
    /// [`StartError`] when a client cannot be set up from the settings, before anything is asked of the network.
    pub fn new(config: Config, clock: &Clock, telemetry: Telemetry, drain: Drain) -> Result<Self, StartError> {
        let (settings, parts) = config.split();
        let store = Arc::new(Store::open(parts.store, clock, observer(&telemetry)).map_err(StartError::Store)?);
        let providers = Arc::new(Providers::new(parts.providers, clock)?);
        let keeper = Arc::new(Keeper::new(parts.session, Arc::clone(&store), clock.clone(), telemetry.clone()));
        let refresher = Refresher::new(
            Arc::clone(&keeper),
            Arc::clone(&providers),
            clock.clone(),
            telemetry.clone(),
            drain.clone(),
        );
        let monitor = Arc::new(Monitor::new(&providers, &parts.health, clock.clone(), telemetry.clone()));
        let fallback = Fallback::new(parts.fallback, Arc::clone(&monitor), &keeper, telemetry.clone(), drain.clone());
        let limits = Limits::new(parts.limits, Arc::clone(&keeper), clock.clone(), telemetry.clone());
        let lasting = Lasting { csp_lines: Arc::default(), monitor, store, telemetry, drain };
        let fallback = fallback.map_err(StartError::Fallback)?;
        Ok(Self::assembled(settings, Collaborators { keeper, refresher, providers, fallback, limits }, lasting))
    }

    /// A gateway by other settings, with everything that this one knows and has begun. It answers nobody yet, and its
    /// keys are not in force; [`Gateway::begin_after`] and [`Gateway::take_over`] follow.
    ///
    /// # Errors
    /// As [`Gateway::new`].
    pub fn reloaded(&self, config: Config) -> Result<Self, StartError> {
        let (settings, parts) = config.split();
        let keeper = Arc::new(self.keeper.reloaded(parts.session));
        let providers = Arc::new(self.providers.reloaded(parts.providers));
        let refresher = self.refresher.reloaded(Arc::clone(&keeper), Arc::clone(&providers));
        let limits = self.limits.reloaded(parts.limits, Arc::clone(&keeper));
        let fallback = self.fallback.reloaded(parts.fallback, &keeper, &self.lasting.drain);
        let fallback = fallback.map_err(StartError::Fallback)?;
        let collaborators = Collaborators { keeper, refresher, providers, fallback, limits };
        Ok(Self::assembled(settings, collaborators, self.lasting.clone()))
    }

    fn assembled(settings: Settings, collaborators: Collaborators, lasting: Lasting) -> Self {
        let Collaborators { keeper, refresher, providers, fallback, limits } = collaborators;
        let (clock, telemetry) = (keeper.clock().clone(), lasting.telemetry.clone());
        let prefix = settings.sign_in.prefix.clone();
        Self {
            sign_in: SignIn::new(
                Arc::clone(&keeper),
                Arc::clone(&providers),
                Arc::clone(&lasting.monitor),
                settings.sign_in,
                clock.clone(),
                telemetry.clone(),
            ),
            sign_out: SignOut::new(
                Arc::clone(&keeper),
                Arc::clone(&providers),
                prefix.clone(),
                telemetry.clone(),
                lasting.drain.clone(),
            ),
            account: Account::new(Arc::clone(&keeper), refresher.clone(), clock),
            limits: Arc::new(limits),
            sites: settings.sites,
            look: settings.look,
            csp: Delivery {
                report_only: settings.csp_report_only,
                reports_to: settings.csp_reports.then(|| prefix.path("/csp-report")),
            },
            policies: settings.policies,
            matching: settings.matching,
            identity: Arc::new(Identity::new(settings.identity)),
            keeper,
            refresher,
            fallback: Arc::new(fallback),
            providers,
            telemetry,
            drain: lasting.drain.clone(),
            lasting,
            prefix,
        }
    }
}

/// What works by the settings, and shares what it knows with the one before.
struct Collaborators {
    keeper: Arc<Keeper>,
    refresher: Refresher,
    providers: Arc<Providers>,
    fallback: Fallback,
    limits: Limits,
}

/// What the gateway itself takes of the settings.
struct Settings {
    sites: Sites,
    sign_in: sign_in::Config,
    policies: Policies,
    matching: Matching,
    identity: identity::Config,
    look: SiteLook,
    csp_report_only: bool,
    csp_reports: bool,
}

/// What its parts take.
struct PartsConfig {
    providers: Vec<providers::Config>,
    session: keeper::Config,
    store: store::Config,
    limits: limits::rule::Config,
    health: health::Rules,
    fallback: fallback::Config,
}

impl Config {
    fn split(self) -> (Settings, PartsConfig) {
        let settings = Settings {
            sites: self.sites,
            sign_in: self.sign_in,
            policies: self.policies,
            matching: self.matching,
            identity: self.identity,
            look: self.look,
            csp_report_only: self.csp_report_only,
            csp_reports: self.csp_reports,
        };
        let parts = PartsConfig {
            providers: self.providers,
            session: self.session,
            store: self.store,
            limits: self.limits,
            health: self.health,
            fallback: self.fallback,
        };
        (settings, parts)
    }
}

fn observer(telemetry: &Telemetry) -> store::Observer {
    let telemetry = telemetry.clone();
    Box::new(move |operation, ok, took| telemetry.metrics().store_operation(operation, ok, took))
}
