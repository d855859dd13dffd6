//! A cluster of three: slots that move, nodes that die, and replicas that take over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis::store::{
    Ended, Name, Store, Swap,
    notice::{Beat, Notice},
    redis::DEFAULT_DEADLINE,
};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    behaviour,
    support::{
        PATIENCE, change, eventually,
        fleet::{Cluster, Member, as_user, cluster_says, id, until},
        in_an_hour, keeps_all,
        redis::store,
        session, token,
    },
    windows,
};

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(400);

/// A name in the shard of that letter.
fn name(letter: u8, number: u16) -> Name {
    let mut hash = [7; 32];
    hash[0] = letter << 2;
    hash[1..3].copy_from_slice(&number.to_be_bytes());
    Name::new(hash)
}

fn written(name: Name) -> portcullis::store::NewSession {
    portcullis::store::NewSession { name, ..session(1) }
}

/// A letter whose shard that node has.
fn letter_of(cluster: &Cluster, node: usize) -> u8 {
    let letters = 0..26;
    let slot = |letter: &u8| cluster.slot(&format!("{{{}}}", char::from(b'A' + letter)));
    letters.into_iter().find(|letter| Cluster::owner(slot(letter)) == node).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_by_a_cluster() {
    let cluster = Cluster::start();
    cluster.primaries.iter().for_each(|member| member.add_user(&["+cluster|slots", "+asking"]));
    keeps_all(&as_user(cluster.config()), behaviour::cases().into_iter().chain(windows::cases())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_listens_hears_every_node() {
    let cluster = Cluster::start();
    let store = store(cluster.config());
    let mut ear = store.listen().await.unwrap().unwrap();
    let names: Vec<_> = (0..3).map(|node| name(letter_of(&cluster, node), 1)).collect();
    for name in &names {
        store.end(name, in_an_hour()).await.unwrap();
    }
    let beat = Beat { by: token(1), number: 7 };
    assert_eq!(store.beat(beat, &token(2)).await.unwrap().servers, 3);
    let beat = Notice::Beat(beat);
    let mut heard = Vec::new();
    for _ in 0..6 {
        heard.push(timeout(PATIENCE, ear.next()).await.unwrap().unwrap());
    }
    for name in names {
        assert!(heard.contains(&Notice::Session(name)));
    }
    assert_eq!(heard.iter().filter(|notice| **notice == beat).count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_data_is_noticed() {
    let cluster = Cluster::start();
    let store = store(cluster.config());
    let beat = async |new| store.beat(Beat { by: token(1), number: 7 }, &token(new)).await.unwrap().mark;
    let mut mark = beat(1).await;
    assert_eq!(beat(2).await, mark);
    for (number, member) in (3..).zip(&cluster.primaries) {
        let _: () = member.server.ask(&["FLUSHALL"]);
        assert_ne!(beat(number).await, mark);
        mark = beat(10).await;
    }
    for member in &cluster.primaries {
        let _: () = member.server.ask(&["FLUSHALL"]);
    }
    assert_ne!(beat(20).await, mark, "all at once");
}

/// Reads, updates, writes and ends in one shard, on and on.
struct Traffic {
    over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    workers: JoinSet<Duration>,
}

impl Traffic {
    /// Every answer must be good.
    fn start(store: &Arc<Store>, letter: u8) -> Self {
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut workers = JoinSet::new();
        for worker in 0..4 {
            let (store, over, done) = (Arc::clone(store), Arc::clone(&over), Arc::clone(&done));
            workers.spawn(async move {
                let mut longest = Duration::ZERO;
                let mut number = 1_000 + worker * 4_000;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    let name = name(letter, number);
                    let began = Instant::now();
                    store.create(&written(name)).await.unwrap();
                    assert!(store.facts(&name).await.unwrap().is_some());
                    assert_eq!(store.compare_and_set(&name, &change(1, "two")).await, Ok(Swap::Done));
                    assert_eq!(store.end(&name, in_an_hour()).await, Ok(Ended::Now));
                    assert_eq!(store.facts(&name).await, Ok(None));
                    longest = longest.max(began.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                longest
            });
        }
        Self { over, done, workers }
    }

    async fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("the traffic goes on", async || self.done.load(Ordering::Relaxed) > before + 10).await;
    }

    async fn stop(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.workers.join_all().await.into_iter().max().unwrap()
    }
}

/// Begins to move a slot.
fn begin_to_move(slot: &str, from: &Member, to: &Member) {
    let _: () = to.server.ask(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &id(from)]);
    let _: () = from.server.ask(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &id(to)]);
}

/// Moves what is in the slot, a few keys at a time.
fn move_keys(slot: &str, from: &Member, to: &Member) {
    loop {
        let keys: Vec<String> = from.server.ask(&["CLUSTER", "GETKEYSINSLOT", slot, "20"]);
        if keys.is_empty() {
            return;
        }
        let port = to.port.to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        let _: String = from.server.ask(&words);
    }
}

fn finish_the_move(slot: &str, from: &Member, to: &Member, all: &[Member]) {
    for member in [to, from].into_iter().chain(all) {
        let _: () = member.server.ask(&["CLUSTER", "SETSLOT", slot, "NODE", &id(to)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_interrupts_nobody() {
    let cluster = Cluster::start();
    let store = Arc::new(store(cluster.config()));
    let letter = letter_of(&cluster, 0);
    let slot = cluster.slot(&format!("{{{}}}", char::from(b'A' + letter))).to_string();
    for number in 1..=300 {
        store.create(&written(name(letter, number))).await.unwrap();
    }
    let [from, to, _] = cluster.primaries.as_slice() else { panic!("three nodes") };
    let traffic = Traffic::start(&store, letter);
    traffic.goes_on().await;
    begin_to_move(&slot, from, to);
    move_keys(&slot, from, to);
    traffic.goes_on().await;
    move_keys(&slot, from, to);
    finish_the_move(&slot, from, to, &cluster.primaries);
    traffic.goes_on().await;
    let longest = traffic.stop().await;
    assert!(longest < 5 * DEFAULT_DEADLINE, "{longest:?}");
    assert_eq!(store.count().await, Ok(300));
    for number in 1..=300 {
        assert!(store.facts(&name(letter, number)).await.unwrap().is_some(), "{number}");
    }
    let left: Vec<String> = from.server.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]);
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_slot_elsewhere_is_read_updated_and_ended_where_it_is() {
    let cluster = Cluster::start();
    let store = store(cluster.config());
    let letter = letter_of(&cluster, 0);
    let text = char::from(b'A' + letter);
    let slot = cluster.slot(&format!("{{{text}}}")).to_string();
    for number in 1..=4 {
        store.create(&written(name(letter, number))).await.unwrap();
    }
    let [from, to, _] = cluster.primaries.as_slice() else { panic!("three nodes") };
    begin_to_move(&slot, from, to);
    let key = |number| format!("portcullis:session:{{{text}}}:{}", name(letter, number).encoded());
    let port = to.port.to_string();
    for number in [1, 2] {
        let _: String = from.server.ask(&["MIGRATE", "127.0.0.1", &port, &key(number), "0", "5000"]);
    }
    for number in [1, 3] {
        let name = name(letter, number);
        assert!(store.facts(&name).await.unwrap().is_some(), "{number}");
        assert_eq!(store.compare_and_set(&name, &change(1, "two")).await, Ok(Swap::Done));
        assert_eq!(store.was_ended(&name).await, Ok(false));
    }
    assert_eq!(store.group(&session(1).groups[0]).await.unwrap().len(), 4);
    assert_eq!(store.count().await, Ok(4));
    for number in [1, 3] {
        assert_eq!(store.end(&name(letter, number), in_an_hour()).await, Ok(Ended::Now));
        assert_eq!(store.facts(&name(letter, number)).await, Ok(None));
        assert_eq!(store.was_ended(&name(letter, number)).await, Ok(true));
    }
    store.create(&written(name(letter, 5))).await.unwrap();
    assert!(store.create(&written(name(letter, 1))).await.is_err(), "it has ended");
    move_keys(&slot, from, to);
    finish_the_move(&slot, from, to, &cluster.primaries);
    assert_eq!(store.count().await, Ok(3));
    for (number, lives) in [(1, false), (2, true), (3, false), (4, true), (5, true)] {
        assert_eq!(store.facts(&name(letter, number)).await.unwrap().is_some(), lives, "{number}");
    }
}

/// Whether reads in the shard of that letter are answered; every answer comes in time.
async fn is_served(store: &Store, letter: u8) -> bool {
    let began = Instant::now();
    let answer = store.facts(&name(letter, 1)).await;
    assert!(began.elapsed() < DEFAULT_DEADLINE + SLACK, "{:?}", began.elapsed());
    answer.is_ok_and(|found| found.is_some())
}

async fn with_a_session_on_each(cluster: &Cluster, store: &Store) -> Vec<u8> {
    let letters: Vec<_> = (0..3).map(|node| letter_of(cluster, node)).collect();
    for letter in &letters {
        store.create(&written(name(*letter, 1))).await.unwrap();
    }
    letters
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_primary_keeps_its_own_slots_only() {
    let mut cluster = Cluster::start();
    let store = store(cluster.config());
    let letters = with_a_session_on_each(&cluster, &store).await;
    cluster.primaries[0].server.down();
    for _ in 0..20 {
        assert!(!is_served(&store, letters[0]).await);
        assert!(is_served(&store, letters[1]).await && is_served(&store, letters[2]).await);
    }
    until("the others know", || !cluster_says(&cluster.primaries[1], "cluster_slots_fail:0"));
    assert!(!is_served(&store, letters[0]).await);
    for letter in &letters[1..] {
        assert!(is_served(&store, *letter).await);
        assert_eq!(store.end(&name(*letter, 1), in_an_hour()).await, Ok(Ended::Now));
    }
    cluster.primaries[0].server.up();
    eventually("it is back", async || is_served(&store, letters[0]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_from_a_primary_that_died_or_hangs() {
    let mut cluster = Cluster::start_with(2, None);
    let store = store(cluster.config());
    let letters = with_a_session_on_each(&cluster, &store).await;
    for primary in &cluster.primaries {
        primary.wait_for_replicas();
    }
    let before = store.generation();
    cluster.primaries[0].server.down();
    eventually("the replica answers", async || is_served(&store, letters[0]).await).await;
    assert!(store.generation() > before);
    assert_eq!(store.end(&name(letters[0], 1), in_an_hour()).await, Ok(Ended::Now));
    cluster.primaries[0].server.up();
    eventually("it has come back as a replica", async || cluster.primaries[0].says("replication", "role:slave")).await;
    cluster.primaries[1].server.signal("STOP");
    eventually("the other replica answers", async || is_served(&store, letters[1]).await).await;
    assert!(is_served(&store, letters[2]).await);
    assert_eq!(store.count().await, Ok(2));
    cluster.primaries[1].server.signal("CONT");
    assert_eq!(store.end(&name(letters[1], 1), in_an_hour()).await, Ok(Ended::Now));
    let beat = Beat { by: token(1), number: 7 };
    let all = async || store.beat(beat, &token(2)).await.is_ok_and(|said| said.servers == 3);
    eventually("all nodes say a beat on", all).await;
}
