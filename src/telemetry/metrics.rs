//! Every metric, by its fixed name. Labels are bounded: reasons, causes, operations and the settings' own names.

use std::{
    fmt,
    sync::{PoisonError, RwLock, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    reason::Reason,
    session::Method,
    store::window::Kind,
    telemetry::{EndCause, Event},
};

/// Sets of labels.
macro_rules! labels {
    ($($name:ident { $($field:ident: $type:ty),+ })+) => {
        $(#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name { $($field: $type,)+ })+
    };
}

pub mod fallback;
mod reload;
pub mod sessions;
mod timing;

use self::{fallback::FallbackMetrics, reload::ReloadMetrics, sessions::SessionMetrics, timing::Timing};

/// The metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    verify: Family<VerifyLabels, Counter>,
    /// Those of allowed requests by policy, in a list that is searched faster than labels are made and hashed. Only our
    /// own policies allow anything, so it has an end.
    allowed: RwLock<Vec<(String, Counter)>>,
    verify_seconds: Timing,
    authorization: Family<ResultLabel, Counter>,
    authorization_failures: Family<ReasonLabel, Counter>,
    callback_seconds: Histogram,
    login_seconds: Histogram,
    token_verification_failures: Family<ReasonLabel, Counter>,
    refresh: Family<ResultLabel, Counter>,
    refresh_failures: Family<ReasonLabel, Counter>,
    sessions: Family<MethodLabel, Gauge<u64, AtomicU64>>,
    created: Counter,
    ended: Family<ReasonLabel, Counter>,
    signature_failures: Family<ReasonLabel, Counter>,
    binding_violations: Family<KindLabel, Counter>,
    responses: Family<ResponseLabels, Counter>,
    store_operations: Family<StoreLabels, Counter>,
    store_failures: Family<StoreFailureLabels, Counter>,
    store_seconds: Family<OperationLabel, Timing, fn() -> Timing>,
    /// Those of the one operation in every verify, found once.
    facts_read: Counter,
    facts_seconds: Timing,
    provider_failures: Family<OperationLabel, Counter>,
    connections_refused: Counter,
    csp_reports: Family<CspLabels, Counter>,
    tls_handshakes: Family<TlsLabels, Counter>,
    tls_reloads: Family<TlsLabels, Counter>,
    tls_not_after: Family<ListenerLabel, Gauge<u64, AtomicU64>>,
    rate_limited: Family<LimitLabel, Counter>,
    limits_counted_alone: Counter,
    fallback: FallbackMetrics,
    reload: ReloadMetrics,
    kept_sessions: SessionMetrics,
}

labels! {
    VerifyLabels { decision: &'static str, reason: &'static str, policy: String }
    VersionLabel { version: &'static str }
    ResultLabel { result: &'static str }
    ReasonLabel { reason: &'static str }
    KindLabel { kind: &'static str }
    MethodLabel { method: &'static str }
    ResponseLabels { endpoint: &'static str, status: u16 }
    OperationLabel { operation: &'static str }
    StoreLabels { operation: &'static str, result: &'static str }
    CspLabels { directive: &'static str, disposition: &'static str }
    TlsLabels { listener: String, result: &'static str }
    ListenerLabel { listener: String }
    LimitLabel { limit: &'static str }
    StoreFailureLabels { operation: &'static str, error: &'static str }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let store_operations = Family::<StoreLabels, Counter>::default();
        let store_seconds: Family<OperationLabel, Timing, fn() -> Timing> =
            Family::new_with_constructor(|| Timing::new(&STORE_BUCKETS));
        let mut metrics = Self {
            registry: Registry::default(),
            verify: Family::default(),
            allowed: RwLock::default(),
            verify_seconds: Timing::new(&VERIFY_BUCKETS),
            authorization: Family::default(),
            authorization_failures: Family::default(),
            callback_seconds: Histogram::new(PROVIDER_BUCKETS),
            login_seconds: Histogram::new(LOGIN_BUCKETS),
            token_verification_failures: Family::default(),
            refresh: Family::default(),
            refresh_failures: Family::default(),
            sessions: Family::default(),
            created: Counter::default(),
            ended: Family::default(),
            signature_failures: Family::default(),
            binding_violations: Family::default(),
            responses: Family::default(),
            facts_read: store_operations.get_or_create_owned(&StoreLabels { operation: FACTS, result: "ok" }),
            facts_seconds: store_seconds.get_or_create_owned(&OperationLabel { operation: FACTS }),
            store_operations,
            store_failures: Family::default(),
            store_seconds,
            provider_failures: Family::default(),
            connections_refused: Counter::default(),
            csp_reports: Family::default(),
            tls_handshakes: Family::default(),
            tls_reloads: Family::default(),
            tls_not_after: Family::default(),
            rate_limited: Family::default(),
            limits_counted_alone: Counter::default(),
            fallback: FallbackMetrics::new(),
            reload: ReloadMetrics::default(),
            kept_sessions: SessionMetrics::new(),
        };
        metrics.register();
        metrics.begin_at_zero();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let version = Family::<VersionLabel, Gauge<u64, AtomicU64>>::default();
        version.get_or_create(&VersionLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("portcullis_build_info", "The gateway's build: always 1", version);
        registry.register("portcullis_verify", "Answers to verify", self.verify.clone());
        registry.register("portcullis_verify_duration_seconds", "Time to answer verify", self.verify_seconds.clone());
        registry.register("oauth2_authorization", "Sign-ins by their result", self.authorization.clone());
        registry.register(
            "oauth2_authorization_failures",
            "Failed sign-ins by reason",
            self.authorization_failures.clone(),
        );
        registry.register(
            "oauth2_callback_duration_seconds",
            "Time to handle a callback",
            self.callback_seconds.clone(),
        );
        registry.register(
            "oauth2_login_duration_seconds",
            "Time from the start of a sign-in to its session",
            self.login_seconds.clone(),
        );
        registry.register(
            "oauth2_token_verification_failures",
            "ID tokens and userinfo refused, by reason",
            self.token_verification_failures.clone(),
        );
        registry.register("oauth2_token_refresh", "Token refreshes by their result", self.refresh.clone());
        registry.register(
            "oauth2_token_refresh_failures",
            "Failed token refreshes by reason",
            self.refresh_failures.clone(),
        );
        registry.register(
            "oauth2_active_sessions_count",
            "Sessions within their absolute lifetime",
            self.sessions.clone(),
        );
        registry.register("oauth2_session_created", "Sessions made", self.created.clone());
        registry.register("oauth2_session_ended", "Sessions ended, by cause", self.ended.clone());
        registry.register(
            "oauth2_session_signature_failures",
            "Cookies and records that do not check, by reason",
            self.signature_failures.clone(),
        );
        registry.register(
            "oauth2_session_binding_violations",
            "Sessions shown by another client, by what differs",
            self.binding_violations.clone(),
        );
        registry.register("portcullis_responses", "Answers of all endpoints but verify", self.responses.clone());
        registry.register(
            "portcullis_store_operations",
            "Store operations by their result",
            self.store_operations.clone(),
        );
        registry.register("portcullis_store_failures", "Failed store operations by error", self.store_failures.clone());
        registry.register(
            "portcullis_store_operation_duration_seconds",
            "Time a store operation took",
            self.store_seconds.clone(),
        );
        registry.register(
            "portcullis_provider_failures",
            "Provider calls that failed outside sign-in and refresh",
            self.provider_failures.clone(),
        );
        registry.register(
            "portcullis_connections_refused",
            "Connections closed because a listener was full",
            self.connections_refused.clone(),
        );
        registry.register(
            "portcullis_csp_reports",
            "Violations of our pages' content security policy that browsers reported",
            self.csp_reports.clone(),
        );
        registry.register("portcullis_rate_limited", "Requests over a limit, by limit", self.rate_limited.clone());
        registry.register(
            "portcullis_limits_fallback",
            "Requests counted by this process alone because the store failed",
            self.limits_counted_alone.clone(),
        );
        self.fallback.register(registry);
        self.reload.register(registry);
        self.kept_sessions.register(registry);
        self.register_tls();
    }

    fn register_tls(&mut self) {
        let registry = &mut self.registry;
        registry.register("portcullis_tls_handshakes", "TLS handshakes by their result", self.tls_handshakes.clone());
        registry.register(
            "portcullis_tls_reloads",
            "Changes of a listener's TLS files by what came of them",
            self.tls_reloads.clone(),
        );
        registry.register(
            "portcullis_tls_certificate_not_after_timestamp_seconds",
            "The last moment of a listener's own certificate",
            self.tls_not_after.clone(),
        );
    }

    /// Series that alerts divide by exist from the start, so that a first failure is a step from zero.
    fn begin_at_zero(&self) {
        for result in ["success", "failure"] {
            let _ = self.authorization.get_or_create(&ResultLabel { result });
            let _ = self.refresh.get_or_create(&ResultLabel { result });
        }
        for cause in EndCause::ALL {
            let _ = self.ended.get_or_create(&ReasonLabel { reason: cause.label() });
        }
        for kind in Kind::ALL {
            let _ = self.rate_limited.get_or_create(&LimitLabel { limit: kind.label() });
        }
        let _ = self.sessions.get_or_create(&MethodLabel { method: Method::Oidc.label() });
    }

    /// Those of the administrators' way in.
    pub const fn fallback(&self) -> &FallbackMetrics {
        &self.fallback
    }

    /// Those of sessions that are kept, and of hearing what others change.
    pub const fn sessions(&self) -> &SessionMetrics {
        &self.kept_sessions
    }

    pub(super) fn count(&self, event: &Event<'_>) {
        match event {
            Event::Allowed { policy, took, .. } => self.allowed(policy, *took),
            Event::Refused { policy, reason, took, .. } => {
                self.verified("refuse", reason.code(), policy.unwrap_or("none")).inc();
                self.verify_seconds.observe(*took);
                if *reason == Reason::SessionMalformed {
                    self.signature_failure(reason.code());
                }
            }
            Event::Answered { endpoint, status, .. } => {
                self.responses.get_or_create(&ResponseLabels { endpoint, status: *status }).inc();
            }
            Event::SignedIn { since_start, callback, .. } => self.signed_in(*since_start, *callback),
            Event::SignInFailed { reason, callback, .. } => self.sign_in_failed(*reason, *callback),
            Event::SessionCreated { .. } => {
                self.created.inc();
            }
            Event::SessionEnded { cause, .. } => {
                self.ended.get_or_create(&ReasonLabel { reason: cause.label() }).inc();
            }
            Event::SessionUnreadable { .. } => {
                self.signature_failure(Reason::SessionUnreadable.code());
            }
            Event::BindingViolated { reason, .. } => {
                let kind = if *reason == Reason::BindingAddress { "address" } else { "user_agent" };
                self.binding_violations.get_or_create(&KindLabel { kind }).inc();
            }
            Event::Refreshed { .. } => {
                self.refresh.get_or_create(&ResultLabel { result: "success" }).inc();
            }
            Event::RefreshFailed { reason, .. } => {
                self.refresh.get_or_create(&ResultLabel { result: "failure" }).inc();
                self.refresh_failures.get_or_create(&ReasonLabel { reason: reason.code() }).inc();
                self.token_verification_failure(*reason);
            }
            Event::ProviderFailed { operation, .. } => {
                self.provider_failures.get_or_create(&OperationLabel { operation }).inc();
            }
            Event::CspViolated { directive, disposition, .. } => {
                self.csp_reports.get_or_create(&CspLabels { directive, disposition }).inc();
            }
            Event::Limited { limit, .. } => {
                self.rate_limited.get_or_create(&LimitLabel { limit }).inc();
            }
            Event::Fallback(event) => self.fallback.count(event),
            Event::Reloaded { at, .. } => self.reload.done(*at),
            Event::ReloadRefused { .. } => self.reload.refused(),
            Event::KeyRetired { .. } => self.reload.key_retired(),
            Event::Listening => self.kept_sessions.subscribed(),
            Event::Deaf { .. } | Event::StoreEmptied | Event::SealingKeyGivenUp { .. } => {}
            Event::StoreFailed { operation, error } => {
                self.store_failures.get_or_create(&StoreFailureLabels { operation, error: error.label() }).inc();
            }
        }
    }

    /// Counts a store operation.
    pub fn store_operation(&self, operation: &'static str, ok: bool, took: Duration) {
        if ok && operation == FACTS {
            self.facts_read.inc();
            self.facts_seconds.observe(took);
            return;
        }
        let result = if ok { "ok" } else { "error" };
        self.store_operations.get_or_create(&StoreLabels { operation, result }).inc();
        self.store_seconds.get_or_create(&OperationLabel { operation }).observe(took);
    }

    /// Counts a connection that a full listener closed.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// Counts a request that this process counted by itself.
    pub fn limit_counted_alone(&self) {
        self.limits_counted_alone.inc();
    }

    /// Counts a TLS handshake, or a certificate that names a stranger.
    pub fn tls_handshake(&self, listener: &str, result: &'static str) {
        self.tls_handshakes.get_or_create(&TlsLabels { listener: listener.to_owned(), result }).inc();
    }

    /// Counts a change of a listener's TLS files.
    pub fn tls_reloaded(&self, listener: &str, result: &'static str) {
        self.tls_reloads.get_or_create(&TlsLabels { listener: listener.to_owned(), result }).inc();
    }

    /// Notes until when a listener's certificate is good, and begins its counts at zero.
    pub fn set_tls_not_after(&self, listener: &str, seconds: u64) {
        self.tls_not_after.get_or_create(&ListenerLabel { listener: listener.to_owned() }).set(seconds);
        for result in ["ok", "error"] {
            let _ = self.tls_reloads.get_or_create(&TlsLabels { listener: listener.to_owned(), result });
        }
    }

    /// Sets the number of living sessions.
    pub fn set_active_sessions(&self, count: u64) {
        self.sessions.get_or_create(&MethodLabel { method: Method::Oidc.label() }).set(count);
    }

    /// All of it, in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice; the encoder's own error.
    pub fn text(&self) -> Result<String, fmt::Error> {
        self.fallback.count_active();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn allowed(&self, policy: &str, took: Duration) {
        self.verify_seconds.observe(took);
        let known = self.allowed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = known.iter().find(|(name, _)| name == policy) {
            counter.inc();
            return;
        }
        drop(known);
        let counter = self.verified("allow", "none", policy);
        counter.inc();
        self.allowed.write().unwrap_or_else(PoisonError::into_inner).push((policy.to_owned(), counter));
    }

    fn verified(&self, decision: &'static str, reason: &'static str, policy: &str) -> Counter {
        self.verify.get_or_create_owned(&VerifyLabels { decision, reason, policy: policy.to_owned() })
    }

    fn signed_in(&self, since_start: Duration, callback: Duration) {
        self.authorization.get_or_create(&ResultLabel { result: "success" }).inc();
        self.login_seconds.observe(since_start.as_secs_f64());
        self.callback_seconds.observe(callback.as_secs_f64());
    }

    fn sign_in_failed(&self, reason: Reason, callback: Option<Duration>) {
        self.authorization.get_or_create(&ResultLabel { result: "failure" }).inc();
        self.authorization_failures.get_or_create(&ReasonLabel { reason: reason.code() }).inc();
        self.token_verification_failure(reason);
        if let Some(callback) = callback {
            self.callback_seconds.observe(callback.as_secs_f64());
        }
    }

    fn token_verification_failure(&self, reason: Reason) {
        if reason.code().starts_with("id_token_") || reason.code().starts_with("userinfo_") {
            self.token_verification_failures.get_or_create(&ReasonLabel { reason: reason.code() }).inc();
        }
    }

    fn signature_failure(&self, reason: &'static str) {
        self.signature_failures.get_or_create(&ReasonLabel { reason }).inc();
    }
}

/// The operation that reads what verify needs of a session.
const FACTS: &str = "facts";
const VERIFY_BUCKETS: [f64; 10] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0];
const STORE_BUCKETS: [f64; 9] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 1.0];
const PROVIDER_BUCKETS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0];
const LOGIN_BUCKETS: [f64; 8] = [0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 180.0, 600.0];
