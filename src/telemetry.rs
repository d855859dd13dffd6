//! What operators see: one type per event worth knowing, each writing its log line, audit line and metric together.
//!
//! No event can carry a secret: sessions are named by eight characters of their hash, causes are made by code that
//! knows what may be told. Allowed verifies are logged at debug level; refusals and changes at info and above.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{debug, error, info, warn};

use crate::{
    clock::Timestamp,
    reason::{Kind, Reason},
    seal::{Farewell, KeyId},
    store::{Name, StoreError},
    telemetry::{budget::Budget, fallback::FallbackEvent, metrics::Metrics},
};

mod budget;
pub mod fallback;
pub mod log;
pub mod metrics;

/// How the log is written.
#[derive(Clone, Debug)]
pub struct Config {
    /// The form of a line.
    pub format: Format,
    /// Which lines: a `tracing` filter, such as `info` or `portcullis=debug`.
    pub filter: String,
    /// Where the audit log goes.
    pub audit: Audit,
    /// Whether allowed requests are in the audit log too.
    pub audit_allowed: bool,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Standard output, among the other lines, under the target `audit`.
    Stdout,
    /// A file that is only ever appended to.
    File(PathBuf),
}

/// Where events go. Clones share everything.
#[derive(Clone, Debug)]
pub struct Telemetry {
    metrics: Arc<Metrics>,
    audit_allowed: bool,
    without_session: Arc<Budget>,
    began: Instant,
}

/// Something an operator may want to know.
#[derive(Debug)]
pub enum Event<'a> {
    /// Verify let a request pass.
    Allowed {
        /// The request.
        request_id: &'a str,
        /// The policy.
        policy: &'a str,
        /// The rule's number in it.
        rule: usize,
        /// The user.
        user: &'a str,
        /// How long it took.
        took: Duration,
    },
    /// Verify refused a request.
    Refused {
        /// The request.
        request_id: &'a str,
        /// The policy, if it is one of ours.
        policy: Option<&'a str>,
        /// Why.
        reason: Reason,
        /// The client's address, if it is known.
        client: Option<IpAddr>,
        /// The host asked for.
        host: &'a str,
        /// How long it took.
        took: Duration,
    },
    /// Any other request was answered; its id is in the span around it.
    Answered {
        /// The endpoint, or `none`.
        endpoint: &'static str,
        /// The status.
        status: u16,
        /// Why it was refused, if it was.
        reason: Option<Reason>,
        /// How long it took.
        took: Duration,
    },
    /// A sign-in ended in a session.
    SignedIn {
        /// The provider.
        provider: &'a str,
        /// The user.
        user: &'a str,
        /// The client's address.
        client: IpAddr,
        /// From the start of the sign-in.
        since_start: Duration,
        /// The callback alone.
        callback: Duration,
    },
    /// A sign-in failed.
    SignInFailed {
        /// The provider, if it came so far.
        provider: &'a str,
        /// Why.
        reason: Reason,
        /// What the log may say about the cause.
        cause: &'a str,
        /// The client's address.
        client: IpAddr,
        /// The callback alone; nothing when it failed before.
        callback: Option<Duration>,
    },
    /// A session was made.
    SessionCreated {
        /// The session.
        session: Name,
        /// The user.
        user: &'a str,
    },
    /// A session was ended.
    SessionEnded {
        /// The session.
        session: Name,
        /// By what.
        cause: EndCause,
        /// Whether the store has yet to hear of it.
        pending: bool,
    },
    /// A stored session did not open.
    SessionUnreadable {
        /// The session.
        session: Name,
    },
    /// A session was shown by another client than it is bound to.
    BindingViolated {
        /// The request.
        request_id: &'a str,
        /// What differs.
        reason: Reason,
        /// Whether the request was refused for it.
        refused: bool,
        /// The address that showed it.
        client: IpAddr,
    },
    /// Tokens were refreshed.
    Refreshed {
        /// The session.
        session: Name,
    },
    /// Tokens were not refreshed.
    RefreshFailed {
        /// The session.
        session: Name,
        /// Why.
        reason: Reason,
        /// What the log may say about the cause.
        cause: &'a str,
    },
    /// The provider did not do what it was asked, outside a sign-in.
    ProviderFailed {
        /// The provider.
        provider: &'a str,
        /// What was asked.
        operation: &'static str,
        /// What the log may say about the cause.
        cause: &'a str,
    },
    /// A browser reports that a page of ours breaks its content security policy, or that somebody tried to make it.
    CspViolated {
        /// The directive.
        directive: &'static str,
        /// Whether the browser let it happen.
        disposition: &'static str,
        /// Whose page it was.
        page: &'static str,
        /// The origin or scheme of what was blocked.
        blocked: &'a str,
        /// The origin or scheme of what caused it.
        source: &'a str,
        /// Whether it is written down; too many are only counted.
        written: bool,
    },
    /// Somebody asked too often.
    Limited {
        /// Which limit.
        limit: &'static str,
        /// The client's address, where the limit is an address's.
        client: Option<IpAddr>,
        /// How long they must wait.
        wait: Duration,
    },
    /// This gateway began to listen to what others change.
    Listening,
    /// The store has lost its data: somebody flushed it, or it began anew without them.
    StoreEmptied,
    /// It does not hear them any more.
    Deaf {
        /// Why.
        cause: &'a str,
    },
    /// Something of the administrators' way in.
    Fallback(FallbackEvent<'a>),
    /// Other settings are in use.
    Reloaded {
        /// The keys that open nothing any more.
        removed: &'a [Farewell],
        /// When.
        at: Timestamp,
    },
    /// Other settings were refused, and the former ones stay in use.
    ReloadRefused {
        /// All that is wrong with them.
        problems: &'a [String],
    },
    /// Another gateway has given up the key that this one seals with.
    SealingKeyGivenUp {
        /// The key.
        key: KeyId,
    },
    /// An accepted key opens nothing any more, because another gateway has given it up.
    KeyRetired {
        /// The key.
        key: KeyId,
    },
    /// The store did not do what it was asked.
    StoreFailed {
        /// What was asked.
        operation: &'static str,
        /// Why it failed.
        error: &'a StoreError,
    },
}

/// What ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The user signed out.
    Logout,
    /// The same browser signed in again.
    Replaced,
    /// The provider refused to refresh it.
    RefreshRejected,
}

impl EndCause {
    /// Every cause there is.
    pub const ALL: [Self; 3] = [Self::Logout, Self::Replaced, Self::RefreshRejected];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Replaced => "replaced",
            Self::RefreshRejected => "refresh_rejected",
        }
    }
}

impl Telemetry {
    /// Events are counted, and written to whatever log the process has set up.
    pub fn new(audit_allowed: bool) -> Self {
        Self {
            metrics: Arc::new(Metrics::new()),
            audit_allowed,
            without_session: Arc::default(),
            began: Instant::now(),
        }
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whoever shows no session of ours is refused for nothing, as often as they like: so many lines a second are enough.
    fn is_written(&self, reason: Reason) -> bool {
        if !matches!(reason, Reason::NoSession | Reason::SessionMalformed) {
            return true;
        }
        let second = u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX);
        let left_out = self.without_session.take(second);
        if let Some(left_out @ 1..) = left_out {
            info!(left_out, "refusals without a session that were counted and not written");
        }
        left_out.is_some()
    }

    /// Counts an event and writes it down.
    pub fn event(&self, event: &Event<'_>) {
        self.metrics.count(event);
        match event {
            Event::Allowed { request_id, policy, rule, user, took } => {
                debug!(request_id, policy, rule, user, micros = micros(*took), "allowed");
                if self.audit_allowed {
                    info!(target: AUDIT, event = "allowed", request_id, policy, rule, user);
                }
            }
            Event::Refused { request_id, policy, reason, client, host, took } => {
                if !self.is_written(*reason) {
                    return;
                }
                let (reason, policy) = (reason.code(), policy.unwrap_or("none"));
                let client = client.map(tracing::field::display);
                info!(request_id, policy, reason, client, host, micros = micros(*took), "refused");
                info!(target: AUDIT, event = "refused", request_id, policy, reason, client, host);
            }
            Event::Answered { endpoint, status, reason, took } => {
                answered(endpoint, *status, *reason, *took);
            }
            Event::SignedIn { provider, user, client, since_start, .. } => {
                info!(provider, user, %client, millis = millis(*since_start), "signed in");
                info!(target: AUDIT, event = "signed_in", provider, user, %client);
            }
            Event::SignInFailed { provider, reason, cause, client, .. } => {
                let reason = reason.code();
                warn!(provider, reason, cause, %client, "sign-in failed");
                info!(target: AUDIT, event = "sign_in_failed", provider, reason, %client);
            }
            Event::SessionCreated { session, user } => {
                info!(?session, user, "session created");
                info!(target: AUDIT, event = "session_created", ?session, user);
            }
            Event::SessionEnded { session, cause, pending } => {
                info!(?session, cause = cause.label(), pending, "session ended");
                info!(target: AUDIT, event = "session_ended", ?session, cause = cause.label(), pending);
            }
            Event::SessionUnreadable { session } => {
                error!(?session, "a stored session does not open: altered or swapped");
                info!(target: AUDIT, event = "session_unreadable", ?session);
            }
            Event::BindingViolated { request_id, reason, refused, client } => {
                let reason = reason.code();
                warn!(request_id, reason, refused, %client, "a session was shown by another client");
                info!(target: AUDIT, event = "binding_violated", request_id, reason, refused, %client);
            }
            Event::Refreshed { session } => info!(?session, "tokens refreshed"),
            Event::RefreshFailed { session, reason, cause } => {
                warn!(?session, reason = reason.code(), cause, "tokens not refreshed");
            }
            Event::ProviderFailed { provider, operation, cause } => {
                warn!(provider, operation, cause, "the provider failed");
            }
            Event::CspViolated { directive, disposition, page, blocked, source, written } => {
                if *written {
                    info!(directive, disposition, page, blocked, source, "content security policy broken");
                }
            }
            Event::Limited { limit, client, wait } => {
                let client = client.map(tracing::field::display);
                info!(limit, client, wait_millis = millis(*wait), "over the limit");
                info!(target: AUDIT, event = "over_the_limit", limit, client);
            }
            Event::Listening => info!("listening to what other gateways change"),
            Event::StoreEmptied => {
                warn!("the store has lost its data: everybody is asked to sign in");
                info!(target: AUDIT, event = "store_emptied");
            }
            Event::Deaf { cause } => warn!(cause, "other gateways are not heard: every session is asked of the store"),
            Event::Fallback(event) => event.write(),
            Event::Reloaded { removed, .. } => reloaded(removed),
            Event::ReloadRefused { problems } => reload_refused(problems),
            Event::SealingKeyGivenUp { key } => {
                error!(%key, "another gateway has given up the key that this one seals with: its settings are older");
            }
            Event::KeyRetired { key } => {
                warn!(%key, "another gateway has given up this key: it opens nothing here any more");
                info!(target: AUDIT, event = "key_retired", %key);
            }
            Event::StoreFailed { operation, error } => {
                error!(operation, %error, "the store failed");
            }
        }
    }
}

fn reloaded(removed: &[Farewell]) {
    for Farewell { key, .. } in removed {
        info!(%key, "this key opens nothing here any more");
    }
    info!("the settings have been read again and are in use");
    info!(target: AUDIT, event = "reloaded", keys_removed = removed.len());
}

fn reload_refused(problems: &[String]) {
    for problem in problems {
        error!(problem, "the settings cannot be used");
    }
    error!(problems = problems.len(), "the settings were read again and refused: the former ones stay in use");
    info!(target: AUDIT, event = "reload_refused", problems = problems.len());
}

fn answered(endpoint: &str, status: u16, reason: Option<Reason>, took: Duration) {
    let millis = millis(took);
    match reason {
        Some(reason) if reason.kind() == Kind::Internal => {
            error!(endpoint, status, reason = reason.code(), millis, "answered");
        }
        Some(reason) => {
            info!(endpoint, status, reason = reason.code(), millis, "answered");
        }
        None => debug!(endpoint, status, millis, "answered"),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The target of audit lines.
pub const AUDIT: &str = "audit";
