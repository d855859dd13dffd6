//! Where a storm passes: two gateways behind one nginx, Redis, a provider, and a clock; and what happens to them.

use std::{
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use deadpool_redis::redis::Value;
use dev_idp::{Endpoint, Switch, Trouble};
use portcullis::clock::Timestamp;
use tokio::task::block_in_place;

use super::{
    schedule::{Event, REPLICAS},
    world::{Part, Span, World},
};
use crate::support::{Plan, Stage, Visitor, in_process::InProcess, redis, twin::AsNginx};

/// All of it.
pub(super) struct Scene {
    pub(super) stage: Arc<Watched>,
    redis: redis::Server,
    redis_is_up: bool,
    replicas: [Option<InProcess>; REPLICAS],
    provider_is_ill: bool,
}

/// What those who act need, and what time it is.
pub(super) struct Watched {
    pub(super) stage: Stage,
    pub(super) direct: [AsNginx; REPLICAS],
    /// Brings others' requests to nginx, without cookies of its own.
    pub(super) messenger: Visitor,
    began: Instant,
    start: Timestamp,
    stood_still: Mutex<Vec<Span>>,
}

/// Looks at the time again and again, to know when the machine stood still.
fn keep_watch(scene: &Weak<Watched>) {
    let mut last = None;
    while let Some(scene) = scene.upgrade() {
        let now = scene.now();
        if let Some(last) = last.replace(now).filter(|last| now.saturating_sub(*last) > STANDSTILL) {
            scene.stood_still.lock().unwrap().push(Span::new(last, now));
        }
        drop(scene);
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Watched {
    /// How long it has lasted.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// How far the clock has gone.
    pub(super) fn clock(&self) -> u64 {
        self.stage.clock.now().since(self.start).as_secs()
    }
}

impl Scene {
    pub(super) async fn set() -> Self {
        let mut stage = plan().start().await;
        let redis = stage.redis.take().unwrap();
        let (began, start) = (Instant::now(), stage.clock.now());
        stage.idp.set(Switch::KeySetWithEarlierKeys);
        let (direct, messenger) = ([stage.asking(0), stage.asking(1)], Visitor::new(&stage));
        let stood_still = Mutex::default();
        let stage = Arc::new(Watched { stage, direct, messenger, began, start, stood_still });
        let watched = Arc::downgrade(&stage);
        std::thread::spawn(move || keep_watch(&watched));
        let replicas = [None, None];
        let mut scene = Self { stage, redis, redis_is_up: true, replicas, provider_is_ill: false };
        for number in 0..REPLICAS {
            scene.starts(number).await;
        }
        scene
    }

    pub(super) fn now(&self) -> Duration {
        self.stage.now()
    }

    pub(super) fn clock(&self) -> u64 {
        self.stage.clock()
    }

    /// What the gateways say of refreshes and endings, for whoever wonders why.
    pub(super) fn counted(&self) -> String {
        let text = self.stage.stage.telemetry.metrics().text().unwrap();
        let lines = text.lines().filter(|line| COUNTED.iter().any(|name| line.starts_with(name)));
        lines.filter(|line| !line.ends_with(" 0")).fold(String::new(), |told, line| told + "\n" + line)
    }

    /// Writes down when the machine stood still.
    pub(super) fn notes_standstills(&self, world: &mut World) {
        self.stage.stood_still.lock().unwrap().drain(..).for_each(|span| world.stood_still(span));
    }

    /// Lets something happen, and writes down when.
    pub(super) async fn happens(&mut self, event: Event, world: &mut World) {
        match event {
            Event::RedisStops => self.redis_stops(world),
            Event::RedisStarts => self.redis_starts(world),
            Event::RedisRestarts => {
                self.redis_stops(world);
                self.redis_starts(world);
            }
            Event::RedisHangs(millis) => self.redis_hangs(Duration::from_millis(millis), world).await,
            Event::RedisIsFlushed => {
                let from = self.now();
                block_in_place(|| self.redis.ask::<Value>(&["FLUSHALL"]));
                world.is_flushed(Span::new(from, self.now()));
            }
            Event::ReplicaDies(number) => {
                world.falls_ill(Part::Replica(number), self.now());
                self.replicas[number].take().unwrap().kill();
            }
            Event::ReplicaStarts(number) => {
                self.starts(number).await;
                world.is_well(Part::Replica(number), self.now());
            }
            Event::ClockMoves(seconds) => {
                let from = self.now();
                self.stage.stage.advance(Duration::from_secs(seconds));
                world.clock_moves(Span::new(from, self.now()));
            }
            event => self.provider(event, world),
        }
    }

    fn provider(&mut self, event: Event, world: &mut World) {
        let idp = &self.stage.stage.idp;
        match event {
            // It does what it is asked, late: nobody has an excuse.
            Event::ProviderIsSlow(millis) => idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(millis))),
            Event::ProviderIsDown | Event::ProviderLosesAnswers => {
                world.falls_ill(Part::Provider, self.stage.now());
                self.provider_is_ill = true;
                let lost = event == Event::ProviderLosesAnswers;
                idp.set(if lost { Switch::RefreshAnswerLost } else { Switch::Outage });
            }
            Event::ProviderIsWell => {
                idp.relieve(Endpoint::Token);
                idp.clear(Switch::Outage);
                idp.clear(Switch::RefreshAnswerLost);
                world.is_well(Part::Provider, self.stage.now());
                if std::mem::take(&mut self.provider_is_ill) {
                    world.provider_is_shaken(self.stage.clock());
                }
            }
            _ => {
                world.provider_is_shaken(self.stage.clock());
                idp.rotate_keys();
            }
        }
    }

    /// Ends every trouble.
    pub(super) async fn mends(&mut self, world: &mut World) {
        if !self.redis_is_up {
            self.redis_starts(world);
        }
        for number in 0..REPLICAS {
            if self.replicas[number].is_none() {
                self.happens(Event::ReplicaStarts(number), world).await;
            }
        }
        self.provider(Event::ProviderIsWell, world);
    }

    async fn starts(&mut self, number: usize) {
        let stage = &self.stage.stage;
        let settings = stage.replica_settings(number);
        let replica = InProcess::start_apart(&stage.settings_file(), &settings, &stage.clock, &stage.telemetry);
        self.replicas[number] = Some(replica);
        self.stage.direct[number].answers().await;
    }

    fn redis_stops(&mut self, world: &mut World) {
        world.falls_ill(Part::Store, self.now());
        block_in_place(|| self.redis.down());
        self.redis_is_up = false;
    }

    fn redis_starts(&mut self, world: &mut World) {
        block_in_place(|| self.redis.up());
        self.redis_is_up = true;
        world.is_well(Part::Store, self.now());
    }

    async fn redis_hangs(&mut self, time: Duration, world: &mut World) {
        world.falls_ill(Part::Store, self.now());
        block_in_place(|| self.redis.signal("STOP"));
        tokio::time::sleep(time).await;
        block_in_place(|| self.redis.signal("CONT"));
        world.is_well(Part::Store, self.now());
    }
}

/// No limits, for a storm's clock stands still between its jumps; and an ID token may be older than usual when it is
/// looked at, for the clock may have jumped since the provider made it.
fn plan() -> Plan {
    let plan = Plan::new().with_redis().of_two().without_gateway().set("PROVIDER__MAIN__OFFLINE_ACCESS", "true");
    let plan = plan.provider(|provider| provider.id_token_lifetime = Duration::from_secs(3_600));
    // A provider that was away is asked all the same.
    let plan = plan.set("HEALTH__FAILURES", "1000").set("HEALTH__WINDOW_PROBES", "1000");
    let plan = plan.set("PROVIDER__MAIN__CLOCK_SKEW", "10m");
    [
        "LIMITS__LOGIN",
        "LIMITS__FAILED_SIGN_IN",
        "LIMITS__FAILED_CALLBACK",
        "LIMITS__REFRESH_SESSION",
        "LIMITS__REFRESH_USER",
    ]
    .into_iter()
    .fold(plan, |plan, limit| plan.set(limit, "off"))
}

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What a crowded machine may take for such a look without its being noticed.
const STANDSTILL: Duration = Duration::from_millis(150);
const COUNTED: [&str; 3] = ["oauth2_token_refresh", "oauth2_session_ended", "oauth2_token_verification_failures"];
