//! Pure. What is known of every configured revocation list over time, and what it says of a path.
//!
//! Invariant: a certificate is [`Good`] only if every issuer of its path, the root included, has a list that is in force,
//! was fetched recently, is the newest that was ever seen of it, and does not name the certificate below. What is not
//! known is refused.

use std::{collections::HashMap, time::Duration};

use crate::{
    clock::Timestamp,
    fallback::{
        certificate::Serial,
        chain::{AuthorityId, Path},
        crl::{CrlNumber, RevocationList},
    },
    reason::Reason,
};

/// For how long lists count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long after it was fetched a list is taken at its word.
    pub fresh_for: Duration,
    /// How long after it was made.
    pub max_age: Duration,
    /// How long after it was fetched it is fetched anew.
    pub refresh_after: Duration,
    /// How long after a failure the next attempt is made.
    pub retry_after: Duration,
    /// Whether a list that cannot be fetched anew goes on counting until it is too old itself.
    pub use_until_stale: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            fresh_for: FRESH_FOR,
            max_age: MAX_AGE,
            refresh_after: REFRESH_AFTER,
            retry_after: RETRY_AFTER,
            use_until_stale: false,
        }
    }
}

/// What is known of the lists. They are named by their place in the settings.
#[derive(Debug)]
pub struct Book {
    rules: Rules,
    pages: Vec<Page>,
    seen: HashMap<AuthorityId, Edition>,
}

/// What is known of one address.
#[derive(Debug, Default)]
struct Page {
    held: Option<Held>,
    tried: Option<Timestamp>,
    failed: Option<Reason>,
}

/// The last good list of an address.
#[derive(Debug)]
struct Held {
    list: RevocationList,
    fetched: Timestamp,
}

/// Which of two lists of one issuer is the newer one.
type Edition = (CrlNumber, Timestamp);

/// Proof that no certificate of a path was revoked, as far as the lists say.
///
/// ```compile_fail
/// // It cannot be made but by looking:
/// fn forge(until: portcullis::clock::Timestamp) -> portcullis::fallback::revocation::Good {
///     portcullis::fallback::revocation::Good { until }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    until: Timestamp,
}

impl Good {
    /// The first moment at which one of the lists does not count any more.
    pub const fn until(self) -> Timestamp {
        self.until
    }
}

/// What an address has, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    /// How long ago it was fetched.
    pub age: Duration,
    /// When it was made.
    pub this_update: Timestamp,
}

impl Book {
    /// Nothing is known of any of so many addresses.
    pub fn new(addresses: usize, rules: Rules) -> Self {
        let pages = std::iter::repeat_with(Page::default).take(addresses).collect();
        Self { rules, pages, seen: HashMap::new() }
    }

    /// Takes over what another book knows: of each address, what that address had there, by an authority that is one
    /// still; and of each authority its newest list, so that none comes back. Every address is asked anew at once.
    pub fn take_over(&mut self, other: &Self, addresses: &[Option<usize>], is_known: impl Fn(AuthorityId) -> bool) {
        self.seen.clone_from(&other.seen);
        for (address, there) in addresses.iter().enumerate() {
            let held = there.and_then(|there| other.pages.get(there)?.held.as_ref());
            if let Some(held) = held.filter(|held| is_known(held.list.issuer())) {
                self.hold(address, held.list.clone(), held.fetched);
            }
        }
    }

    /// Whether every address was asked.
    pub fn is_complete(&self) -> bool {
        self.pages.iter().all(|page| page.tried.is_some())
    }

    /// The addresses to ask now.
    pub fn due(&self, now: Timestamp) -> Vec<usize> {
        let due = self.pages.iter().enumerate().filter(|(_, page)| page.is_due(&self.rules, now));
        due.map(|(address, _)| address).collect()
    }

    /// Takes what came of asking an address. A list older than one seen before of its issuer is refused, and the last
    /// good one stays.
    ///
    /// # Errors
    /// Why there is no newer list now.
    pub fn arrived(
        &mut self,
        address: usize,
        now: Timestamp,
        outcome: Result<RevocationList, Reason>,
    ) -> Result<(), Reason> {
        let Some(page) = self.pages.get_mut(address) else {
            return Err(Reason::CrlUnavailable);
        };
        page.tried = Some(now);
        let current = outcome.and_then(|list| match self.seen.get(&list.issuer()) {
            Some(seen) if edition(&list) < *seen => Err(Reason::CrlStale),
            _ => Ok(list),
        });
        page.failed = current.as_ref().err().copied();
        self.hold(address, current?, now);
        Ok(())
    }

    /// Takes a list that was fetched before the process began. It counts from then, and is fetched anew at once.
    pub fn restore(&mut self, address: usize, list: RevocationList, fetched: Timestamp) {
        self.hold(address, list, fetched);
    }

    fn hold(&mut self, address: usize, list: RevocationList, fetched: Timestamp) {
        let newest = self.seen.entry(list.issuer()).or_insert_with(|| edition(&list));
        *newest = edition(&list).max(*newest);
        if let Some(page) = self.pages.get_mut(address) {
            page.held = Some(Held { list, fetched });
        }
    }

    /// What the lists say of every certificate of a path.
    ///
    /// # Errors
    /// Of all that is against it, what comes first: `crl_unavailable`, `crl_invalid`, `crl_stale`, `revoked`.
    pub fn check(&self, path: &Path, now: Timestamp) -> Result<Good, Reason> {
        let mut refused = None;
        let mut until = Timestamp::from_millis(u64::MAX);
        for link in path.links() {
            match self.verdict(link.issuer.id(), &link.serial, now) {
                Ok(moment) => until = until.min(moment),
                Err(reason) => refused = refused.into_iter().chain([reason]).min_by_key(|reason| place(*reason)),
            }
        }
        // A path has a link at least: without one, nobody vouches for anything.
        match refused {
            None if !path.links().is_empty() => Ok(Good { until }),
            reason => Err(reason.unwrap_or(Reason::CrlUnavailable)),
        }
    }

    /// Until when that certificate of that issuer is good.
    fn verdict(&self, issuer: AuthorityId, serial: &Serial, now: Timestamp) -> Result<Timestamp, Reason> {
        let newest = self.of(issuer).max_by_key(|(held, _)| (edition(&held.list), held.fetched));
        let Some((held, failed)) = newest else {
            return Err(self.why_none());
        };
        let end = held.end(&self.rules);
        if now >= held.list.stale_at(self.rules.max_age) {
            return Err(Reason::CrlStale);
        }
        if now >= end || held.fetched > now.plus(CLOCK_SKEW) {
            return Err(failed.unwrap_or(Reason::CrlUnavailable));
        }
        if held.list.has_revoked(serial) { Err(Reason::Revoked) } else { Ok(end) }
    }

    fn of(&self, issuer: AuthorityId) -> impl Iterator<Item = (&Held, Option<Reason>)> {
        let held = self.pages.iter().filter_map(|page| page.held.as_ref().map(|held| (held, page.failed)));
        held.filter(move |(held, _)| held.list.issuer() == issuer)
    }

    /// Why an issuer has no list: one of the addresses that never had any must be its own.
    fn why_none(&self) -> Reason {
        let empty = self.pages.iter().filter(|page| page.held.is_none());
        let reasons = empty.map(|page| page.failed.unwrap_or(Reason::CrlUnavailable));
        reasons.min_by_key(|reason| place(*reason)).unwrap_or(Reason::CrlUnavailable)
    }

    /// What an address has, if it has anything.
    pub fn in_use(&self, address: usize, now: Timestamp) -> Option<InUse> {
        let held = self.pages.get(address)?.held.as_ref()?;
        Some(InUse { age: now.since(held.fetched), this_update: held.list.this_update() })
    }
}

impl Page {
    /// A clock that was set back holds nothing up.
    fn is_due(&self, rules: &Rules, now: Timestamp) -> bool {
        let Some(tried) = self.tried else {
            return true;
        };
        let pause = match (&self.held, self.failed) {
            (Some(held), None) => {
                let rest = held.list.stale_at(rules.max_age).since(held.fetched);
                rules.refresh_after.min(rest / 2).max(rules.retry_after)
            }
            (_, _) => rules.retry_after,
        };
        now.since(tried) >= pause || tried > now.plus(CLOCK_SKEW)
    }
}

impl Held {
    /// The first moment at which it does not count any more.
    fn end(&self, rules: &Rules) -> Timestamp {
        let stale = self.list.stale_at(rules.max_age);
        if rules.use_until_stale { stale } else { stale.min(self.fetched.plus(rules.fresh_for)) }
    }
}

/// The same number twice is the same list, or one that was made again.
fn edition(list: &RevocationList) -> Edition {
    (list.number(), list.this_update())
}

/// The order in which reasons are looked at.
const fn place(reason: Reason) -> u8 {
    match reason {
        Reason::CrlInvalid => 1,
        Reason::CrlStale => 2,
        Reason::Revoked => 3,
        _ => 0,
    }
}

/// How long after it was fetched a list is taken at its word.
pub const FRESH_FOR: Duration = Duration::from_secs(60 * 60);
/// How long after it was made.
pub const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long after it was fetched it is fetched anew; sooner if it lives shortly.
pub const REFRESH_AFTER: Duration = Duration::from_secs(30 * 60);
/// Between a failure and the next attempt, and the least between any two.
pub const RETRY_AFTER: Duration = Duration::from_secs(15);
/// How far in the future a fetch may lie, when the machine's clock was set right.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
