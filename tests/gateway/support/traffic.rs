//! Visitors who go on visiting while something happens, and what each of their requests came to.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use tokio::task::JoinSet;

use super::{Reply, Stage, Visitor, eventually};

/// Goes on until it is dropped.
pub(crate) struct Traffic {
    visitors: usize,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    going: JoinSet<()>,
}

/// What became of one request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) visitor: usize,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// Whether the answer sent the browser elsewhere, or changed a cookie.
    pub(crate) meddles: bool,
}

impl Traffic {
    /// Lets so many visitors sign in, and go on visiting.
    pub(crate) async fn of(stage: &Stage, visitors: usize) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut going = JoinSet::new();
        for number in 0..visitors {
            let visitor = stage.signed_in(["alice", "bob"][number % 2]).await;
            going.spawn(visit(visitor, number, Arc::clone(&stop), Arc::clone(&seen)));
        }
        let traffic = Self { visitors, stop, seen, going };
        traffic.all_see(200, Instant::now()).await;
        traffic
    }

    /// Waits until each visitor has seen that status twice, for requests begun from that moment on.
    pub(crate) async fn all_see(&self, status: u16, from: Instant) {
        eventually(&format!("everybody sees {status}"), async || {
            let seen = self.since(from);
            let count = |visitor| seen.iter().filter(|one| one.visitor == visitor && one.status == status).count();
            (0..self.visitors).all(|visitor| count(visitor) >= 2)
        })
        .await;
    }

    /// What became of the requests begun from that moment on, as far as they have ended.
    pub(crate) fn since(&self, from: Instant) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|one| one.began >= from).cloned().collect()
    }

    /// Ends it, and gives everything that was seen.
    pub(crate) async fn end(mut self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Release);
        while let Some(ended) = self.going.join_next().await {
            ended.unwrap();
        }
        self.seen.lock().unwrap().clone()
    }
}

async fn visit(visitor: Visitor, number: usize, stop: Arc<AtomicBool>, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut paths = ["/", "/auth/check", "/api/whoami", "/auth/userinfo"].into_iter().cycle();
    while !stop.load(Ordering::Acquire) {
        pace.tick().await;
        let began = Instant::now();
        let reply = visitor.fetch(Method::GET, paths.next().unwrap()).await;
        seen.lock().unwrap().push(Seen::of(&reply, number, began));
    }
}

impl Seen {
    fn of(reply: &Reply, visitor: usize, began: Instant) -> Self {
        let meddles = ["set-cookie", "location", "clear-site-data"].iter().any(|name| !reply.header(name).is_empty());
        let (status, reason) = reply.refusal();
        Self { visitor, began, took: began.elapsed(), status, reason: reason.to_owned(), meddles }
    }
}

/// Nobody was let in, signed out or sent away by the trouble: each answer is a 200, or a 503 that says why, in time.
pub(crate) fn assert_unharmed(seen: &[Seen]) {
    for one in seen {
        let fine = one.status == 200 || (one.status, one.reason.as_str()) == (503, "store_unavailable");
        assert!(fine && !one.meddles, "{one:?}");
    }
    let slowest = seen.iter().map(|one| one.took).max().unwrap_or_default();
    assert!(slowest < IN_TIME, "the slowest of {} took {slowest:?}", seen.len());
}

/// How often each visitor asks.
const PACE: Duration = Duration::from_millis(10);
/// A second, and what a crowded machine adds to it.
pub(crate) const IN_TIME: Duration = Duration::from_millis(1_500);
/// How soon a gateway knows what another has ended, and what the store has lost.
pub(crate) const HEARD_WITHIN: Duration = Duration::from_millis(100);
