//! Whether this gateway hears what the others change, and how long it may go by what it has read before.
//!
//! It listens on the store's channel and sends itself beats over it; [`Beats`] says what those prove.
//! A subscription on which it does not hear itself is left for a new one. A beat also sees whether the store has lost its
//! data, of which nobody says anything. Nobody shares a store in memory, so there everything is heard at once.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    random,
    session::lease::{Beats, HEARS_FOR, Heard},
    store::{
        Beaten, Store, StoreError, Token,
        notice::{Beat, Notice},
        redis::Ear,
    },
    telemetry::{Event, Telemetry},
};

/// What one gateway hears.
#[derive(Debug)]
pub struct Hearing {
    store: Arc<Store>,
    telemetry: Telemetry,
    is_shared: bool,
    /// Whether a beat that came back proves anything: not in a cluster, whose nodes lose what they cannot pass on.
    is_proof: bool,
    began: Instant,
    /// Until when everything was heard, in nanoseconds from the beginning; 0 for never.
    hears_until: AtomicU64,
    /// When the last beat was sent that came back, likewise.
    heard_at: AtomicU64,
    /// Whether the store cannot be reached.
    is_out: AtomicBool,
    /// Whether anybody has asked of late: nobody beats for nobody.
    is_asked: AtomicBool,
}

impl Hearing {
    /// One that has heard nothing yet.
    pub fn new(store: Arc<Store>, telemetry: Telemetry) -> Self {
        Self {
            is_shared: store.is_shared(),
            is_proof: store.keeps_order(),
            store,
            telemetry,
            began: Instant::now(),
            hears_until: AtomicU64::new(0),
            heard_at: AtomicU64::new(0),
            is_out: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
        }
    }

    /// Whether everything that was said until now, but for a moment, has been heard.
    pub fn hears(&self, now: Instant) -> bool {
        if !self.is_shared {
            return true;
        }
        if !self.is_asked.load(Ordering::Relaxed) {
            self.is_asked.store(true, Ordering::Relaxed);
        }
        self.is_proof && self.nanos(now) < self.hears_until.load(Ordering::Acquire)
    }

    /// Whether it has heard itself of late: a gateway that is not asked beats too seldom to go by it, and is well.
    pub fn has_heard_lately(&self, now: Instant) -> bool {
        let until = self.hears_until.load(Ordering::Acquire);
        !self.is_shared || (until > 0 && self.nanos(now) < until.saturating_add(nanos(LOST_AFTER)))
    }

    /// Whether the store cannot be reached, and has been heard of no longer ago than this. It counts from when everything was
    /// known for the last time, so that being deaf before the outage prolongs nothing.
    pub fn may_go_on(&self, now: Instant, grace: Duration) -> bool {
        let heard = self.heard_at.load(Ordering::Acquire);
        self.is_out.load(Ordering::Acquire) && heard > 0 && self.nanos(now) < heard.saturating_add(nanos(grace))
    }

    /// The store answered.
    pub fn store_answered(&self) {
        if self.is_out.load(Ordering::Relaxed) {
            self.is_out.store(false, Ordering::Release);
        }
    }

    /// The store did not do what it was asked. One that refuses, or answers nonsense, is there all the same.
    pub fn store_failed(&self, error: &StoreError) {
        if matches!(error, StoreError::Unreachable(_) | StoreError::Deadline(_)) {
            self.is_out.store(true, Ordering::Release);
        }
    }

    /// Listens for as long as it is polled. `flush` is called before anything is heard on a new subscription, and `hear`
    /// for whatever is said on it.
    pub async fn keep_hearing(&self, flush: impl Fn(), hear: impl Fn(Notice)) {
        let mut mark = None;
        loop {
            match self.store.listen().await {
                Ok(Some(ear)) => {
                    flush();
                    self.telemetry.event(&Event::Listening);
                    self.hear_out(ear, &mut mark, &flush, &hear).await;
                    self.deaf("the subscription ended");
                }
                Ok(None) => return,
                Err(error) => {
                    self.store_failed(&error);
                    self.deaf(&error.to_string());
                }
            }
            sleep(LISTEN_AGAIN_AFTER).await;
        }
    }

    fn deaf(&self, cause: &str) {
        self.hears_until.store(0, Ordering::Release);
        self.telemetry.event(&Event::Deaf { cause });
    }

    /// Hears until the subscription ends or is of no use.
    async fn hear_out(&self, mut ear: Ear, mark: &mut Option<Token>, flush: &impl Fn(), hear: &impl Fn(Notice)) {
        let Ok(me) = random::bytes().map(Token) else {
            return;
        };
        let mut beats = Beats::default();
        let mut tick = interval(BEAT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pace = Pace::new(Instant::now());
        let mut saying: Option<Saying<'_>> = None;
        loop {
            let concluded = tokio::select! {
                notice = ear.next() => match notice {
                    None => return,
                    Some(Notice::Beat(Beat { by, number })) if by == me => beats.heard(number, self.began.elapsed()),
                    Some(Notice::Beat(_)) => None,
                    Some(notice) => {
                        hear(notice);
                        None
                    }
                },
                (number, outcome) = said(&mut saying) => {
                    saying = None;
                    let lost = outcome.as_ref().is_ok_and(|said| mark.replace(said.mark).is_some_and(|mark| mark != said.mark));
                    if lost {
                        self.telemetry.event(&Event::StoreEmptied);
                        flush();
                    }
                    if outcome.is_ok() {
                        pace.said(Instant::now());
                    }
                    self.beaten(&mut beats, number, &outcome)
                }
                _ = tick.tick() => {
                    let now = Instant::now();
                    if pace.has_lost(now) {
                        return;
                    }
                    if saying.is_none() && pace.is_due(now, &self.is_asked) {
                        let number = beats.begin(now.saturating_duration_since(self.began));
                        saying = Some(Box::pin(self.say(Beat { by: me, number })));
                    }
                    None
                }
            };
            if let Some(heard) = concluded {
                pace.heard();
                self.conclude(heard);
            }
        }
    }

    async fn say(&self, beat: Beat) -> (u64, Result<Beaten, StoreError>) {
        // Drawn anew each time: a store that is emptied again must not bear the mark that it bore before.
        let new = random::bytes().map_or(beat.by, Token);
        (beat.number, self.store.beat(beat, &new).await)
    }

    fn beaten(&self, beats: &mut Beats, number: u64, outcome: &Result<Beaten, StoreError>) -> Option<Heard> {
        match outcome {
            Ok(Beaten { servers, .. }) => {
                self.store_answered();
                beats.said(number, *servers, self.began.elapsed())
            }
            Err(error) => {
                self.store_failed(error);
                None
            }
        }
    }

    fn conclude(&self, heard: Heard) {
        self.hears_until.store(nanos(heard.until), Ordering::Release);
        self.heard_at.store(nanos(heard.until.saturating_sub(HEARS_FOR)).max(1), Ordering::Release);
        self.telemetry.metrics().sessions().heard(heard.took);
    }

    fn nanos(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.began))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A beat that the store is asked to say on.
type Saying<'a> = Pin<Box<dyn Future<Output = (u64, Result<Beaten, StoreError>)> + Send + 'a>>;

/// Waits for ever where there is nothing to wait for.
async fn said(saying: &mut Option<Saying<'_>>) -> (u64, Result<Beaten, StoreError>) {
    match saying {
        Some(saying) => saying.await,
        None => pending().await,
    }
}

/// When the next beat is due, and when a subscription is given up.
#[derive(Debug)]
struct Pace {
    asked: Instant,
    beaten: Option<Instant>,
    /// Since when beats are said and not heard.
    unheard: Option<Instant>,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self { asked: now, beaten: None, unheard: None }
    }

    fn is_due(&mut self, now: Instant, is_asked: &AtomicBool) -> bool {
        if is_asked.swap(false, Ordering::Relaxed) {
            self.asked = now;
        }
        let since = |earlier| now.saturating_duration_since(earlier);
        let is_idle = since(self.asked) >= IDLE_AFTER;
        let due = self.beaten.is_none_or(|beaten| !is_idle || since(beaten) >= IDLE_BEAT_EVERY);
        if due {
            self.beaten = Some(now);
        }
        due
    }

    fn said(&mut self, now: Instant) {
        self.unheard.get_or_insert(now);
    }

    const fn heard(&mut self) {
        self.unheard = None;
    }

    /// A store that says nothing on is no reason to leave: what it says later still comes this way.
    fn has_lost(&self, now: Instant) -> bool {
        self.unheard.is_some_and(|since| now.saturating_duration_since(since) >= LOST_AFTER)
    }
}

/// How often a gateway proves that it hears.
const BEAT_EVERY: Duration = Duration::from_millis(25);

/// After how long without a question it beats seldom.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// How often it beats then.
const IDLE_BEAT_EVERY: Duration = Duration::from_millis(500);

/// How long a subscription may be silent before it is left for a new one; longer than a beat may take.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// How long after a subscription was lost the next is tried.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_millis(100);
