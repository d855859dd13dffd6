//! What lists say of a path over time.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::sync::LazyLock;

use super::*;
use crate::fallback::{
    chain::AdminCa,
    crl::Unusable,
    fixture::{Authorities, DAY, HOUR, ListTemplate, Made, NOW, Template},
};

const MINUTE: Duration = Duration::from_secs(60);
const ROOT: usize = 0;
const MIDDLE: usize = 1;

static MADE: LazyLock<Authorities> = LazyLock::new(Authorities::new);
static CA: LazyLock<AdminCa> = LazyLock::new(|| MADE.ca());

/// A path from the certificate with serial number 0x51, by the intermediate with 0x0b, to the root.
fn path() -> Path {
    CA.verify(&Template::leaf("alice").signed_by(&MADE.middle).leaf(), NOW).unwrap()
}

fn read(list: &ListTemplate, issuer: &Made, now: Timestamp) -> Result<RevocationList, Reason> {
    RevocationList::read(&list.signed_by(issuer), &CA, DAY, now).map_err(|unusable: Unusable| unusable.reason())
}

/// A list that was made at that moment, for a week.
fn made_at(number: u8, moment: Timestamp) -> ListTemplate {
    ListTemplate::number(number).times(moment, moment.plus(7 * DAY))
}

fn book() -> Book {
    Book::new(2, Rules::default())
}

/// Both issuers have a list.
fn filled() -> Book {
    let mut book = book();
    book.arrived(ROOT, NOW, read(&made_at(1, NOW), &MADE.root, NOW)).unwrap();
    book.arrived(MIDDLE, NOW, read(&made_at(1, NOW), &MADE.middle, NOW)).unwrap();
    book
}

#[test]
fn a_path_is_good_when_every_issuer_has_a_list_that_does_not_name_it() {
    let book = filled();
    assert_eq!(book.check(&path(), NOW).map(Good::until), Ok(NOW.plus(HOUR)));
    assert_eq!(book.check(&path(), NOW.plus(59 * MINUTE)).map(Good::until), Ok(NOW.plus(HOUR)));
    let short = ListTemplate::number(2).times(NOW, NOW.plus(20 * MINUTE));
    let mut book = book;
    book.arrived(ROOT, NOW, read(&short, &MADE.root, NOW)).unwrap();
    assert_eq!(book.check(&path(), NOW).map(Good::until), Ok(NOW.plus(20 * MINUTE)));
    let direct = CA.verify(&Template::leaf("alice").signed_by(&MADE.root).leaf(), NOW).unwrap();
    assert_eq!(book.check(&direct, NOW).map(Good::until), Ok(NOW.plus(20 * MINUTE)));
}

#[test]
fn whoever_is_on_a_list_was_revoked_at_every_step_of_the_path() {
    let check = |root: ListTemplate, middle: ListTemplate, expected: Result<(), Reason>| {
        let mut book = book();
        book.arrived(ROOT, NOW, read(&root, &MADE.root, NOW)).unwrap();
        book.arrived(MIDDLE, NOW, read(&middle, &MADE.middle, NOW)).unwrap();
        assert_eq!(book.check(&path(), NOW).map(|_| ()), expected);
    };
    let list = || made_at(1, NOW);
    check(list(), list(), Ok(()));
    check(list(), list().revoking(&[0x51]), Err(Reason::Revoked));
    check(list(), list().revoking(&[0, 0x51]), Err(Reason::Revoked));
    check(list().revoking(&[0x0b]), list(), Err(Reason::Revoked));
    // A number means something with its own issuer alone.
    check(list().revoking(&[0x51]), list().revoking(&[0x0b]), Ok(()));
}

#[test]
fn an_issuer_without_a_list_refuses_and_its_reason_comes_first() {
    let check = |root: Option<Reason>, middle: Option<Reason>, expected: Reason| {
        let mut book = book();
        let revoking = made_at(1, NOW).revoking(&[0x51]).revoking(&[0x0b]);
        let outcome = |issuer: &Made, failed: Option<Reason>| failed.map_or_else(|| read(&revoking, issuer, NOW), Err);
        let _ = book.arrived(ROOT, NOW, outcome(&MADE.root, root));
        let _ = book.arrived(MIDDLE, NOW, outcome(&MADE.middle, middle));
        assert_eq!(book.check(&path(), NOW), Err(expected), "{root:?} {middle:?}");
    };
    let (unavailable, invalid, stale) = (Reason::CrlUnavailable, Reason::CrlInvalid, Reason::CrlStale);
    check(None, None, Reason::Revoked);
    for failed in [unavailable, invalid, stale] {
        check(None, Some(failed), failed);
        check(Some(failed), None, failed);
    }
    check(Some(unavailable), Some(invalid), unavailable);
    check(Some(invalid), Some(unavailable), unavailable);
    check(Some(stale), Some(invalid), invalid);
    assert_eq!(book().check(&path(), NOW), Err(unavailable), "nothing was ever fetched");
    let mut only_root = Book::new(1, Rules::default());
    only_root.arrived(ROOT, NOW, read(&made_at(1, NOW), &MADE.root, NOW)).unwrap();
    assert_eq!(only_root.check(&path(), NOW), Err(unavailable), "nobody has the other's address");
}

#[test]
fn a_list_that_cannot_be_fetched_anew_counts_for_its_hour() {
    for failed in [Reason::CrlUnavailable, Reason::CrlInvalid, Reason::CrlStale] {
        let mut book = filled();
        book.arrived(ROOT, NOW.plus(30 * MINUTE), read(&made_at(2, NOW), &MADE.root, NOW)).unwrap();
        assert_eq!(book.arrived(MIDDLE, NOW.plus(30 * MINUTE), Err(failed)), Err(failed));
        assert!(book.check(&path(), NOW.plus(59 * MINUTE)).is_ok());
        assert_eq!(book.check(&path(), NOW.plus(60 * MINUTE)), Err(failed));
    }
    assert_eq!(filled().check(&path(), NOW.plus(HOUR)), Err(Reason::CrlUnavailable), "nobody has asked yet");
}

#[test]
fn it_may_be_allowed_to_count_until_it_is_too_old() {
    let mut book = Book::new(2, Rules { use_until_stale: true, ..Rules::default() });
    book.arrived(ROOT, NOW, read(&made_at(1, NOW), &MADE.root, NOW)).unwrap();
    book.arrived(MIDDLE, NOW, read(&made_at(1, NOW.minus(HOUR)), &MADE.middle, NOW)).unwrap();
    let _ = book.arrived(MIDDLE, NOW.plus(HOUR), Err(Reason::CrlUnavailable));
    assert_eq!(book.check(&path(), NOW.plus(22 * HOUR)).map(Good::until), Ok(NOW.plus(23 * HOUR)));
    assert_eq!(book.check(&path(), NOW.plus(23 * HOUR)), Err(Reason::CrlStale));
}

#[test]
fn a_list_that_gets_too_old_within_its_hour_is_stale() {
    let mut book = filled();
    let short = ListTemplate::number(2).times(NOW, NOW.plus(10 * MINUTE));
    book.arrived(MIDDLE, NOW, read(&short, &MADE.middle, NOW)).unwrap();
    assert!(book.check(&path(), NOW.plus(9 * MINUTE)).is_ok());
    assert_eq!(book.check(&path(), NOW.plus(10 * MINUTE)), Err(Reason::CrlStale));
}

#[test]
fn nothing_older_than_what_was_seen_is_taken() {
    let mut book = filled();
    let mut arrived = |minute: u32, number: u8, made: Timestamp, revoking: bool| {
        let now = NOW.plus(minute * MINUTE);
        let list = made_at(number, made);
        let list = if revoking { list.revoking(&[0x51]) } else { list };
        book.arrived(MIDDLE, now, read(&list, &MADE.middle, now))
    };
    let later = NOW.plus(MINUTE);
    assert_eq!(arrived(1, 5, NOW, false), Ok(()));
    assert_eq!(arrived(2, 4, later, true), Err(Reason::CrlStale));
    assert_eq!(arrived(3, 5, NOW.minus(MINUTE), true), Err(Reason::CrlStale));
    assert_eq!(arrived(6, 5, later, true), Ok(()), "made again");
    assert_eq!(arrived(7, 5, NOW, false), Err(Reason::CrlStale));
    assert_eq!(arrived(8, 6, NOW, true), Ok(()));
    assert_eq!(book.check(&path(), NOW.plus(8 * MINUTE)), Err(Reason::Revoked));
}

#[test]
fn an_older_list_leaves_the_last_good_one_in_use_for_its_hour() {
    let mut book = filled();
    book.arrived(MIDDLE, NOW, read(&made_at(9, NOW), &MADE.middle, NOW)).unwrap();
    book.arrived(ROOT, NOW.plus(50 * MINUTE), read(&made_at(2, NOW), &MADE.root, NOW)).unwrap();
    let older = read(&made_at(8, NOW).revoking(&[0x51]), &MADE.middle, NOW);
    assert_eq!(book.arrived(MIDDLE, NOW.plus(50 * MINUTE), older), Err(Reason::CrlStale));
    assert!(book.check(&path(), NOW.plus(59 * MINUTE)).is_ok());
    assert_eq!(book.check(&path(), NOW.plus(HOUR)), Err(Reason::CrlStale));
}

#[test]
fn of_two_addresses_for_one_issuer_the_newer_list_decides() {
    let mut book = Book::new(3, Rules::default());
    book.arrived(ROOT, NOW, read(&made_at(1, NOW), &MADE.root, NOW)).unwrap();
    book.arrived(MIDDLE, NOW, read(&made_at(1, NOW), &MADE.middle, NOW)).unwrap();
    book.arrived(2, NOW, read(&made_at(2, NOW).revoking(&[0x51]), &MADE.middle, NOW)).unwrap();
    assert_eq!(book.check(&path(), NOW), Err(Reason::Revoked));
    let mut mirrored = filled();
    mirrored.pages.push(Page::default());
    let _ = mirrored.arrived(2, NOW, Err(Reason::CrlUnavailable));
    assert!(mirrored.check(&path(), NOW).is_ok(), "a mirror that is down takes nothing away");
}

#[test]
fn lists_are_asked_for_well_before_their_hour_is_over_and_after_a_failure_soon() {
    let check = |book: &Book, at: Duration, expected: &[usize]| assert_eq!(book.due(NOW.plus(at)), expected, "{at:?}");
    check(&book(), Duration::ZERO, &[ROOT, MIDDLE]);
    let mut book = filled();
    check(&book, Duration::ZERO, &[]);
    check(&book, 29 * MINUTE, &[]);
    check(&book, 30 * MINUTE, &[ROOT, MIDDLE]);
    let _ = book.arrived(ROOT, NOW.plus(30 * MINUTE), Err(Reason::CrlUnavailable));
    check(&book, 30 * MINUTE, &[MIDDLE]);
    check(&book, 30 * MINUTE + RETRY_AFTER, &[ROOT, MIDDLE]);
    let mut book = filled();
    let short = ListTemplate::number(2).times(NOW, NOW.plus(10 * MINUTE));
    book.arrived(MIDDLE, NOW, read(&short, &MADE.middle, NOW)).unwrap();
    check(&book, 4 * MINUTE, &[]);
    check(&book, 5 * MINUTE, &[MIDDLE]);
    let shortest = ListTemplate::number(3).times(NOW, NOW.plus(Duration::from_secs(2)));
    book.arrived(MIDDLE, NOW, read(&shortest, &MADE.middle, NOW)).unwrap();
    check(&book, Duration::from_secs(14), &[]);
    check(&book, RETRY_AFTER, &[MIDDLE]);
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_fresher() {
    let book = filled();
    let before = NOW.minus(10 * MINUTE);
    assert_eq!(book.due(before), [ROOT, MIDDLE]);
    assert_eq!(book.check(&path(), before), Err(Reason::CrlUnavailable));
    assert!(book.check(&path(), NOW.minus(MINUTE)).is_ok());
}

#[test]
fn what_was_kept_counts_from_its_fetch_and_is_asked_for_at_once() {
    let mut book = book();
    let fetched = NOW.minus(50 * MINUTE);
    book.restore(ROOT, read(&made_at(3, fetched), &MADE.root, NOW).unwrap(), fetched);
    book.restore(MIDDLE, read(&made_at(3, fetched), &MADE.middle, NOW).unwrap(), fetched);
    assert_eq!(book.due(NOW), [ROOT, MIDDLE]);
    assert_eq!(book.check(&path(), NOW).map(Good::until), Ok(NOW.plus(10 * MINUTE)));
    assert_eq!(book.check(&path(), NOW.plus(10 * MINUTE)), Err(Reason::CrlUnavailable));
    let older = read(&made_at(2, NOW), &MADE.middle, NOW);
    assert_eq!(book.arrived(MIDDLE, NOW, older), Err(Reason::CrlStale), "its number was seen");
    let in_use = book.in_use(MIDDLE, NOW).unwrap();
    assert_eq!(in_use, InUse { age: 50 * MINUTE, this_update: fetched });
    assert_eq!(Book::new(1, Rules::default()).in_use(0, NOW), None);
}

#[test]
fn an_address_that_is_none_brings_nothing() {
    let mut book = filled();
    assert_eq!(book.arrived(9, NOW, read(&made_at(1, NOW), &MADE.root, NOW)), Err(Reason::CrlUnavailable));
    assert_eq!(book.in_use(9, NOW), None);
}
