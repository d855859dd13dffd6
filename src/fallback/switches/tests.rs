//! Tests of what a disk that hangs holds up: nothing.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use super::*;
use crate::{
    clock::Clock,
    fallback::switch::{Base, By},
    seal::{KeyRing, MasterKey},
    session::{
        Lifetimes,
        binding::{BindingRules, Strictness},
        cache, cookie, keeper,
    },
    store::memory,
};

const HOUR: Duration = Duration::from_secs(3_600);

const UNBOUND: BindingRules =
    BindingRules { address: Strictness::Off, exact_address: false, user_agent: Strictness::Off };

fn ring() -> KeyRing {
    KeyRing::new(&MasterKey::from_bytes([1; 32]), &[])
}

fn switches(file: PathBuf) -> Switches {
    with_keys(file, ring())
}

fn with_keys(file: PathBuf, keys: KeyRing) -> Switches {
    let clock = Clock::system();
    let room = memory::Config { max_sessions: 1, max_marks: 1, max_windows: 1 };
    let store = Store::open(crate::store::Config::Memory(room), &clock, Box::new(|_, _, _| ())).unwrap();
    let config = keeper::Config {
        keys,
        cookie: cookie::Config { name: "session".to_owned(), strict: false, plain: false },
        lifetimes: Lifetimes { absolute: HOUR, idle: HOUR, binding: UNBOUND },
        cache: cache::Config::NOTHING,
        store_outage_grace: Duration::ZERO,
    };
    let telemetry = Telemetry::new(false);
    let keeper = Keeper::new(config, Arc::new(store), clock, telemetry.clone());
    let config = Config { file: Some(file), require_arming: true, longest_arming: HOUR };
    Switches::new(config, Arc::new(keeper), telemetry)
}

fn killed() -> Kept {
    let by = By::new("alice", "why").unwrap();
    let record = Base::Nothing.disable(&by, Clock::system().now()).unwrap().unwrap();
    let sealed = record.seal(&ring(), [1; 12]).unwrap();
    Kept { record, sealed }
}

#[tokio::test]
async fn while_a_read_hangs_the_store_is_heard_and_no_other_read_begins() {
    let folder = tempfile::TempDir::new().unwrap();
    let switches = switches(folder.path().join("switches"));
    let hangs = Arc::clone(&switches.0.reading).try_acquire_owned().unwrap();
    assert_eq!(switches.read_file().await, Said::Unknown);
    switches.store().throw_switches(&killed().sealed).await.unwrap();
    switches.agree().await;
    assert!(switches.standing(Clock::system().now()).killed);
    drop(hangs);
    assert_eq!(switches.read_file().await, Said::Absent);
}

#[tokio::test]
async fn while_a_write_hangs_commands_are_answered_and_the_store_is_heard() {
    let folder = tempfile::TempDir::new().unwrap();
    let switches = switches(folder.path().join("switches"));
    let hangs = Arc::clone(&switches.0.writing).try_acquire_owned().unwrap();
    let began = Instant::now();
    let killed = killed();
    let taken = switches.take(to_text(&killed.sealed).as_bytes()).await.unwrap();
    assert_eq!((taken.kept, taken.stored), (false, true));
    switches.agree().await;
    assert!(began.elapsed() < 5 * FILE_TIME, "{:?}", began.elapsed());
    drop(hangs);
    switches.agree().await;
    assert_eq!(switches.read_file().await, Said::Record(killed), "what was owed is written");
}

#[tokio::test]
async fn a_restart_counts_no_switch_anew() {
    let folder = tempfile::TempDir::new().unwrap();
    let counted = |switches: &Switches| {
        let text = switches.0.telemetry.metrics().text().unwrap();
        text.lines().any(|line| line.starts_with("oauth2_fallback_switches_total") && line.ends_with(" 1"))
    };
    let first = switches(folder.path().join("switches"));
    first.take(to_text(&killed().sealed).as_bytes()).await.unwrap();
    assert!(counted(&first));
    let second = switches(folder.path().join("switches"));
    second.agree().await;
    assert!(second.standing(Clock::system().now()).killed && !counted(&second));
}

#[tokio::test]
async fn switches_outlive_the_key_that_they_were_thrown_under() {
    let folder = tempfile::TempDir::new().unwrap();
    let (first, second) = (MasterKey::from_bytes([1; 32]), MasterKey::from_bytes([2; 32]));
    let (switches, killed) = (switches(folder.path().join("switches")), killed());
    switches.take(to_text(&killed.sealed).as_bytes()).await.unwrap();
    let in_force = switches.0.keeper.ring_in_force();
    in_force.replace(&Arc::new(KeyRing::new(&first, std::slice::from_ref(&second))));
    switches.agree().await;
    assert_eq!(switches.agreement().held(), Some(&killed), "the new key seals nothing yet");
    in_force.replace(&Arc::new(KeyRing::new(&second, &[]).after(&first)));
    switches.agree().await;
    switches.agree().await;
    in_force.replace(&Arc::new(KeyRing::new(&second, &[])));
    switches.agree().await;
    let status = switches.status(Clock::system().now());
    assert!(status.switches.killed && status.switches.believed);
    let record = status.record.unwrap();
    assert_eq!(record, Record { epoch: killed.record.epoch + 1, ..killed.record });
    let filed = switches.read_file().await;
    assert!(matches!(filed, Said::Record(kept) if kept.record == record), "the file holds it, too");
}

#[tokio::test]
async fn only_a_regular_file_is_opened() {
    let folder = tempfile::TempDir::new().unwrap();
    assert_eq!(read(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
}
