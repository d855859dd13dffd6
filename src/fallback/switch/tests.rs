//! Tests of the switches' record: what may follow it, and who can make one.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;

use super::*;
use crate::seal::MasterKey;

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn ring() -> KeyRing {
    KeyRing::new(&MasterKey::from_bytes([1; 32]), &[MasterKey::from_bytes([2; 32])])
}

fn by() -> By {
    By::new("alice", "the provider is down").unwrap()
}

fn armed() -> Record {
    Base::Nothing.arm(HOUR, DAY, &by(), NOW).unwrap()
}

fn killed() -> Record {
    Base::Known(&armed()).disable(&by(), NOW).unwrap().unwrap()
}

fn auto_closed() -> Record {
    Base::Known(&armed()).auto_close(&by(), NOW).unwrap().unwrap()
}

#[test]
fn every_change_counts_up_and_says_who_and_why() {
    let record = armed();
    assert_eq!((record.epoch, record.action, record.at), (1, Action::Arm, NOW));
    assert_eq!((record.operator.as_str(), record.reason.as_str()), ("alice", "the provider is down"));
    assert_eq!(killed().epoch, 2);
    assert_eq!(Base::Doubtful(41).disable(&by(), NOW).unwrap().unwrap().epoch, 42);
}

#[test]
fn each_change_leaves_exactly_its_own_switches_on() {
    let check = |record: &Record, expected: (bool, bool, Option<Timestamp>)| {
        assert_eq!((record.killed, record.auto_closed, record.armed_until), expected, "{record:?}");
    };
    let enabled = |record: &Record| Base::Known(record).enable(&by(), NOW).unwrap().unwrap();
    check(&armed(), (false, false, Some(NOW.plus(HOUR))));
    check(&killed(), (true, false, None));
    check(&auto_closed(), (false, true, None));
    check(&enabled(&killed()), (false, false, None));
    check(&enabled(&auto_closed()), (false, false, None));
    check(&Base::Known(&auto_closed()).arm(DAY, DAY, &by(), NOW).unwrap(), (false, false, Some(NOW.plus(DAY))));
    check(&Base::Known(&auto_closed()).disable(&by(), NOW).unwrap().unwrap(), (true, false, None));
}

#[test]
fn what_is_so_already_changes_nothing() {
    assert_eq!(Base::Known(&killed()).disable(&by(), NOW), Ok(None));
    assert_eq!(Base::Known(&armed()).enable(&by(), NOW), Ok(None));
    for record in [killed(), auto_closed()] {
        assert_eq!(Base::Known(&record).auto_close(&by(), NOW), Ok(None));
    }
    for closed in [Base::Nothing, Base::Doubtful(1)] {
        assert_eq!(closed.auto_close(&by(), NOW), Ok(None));
        assert!(closed.disable(&by(), NOW).unwrap().is_some());
        assert!(closed.enable(&by(), NOW).unwrap().is_some());
    }
}

#[test]
fn a_kill_switch_that_is_thrown_without_the_store_is_above_what_it_may_hold() {
    let thrown = Base::Known(&armed()).disable_unseen(&by(), NOW).unwrap().unwrap();
    assert_eq!((thrown.epoch, thrown.killed), (2 + UNSEEN_EPOCHS, true));
    let again = Base::Known(&killed()).disable_unseen(&by(), NOW).unwrap().unwrap();
    assert_eq!((again.epoch, again.killed), (3 + UNSEEN_EPOCHS, true), "the store may hold one that took it back");
    let last = Record { epoch: u64::MAX, ..killed() };
    assert_eq!(Base::Known(&last).disable_unseen(&by(), NOW), Ok(None), "nothing can be above it");
    assert_eq!(Base::Doubtful(u64::MAX - 1).disable_unseen(&by(), NOW).unwrap().unwrap().epoch, u64::MAX);
}

#[test]
fn nobody_arms_what_is_or_may_be_killed_or_for_too_long() {
    let check = |base: Base<'_>, lasts, expected| {
        assert_eq!(base.arm(lasts, DAY, &by(), NOW).map(|_| ()), expected);
    };
    let too_long = Refused::Time { longest: DAY };
    check(Base::Nothing, DAY, Ok(()));
    check(Base::Known(&killed()), HOUR, Err(Refused::Killed));
    check(Base::Doubtful(1), HOUR, Err(Refused::Doubtful));
    check(Base::Nothing, DAY + Duration::from_millis(1), Err(too_long));
    check(Base::Nothing, Duration::ZERO, Err(too_long));
    check(Base::Doubtful(u64::MAX), HOUR, Err(Refused::Doubtful));
    assert_eq!(Base::Doubtful(u64::MAX).disable(&by(), NOW), Err(Refused::Last));
    assert!(too_long.to_string().ends_with("at most 1day"), "{too_long}");
}

#[test]
fn operators_and_reasons_are_short_plain_text() {
    let check = |operator: &str, reason: &str, expected| {
        assert_eq!(By::new(operator, reason).map(|_| ()), expected, "{operator:?} {reason:?}");
    };
    check("alice", "Störung beim Anbieter", Ok(()));
    check(&"ä".repeat(MAX_OPERATOR_CHARS), &"ä".repeat(MAX_REASON_CHARS), Ok(()));
    check("", "why", Err(WordsError::Empty("operator")));
    check("alice", " \n", Err(WordsError::Empty("reason")));
    check(&"a".repeat(MAX_OPERATOR_CHARS + 1), "why", Err(WordsError::TooLong("operator", MAX_OPERATOR_CHARS)));
    check("alice", &"a".repeat(MAX_REASON_CHARS + 1), Err(WordsError::TooLong("reason", MAX_REASON_CHARS)));
    check("alice\u{1b}[2K", "why", Err(WordsError::Control("operator")));
    check("alice", "one\ntwo", Err(WordsError::Control("reason")));
    for hidden in ['\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{2028}', '\u{2029}', '\u{200b}', '\u{e0041}'] {
        check(&format!("al{hidden}ice"), "why", Err(WordsError::Control("operator")));
        assert_eq!(By::itself(&format!("too{hidden} many")).reason, "too many");
    }
    assert_eq!(By::itself(&"a\n".repeat(MAX_REASON_CHARS)).reason.len(), MAX_REASON_CHARS);
}

#[test]
fn a_record_opens_under_every_key_of_the_ring_and_no_other() {
    let sealed = killed().seal(&ring(), [0; 12]).unwrap();
    let open =
        |first, others: &[MasterKey]| Record::open(&KeyRing::new(&MasterKey::from_bytes([first; 32]), others), &sealed);
    assert_eq!(open(1, &[]).unwrap(), killed());
    assert_eq!(open(3, &[MasterKey::from_bytes([1; 32])]).unwrap(), killed());
    assert!(open(2, &[]).is_err());
}

#[test]
fn the_epoch_in_the_open_is_the_sealed_one() {
    let sealed = killed().seal(&ring(), [0; 12]).unwrap();
    for epoch in [0, 1, 3, u64::MAX] {
        assert!(Record::open(&ring(), &StoredSwitches { epoch, ..sealed.clone() }).is_err(), "{epoch}");
    }
}

#[test]
fn what_is_sealed_for_something_else_is_no_record() {
    let key = ring();
    let plain = postcard::to_stdvec(&killed()).unwrap();
    let other = key.sealing().purpose(Purpose::Command).seal([0; 12], &[], &plain).unwrap();
    let sealed = [key.sealing().id().0.as_slice(), &other].concat();
    assert!(Record::open(&ring(), &StoredSwitches { epoch: 2, sealed }).is_err());
}

#[test]
fn the_longest_record_fits_into_its_line() {
    let long = By::new(&"\u{10348}".repeat(MAX_OPERATOR_CHARS), &"\u{10348}".repeat(MAX_REASON_CHARS)).unwrap();
    let record = Base::Doubtful(u64::MAX - 1).disable(&long, Timestamp::from_millis(u64::MAX)).unwrap().unwrap();
    let record = Record { armed_until: Some(Timestamp::from_millis(u64::MAX)), ..record };
    let text = to_text(&record.seal(&ring(), [0; 12]).unwrap());
    assert!(text.len() < MAX_RECORD_BYTES, "{}", text.len());
    assert_eq!(Record::open(&ring(), &from_text(text.as_bytes()).unwrap()).unwrap(), record);
}

#[test]
fn a_line_is_an_epoch_as_we_write_it_and_base64url() {
    let check = |line: &str, expected: Result<u64, Option<u64>>| {
        assert_eq!(from_text(line.as_bytes()).map(|stored| stored.epoch), expected, "{line:?}");
    };
    check("7.AAAA", Ok(7));
    check(" 7.AAAA\n", Ok(7));
    check("18446744073709551615.", Ok(u64::MAX));
    check("18446744073709551616.AAAA", Err(None));
    check("07.AAAA", Err(None));
    check("+7.AAAA", Err(None));
    check("7", Err(None));
    check("", Err(None));
    check("7.A+/=", Err(Some(7)));
    check(&format!("7.{}", "A".repeat(MAX_RECORD_BYTES)), Err(None));
}

proptest! {
    #[test]
    fn no_changed_line_is_a_record(at in any::<prop::sample::Index>(), byte: u8) {
        let stored = killed().seal(&ring(), [0; 12]).unwrap();
        let mut line = to_text(&stored).into_bytes();
        let at = at.index(line.len());
        prop_assume!(line[at] != byte);
        line[at] = byte;
        // The line may read the same, blanks at its ends apart; then it is the same record.
        if let Ok(changed) = from_text(&line) && changed != stored {
            prop_assert!(Record::open(&ring(), &changed).is_err());
        }
    }

    #[test]
    fn bytes_from_outside_are_read_or_refused(line in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(stored) = from_text(&line) {
            prop_assert_eq!(from_text(to_text(&stored).as_bytes()), Ok(stored));
        }
    }
}
