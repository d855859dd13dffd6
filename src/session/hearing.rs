//! Whether this gateway hears what the others change, and how long it may go by what it has read before.
//!
//! It listens on the store's channel and sends itself beats over it; [`Beats`](super::lease::Beats) says what those prove.
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
    session::lease::{Beats, Heard},
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
    began: Instant,
    /// Until when everything was heard, in nanoseconds from the beginning; 0 for never.
    hears_until: AtomicU64,
    /// Since when the store cannot be reached, likewise.
    out_since: AtomicU64,
    /// Whether anybody has asked of late: nobody beats for nobody.
    is_asked: AtomicBool,
}

impl Hearing {
    /// One that has heard nothing yet.
    pub fn new(store: Arc<Store>, telemetry: Telemetry) -> Self {
        Self {
            is_shared: store.is_shared(),
            store,
            telemetry,
            began: Instant::now(),
            hears_until: AtomicU64::new(0),
            out_since: AtomicU64::new(0),
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
        self.nanos(now) < self.hears_until.load(Ordering::Acquire)
    }

    /// Whether it has heard itself of late: a gateway that is not asked beats too seldom to go by it, and is well.
    pub fn has_heard_lately(&self, now: Instant) -> bool {
        let until = self.hears_until.load(Ordering::Acquire);
        !self.is_shared || (until > 0 && self.nanos(now) < until.saturating_add(nanos(LOST_AFTER)))
    }

    /// For how long the store has been out of reach; nothing while it answers.
    pub fn is_out_for(&self, now: Instant) -> Option<Duration> {
        let since = self.out_since.load(Ordering::Acquire);
        (since > 0).then(|| Duration::from_nanos(self.nanos(now).saturating_sub(since)))
    }

    /// The store answered.
    pub fn store_answered(&self) {
        if self.out_since.load(Ordering::Relaxed) > 0 {
            self.out_since.store(0, Ordering::Release);
        }
    }

    /// The store did not answer; the first time since it did is when it went.
    pub fn store_failed(&self, now: Instant) {
        let _ = self.out_since.compare_exchange(0, self.nanos(now).max(1), Ordering::AcqRel, Ordering::Acquire);
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
                    self.note_outage(&error);
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
                pace.heard(Instant::now());
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
                self.note_outage(error);
                None
            }
        }
    }

    fn conclude(&self, heard: Heard) {
        self.hears_until.store(nanos(heard.until), Ordering::Release);
        self.telemetry.metrics().sessions().heard(heard.took);
    }

    /// A store that refuses to say something on is there all the same.
    fn note_outage(&self, error: &StoreError) {
        if matches!(error, StoreError::Unreachable(_) | StoreError::Deadline(_)) {
            self.store_failed(Instant::now());
        }
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
    heard: Instant,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self { asked: now, beaten: None, heard: now }
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

    const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    fn has_lost(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= LOST_AFTER
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
