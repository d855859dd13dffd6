//! Tests of what a process believes, and of a fleet to which everything happens.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;

use super::*;
use crate::{fallback::switch::to_text, seal::MasterKey};

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const ARMING: Arming = Arming { required: true, longest: HOUR };
const FREE: Arming = Arming { required: false, longest: HOUR };
const ROUND: Duration = Duration::from_millis(400);

fn ring() -> KeyRing {
    KeyRing::new(&MasterKey::from_bytes([1; 32]), &[])
}

fn by() -> By {
    By::new("alice", "why").unwrap()
}

/// Sealed with a nonce of its own, so that no two are the same bytes.
fn kept(record: Record, nonce: u8) -> Kept {
    let sealed = record.seal(&ring(), [nonce; 12]).unwrap();
    Kept { record, sealed }
}

fn armed(epoch: u64) -> Kept {
    let record = Base::Nothing.arm(HOUR, HOUR, &by(), NOW).unwrap();
    kept(Record { epoch, ..record }, 1)
}

fn killed(epoch: u64) -> Kept {
    let record = Base::Nothing.disable(&by(), NOW).unwrap().unwrap();
    kept(Record { epoch, ..record }, 2)
}

fn auto_closed(epoch: u64, nonce: u8) -> Kept {
    let record = Base::Known(&armed(epoch - 1).record).auto_close(&by(), NOW).unwrap().unwrap();
    kept(record, nonce)
}

fn broken(epoch: Option<u64>) -> Said {
    Said::Broken { epoch, cause: "garbage" }
}

/// A process that has met the store long ago.
fn settled() -> Agreement {
    let mut agreement = Agreement::default();
    agreement.meet(&Said::Absent, false, Duration::ZERO);
    agreement
}

fn thrown(kept: Kept, source: Source, at_start: bool) -> News {
    News::Thrown { record: kept.record, source, at_start }
}

fn told(said: impl IntoIterator<Item = (Source, Said)>) -> Agreement {
    let mut agreement = settled();
    for (source, said) in said {
        agreement.learn(source, said, agreement.epoch());
    }
    agreement
}

fn opens(agreement: &Agreement) -> bool {
    let Switches { believed, killed, auto_closed, armed } = agreement.standing(NOW, ARMING);
    believed && !killed && !auto_closed && armed
}

#[test]
fn the_highest_epoch_wins_wherever_it_comes_from() {
    let sources = [Source::Stored, Source::Filed, Source::Sent, Source::Made];
    for (one, other) in sources.into_iter().flat_map(|one| sources.map(|other| (one, other))) {
        let check = |said: [(Source, Kept); 2], expected| {
            assert_eq!(opens(&told(said.map(|(source, kept)| (source, Said::Record(kept))))), expected);
        };
        check([(one, armed(1)), (other, killed(2))], false);
        check([(one, killed(2)), (other, armed(1))], false);
        check([(one, killed(1)), (other, armed(2))], true);
        check([(one, armed(2)), (other, killed(1))], true);
    }
}

#[test]
fn absent_everywhere_is_closed_and_simply_not_armed() {
    let agreement = told([(Source::Stored, Said::Absent), (Source::Filed, Said::Absent)]);
    let expected = Switches { believed: true, killed: false, auto_closed: false, armed: false };
    assert_eq!(agreement.standing(NOW, ARMING), expected);
    assert_eq!(agreement.standing(NOW, FREE), expected);
}

#[test]
fn arming_ends_by_itself_unless_nobody_needs_to_arm() {
    let agreement = told([(Source::Stored, Said::Record(armed(1)))]);
    let armed = |at, arming| agreement.standing(at, arming).armed;
    assert!(armed(NOW.plus(HOUR).minus(Duration::from_millis(1)), ARMING));
    assert!(!armed(NOW.plus(HOUR), ARMING));
    assert!(armed(NOW.plus(HOUR), FREE));
    let disabled = told([(Source::Stored, Said::Record(killed(1)))]);
    assert!(!disabled.standing(NOW, FREE).armed);
}

#[test]
fn a_clock_that_was_set_back_far_arms_nothing_again() {
    let agreement = told([(Source::Stored, Said::Record(armed(1)))]);
    let armed = |at| agreement.standing(at, ARMING).armed;
    assert!(armed(NOW.minus(CLOCK_SKEW)));
    assert!(!armed(NOW.minus(CLOCK_SKEW).minus(Duration::from_millis(1))));
}

#[test]
fn an_arming_that_lasts_longer_than_this_process_allows_counts_for_nothing() {
    let agreement = told([(Source::Stored, Said::Record(armed(1)))]);
    let armed = |longest| agreement.standing(NOW, Arming { required: true, longest }).armed;
    assert!(armed(HOUR) && armed(2 * HOUR));
    assert!(!armed(Duration::from_millis(3_599_999)));
}

#[test]
fn what_is_broken_closes_until_there_is_a_record_above_all_that_was_seen() {
    for place in [Source::Stored, Source::Filed] {
        for (epoch, heals) in [(None, 6), (Some(5), 6), (Some(9), 10)] {
            let mut agreement = told([(Source::Sent, Said::Record(armed(5)))]);
            let news = agreement.learn(place, broken(epoch), 5);
            assert_eq!(news, Some(News::Invalid(place, "garbage")));
            assert!(!agreement.standing(NOW, ARMING).believed);
            assert_eq!(agreement.learn(place, broken(epoch), 5), None, "told once");
            assert_eq!((agreement.owed_to_store(&Said::Absent), agreement.owed_to_file(&Said::Absent)), (None, None));
            agreement.learn(place, Said::Absent, 5);
            agreement.learn(Source::Sent, Said::Record(armed(heals - 1)), agreement.epoch());
            assert!(!opens(&agreement), "{epoch:?}");
            assert_eq!(agreement.base(), Base::Doubtful(heals - 1));
            agreement.learn(Source::Sent, Said::Record(armed(heals)), agreement.epoch());
            assert!(opens(&agreement), "{epoch:?}");
        }
    }
}

#[test]
fn a_broken_record_below_what_is_known_is_overwritten() {
    let mut agreement = told([(Source::Sent, Said::Record(armed(5)))]);
    assert_eq!(agreement.learn(Source::Stored, broken(Some(4)), 5), None);
    assert!(opens(&agreement));
    assert_eq!(agreement.owed_to_store(&broken(Some(4))), Some(&armed(5).sealed));
    assert_eq!(agreement.owed_to_file(&broken(Some(4))), Some(&armed(5).sealed));
}

#[test]
fn garbage_that_was_read_before_a_command_came_does_not_undo_it() {
    let mut agreement = told([(Source::Sent, Said::Record(armed(5)))]);
    assert_eq!(agreement.learn(Source::Filed, broken(None), 4), None);
    assert!(opens(&agreement));
    assert_eq!(agreement.owed_to_file(&broken(None)), Some(&armed(5).sealed));
}

#[test]
fn garbage_beside_a_record_is_doubted_whichever_is_heard_first() {
    let garbage = (Source::Stored, broken(None));
    let record = (Source::Filed, Said::Record(armed(5)));
    for said in [vec![garbage.clone(), record.clone()], vec![record, garbage]] {
        let mut agreement = settled();
        let news = agreement.hear(said, 0);
        assert_eq!(news.last(), Some(&News::Invalid(Source::Stored, "garbage")));
        assert_eq!(agreement.base(), Base::Doubtful(5));
    }
}

#[test]
fn garbage_that_cannot_be_put_away_does_not_undo_what_outdid_it() {
    let mut agreement = told([(Source::Sent, Said::Record(armed(5))), (Source::Filed, broken(None))]);
    assert!(!opens(&agreement));
    agreement.hear(vec![(Source::Stored, Said::Record(armed(6))), (Source::Filed, broken(None))], 5);
    assert!(opens(&agreement));
    agreement.hear(vec![(Source::Filed, Said::Unknown)], 6);
    agreement.hear(vec![(Source::Filed, broken(None))], 6);
    assert!(opens(&agreement));
    agreement.hear(vec![(Source::Filed, Said::Absent)], 6);
    agreement.hear(vec![(Source::Filed, broken(None))], 6);
    assert!(!opens(&agreement), "it is broken anew");
}

#[test]
fn two_records_of_one_epoch_close_the_door_for_all() {
    for (one, other) in [(armed(5), killed(5)), (killed(5), armed(5))] {
        let mut agreement = told([(Source::Filed, Said::Record(one))]);
        let news = agreement.learn(Source::Stored, Said::Record(other), 5);
        assert_eq!(news, Some(News::Invalid(Source::Stored, "another record of the same epoch")));
        assert!(!agreement.standing(NOW, ARMING).believed);
        let end = agreement.reconciliation(NOW).unwrap();
        assert_eq!((end.epoch, end.killed, end.auto_closed, end.armed_until), (6, true, true, None));
        agreement.learn(Source::Made, Said::Record(kept(end, 9)), 5);
        let closed = Switches { believed: true, killed: true, auto_closed: true, armed: false };
        assert_eq!(agreement.standing(NOW, ARMING), closed);
        assert_eq!(agreement.reconciliation(NOW), None);
    }
    let twice = kept(armed(5).record, 7);
    let agreement = told([(Source::Filed, Said::Record(armed(5))), (Source::Stored, Said::Record(twice))]);
    assert!(!agreement.reconciliation(NOW).unwrap().killed, "armed twice is not killed");
}

#[test]
fn doors_that_close_by_themselves_at_one_moment_do_not_contradict_each_other() {
    let mut agreement = told([(Source::Made, Said::Record(auto_closed(5, 3)))]);
    let stores = auto_closed(5, 4);
    assert_eq!(agreement.learn(Source::Stored, Said::Record(stores.clone()), 5), None);
    assert!(agreement.standing(NOW, ARMING).believed && agreement.standing(NOW, ARMING).auto_closed);
    assert_eq!(agreement.held(), Some(&stores), "the store's is everybody's");
    assert_eq!(agreement.owed_to_file(&Said::Record(auto_closed(5, 3))), Some(&stores.sealed));
}

#[test]
fn an_end_of_a_contradiction_that_kills_is_not_taken_for_one_that_does_not() {
    let ended = |killed, nonce| kept(Record { killed, ..auto_closed(6, 3).record }, nonce);
    let said = [(Source::Made, Said::Record(ended(false, 3))), (Source::Stored, Said::Record(ended(true, 4)))];
    let agreement = told(said);
    assert!(!agreement.standing(NOW, ARMING).believed);
    assert!(agreement.reconciliation(NOW).unwrap().killed);
}

#[test]
fn a_store_or_file_that_lost_or_never_had_the_record_is_given_it() {
    let agreement = told([(Source::Sent, Said::Record(killed(5)))]);
    let owed = Some(&killed(5)).map(|kept| kept.sealed.clone());
    for said in [Said::Absent, Said::Record(armed(4))] {
        assert_eq!(agreement.owed_to_store(&said).cloned(), owed);
        assert_eq!(agreement.owed_to_file(&said).cloned(), owed);
    }
    for said in [Said::Unknown, Said::Record(killed(5))] {
        assert_eq!((agreement.owed_to_store(&said), agreement.owed_to_file(&said)), (None, None));
    }
    assert_eq!(agreement.owed_to_store(&Said::Record(armed(6))), None, "a higher one is never overwritten");
}

#[test]
fn a_command_is_taken_above_all_that_was_seen_or_again() {
    let mut agreement = told([(Source::Stored, Said::Record(armed(5)))]);
    assert_eq!(agreement.take(armed(5), NOW), Ok(None));
    assert_eq!(agreement.take(killed(4), NOW), Err(NotTaken::Stale { epoch: 5 }));
    assert_eq!(agreement.take(killed(5), NOW), Err(NotTaken::Stale { epoch: 5 }));
    assert!(agreement.standing(NOW, ARMING).believed, "what is not taken does no harm");
    assert_eq!(agreement.take(killed(6), NOW), Ok(Some(thrown(killed(6), Source::Sent, false))));
    agreement.learn(Source::Filed, broken(Some(8)), 6);
    for late in [killed(6), armed(8)] {
        assert_eq!(agreement.take(late, NOW), Err(NotTaken::Stale { epoch: 8 }));
    }
    assert!(agreement.take(armed(9), NOW).is_ok() && opens(&agreement));
    agreement.distrust();
    assert!(!opens(&agreement));
}

#[test]
fn an_old_record_that_was_seen_somewhere_and_is_sent_again_opens_nothing() {
    let later = NOW.plus(COMMAND_TIME);
    let too_late = later.plus(Duration::from_millis(1));
    assert_eq!(settled().take(armed(5), too_late), Err(NotTaken::Old { epoch: 0 }));
    assert!(settled().take(armed(5), later).is_ok());
    assert!(settled().take(killed(5), NOW.plus(1_000 * HOUR)).is_ok(), "a closing one is always taken");

    // Nor does it cut the time short in which others may know better than the store.
    let mut agreement = Agreement::default();
    agreement.meet(&Said::Record(armed(5)), true, Duration::ZERO);
    agreement.learn(Source::Stored, Said::Record(armed(5)), 0);
    assert_eq!(agreement.take(armed(5), too_late), Ok(None));
    assert!(!opens(&agreement));
}

#[test]
fn what_a_process_learns_at_its_start_is_no_change_and_what_comes_later_is_one() {
    for source in [Source::Stored, Source::Filed] {
        let mut agreement = settled();
        assert_eq!(agreement.hear(vec![(source, Said::Record(armed(5)))], 0), [thrown(armed(5), source, true)]);
        let closed = auto_closed(6, 3);
        let news = agreement.hear(vec![(Source::Stored, Said::Record(closed.clone()))], 5);
        assert_eq!(news, [thrown(closed, Source::Stored, false)]);
    }
    let mut agreement = settled();
    agreement.hear(vec![(Source::Stored, Said::Absent)], 0);
    let news = agreement.hear(vec![(Source::Stored, Said::Record(killed(1)))], 0);
    assert_eq!(news, [thrown(killed(1), Source::Stored, false)], "the first one ever");
    assert_eq!(settled().take(killed(5), NOW), Ok(Some(thrown(killed(5), Source::Sent, false))));
}

#[test]
fn a_process_that_begins_lets_others_mend_the_store_before_it_opens() {
    let mut agreement = Agreement::default();
    let stale = Said::Record(armed(5));
    let mut look = |millis, said: &Said| {
        agreement.meet(said, true, Duration::from_millis(millis));
        agreement.learn(Source::Stored, said.clone(), 0);
        opens(&agreement)
    };
    assert!(!look(0, &stale));
    assert!(!look(1_999, &stale));
    assert!(!look(2_000, &Said::Record(killed(7))), "somebody mended it");
    assert!(!look(9_000, &stale));

    let mut agreement = Agreement::default();
    for (millis, expected) in [(0, false), (1_999, false), (2_000, true)] {
        agreement.meet(&stale, true, Duration::from_millis(millis));
        agreement.learn(Source::Stored, stale.clone(), 0);
        assert_eq!((opens(&agreement), agreement.owed_to_file(&Said::Absent).is_some()), (expected, expected));
    }
}

#[test]
fn a_process_that_begins_takes_a_closing_record_and_a_command_at_once() {
    let mut agreement = Agreement::default();
    agreement.meet(&Said::Record(killed(5)), true, Duration::ZERO);
    agreement.learn(Source::Stored, Said::Record(killed(5)), 0);
    assert!(agreement.standing(NOW, ARMING).killed);
    assert!(agreement.owed_to_file(&Said::Absent).is_some());

    let mut agreement = Agreement::default();
    agreement.meet(&Said::Record(armed(5)), true, Duration::ZERO);
    agreement.learn(Source::Stored, Said::Record(armed(5)), 0);
    assert!(!opens(&agreement));
    agreement.learn(Source::Sent, Said::Record(armed(5)), 5);
    assert!(opens(&agreement));
}

#[test]
fn while_the_store_is_down_from_the_start_the_file_counts() {
    let begun = |store: &Said| {
        let mut agreement = Agreement::default();
        agreement.meet(store, true, Duration::ZERO);
        agreement.learn(Source::Filed, Said::Record(armed(5)), 0);
        agreement.meet(&Said::Unknown, true, ROUND);
        opens(&agreement)
    };
    assert!(begun(&Said::Unknown));
    assert!(!begun(&Said::Absent), "whoever flushed it may be about to lay a higher one again");
}

#[test]
fn a_kill_switch_that_is_thrown_twice_without_the_store_outdoes_what_the_store_took_back_meanwhile() {
    let mut fleet = Fleet::new();
    for happening in [Happening::Disable, Happening::StoreDown] {
        fleet.happens(&happening);
    }
    // Others have enabled and armed it in the store, which is not reached from here.
    let taken_back = fleet.seal(&armed(3).record);
    fleet.store = Some(taken_back);
    fleet.happens(&Happening::Disable);
    fleet.happens(&Happening::StoreUp);
    fleet.happens(&Happening::Rounds(8));
    assert_eq!(fleet.open_doors(), 0);
    assert!(Record::open(&ring(), fleet.store.as_ref().unwrap()).unwrap().killed);
}

/// Something that happens to a fleet.
#[derive(Clone, Debug)]
enum Happening {
    Arm,
    Disable,
    Enable,
    AutoClose(usize),
    Flush,
    Rollback(prop::sample::Index),
    StoreDown,
    StoreUp,
    DeleteFile(usize),
    SwapFile(usize, prop::sample::Index),
    Restart(usize),
    Rounds(u8),
}

struct Process {
    agreement: Agreement,
    file: Option<StoredSwitches>,
}

/// Processes, their files, and a store that forgets; commands reach every process, or the store.
struct Fleet {
    processes: Vec<Process>,
    store: Option<StoredSwitches>,
    store_is_up: bool,
    /// Every record there ever was, for rollbacks.
    past: Vec<StoredSwitches>,
    time: Duration,
    nonces: u64,
}

impl Fleet {
    fn new() -> Self {
        let process = || Process { agreement: Agreement::default(), file: None };
        let processes = vec![process(), process(), process()];
        Self { processes, store: None, store_is_up: true, past: Vec::new(), time: Duration::ZERO, nonces: 0 }
    }

    fn seal(&mut self, record: &Record) -> StoredSwitches {
        self.nonces += 1;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.nonces.to_be_bytes());
        let sealed = record.seal(&ring(), nonce).unwrap();
        self.past.push(sealed.clone());
        sealed
    }

    fn throw(&mut self, stored: &StoredSwitches) {
        if self.store_is_up && self.store.as_ref().is_none_or(|held| held.epoch < stored.epoch) {
            self.store = Some(stored.clone());
        }
    }

    fn said_by_store(&self) -> Said {
        if self.store_is_up { Said::of_stored(&ring(), self.store.clone()) } else { Said::Unknown }
    }

    fn command(&mut self, next: impl FnOnce(Base<'_>) -> Option<Record>) -> Option<Record> {
        let mut seen = settled();
        seen.learn(Source::Stored, self.said_by_store(), 0);
        for process in &self.processes {
            let held = process.agreement.held().map(|held| held.sealed.clone());
            seen.learn(Source::Sent, Said::of_stored(&ring(), held), 0);
        }
        let record = next(seen.base())?;
        let stored = self.seal(&record);
        self.throw(&stored);
        if self.store_is_up {
            self.round();
        } else {
            self.push(&stored);
        }
        Some(record)
    }

    fn push(&mut self, stored: &StoredSwitches) {
        for process in &mut self.processes {
            process.agreement.learn(Source::Sent, Said::of_stored(&ring(), Some(stored.clone())), 0);
            process.file = Some(stored.clone());
        }
    }

    fn round(&mut self) {
        self.time += ROUND;
        for number in 0..self.processes.len() {
            let store = self.said_by_store();
            let process = &mut self.processes[number];
            let before = process.agreement.epoch();
            let file = Said::of_stored(&ring(), process.file.clone());
            process.agreement.meet(&store, true, self.time);
            process.agreement.hear(vec![(Source::Stored, store.clone()), (Source::Filed, file.clone())], before);
            if let Some(owed) = process.agreement.owed_to_file(&file) {
                process.file = Some(owed.clone());
            }
            if let Some(owed) = process.agreement.owed_to_store(&store).cloned() {
                self.throw(&owed);
            }
            self.reconcile(number);
        }
    }

    fn reconcile(&mut self, number: usize) {
        if let Some(record) = self.processes[number].agreement.reconciliation(NOW) {
            self.close(number, &record);
        }
    }

    fn close(&mut self, number: usize, record: &Record) {
        let stored = self.seal(record);
        self.processes[number].agreement.learn(Source::Made, Said::of_stored(&ring(), Some(stored.clone())), 0);
        self.processes[number].file = Some(stored.clone());
        self.throw(&stored);
    }

    fn happens(&mut self, happening: &Happening) {
        match happening {
            Happening::Arm => drop(self.command(|base| base.arm(HOUR, HOUR, &by(), NOW).ok())),
            Happening::Disable if self.store_is_up => drop(self.command(|base| base.disable(&by(), NOW).unwrap())),
            Happening::Disable => drop(self.command(|base| base.disable_unseen(&by(), NOW).unwrap())),
            Happening::Enable => drop(self.command(|base| base.enable(&by(), NOW).unwrap())),
            Happening::AutoClose(number) => {
                if let Some(record) = self.processes[*number].agreement.auto_close("too many", NOW) {
                    self.close(*number, &record);
                }
            }
            Happening::Flush => self.store = None,
            Happening::Rollback(_) | Happening::SwapFile(..) if self.past.is_empty() => {}
            Happening::Rollback(at) => self.store = Some(at.get(&self.past).clone()),
            Happening::StoreDown => self.store_is_up = false,
            Happening::StoreUp => self.store_is_up = true,
            Happening::DeleteFile(number) => self.processes[*number].file = None,
            Happening::SwapFile(number, at) => self.processes[*number].file = Some(at.get(&self.past).clone()),
            // The first process stays, so that there is one that knows. An empty disk comes only with a store to ask; a file
            // that somebody swapped was put right before, and one that is swapped between two runs is nobody's to notice.
            Happening::Restart(number) => {
                self.round();
                if *number > 0 && self.store_is_up {
                    self.processes[*number] = Process { agreement: Agreement::default(), file: None };
                } else if *number > 0 {
                    self.processes[*number].agreement = Agreement::default();
                }
                self.round();
            }
            Happening::Rounds(rounds) => (0..*rounds).for_each(|_| self.round()),
        }
    }

    fn open_doors(&self) -> usize {
        self.processes.iter().filter(|process| opens(&process.agreement)).count()
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    let number = || 0..3_usize;
    let at = || any::<prop::sample::Index>();
    prop_oneof![
        2 => Just(Happening::Arm),
        1 => Just(Happening::Enable),
        1 => number().prop_map(Happening::AutoClose),
        1 => Just(Happening::Flush),
        1 => at().prop_map(Happening::Rollback),
        1 => Just(Happening::StoreDown),
        2 => Just(Happening::StoreUp),
        1 => number().prop_map(Happening::DeleteFile),
        1 => (number(), at()).prop_map(|(number, at)| Happening::SwapFile(number, at)),
        1 => number().prop_map(Happening::Restart),
        3 => (1..8_u8).prop_map(Happening::Rounds),
    ]
}

/// What befalls memories, and brings no operator's wish.
fn mishap() -> impl Strategy<Value = Happening> {
    happening().prop_filter("nobody wishes for an open door", |happening| {
        !matches!(happening, Happening::Arm | Happening::Enable | Happening::Disable)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_mishap_opens_a_door_that_an_operator_has_closed(
        before in prop::collection::vec(happening(), 0..25),
        after in prop::collection::vec(mishap(), 1..25),
    ) {
        let mut fleet = Fleet::new();
        for happening in &before {
            fleet.happens(happening);
        }
        fleet.happens(&Happening::Disable);
        fleet.round();
        prop_assert_eq!(fleet.open_doors(), 0);
        for happening in &after {
            fleet.happens(happening);
            prop_assert_eq!(fleet.open_doors(), 0, "after {:?}", happening);
        }
        fleet.store_is_up = true;
        fleet.happens(&Happening::Rounds(8));
        prop_assert_eq!(fleet.open_doors(), 0);
        prop_assert!(fleet.processes.iter().all(|process| process.agreement.standing(NOW, ARMING).killed));

        // And it is no dead end.
        fleet.happens(&Happening::Enable);
        fleet.happens(&Happening::Rounds(1));
        prop_assert_eq!(fleet.open_doors(), 0);
        fleet.happens(&Happening::Arm);
        fleet.happens(&Happening::Rounds(1));
        prop_assert_eq!(fleet.open_doors(), 3);
        let record = to_text(fleet.store.as_ref().unwrap());
        for process in &fleet.processes {
            prop_assert_eq!(&to_text(process.file.as_ref().unwrap()), &record);
        }
    }
}
