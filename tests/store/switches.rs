//! The switches of several processes on one Redis that goes away, is flushed, is rolled back.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis::{
    clock::Clock,
    fallback::{
        door,
        switch::{
            Base, By, Record,
            agreement::{Kept, NotTaken},
            to_text,
        },
        switches::{Config, Switches},
    },
    random,
    seal::{KeyRing, MasterKey},
    session::{
        Lifetimes,
        binding::{BindingRules, Strictness},
        cache, cookie,
        keeper::{self, Keeper},
    },
    store::{Store, StoredSwitches, Thrown, redis},
    telemetry::Telemetry,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::{
    HOUR, eventually, now,
    redis::{Server, store},
};

const UNBOUND: BindingRules =
    BindingRules { address: Strictness::Off, exact_address: false, user_agent: Strictness::Off };

const WITHIN: Duration = Duration::from_secs(1);

/// A process as far as its switches go; it ends when it is dropped.
struct Process {
    switches: Switches,
    running: JoinHandle<()>,
}

impl Process {
    fn begin(server: &Server, file: Option<PathBuf>) -> Self {
        let config = keeper::Config {
            keys: ring(),
            cookie: cookie::Config { name: "session".to_owned(), strict: false, plain: false },
            lifetimes: Lifetimes { absolute: HOUR, idle: HOUR, binding: UNBOUND },
            cache: cache::Config::NOTHING,
            store_outage_grace: Duration::ZERO,
        };
        let telemetry = Telemetry::new(false);
        let store = store(redis::Config { deadline: redis::DEFAULT_DEADLINE, ..server.config() });
        let keeper = Keeper::new(config, Arc::new(store), Clock::system(), telemetry.clone());
        let config = Config { file, require_arming: true, longest_arming: HOUR };
        let switches = Switches::new(config, Arc::new(keeper), telemetry);
        let looking = switches.clone();
        Self { switches, running: tokio::spawn(async move { looking.keep_agreeing().await }) }
    }

    fn standing(&self) -> door::Switches {
        self.switches.standing(now())
    }

    fn opens(&self) -> bool {
        let door::Switches { believed, killed, auto_closed, armed } = self.standing();
        believed && !killed && !auto_closed && armed
    }

    fn epoch(&self) -> u64 {
        self.switches.status(now()).epoch
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn ring() -> KeyRing {
    KeyRing::new(&MasterKey::from_bytes([7; 32]), &[])
}

fn by() -> By {
    By::new("alice", "why").unwrap()
}

fn kept(record: Record) -> Kept {
    let sealed = record.seal(&ring(), random::bytes().unwrap()).unwrap();
    Kept { record, sealed }
}

fn armed(epoch: u64) -> Kept {
    kept(Record { epoch, ..Base::Nothing.arm(HOUR, HOUR, &by(), now()).unwrap() })
}

fn killed(epoch: u64) -> Kept {
    kept(Record { epoch, ..Base::Nothing.disable(&by(), now()).unwrap().unwrap() })
}

async fn throw(store: &Store, kept: &Kept) {
    assert_eq!(store.throw_switches(&kept.sealed).await, Ok(Thrown::Done));
}

/// Puts an old record into Redis as if it had been restored from a backup.
async fn roll_back(server: &Server, to: &StoredSwitches) {
    let _: () = server.ask(&["DEL", "portcullis:switches"]);
    let _ = server.store().throw_switches(to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_thrown_in_the_store_holds_everywhere_within_a_second() {
    let server = Server::start();
    let store = server.store();
    let (one, other) = (Process::begin(&server, None), Process::begin(&server, None));
    throw(&store, &armed(1)).await;
    eventually("both are armed", async || one.opens() && other.opens()).await;
    for epoch in (2..8).step_by(2) {
        throw(&store, &killed(epoch)).await;
        let began = Instant::now();
        eventually("both are killed", async || one.standing().killed && other.standing().killed).await;
        assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());
        throw(&store, &armed(epoch + 1)).await;
        let began = Instant::now();
        eventually("both are armed", async || one.opens() && other.opens()).await;
        assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_closes_by_itself_is_closed_at_once_here_and_within_a_second_there() {
    let server = Server::start();
    let (one, other) = (Process::begin(&server, None), Process::begin(&server, None));
    throw(&server.store(), &armed(1)).await;
    eventually("both are armed", async || one.opens() && other.opens()).await;
    let began = Instant::now();
    tokio::join!(one.switches.auto_close("too many"), other.switches.auto_close("too many"));
    assert!(one.standing().auto_closed);
    eventually("both are closed", async || other.standing().auto_closed).await;
    assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());
    let sealed = |process: &Process| process.switches.status(now()).sealed;
    eventually("they agree on one record", async || sealed(&one) == sealed(&other)).await;
    assert!(one.standing().believed && other.standing().believed);
    throw(&server.store(), &armed(3)).await;
    eventually("arming opens it again", async || one.opens() && other.opens()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_away_the_last_state_holds_and_a_command_is_taken() {
    let mut server = Server::start();
    let (one, other) = (Process::begin(&server, None), Process::begin(&server, None));
    throw(&server.store(), &armed(1)).await;
    eventually("both are armed", async || one.opens() && other.opens()).await;
    server.down();
    let taken = one.switches.take(to_text(&killed(2).sealed).as_bytes()).await.unwrap();
    assert_eq!((taken.epoch, taken.kept, taken.stored), (2, false, false));
    assert!(one.standing().killed && other.opens(), "nobody told the other one");
    server.up();
    eventually("the other one learns of it from the store", async || other.standing().killed).await;
    let late = other.switches.take(to_text(&armed(2).sealed).as_bytes()).await;
    assert_eq!(late, Err(NotTaken::Stale { epoch: 2 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_flushed_or_rolled_back_is_mended_and_opens_nothing() {
    let server = Server::start();
    let store = server.store();
    let old = armed(1);
    throw(&store, &old).await;
    throw(&store, &killed(2)).await;
    let folder = TempDir::new().unwrap();
    let process = Process::begin(&server, Some(folder.path().join("switches")));
    eventually("it is killed", async || process.standing().killed).await;
    for round in 0..3 {
        match round {
            0 => server.ask(&["FLUSHALL"]),
            1 => server.ask(&["DEL", "portcullis:switches"]),
            _ => roll_back(&server, &old.sealed).await,
        }
        // One with an empty disk begins just then.
        let fresh = Process::begin(&server, None);
        let mended = async || store.switches().await.unwrap().is_some_and(|stored| stored.epoch == 2);
        eventually("the store is mended", async || {
            assert!(!fresh.opens() && !process.opens());
            mended().await
        })
        .await;
        eventually("the new one knows", async || {
            assert!(!fresh.opens());
            fresh.standing().killed
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_the_store_keeps_nobody_from_throwing_the_switches() {
    let server = Server::start();
    let store = server.store();
    let process = Process::begin(&server, None);
    throw(&store, &armed(1)).await;
    eventually("it is armed", async || process.opens()).await;
    // As high as an epoch is long, but no number that there is; then one that says nothing more than its epoch.
    let _: () = server.ask(&["SET", "portcullis:switches", "99999999999999999999garbage"]);
    eventually("it is broken", async || !process.standing().believed).await;
    throw(&store, &armed(2)).await;
    eventually("it is armed", async || process.opens()).await;
    let _: () = server.ask(&["SET", "portcullis:switches", "00000000000000000900garbage"]);
    eventually("it is broken", async || !process.standing().believed).await;
    assert_eq!(process.epoch(), 900, "as the store's own step has it");
    assert_eq!(store.throw_switches(&killed(900).sealed).await, Ok(Thrown::Stale));
    throw(&store, &killed(901)).await;
    eventually("it is killed", async || process.standing().believed && process.standing().killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_an_empty_disk_takes_an_open_door_from_the_store_only_after_a_while() {
    let server = Server::start();
    throw(&server.store(), &armed(5)).await;
    let began = Instant::now();
    let process = Process::begin(&server, None);
    eventually("it is open", async || process.opens()).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    throw(&server.store(), &killed(6)).await;
    let fresh = Process::begin(&server, None);
    eventually("a closed one is taken at once", async || fresh.standing().killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_for_its_owner_alone_and_is_written_anew_whatever_becomes_of_it() {
    let server = Server::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("switches");
    let process = Process::begin(&server, Some(file.clone()));
    let old = armed(1);
    throw(&server.store(), &old).await;
    throw(&server.store(), &killed(2)).await;
    let mine = async || process.switches.status(now()).sealed;
    let written = async || fs::read_to_string(&file).ok().map(|text| text.trim().to_owned());
    eventually("it is written", async || process.epoch() == 2 && written().await == mine().await).await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    fs::remove_file(&file).unwrap();
    eventually("it is written again", async || written().await == mine().await).await;
    fs::write(&file, to_text(&old.sealed)).unwrap();
    eventually("an old one is overwritten", async || written().await == mine().await).await;
    assert!(process.standing().killed && process.standing().believed);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["switches"], "nothing else is left behind");

    fs::write(&file, "garbage").unwrap();
    eventually("a broken one closes", async || !process.standing().believed).await;
    throw(&server.store(), &armed(3)).await;
    eventually("a new record heals", async || process.opens() && written().await == mine().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_stops_nothing_and_a_command_is_told() {
    let server = Server::start();
    let process = Process::begin(&server, Some("/nowhere/at/all/switches".into()));
    let taken = process.switches.take(to_text(&killed(1).sealed).as_bytes()).await.unwrap();
    assert_eq!((taken.epoch, taken.kept, taken.stored), (1, false, true));
    assert!(process.standing().killed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_place_of_the_file_keeps_nobody_from_hearing_the_store_and_opens_nothing() {
    let server = Server::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("switches");
    let process = Process::begin(&server, Some(file.clone()));
    throw(&server.store(), &armed(1)).await;
    eventually("it is armed", async || process.opens()).await;
    // In one step: a file that is gone is written again.
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, &file).unwrap();
    let fresh = Process::begin(&server, Some(file.clone()));
    eventually("it is armed too, from the store", async || fresh.opens()).await;
    throw(&server.store(), &killed(2)).await;
    let began = Instant::now();
    eventually("both are killed", async || process.standing().killed && fresh.standing().killed).await;
    assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_begins_with_redis_away_goes_by_its_file() {
    let server = Server::prepared(&[]);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("switches");
    fs::write(&file, to_text(&armed(1).sealed)).unwrap();
    let process = Process::begin(&server, Some(file));
    let without = Process::begin(&server, None);
    eventually("it is armed", async || process.opens()).await;
    assert!(!without.opens());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_records_of_one_epoch_close_every_door() {
    let server = Server::start();
    let (one, other) = (Process::begin(&server, None), Process::begin(&server, None));
    throw(&server.store(), &armed(1)).await;
    eventually("both are armed", async || one.opens() && other.opens()).await;
    // The command reached one process alone; another one, unaware of it, reached the store.
    one.running.abort();
    throw(&server.store(), &armed(2)).await;
    eventually("the other one has the store's", async || other.epoch() == 2).await;
    let rival = to_text(&killed(2).sealed);
    assert!(!one.switches.take(rival.as_bytes()).await.unwrap().stored);
    let again = one.switches.clone();
    let looking = tokio::spawn(async move { again.keep_agreeing().await });
    eventually("both are killed", async || one.standing().killed && other.standing().killed).await;
    assert_eq!((one.epoch(), other.epoch()), (3, 3));
    looking.abort();
}
