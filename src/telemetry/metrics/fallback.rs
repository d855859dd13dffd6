//! Metrics of the administrators' way in. Labels are the settings' own names: providers, addresses of revocation lists,
//! and entries of the allow-list; whoever is on no list is `unauthorized`, so strangers make one series.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    clock::Timestamp,
    telemetry::fallback::{CertificateShown, FallbackEvent},
};

type Whole = Gauge<u64, AtomicU64>;

/// The metrics of providers' health, the door, certificates and revocation lists.
#[derive(Debug)]
pub struct FallbackMetrics {
    checks: Family<IdpResultLabels, Counter>,
    check_failures: Family<IdpLabel, Counter>,
    consecutive_failures: Family<IdpLabel, Whole>,
    consecutive_successes: Family<IdpLabel, Whole>,
    down: Family<IdpLabel, Whole>,
    stabilising: Family<IdpLabel, Whole>,
    down_seconds: Family<IdpLabel, Whole>,
    check_seconds: Family<IdpLabel, Histogram, fn() -> Histogram>,
    door_open: Whole,
    armed: Whole,
    switches: Family<ActionLabel, Counter>,
    attempts: Family<CnResultLabels, Counter>,
    refusals: Family<CnReasonLabels, Counter>,
    not_after: Family<CnLabel, Whole>,
    validation_seconds: Histogram,
    fetches: Family<CrlResultLabels, Counter>,
    fetch_failures: Family<CrlLabel, Counter>,
    last_update: Family<CrlLabel, Whole>,
    cache_age: Family<CrlLabel, Whole>,
    fetch_seconds: Family<CrlLabel, Histogram, fn() -> Histogram>,
    active: Whole,
    let_in: Mutex<HashMap<String, Instant>>,
}

/// What the monitor knows of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdpHealth {
    /// Failed probes in a row.
    pub failures: u32,
    /// Good probes in a row.
    pub successes: u32,
    /// For how long it has been down; nothing while it is up.
    pub down_for: Option<Duration>,
    /// Whether it answers again, and has yet to show that it stays so.
    pub stabilising: bool,
}

labels! {
    IdpLabel { idp: String }
    IdpResultLabels { idp: String, result: &'static str }
    ActionLabel { action: &'static str }
    CnLabel { cn: String }
    CnResultLabels { cn: String, result: &'static str }
    CnReasonLabels { cn: String, reason: &'static str }
    CrlLabel { crl_url: String }
    CrlResultLabels { crl_url: String, result: &'static str }
}

impl FallbackMetrics {
    pub(super) fn new() -> Self {
        Self {
            checks: Family::default(),
            check_failures: Family::default(),
            consecutive_failures: Family::default(),
            consecutive_successes: Family::default(),
            down: Family::default(),
            stabilising: Family::default(),
            down_seconds: Family::default(),
            check_seconds: Family::new_with_constructor(|| Histogram::new(CHECK_BUCKETS)),
            door_open: Whole::default(),
            armed: Whole::default(),
            switches: Family::default(),
            attempts: Family::default(),
            refusals: Family::default(),
            not_after: Family::default(),
            validation_seconds: Histogram::new(VALIDATION_BUCKETS),
            fetches: Family::default(),
            fetch_failures: Family::default(),
            last_update: Family::default(),
            cache_age: Family::default(),
            fetch_seconds: Family::new_with_constructor(|| Histogram::new(FETCH_BUCKETS)),
            active: Whole::default(),
            let_in: Mutex::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        self.register_idp(registry);
        self.register_door(registry);
        self.register_certificates(registry);
        self.register_lists(registry);
        for action in ACTIONS {
            let _ = self.switches.get_or_create(&ActionLabel { action });
        }
    }

    fn register_idp(&self, registry: &mut Registry) {
        registry.register("oauth2_idp_health_checks", "Probes of a provider by their result", self.checks.clone());
        registry.register("oauth2_idp_health_check_failures", "Failed probes", self.check_failures.clone());
        registry.register(
            "oauth2_idp_health_consecutive_failures",
            "Failed probes in a row",
            self.consecutive_failures.clone(),
        );
        registry.register(
            "oauth2_idp_health_consecutive_successes",
            "Good probes in a row",
            self.consecutive_successes.clone(),
        );
        registry.register(
            "oauth2_idp_fallback_mode",
            "1 while the monitor holds the provider to be down",
            self.down.clone(),
        );
        registry.register(
            "oauth2_idp_stability_period_active",
            "1 while a provider that was down answers again and has yet to show that it stays so",
            self.stabilising.clone(),
        );
        registry.register("oauth2_idp_health_check_duration_seconds", "Time a probe took", self.check_seconds.clone());
    }

    fn register_door(&self, registry: &mut Registry) {
        registry.register(
            "oauth2_fallback_door_open",
            "1 while certificates are accepted on some site",
            self.door_open.clone(),
        );
        registry.register("oauth2_fallback_armed", "1 while an operator has armed the fallback", self.armed.clone());
        registry.register("oauth2_fallback_switches", "Switches thrown, by action", self.switches.clone());
        registry.register(
            "oauth2_fallback_duration_seconds",
            "How long a provider has been down; 0 while it is up",
            self.down_seconds.clone(),
        );
    }

    fn register_certificates(&self, registry: &mut Registry) {
        registry.register("oauth2_mtls_auth", "Certificates shown, by result", self.attempts.clone());
        registry.register("oauth2_mtls_auth_failures", "Certificates refused, by reason", self.refusals.clone());
        registry.register(
            "oauth2_mtls_cert_not_after_timestamp",
            "The last moment of the certificate by which an administrator came in last, or that held in a drill",
            self.not_after.clone(),
        );
        registry.register(
            "oauth2_mtls_cert_validation_duration_seconds",
            "Time a certificate's own checks took",
            self.validation_seconds.clone(),
        );
        registry.register(
            "oauth2_mtls_active_admin_sessions",
            "Administrators let in by certificate within the last 5 minutes",
            self.active.clone(),
        );
    }

    fn register_lists(&self, registry: &mut Registry) {
        registry.register("oauth2_mtls_crl_fetch", "Revocation lists fetched, by result", self.fetches.clone());
        registry.register(
            "oauth2_mtls_crl_fetch_failures",
            "Revocation lists not fetched",
            self.fetch_failures.clone(),
        );
        registry.register(
            "oauth2_mtls_crl_last_update_timestamp",
            "When the revocation list in use was made",
            self.last_update.clone(),
        );
        registry.register(
            "oauth2_mtls_crl_cache_age_seconds",
            "How long ago the revocation list in use was fetched",
            self.cache_age.clone(),
        );
        registry.register(
            "oauth2_mtls_crl_fetch_duration_seconds",
            "Time to fetch a revocation list",
            self.fetch_seconds.clone(),
        );
    }

    pub(super) fn count(&self, event: &FallbackEvent<'_>) {
        match event {
            FallbackEvent::Probed { provider, failure, took } => self.probed(provider, failure.is_some(), *took),
            FallbackEvent::CertificateShown(shown) => self.shown(shown),
            FallbackEvent::CrlFetched { url, outcome, took } => {
                self.fetched(url, outcome.as_ref().ok().map(|news| news.this_update), *took);
            }
            FallbackEvent::SwitchThrown { action, at_start: false, .. } => {
                self.switches.get_or_create(&ActionLabel { action }).inc();
            }
            FallbackEvent::Verdict { .. }
            | FallbackEvent::SwitchThrown { at_start: true, .. }
            | FallbackEvent::CrlNotKept { .. }
            | FallbackEvent::SwitchesInvalid { .. }
            | FallbackEvent::SwitchesNotKept { .. } => {}
        }
    }

    /// Notes what the monitor knows of a provider.
    pub fn set_health(&self, provider: &str, health: IdpHealth) {
        let idp = || IdpLabel { idp: provider.to_owned() };
        self.consecutive_failures.get_or_create(&idp()).set(health.failures.into());
        self.consecutive_successes.get_or_create(&idp()).set(health.successes.into());
        self.down.get_or_create(&idp()).set(health.down_for.is_some().into());
        self.down_seconds.get_or_create(&idp()).set(health.down_for.map_or(0, |time| time.as_secs()));
        self.stabilising.get_or_create(&idp()).set(health.stabilising.into());
        let _ = self.check_failures.get_or_create(&idp());
    }

    /// Notes how the door stands.
    pub fn set_door(&self, open: bool, armed: bool) {
        self.door_open.set(open.into());
        self.armed.set(armed.into());
    }

    /// Notes until when an administrator's certificate is good.
    pub fn set_not_after(&self, cn: &str, not_after: Timestamp) {
        self.not_after.get_or_create(&CnLabel { cn: cn.to_owned() }).set(not_after.seconds());
    }

    /// Notes how long ago the revocation list in use was fetched, and when it was made.
    pub fn set_crl(&self, url: &str, age: Duration, this_update: Timestamp) {
        self.cache_age.get_or_create(&CrlLabel { crl_url: url.to_owned() }).set(age.as_secs());
        self.last_update.get_or_create(&CrlLabel { crl_url: url.to_owned() }).set(this_update.seconds());
    }

    /// Forgets administrators who were not let in for [`ACTIVE_FOR`].
    pub(super) fn count_active(&self) {
        let mut let_in = self.let_in.lock().unwrap_or_else(PoisonError::into_inner);
        let_in.retain(|_, last| last.elapsed() < ACTIVE_FOR);
        self.active.set(let_in.len() as u64);
    }

    fn probed(&self, provider: &str, failed: bool, took: Duration) {
        let result = if failed { "failure" } else { "success" };
        self.checks.get_or_create(&IdpResultLabels { idp: provider.to_owned(), result }).inc();
        let failures = self.check_failures.get_or_create_owned(&IdpLabel { idp: provider.to_owned() });
        if failed {
            failures.inc();
        }
        self.check_seconds.get_or_create(&IdpLabel { idp: provider.to_owned() }).observe(took.as_secs_f64());
    }

    fn shown(&self, shown: &CertificateShown<'_>) {
        let cn = || shown.cn.to_owned();
        let result = if shown.refused.is_some() { "failure" } else { "success" };
        self.attempts.get_or_create(&CnResultLabels { cn: cn(), result }).inc();
        if let Some(reason) = shown.refused {
            self.refusals.get_or_create(&CnReasonLabels { cn: cn(), reason: reason.code() }).inc();
        } else {
            self.let_in.lock().unwrap_or_else(PoisonError::into_inner).insert(cn(), Instant::now());
        }
        if let (None, Some(not_after)) = (shown.refused, shown.not_after) {
            self.set_not_after(shown.cn, not_after);
        }
        if let Some(took) = shown.checked_in {
            self.validation_seconds.observe(took.as_secs_f64());
        }
    }

    fn fetched(&self, url: &str, this_update: Option<Timestamp>, took: Duration) {
        let crl_url = || CrlLabel { crl_url: url.to_owned() };
        let result = if this_update.is_some() { "success" } else { "failure" };
        self.fetches.get_or_create(&CrlResultLabels { crl_url: url.to_owned(), result }).inc();
        let failures = self.fetch_failures.get_or_create_owned(&crl_url());
        match this_update {
            Some(made) => {
                self.last_update.get_or_create(&crl_url()).set(made.seconds());
            }
            None => {
                failures.inc();
            }
        }
        self.fetch_seconds.get_or_create(&crl_url()).observe(took.as_secs_f64());
    }
}

/// The label of whoever is on no list.
pub const UNAUTHORIZED: &str = "unauthorized";
/// Every switch there is.
pub const ACTIONS: [&str; 4] = ["arm", "disable", "enable", "auto_close"];
/// How long an administrator counts as active after a request.
const ACTIVE_FOR: Duration = Duration::from_secs(5 * 60);
const CHECK_BUCKETS: [f64; 6] = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0];
const VALIDATION_BUCKETS: [f64; 8] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5];
const FETCH_BUCKETS: [f64; 6] = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0];
