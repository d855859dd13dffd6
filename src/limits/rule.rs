//! Pure. Which limit applies to what: the figures, whose window is whose, and what a failed callback says of its sender.
//!
//! Invariant: a browser that holds an unused sign-in of its own is never refused for its address's sake. So nothing is
//! asked of an address before a callback; a callback without such a sign-in is counted once it has failed, which costs
//! nothing; and failures with one make the address wait where sign-ins begin, not where they end.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::{
    reason::Reason,
    route::Limited,
    seal::KeyRing,
    store::{
        Name,
        window::{Kind, Rate, Window},
    },
};

/// The figures; what has none is not limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Sign-ins that an address begins.
    pub login: Option<Rate>,
    /// Callbacks of an address without a sign-in of that browser.
    pub failed_callback: Option<Rate>,
    /// Sign-ins of an address that failed.
    pub failed_sign_in: Option<Rate>,
    /// How long an address then waits before it may begin another.
    pub failed_sign_in_wait: Duration,
    /// Refreshes of a session, as its pages ask for them.
    pub refresh_session: Option<Rate>,
    /// The same, of all sessions of a user.
    pub refresh_user: Option<Rate>,
    /// Everything that an address asks of the public pages; each of these rates holds.
    pub everything: Vec<Rate>,
    /// Different certificates of the admin CA that are refused before the door closes by itself.
    pub refused_certificates: Option<Rate>,
}

impl Config {
    /// The rates of one kind; none where there is no limit.
    pub const fn rates(&self, kind: Kind) -> &[Rate] {
        match kind {
            Kind::SignIn => self.login.as_slice(),
            Kind::StrayCallback => self.failed_callback.as_slice(),
            Kind::FailedSignIn => self.failed_sign_in.as_slice(),
            Kind::SessionRefresh => self.refresh_session.as_slice(),
            Kind::UserRefresh => self.refresh_user.as_slice(),
            Kind::Everything => self.everything.as_slice(),
            Kind::RefusedCertificate => self.refused_certificates.as_slice(),
        }
    }

    /// Whether a window of that kind can refuse anybody.
    pub const fn limits(&self, kind: Kind) -> bool {
        let bars = matches!(kind, Kind::SignIn) && self.failed_sign_in.is_some();
        bars || !self.rates(kind).is_empty()
    }
}

/// What an address is counted by before an endpoint is asked, in order: who is refused by one is not counted by the next.
/// Everything comes first, because what a narrower limit refuses was asked all the same.
pub const fn before(limited: Limited) -> &'static [Kind] {
    match limited {
        Limited::Not | Limited::WhenItFails => &[],
        Limited::AsEverything | Limited::AsRefresh => &[Kind::Everything],
        Limited::AsSignIn => &[Kind::Everything, Kind::SignIn],
    }
}

/// What an address is counted by once its callback has failed.
pub const fn after(failure: Failure) -> &'static [Kind] {
    match failure {
        Failure::Stray => &[Kind::Everything, Kind::StrayCallback],
        Failure::Tried => &[Kind::FailedSignIn],
        Failure::NotTheirs => &[],
    }
}

/// What a failed callback says of whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No unused sign-in of that browser came with it.
    Stray,
    /// A sign-in of that browser was tried, and what it brought was no good.
    Tried,
    /// The provider or we ourselves are to blame, or somebody proved who they are and may not come in.
    NotTheirs,
}

impl Failure {
    /// What that reason says.
    pub const fn of(reason: Reason) -> Self {
        match reason {
            Reason::ParameterMissing
            | Reason::ParameterRepeated
            | Reason::ParameterMalformed
            | Reason::TransactionMissing
            | Reason::TransactionUnreadable
            | Reason::TransactionExpired
            | Reason::TransactionUsed => Self::Stray,
            Reason::ProviderError
            | Reason::CodeRejected
            | Reason::IssuerMismatch
            | Reason::IssuerMissing
            | Reason::IdTokenNonce => Self::Tried,
            _ => Self::NotTheirs,
        }
    }
}

/// Whose a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// An address's, or its network's.
    Address(IpAddr),
    /// A session's.
    Session(&'a Name),
    /// A user's.
    User {
        /// Who vouches for them.
        issuer: &'a str,
        /// Who they are there.
        subject: &'a str,
    },
    /// All gateways' together.
    Fleet,
}

/// The window of a kind: a keyed hash, so that a store gives away neither addresses nor users.
pub fn window(ring: &KeyRing, kind: Kind, whose: Whose<'_>) -> Window {
    let key = ring.sealing();
    let label = kind.label().as_bytes();
    let hash = match whose {
        Whose::Address(address) => match one_client(address) {
            IpAddr::V4(v4) => key.name(&[b"window", label, b"v4", &v4.octets()]),
            IpAddr::V6(v6) => key.name(&[b"window", label, b"v6", &v6.octets()]),
        },
        Whose::Session(name) => key.name(&[b"window", label, b"session", name.as_bytes()]),
        Whose::User { issuer, subject } => {
            key.name(&[b"window", label, b"user", issuer.as_bytes(), subject.as_bytes()])
        }
        Whose::Fleet => key.name(&[b"window", label, b"fleet"]),
    };
    Window { kind, name: Name::new(hash) }
}

/// What counts as one client: an IPv4 address however it is written, or an IPv6 /64, of which one machine has as many
/// addresses as it likes.
fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => translated(v6).map_or_else(|| network(v6), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn network(v6: Ipv6Addr) -> IpAddr {
    let [a, b, c, d, ..] = v6.segments();
    IpAddr::from([a, b, c, d, 0, 0, 0, 0])
}

/// The IPv4 address in one of `64:ff9b::/96` (RFC 6052): all of IPv4 would be a single /64 there.
fn translated(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::from([a, b, c, d]))
        }
        _ => None,
    }
}

/// Whole seconds for `Retry-After`: never too few, and at least one.
pub fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::seal::MasterKey;

    fn ring() -> KeyRing {
        KeyRing::new(&MasterKey::from_bytes([1; 32]), &[])
    }

    #[test]
    fn one_real_client_has_one_window_however_its_address_is_written() {
        let of = |address: &str| window(&ring(), Kind::SignIn, Whose::Address(address.parse().unwrap()));
        let check = |one: &str, other: &str, same: bool| assert_eq!(of(one) == of(other), same, "{one} {other}");
        check("192.0.2.7", "::ffff:192.0.2.7", true);
        check("192.0.2.7", "64:ff9b::192.0.2.7", true);
        check("192.0.2.7", "192.0.2.8", false);
        check("64:ff9b::192.0.2.7", "64:ff9b::192.0.2.8", false);
        check("2001:db8:0:1::1", "2001:0DB8:0000:0001:ffff:ffff:ffff:ffff", true);
        check("2001:db8:0:1::1", "2001:db8:0:2::1", false);
        check("::1", "::2", true);
        check("::1", "127.0.0.1", false);
        check("0.0.0.0", "::", false);
    }

    #[test]
    fn no_two_kinds_and_no_two_owners_share_a_window() {
        let name = Name::new([7; 32]);
        let user = |issuer, subject| Whose::User { issuer, subject };
        let whose = [
            Whose::Address([192, 0, 2, 7].into()),
            Whose::Session(&name),
            user("https://op.example.com", "a"),
            user("https://op.example.co", "ma"),
            user("https://other.example.com", "a"),
        ];
        let all = Kind::ALL.iter().flat_map(|kind| whose.map(|whose| window(&ring(), *kind, whose).name));
        let all: Vec<Name> = all.collect();
        let mut different = all.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn a_callback_is_asked_nothing_of_its_address_before_it_has_failed() {
        assert_eq!(before(Limited::WhenItFails), []);
        assert_eq!(before(Limited::Not), []);
        assert!(!after(Failure::Tried).contains(&Kind::SignIn));
    }

    #[test]
    fn whoever_everything_refuses_spends_nothing_of_the_narrower_limits() {
        assert_eq!(before(Limited::AsSignIn), [Kind::Everything, Kind::SignIn]);
        assert_eq!(before(Limited::AsRefresh), [Kind::Everything]);
        assert_eq!(after(Failure::Stray), [Kind::Everything, Kind::StrayCallback]);
    }

    #[test]
    fn a_failure_is_held_against_an_address_only_if_its_own_people_caused_it() {
        let check = |reason, expected| assert_eq!(Failure::of(reason), expected, "{reason:?}");
        check(Reason::ParameterMissing, Failure::Stray);
        check(Reason::TransactionMissing, Failure::Stray);
        check(Reason::TransactionUsed, Failure::Stray);
        check(Reason::ProviderError, Failure::Tried);
        check(Reason::CodeRejected, Failure::Tried);
        check(Reason::IssuerMismatch, Failure::Tried);
        check(Reason::ProviderUnreachable, Failure::NotTheirs);
        check(Reason::ProviderFault, Failure::NotTheirs);
        check(Reason::StoreUnavailable, Failure::NotTheirs);
        check(Reason::IdTokenIssuer, Failure::NotTheirs);
        check(Reason::AccessDenied, Failure::NotTheirs);
        check(Reason::Internal, Failure::NotTheirs);
    }

    #[test]
    fn what_has_no_figure_is_not_limited_but_a_wait_needs_its_place() {
        let off = Config {
            login: None,
            failed_callback: None,
            failed_sign_in: None,
            failed_sign_in_wait: Duration::from_secs(1),
            refresh_session: None,
            refresh_user: None,
            everything: Vec::new(),
            refused_certificates: None,
        };
        assert!(Kind::ALL.iter().all(|kind| !off.limits(*kind)));
        let waits = Config { failed_sign_in: Rate::new(1, Duration::from_secs(1)), ..off };
        let limited: Vec<_> = Kind::ALL.into_iter().filter(|kind| waits.limits(*kind)).collect();
        assert_eq!(limited, [Kind::SignIn, Kind::FailedSignIn]);
    }

    #[test]
    fn who_comes_back_when_told_is_not_too_early() {
        let check = |millis, expected| assert_eq!(whole_seconds(Duration::from_millis(millis)), expected, "{millis}");
        check(0, 1);
        check(1, 1);
        check(1_000, 1);
        check(1_001, 2);
        check(1_800_000, 1_800);
    }
}
