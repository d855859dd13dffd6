//! Pure. What happens in a storm, step by step, as a function of its seed alone.
//!
//! A schedule keeps to what can happen: a Redis that is down is not stopped again, trouble does not last for ever, and
//! the clock stands while somebody signs in.

/// A step: something happens, or nothing, while people act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) event: Option<Event>,
    pub(super) acts: Vec<Act>,
}

/// What happens to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Redis is killed, and stays so.
    RedisStops,
    /// A Redis that was stopped starts.
    RedisStarts,
    /// Redis is killed and started at once.
    RedisRestarts,
    /// Redis hangs for so many milliseconds.
    RedisHangs(u64),
    /// Redis forgets everything.
    RedisIsFlushed,
    /// A gateway is killed, and stays so.
    ReplicaDies(usize),
    /// A gateway that was killed starts.
    ReplicaStarts(usize),
    /// The provider's token endpoint answers so many milliseconds late.
    ProviderIsSlow(u64),
    /// Every endpoint of the provider answers 503.
    ProviderIsDown,
    /// The provider rotates refresh tokens, and its answers are lost.
    ProviderLosesAnswers,
    /// The provider is well again.
    ProviderIsWell,
    /// The provider signs with new keys.
    KeysRotate,
    /// The clock goes forward by so many seconds.
    ClockMoves(u64),
}

/// What one person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Act {
    pub(super) person: usize,
    pub(super) what: What,
    /// How long after the beginning of the step.
    pub(super) after_millis: u64,
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Signs in; whoever is signed in gets a new session in the place of the old.
    SignIn,
    /// Opens a page.
    Look(Way),
    /// Says that they are still there.
    Stay,
    /// Asks for fresh tokens.
    Refresh,
    /// Signs out.
    SignOut(Way),
    /// Opens a page with a cookie of an earlier session.
    LookWithOldCookie(Way),
    /// Opens a page with a cookie that nobody was given.
    LookWithMadeUpCookie(Way),
}

/// Whom a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To nginx, which asks the gateways in turn.
    Nginx,
    /// To one gateway itself.
    Replica(usize),
}

/// How many people there are.
pub(super) const PEOPLE: usize = 6;
/// How many gateways there are.
pub(super) const REPLICAS: usize = 2;

/// The first so many steps of a seed's schedule.
pub(super) fn schedule(seed: u64, steps: usize) -> Vec<Step> {
    let mut weather = Weather::fair(seed);
    (0..steps).map(|_| weather.step()).collect()
}

/// What is the matter, and for how many steps yet.
struct Weather {
    dice: Dice,
    redis_down: Option<u64>,
    replica_down: [Option<u64>; REPLICAS],
    provider_ill: Option<u64>,
}

impl Weather {
    fn fair(seed: u64) -> Self {
        Self { dice: Dice(seed), redis_down: None, replica_down: [None; REPLICAS], provider_ill: None }
    }

    fn step(&mut self) -> Step {
        let event = self.over().or_else(|| self.event());
        let may_sign_in = !matches!(event, Some(Event::ClockMoves(_)));
        Step { event, acts: self.acts(may_sign_in) }
    }

    /// The trouble that ends with this step, if one does.
    fn over(&mut self) -> Option<Event> {
        let mut ended = None;
        let mut count = |left: &mut Option<u64>, end: Event| match left {
            Some(0) if ended.is_none() => {
                *left = None;
                ended = Some(end);
            }
            Some(steps) => *steps = steps.saturating_sub(1),
            None => {}
        };
        count(&mut self.redis_down, Event::RedisStarts);
        for (number, left) in self.replica_down.iter_mut().enumerate() {
            count(left, Event::ReplicaStarts(number));
        }
        count(&mut self.provider_ill, Event::ProviderIsWell);
        ended
    }

    fn event(&mut self) -> Option<Event> {
        match self.dice.below(100) {
            0..8 if self.redis_down.is_none() => {
                self.redis_down = Some(self.dice.below(4));
                Some(Event::RedisStops)
            }
            8..16 if self.redis_down.is_none() => Some(Event::RedisRestarts),
            16..22 if self.redis_down.is_none() => Some(Event::RedisHangs(50 + self.dice.below(1_200))),
            22..24 if self.redis_down.is_none() => Some(Event::RedisIsFlushed),
            24..36 => self.replica_dies(),
            36..42 if self.provider_ill.is_none() => Some(self.ill(Event::ProviderIsDown)),
            42..48 if self.provider_ill.is_none() => {
                let slow = Event::ProviderIsSlow(100 + self.dice.below(900));
                Some(self.ill(slow))
            }
            48..53 if self.provider_ill.is_none() => Some(self.ill(Event::ProviderLosesAnswers)),
            53..58 => Some(Event::KeysRotate),
            58..66 => Some(Event::ClockMoves(1 + self.dice.below(60))),
            66..76 => Some(Event::ClockMoves(60 + self.dice.below(480))),
            _ => None,
        }
    }

    fn replica_dies(&mut self) -> Option<Event> {
        let number = self.dice.index(REPLICAS);
        if self.replica_down[number].is_some() {
            return None;
        }
        self.replica_down[number] = Some(self.dice.below(3));
        Some(Event::ReplicaDies(number))
    }

    fn ill(&mut self, event: Event) -> Event {
        self.provider_ill = Some(self.dice.below(4));
        event
    }

    fn acts(&mut self, may_sign_in: bool) -> Vec<Act> {
        let mut acts = Vec::new();
        let first = self.dice.index(PEOPLE);
        for person in (0..PEOPLE).map(|person| (first + person) % PEOPLE).take(1 + self.dice.index(PEOPLE)) {
            if let Some(what) = self.change(may_sign_in) {
                acts.push(self.act(person, what));
            }
            for _ in 0..=self.dice.below(4) {
                let what = self.harmless();
                acts.push(self.act(person, what));
            }
        }
        acts
    }

    /// What ends or begins a session; at most one of a kind per person and step.
    fn change(&mut self, may_sign_in: bool) -> Option<What> {
        match self.dice.below(100) {
            0..22 if may_sign_in => Some(What::SignIn),
            22..34 => Some(What::SignOut(self.way())),
            _ => None,
        }
    }

    fn harmless(&mut self) -> What {
        match self.dice.below(100) {
            0..60 => What::Look(self.way()),
            60..72 => What::Stay,
            72..78 => What::Refresh,
            78..94 => What::LookWithOldCookie(self.way()),
            _ => What::LookWithMadeUpCookie(self.way()),
        }
    }

    fn way(&mut self) -> Way {
        match self.dice.index(2 + REPLICAS) {
            number if number < REPLICAS => Way::Replica(number),
            _ => Way::Nginx,
        }
    }

    fn act(&mut self, person: usize, what: What) -> Act {
        Act { person, what, after_millis: self.dice.below(120) }
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): a few lines, the same numbers everywhere and for ever.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap_or(0)
    }
}

#[test]
fn a_seed_has_one_schedule_and_another_seed_another() {
    assert_eq!(schedule(7, 300), schedule(7, 300));
    assert_eq!(schedule(7, 100), schedule(7, 300)[..100], "a longer storm begins as a shorter one");
    assert_ne!(schedule(7, 100), schedule(8, 100));
    assert_eq!(Dice(1_234_567).next(), 6_457_827_717_110_365_317, "as its authors' program has it");
}

#[test]
fn a_schedule_keeps_to_what_can_happen_and_has_all_of_it() {
    for seed in 0..40 {
        let (mut redis, mut replicas, mut provider) = (true, [true; REPLICAS], true);
        for Step { event, acts } in schedule(seed, 400) {
            match event {
                Some(Event::RedisStops) => assert!(std::mem::replace(&mut redis, false)),
                Some(Event::RedisStarts) => assert!(!std::mem::replace(&mut redis, true)),
                Some(Event::RedisRestarts | Event::RedisHangs(_) | Event::RedisIsFlushed) => assert!(redis),
                Some(Event::ReplicaDies(number)) => assert!(std::mem::replace(&mut replicas[number], false)),
                Some(Event::ReplicaStarts(number)) => assert!(!std::mem::replace(&mut replicas[number], true)),
                Some(Event::ProviderIsWell) => assert!(!std::mem::replace(&mut provider, true)),
                Some(Event::ProviderIsSlow(_) | Event::ProviderIsDown | Event::ProviderLosesAnswers) => {
                    assert!(std::mem::replace(&mut provider, false));
                }
                Some(Event::ClockMoves(_)) => assert!(acts.iter().all(|act| act.what != What::SignIn)),
                Some(Event::KeysRotate) | None => {}
            }
            assert!(!acts.is_empty());
        }
    }
    let all = schedule(1, 2_000);
    let kinds: std::collections::HashSet<_> =
        all.iter().filter_map(|step| step.event.as_ref()).map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), 13, "every kind of event");
    let kinds: std::collections::HashSet<_> =
        all.iter().flat_map(|step| &step.acts).map(|act| std::mem::discriminant(&act.what)).collect();
    assert_eq!(kinds.len(), 7, "every kind of act");
}
