//! The order of the checks, and who comes in.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::sync::LazyLock;

use super::*;
use crate::fallback::{
    administrators::Identifier,
    crl::RevocationList,
    door::{Conditions, Switches, tests::OPEN},
    fixture::{Authorities, DAY, HOUR, ListTemplate, NOW, SERVERS, Template, purposes},
    revocation::{self, Book},
};

static MADE: LazyLock<Authorities> = LazyLock::new(Authorities::new);
static OTHERS: LazyLock<Authorities> = LazyLock::new(Authorities::new);
static CA: LazyLock<AdminCa> = LazyLock::new(|| MADE.ca());

const NEVER: Option<Result<Good, Reason>> = None;

fn administrators() -> Administrators {
    Administrators::new(vec![Entry {
        name: "alice".into(),
        id: Identifier::CommonName("Alice Admin".into()),
        user: "alice@example.com".into(),
        groups: vec!["admins".into()],
    }])
}

fn examined(escaped: &str, verify: &str) -> Examined {
    examine(Some(Shown { verify, escaped }), NOW, &CA, &Rules::default())
}

/// What both lists say of that certificate, when they name nobody.
fn good(path: &Path) -> Good {
    let mut book = Book::new(2, revocation::Rules::default());
    for (address, issuer) in [&MADE.root, &MADE.middle].into_iter().enumerate() {
        let list = RevocationList::read(&ListTemplate::number(1).signed_by(issuer), &CA, DAY, NOW).unwrap();
        book.arrived(address, NOW, Ok(list)).unwrap();
    }
    book.check(path, NOW).unwrap()
}

fn attempt(template: Template, verify: &str, lists: Option<Result<(), Reason>>, sent_by: SentBy) -> Attempt {
    let examined = examined(&template.signed_by(&MADE.middle).escaped(), verify);
    let lists = examined.path().and_then(|path| lists.map(|lists| lists.map(|()| good(path))));
    admit(OPEN.open(), examined.verdict(lists, &administrators()), sent_by)
}

fn enters(template: Template) -> Attempt {
    attempt(template, "SUCCESS", Some(Ok(())), SentBy::SafeOrOwnPage)
}

fn alice() -> Template {
    Template::leaf("Alice Admin")
}

#[test]
fn an_administrator_comes_in() {
    let attempt = enters(alice().serial(&[0xab]));
    let admitted = attempt.outcome().unwrap();
    assert_eq!((admitted.user(), admitted.groups()), ("alice@example.com", &["admins".to_owned()][..]));
    assert_eq!((admitted.label(), admitted.method()), ("Alice Admin", Method::ClientCertificate));
    assert_eq!((admitted.not_after(), admitted.is_near_expiry()), (NOW.plus(6 * DAY), false));
    assert_eq!(admitted.ends_soon(), None);
    assert!(attempt.is_chained() && attempt.against_the_door().is_none() && attempt.cause().is_none());
    let shown = attempt.shown("request", None, HOUR);
    assert_eq!((shown.request_id, shown.cn, shown.crl_status, shown.refused), ("request", "Alice Admin", "good", None));
    assert_eq!((shown.subject, shown.serial, shown.fingerprint.len()), ("CN=Alice Admin", "ab", 64));
    assert_eq!((shown.not_after, shown.checked_in), (Some(NOW.plus(6 * DAY)), Some(HOUR)));
}

#[test]
fn who_is_near_the_end_comes_in_with_a_warning() {
    let check = |left: Duration, expected: bool| {
        let attempt = enters(alice().times(NOW.minus(DAY), NOW.plus(left)));
        let admitted = attempt.outcome().unwrap();
        assert_eq!((admitted.is_near_expiry(), attempt.shown("", None, HOUR).near_expiry), (expected, expected));
        let header = admitted.ends_soon();
        assert_eq!(header, expected.then(|| NOW.plus(left).in_words()));
    };
    check(23 * HOUR, true);
    check(Duration::ZERO, true);
    check(DAY, false);
}

/// Everything that can be wrong with an attempt, and how to make it so.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that can be wrong by itself")]
struct Wrong {
    shown: bool,
    readable: bool,
    early: bool,
    over: bool,
    chained: bool,
    verified: bool,
    long: bool,
    lists: Result<(), Reason>,
    listed: bool,
    sent_by: SentBy,
}

const RIGHT: Wrong = Wrong {
    shown: true,
    readable: true,
    early: false,
    over: false,
    chained: true,
    verified: true,
    long: false,
    lists: Ok(()),
    listed: true,
    sent_by: SentBy::SafeOrOwnPage,
};

impl Wrong {
    fn attempt(&self) -> Attempt {
        admit(OPEN.open(), self.verdict(), self.sent_by)
    }

    fn verdict(&self) -> Verdict {
        let template = if self.listed { alice() } else { Template::leaf("Mallory") };
        let lifetime = if self.long { 8 * DAY } else { 7 * DAY };
        let template = match (self.early, self.over) {
            (true, _) => template.times(NOW.plus(HOUR), NOW.plus(HOUR + lifetime)),
            (false, true) => template.times(NOW.minus(HOUR + lifetime), NOW.minus(HOUR)),
            (false, false) => template.times(NOW.minus(HOUR), NOW.minus(HOUR).plus(lifetime)),
        };
        let issuer = if self.chained { &MADE.middle } else { &OTHERS.middle };
        let text = template.signed_by(issuer).escaped();
        let text = if self.readable { text } else { format!("{text}%") };
        let verify = if self.verified { "SUCCESS" } else { "FAILED:certificate has expired" };
        let shown = self.shown.then_some(Shown { verify, escaped: &text });
        let examined = examine(shown, NOW, &CA, &Rules::default());
        let lists = examined.path().map(|path| self.lists.map(|()| good(path)));
        examined.verdict(lists, &administrators())
    }
}

/// For tests of what is made of verdicts: Alice's, of whom the lists say this, and that of somebody who is on no list.
pub(crate) fn verdicts(lists: Result<(), Reason>) -> (Verdict, Verdict) {
    let nobody = Wrong { listed: false, ..RIGHT };
    (Wrong { lists, ..RIGHT }.verdict(), nobody.verdict())
}

/// Every combination of everything that the door, a certificate and a request can be: two to the power of sixteen.
#[test]
fn of_all_combinations_of_all_conditions_exactly_one_lets_somebody_in() {
    let bit = |bits: u32, number: u32| bits & (1 << number) != 0;
    let mut let_in = Vec::new();
    for certificate in 0..1 << 9 {
        let right = |number| bit(certificate, number);
        let verdict = Wrong {
            shown: right(0),
            readable: right(1),
            early: !right(2),
            over: !right(3),
            chained: right(4),
            verified: right(5),
            long: !right(6),
            lists: if right(7) { Ok(()) } else { Err(Reason::Revoked) },
            listed: right(8),
            sent_by: SentBy::Unproven,
        }
        .verdict();
        for rest in 0..1 << 7 {
            let door = Conditions {
                enabled: bit(rest, 0),
                switches: Switches {
                    believed: bit(rest, 1),
                    killed: !bit(rest, 2),
                    auto_closed: !bit(rest, 3),
                    armed: bit(rest, 4),
                },
                providers_down: bit(rest, 5),
            };
            let sent_by = if bit(rest, 6) { SentBy::SafeOrOwnPage } else { SentBy::Unproven };
            if admit(door.open(), verdict.clone(), sent_by).outcome().is_ok() {
                let_in.push((certificate, rest));
            }
        }
    }
    assert_eq!(let_in, [((1 << 9) - 1, (1 << 7) - 1)]);
}

#[test]
fn the_first_thing_that_is_wrong_is_the_reason_whatever_else_is_wrong_too() {
    type Spoil = fn(&mut Wrong);
    let all: [(Spoil, Reason); 13] = [
        (|wrong| wrong.shown = false, Reason::NoCertificate),
        (|wrong| wrong.readable = false, Reason::MalformedCertificate),
        (|wrong| wrong.early = true, Reason::NotYetValid),
        (|wrong| wrong.over = true, Reason::Expired),
        (|wrong| wrong.chained = false, Reason::UntrustedChain),
        (|wrong| wrong.verified = false, Reason::NginxVerifyFailed),
        (|wrong| wrong.long = true, Reason::LifetimeTooLong),
        (|wrong| wrong.lists = Err(Reason::CrlUnavailable), Reason::CrlUnavailable),
        (|wrong| wrong.lists = Err(Reason::CrlInvalid), Reason::CrlInvalid),
        (|wrong| wrong.lists = Err(Reason::CrlStale), Reason::CrlStale),
        (|wrong| wrong.lists = Err(Reason::Revoked), Reason::Revoked),
        (|wrong| wrong.listed = false, Reason::NameNotAllowed),
        (|wrong| wrong.sent_by = SentBy::Unproven, Reason::CrossSite),
    ];
    assert!(RIGHT.attempt().outcome().is_ok());
    for (first, (spoil, reason)) in all.iter().enumerate() {
        let mut alone = RIGHT;
        spoil(&mut alone);
        assert_eq!(alone.attempt().outcome().err(), Some(*reason), "{reason:?} alone");
        for (later, (spoil_too, other)) in all.iter().enumerate().skip(first + 1) {
            let mut both = RIGHT;
            spoil_too(&mut both);
            spoil(&mut both);
            assert_eq!(both.attempt().outcome().err(), Some(*reason), "{reason:?} with {other:?}, {later}");
        }
    }
    let mut everything = RIGHT;
    all.iter().rev().for_each(|(spoil, _)| spoil(&mut everything));
    assert_eq!(everything.attempt().outcome().err(), Some(Reason::NoCertificate));
}

#[test]
fn the_edges_of_a_certificates_time_are_its_own() {
    let second = Duration::from_secs(1);
    let check = |from: Timestamp, to: Timestamp, expected: Option<Reason>| {
        assert_eq!(enters(alice().times(from, to)).outcome().err(), expected);
    };
    check(NOW, NOW.plus(DAY), None);
    check(NOW.plus(second), NOW.plus(DAY), Some(Reason::NotYetValid));
    check(NOW.minus(DAY), NOW, None);
    check(NOW.minus(DAY), NOW.minus(second), Some(Reason::Expired));
    check(NOW.plus(DAY), NOW.minus(DAY), Some(Reason::NotYetValid));
    check(NOW.minus(DAY), NOW.plus(6 * DAY), None);
    check(NOW.minus(DAY), NOW.plus(6 * DAY + second), Some(Reason::LifetimeTooLong));
}

#[test]
fn nginxs_word_is_taken_letter_for_letter() {
    for verify in ["", "NONE", "success", "SUCCESS ", "FAILED", "FAILED:revoked", "SUCCESSFUL"] {
        let attempt = attempt(alice(), verify, Some(Ok(())), SentBy::SafeOrOwnPage);
        assert_eq!(attempt.outcome().err(), Some(Reason::NginxVerifyFailed), "{verify}");
    }
    assert_eq!(
        admit(OPEN.open(), examined("", "SUCCESS").verdict(NEVER, &administrators()), SentBy::SafeOrOwnPage)
            .outcome()
            .err(),
        Some(Reason::NoCertificate)
    );
}

#[test]
fn without_a_word_of_the_lists_nobody_comes_in() {
    let attempt = attempt(alice(), "SUCCESS", None, SentBy::SafeOrOwnPage);
    assert_eq!(attempt.outcome().err(), Some(Reason::CrlUnavailable));
    assert_eq!(attempt.shown("", None, HOUR).crl_status, NOT_LOOKED_AT);
}

#[test]
fn the_lists_are_asked_only_where_nothing_else_is_wrong() {
    let escaped = alice().signed_by(&MADE.middle).escaped();
    assert_eq!(examined(&escaped, "SUCCESS").path().unwrap().links().len(), 2);
    assert!(examined(&escaped, "NONE").path().is_none());
    assert!(examined("", "SUCCESS").path().is_none());
    assert!(examined(&alice().signed_by(&OTHERS.middle).escaped(), "SUCCESS").path().is_none());
}

#[test]
fn only_what_speaks_against_the_holder_of_our_certificate_counts_against_the_door() {
    let check = |change: fn(&mut Wrong), counts: bool, chained: bool, label: &str, status: &str| {
        let mut wrong = RIGHT;
        change(&mut wrong);
        let attempt = wrong.attempt();
        let reason = attempt.outcome().err();
        assert_eq!(attempt.against_the_door().is_some(), counts, "{reason:?}");
        assert_eq!(attempt.is_chained(), chained, "{reason:?}");
        let shown = attempt.shown("", None, HOUR);
        assert_eq!((shown.cn, shown.crl_status), (label, status), "{reason:?}");
    };
    let (alice, nobody) = ("Alice Admin", UNAUTHORIZED);
    check(|_| (), false, true, alice, "good");
    check(|wrong| wrong.verified = false, false, true, alice, NOT_LOOKED_AT);
    check(|wrong| wrong.long = true, true, true, alice, NOT_LOOKED_AT);
    check(|wrong| wrong.lists = Err(Reason::Revoked), true, true, alice, "revoked");
    check(|wrong| wrong.listed = false, true, true, nobody, "good");
    check(|wrong| wrong.lists = Err(Reason::CrlUnavailable), false, true, alice, "unavailable");
    check(|wrong| wrong.lists = Err(Reason::CrlInvalid), false, true, alice, "invalid");
    check(|wrong| wrong.lists = Err(Reason::CrlStale), false, true, alice, "stale");
    check(|wrong| wrong.sent_by = SentBy::Unproven, false, true, alice, "good");
    check(|wrong| wrong.shown = false, false, false, nobody, NOT_LOOKED_AT);
    check(|wrong| wrong.readable = false, false, false, nobody, NOT_LOOKED_AT);
    check(|wrong| wrong.early = true, false, false, nobody, NOT_LOOKED_AT);
    check(|wrong| wrong.over = true, false, false, nobody, NOT_LOOKED_AT);
    // Whoever calls themselves by an administrator's name is still nobody.
    check(|wrong| wrong.chained = false, false, false, nobody, NOT_LOOKED_AT);
}

#[test]
fn the_log_is_told_what_was_wrong_with_the_certificate() {
    let cause = |escaped: &str| {
        admit(OPEN.open(), examined(escaped, "SUCCESS").verdict(NEVER, &administrators()), SentBy::Unproven).cause()
    };
    assert_eq!(cause("x").unwrap(), "is not exactly one PEM certificate");
    assert_eq!(cause(&alice().signed_by(&OTHERS.middle).escaped()).unwrap(), "InvalidSignatureForPublicKey");
    let servers = alice().extensions(vec![purposes(&[SERVERS])]).signed_by(&MADE.middle);
    assert_eq!(cause(&servers.escaped()).unwrap(), "it does not name clientAuth as its purpose");
    let kept = enters(alice()).into_outcome().unwrap();
    assert_eq!(kept.user(), "alice@example.com");
}
