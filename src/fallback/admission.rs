//! Pure. From a certificate at an open door to an administrator, or to the first reason against it.
//!
//! Invariant: an [`Admitted`] is made only here, of an [`Open`] door, a certificate that passed every check in one fixed
//! order, and a [`Good`] word of the revocation lists. The order matters: what is told, counted and audited is the first
//! failure. The certificate is looked at in two steps, because the lists may have to be waited for in between, and the
//! door in a third: so a drill can take the first two and let nobody in.

use std::{net::IpAddr, time::Duration};

use crate::{
    clock::Timestamp,
    fallback::{
        administrators::{Administrators, Entry},
        certificate::{Fingerprint, Leaf, Malformed, Shown},
        chain::{AdminCa, Path, Untrusted},
        door::Open,
        revocation::Good,
    },
    reason::Reason,
    session::Method,
    telemetry::{fallback::CertificateShown, metrics::fallback::UNAUTHORIZED},
};

/// What the settings demand of every certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The longest time from a certificate's first moment to its last.
    pub longest_lifetime: Duration,
    /// How long before its end its holder is warned.
    pub near_expiry: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self { longest_lifetime: LONGEST_LIFETIME, near_expiry: NEAR_EXPIRY }
    }
}

/// What is known of the page that a request came from. A certificate has no `SameSite`: a browser shows it for anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentBy {
    /// It changes nothing, or it was proven to come from one of our own pages.
    SafeOrOwnPage,
    /// It may change something, or opens a WebSocket, and nothing proves where it came from.
    Unproven,
}

/// A certificate that was looked at, but for revocation and its holder.
#[derive(Debug)]
pub struct Examined {
    leaf: Option<Leaf>,
    path: Option<Path>,
    refused: Option<Reason>,
    cause: Option<Cause>,
    near_expiry: bool,
}

/// What the log may say of a refusal's cause.
#[derive(Clone, Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Untrusted(#[from] Untrusted),
}

impl Examined {
    /// The path that the revocation lists are to be asked about; nothing where it does not come to that.
    pub const fn path(&self) -> Option<&Path> {
        match self.refused {
            None => self.path.as_ref(),
            Some(_) => None,
        }
    }

    const fn refused(leaf: Option<Leaf>, reason: Reason) -> Self {
        Self { leaf, path: None, refused: Some(reason), cause: None, near_expiry: false }
    }
}

/// What is to be said of a certificate itself, whether or not there is a door that it could open.
#[derive(Clone, Debug)]
pub struct Verdict {
    leaf: Option<Leaf>,
    entry: Option<Entry>,
    chained: bool,
    crl_status: &'static str,
    cause: Option<Cause>,
    near_expiry: bool,
    refused: Option<Reason>,
}

/// An attempt to come in by a certificate, and what came of it.
#[derive(Debug)]
pub struct Attempt {
    verdict: Verdict,
    outcome: Result<Admitted, Reason>,
}

/// Proof that an administrator showed a certificate that holds, at an open door, in this request.
///
/// ```compile_fail
/// // It cannot be written down, not even out of an entry of the list:
/// use portcullis::fallback::{administrators::Entry, admission::Admitted};
/// fn forge(entry: Entry, not_after: portcullis::clock::Timestamp) -> Admitted {
///     Admitted { entry, not_after, near_expiry: false }
/// }
/// ```
///
/// ```compile_fail
/// // Nor does the best of certificates get past a door that nobody has looked at:
/// use portcullis::fallback::admission::{Attempt, SentBy, Verdict, admit};
/// fn enter(verdict: Verdict) -> Attempt {
///     admit(Ok(()), verdict, SentBy::SafeOrOwnPage)
/// }
/// ```
///
/// ```
/// // What that one lacks: the door.
/// use portcullis::fallback::{admission::{Attempt, SentBy, Verdict, admit}, door::Open};
/// fn enter(door: Open, verdict: Verdict) -> Attempt {
///     admit(Ok(door), verdict, SentBy::SafeOrOwnPage)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Admitted {
    entry: Entry,
    not_after: Timestamp,
    near_expiry: bool,
}

impl Admitted {
    /// Who they are.
    pub fn user(&self) -> &str {
        &self.entry.user
    }

    /// Their groups.
    pub fn groups(&self) -> &[String] {
        &self.entry.groups
    }

    /// What metrics and the audit log call them.
    pub fn label(&self) -> &str {
        self.entry.label()
    }

    /// How they proved it.
    pub const fn method(&self) -> Method {
        Method::ClientCertificate
    }

    /// The certificate's last second.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether that is soon.
    pub const fn is_near_expiry(&self) -> bool {
        self.near_expiry
    }

    /// When the certificate ends, in words, if that is soon.
    pub fn ends_soon(&self) -> Option<String> {
        self.near_expiry.then(|| self.not_after.in_words())
    }
}

/// The first step: all that a certificate itself, its authorities and nginx say.
pub fn examine(shown: Option<Shown<'_>>, now: Timestamp, ca: &AdminCa, rules: &Rules) -> Examined {
    let Some(shown) = shown.filter(|shown| !shown.escaped.is_empty()) else {
        return Examined::refused(None, Reason::NoCertificate);
    };
    let leaf = match Leaf::read(shown.escaped) {
        Ok(leaf) => leaf,
        Err(malformed) => {
            let cause = Some(Cause::from(malformed));
            return Examined { cause, ..Examined::refused(None, Reason::MalformedCertificate) };
        }
    };
    if let Some(reason) = out_of_time(&leaf, now) {
        return Examined::refused(Some(leaf), reason);
    }
    match ca.verify(&leaf, now) {
        Ok(path) => Examined {
            refused: refused_in_spite(&leaf, shown, rules),
            near_expiry: leaf.not_after().since(now) < rules.near_expiry,
            path: Some(path),
            leaf: Some(leaf),
            cause: None,
        },
        Err(untrusted) => {
            let cause = Some(Cause::from(untrusted));
            Examined { cause, ..Examined::refused(Some(leaf), Reason::UntrustedChain) }
        }
    }
}

/// A certificate counts to the end of its last second (RFC 5280 section 4.1.2.5).
const fn out_of_time(leaf: &Leaf, now: Timestamp) -> Option<Reason> {
    if now.seconds() < leaf.not_before().seconds() {
        return Some(Reason::NotYetValid);
    }
    if now.seconds() > leaf.not_after().seconds() {
        return Some(Reason::Expired);
    }
    None
}

/// What is against a certificate of the right authority.
fn refused_in_spite(leaf: &Leaf, shown: Shown<'_>, rules: &Rules) -> Option<Reason> {
    if shown.verify != NGINX_VERIFIED {
        return Some(Reason::NginxVerifyFailed);
    }
    let lifetime = leaf.not_after().since(leaf.not_before());
    (lifetime > rules.longest_lifetime).then_some(Reason::LifetimeTooLong)
}

impl Examined {
    /// The second step: what the revocation lists said, if they were asked, and who it is.
    pub fn verdict(self, lists: Option<Result<Good, Reason>>, administrators: &Administrators) -> Verdict {
        let Self { leaf, path, refused, cause, near_expiry } = self;
        let chained = path.is_some();
        let asked = if refused.is_none() { lists } else { None };
        // Whom a certificate names counts only where the right authority has named them.
        let entry = leaf.as_ref().filter(|_| chained).and_then(|leaf| administrators.find(leaf)).cloned();
        let against = match (asked, &entry) {
            (None, _) => Some(Reason::CrlUnavailable),
            (Some(Err(reason)), _) => Some(reason),
            (Some(Ok(_)), None) => Some(Reason::NameNotAllowed),
            (Some(Ok(_)), Some(_)) => None,
        };
        let crl_status = asked.map_or(NOT_LOOKED_AT, status);
        Verdict { leaf, entry, chained, crl_status, cause, near_expiry, refused: refused.or(against) }
    }
}

impl Verdict {
    /// What there is to say where the settings have no authority: what the certificate says of itself.
    pub fn of_nobody(shown: Shown<'_>) -> Self {
        let examined = Examined::refused(Leaf::read(shown.escaped).ok(), Reason::UntrustedChain);
        examined.verdict(None, &Administrators::default())
    }

    /// What is against it, if anything.
    pub const fn refused(&self) -> Option<Reason> {
        self.refused
    }

    /// The certificate, if it could be read.
    pub const fn leaf(&self) -> Option<&Leaf> {
        self.leaf.as_ref()
    }

    /// Whose it is, if the right authority says so and the list has them.
    pub const fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// What the log may say of the cause, beyond the reason.
    pub fn cause(&self) -> Option<String> {
        self.cause.as_ref().map(Cause::to_string)
    }
}

/// The last step: the door, the certificate, and where the request came from.
pub fn admit(door: Result<Open, Reason>, verdict: Verdict, sent_by: SentBy) -> Attempt {
    let outcome = match (door, verdict.refused, &verdict.leaf, &verdict.entry) {
        (Err(reason), _, _, _) | (Ok(_), Some(reason), _, _) => Err(reason),
        (Ok(_), None, Some(leaf), Some(entry)) => enter(leaf, entry, verdict.near_expiry, sent_by),
        (Ok(_), None, _, _) => Err(Reason::NameNotAllowed),
    };
    Attempt { verdict, outcome }
}

fn enter(leaf: &Leaf, entry: &Entry, near_expiry: bool, sent_by: SentBy) -> Result<Admitted, Reason> {
    match sent_by {
        SentBy::SafeOrOwnPage => Ok(Admitted { entry: entry.clone(), not_after: leaf.not_after(), near_expiry }),
        SentBy::Unproven => Err(Reason::CrossSite),
    }
}

impl Attempt {
    /// Who came in.
    ///
    /// # Errors
    /// The first reason against it.
    pub const fn outcome(&self) -> Result<&Admitted, Reason> {
        match &self.outcome {
            Ok(admitted) => Ok(admitted),
            Err(reason) => Err(*reason),
        }
    }

    /// Who came in, to keep.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn into_outcome(self) -> Result<Admitted, Reason> {
        self.outcome
    }

    /// Whether the certificate led to the administrators' authority.
    pub const fn is_chained(&self) -> bool {
        self.verdict.chained
    }

    /// The certificate, if it was of the right authority and refused for what speaks against its holder: enough
    /// different ones close the door. Trouble of our own or of nginx's does not count, nor what another site made a browser do.
    pub fn against_the_door(&self) -> Option<&Fingerprint> {
        let counts = matches!(self.outcome, Err(Reason::LifetimeTooLong | Reason::Revoked | Reason::NameNotAllowed));
        self.verdict.leaf.as_ref().filter(|_| counts && self.verdict.chained).map(Leaf::fingerprint)
    }

    /// What the log may say of the cause, beyond the reason.
    pub fn cause(&self) -> Option<String> {
        self.verdict.cause()
    }

    /// The audit line. A refusal that comes later, by a policy, takes the place of `refused` there.
    pub fn shown<'a>(&'a self, request_id: &'a str, client: Option<IpAddr>, took: Duration) -> CertificateShown<'a> {
        let Verdict { leaf, entry, crl_status, near_expiry, .. } = &self.verdict;
        CertificateShown {
            request_id,
            fingerprint: leaf.as_ref().map_or("", |leaf| leaf.fingerprint().hex()),
            subject: leaf.as_ref().map_or("", Leaf::subject),
            serial: leaf.as_ref().map_or("", Leaf::serial_hex),
            cn: entry.as_ref().map_or(UNAUTHORIZED, Entry::label),
            client,
            not_after: leaf.as_ref().map(Leaf::not_after),
            near_expiry: *near_expiry,
            crl_status,
            refused: self.outcome.as_ref().err().copied(),
            checked_in: leaf.is_some().then_some(took),
        }
    }
}

const fn status(lists: Result<Good, Reason>) -> &'static str {
    match lists {
        Ok(_) => "good",
        Err(Reason::Revoked) => "revoked",
        Err(Reason::CrlInvalid) => "invalid",
        Err(Reason::CrlStale) => "stale",
        Err(_) => "unavailable",
    }
}

/// What `crl_status` says where it did not come to the lists.
pub const NOT_LOOKED_AT: &str = "not_looked_at";
/// `$ssl_client_verify` of a certificate that nginx takes.
const NGINX_VERIFIED: &str = "SUCCESS";
/// The longest time from a certificate's first moment to its last.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long before its end its holder is warned.
pub const NEAR_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
pub(crate) mod tests;
