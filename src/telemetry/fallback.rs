//! What operators see of the administrators' way in: the providers' health, the door, certificates and revocation lists.

use std::{net::IpAddr, time::Duration};

use tracing::{error, info, warn};

use super::{AUDIT, millis};
use crate::{clock::Timestamp, reason::Reason};

/// Something an operator may want to know about the fallback.
#[derive(Debug)]
pub enum FallbackEvent<'a> {
    /// A provider was probed.
    Probed {
        /// The provider.
        provider: &'a str,
        /// What the log may say of a failure; nothing when it was well.
        failure: Option<&'a str>,
        /// How long it took.
        took: Duration,
    },
    /// The monitor's verdict on a provider changed.
    Verdict {
        /// The provider.
        provider: &'a str,
        /// Whether it is down from now on.
        down: bool,
        /// How long it had been down, when it is up again.
        after: Duration,
    },
    /// Somebody showed a certificate where a session was missing.
    CertificateShown(&'a CertificateShown<'a>),
    /// A revocation list was fetched, or was not.
    CrlFetched {
        /// Where from, as the settings have it, without user and query.
        url: &'a str,
        /// What it says of itself; or why it cannot be used, and what the log may say of the cause.
        outcome: Result<CrlNews, (Reason, &'a str)>,
        /// How long it took.
        took: Duration,
    },
    /// A revocation list could not be kept on disk, or one that was kept cannot be used.
    CrlNotKept {
        /// Where it comes from.
        url: &'a str,
        /// What the log may say of the cause.
        cause: &'a str,
    },
    /// The switches changed.
    SwitchThrown {
        /// `arm`, `disable`, `enable` or `auto_close`.
        action: &'static str,
        /// The record's number.
        epoch: u64,
        /// Who did it.
        operator: &'a str,
        /// Why.
        reason: &'a str,
        /// By which way this process learnt of it: `store`, `file`, `ops` or `itself`.
        source: &'static str,
        /// Until when the door is armed.
        armed_until: Option<Timestamp>,
        /// When it was done.
        at: Timestamp,
        /// The process has just begun, and learns of what was so before: it does not count as a change.
        at_start: bool,
    },
    /// The switches cannot be believed, so the door is closed.
    SwitchesInvalid {
        /// `store` or `file`.
        place: &'static str,
        /// What the log may say of the cause.
        cause: &'a str,
    },
    /// The file of the switches could not be written.
    SwitchesNotKept {
        /// What the log may say of the cause.
        cause: &'a str,
    },
}

/// One attempt to come in by a certificate.
#[derive(Debug)]
pub struct CertificateShown<'a> {
    /// The request.
    pub request_id: &'a str,
    /// SHA-256 of the certificate, in hexadecimal digits; empty where it could not be read.
    pub fingerprint: &'a str,
    /// Its subject.
    pub subject: &'a str,
    /// Its serial number, in hexadecimal digits.
    pub serial: &'a str,
    /// Which entry of the allow-list it is, by what the allow-list knows it by; `unauthorized` for everybody else.
    pub cn: &'a str,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Its last moment.
    pub not_after: Option<Timestamp>,
    /// Whether it ends soon.
    pub near_expiry: bool,
    /// What the revocation lists say: `good`, `revoked`, `unavailable`, `invalid`, `stale`, or `not_looked_at`.
    pub crl_status: &'static str,
    /// Why it was refused; nothing if it was not.
    pub refused: Option<Reason>,
    /// How long the certificate's own checks took; nothing if it came to none.
    pub checked_in: Option<Duration>,
}

/// What a revocation list says of itself.
#[derive(Clone, Copy, Debug)]
pub struct CrlNews {
    /// When it was made.
    pub this_update: Timestamp,
    /// When the next one comes at the latest.
    pub next_update: Timestamp,
}

impl FallbackEvent<'_> {
    pub(super) fn write(&self) {
        match self {
            Self::Probed { provider, failure: Some(cause), took } => {
                info!(provider, cause, millis = millis(*took), "a probe of the provider failed");
            }
            Self::Probed { provider, failure: None, took } => {
                tracing::debug!(provider, millis = millis(*took), "the provider is well");
            }
            Self::Verdict { provider, down: true, .. } => {
                error!(provider, "the provider is down");
                info!(target: AUDIT, event = "idp_down", provider);
            }
            Self::Verdict { provider, down: false, after } => {
                let seconds = after.as_secs();
                warn!(provider, seconds, "the provider is up again");
                info!(target: AUDIT, event = "idp_up", provider, seconds);
            }
            Self::CertificateShown(shown) => shown.write(),
            Self::CrlFetched { url, outcome: Ok(news), took } => {
                let (this_update, next_update) = (news.this_update.seconds(), news.next_update.seconds());
                info!(url, this_update, next_update, millis = millis(*took), "revocation list fetched");
            }
            Self::CrlFetched { url, outcome: Err((reason, cause)), took } => {
                warn!(url, reason = reason.code(), cause, millis = millis(*took), "revocation list not fetched");
            }
            Self::CrlNotKept { url, cause } => warn!(url, cause, "a revocation list is not kept on disk"),
            Self::SwitchThrown { action, epoch, operator, reason, source, armed_until, at, at_start } => {
                let at = at.seconds();
                let armed_until = armed_until.map(Timestamp::seconds);
                warn!(action, epoch, operator, reason, source, armed_until, at, at_start, "fallback switched");
                info!(target: AUDIT, event = "fallback_switched", action, epoch, operator, reason, source, armed_until, at, at_start);
            }
            Self::SwitchesInvalid { place, cause } => {
                error!(place, cause, "the fallback's switches cannot be believed: its door is closed");
                info!(target: AUDIT, event = "fallback_switches_invalid", place, cause);
            }
            Self::SwitchesNotKept { cause } => error!(cause, "the fallback's switches are not kept on disk"),
        }
    }
}

impl CertificateShown<'_> {
    fn write(&self) {
        let Self { request_id, fingerprint, subject, serial, cn, crl_status, near_expiry, .. } = self;
        let decision = if self.refused.is_some() { "refuse" } else { "allow" };
        let reason = self.refused.map(Reason::code);
        let client = self.client.map(tracing::field::display);
        let not_after = self.not_after.map(Timestamp::seconds);
        if *near_expiry && self.refused.is_none() {
            warn!(request_id, cn, not_after, "an administrator's certificate ends soon");
        }
        info!(
            target: AUDIT, event = "client_certificate", decision, reason, request_id, cn, fingerprint, subject, serial,
            client, not_after, crl_status
        );
    }
}
