//! Pure. Whether a provider is down: a state machine that is told when it was probed and what came of it.
//!
//! Invariants: a provider is held to be up until the entry rule has held, and down until the exit rule has; between the
//! two rules nothing flaps, because the exit rule asks for a span without any failure.

use std::{collections::VecDeque, time::Duration};

use crate::clock::Timestamp;

/// The figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Between two probes, while the provider is up.
    pub interval: Duration,
    /// What a probe may take, all of it.
    pub timeout: Duration,
    /// So many failures in a row, and it is down.
    pub failures: u32,
    /// The span over which failures are weighed against successes.
    pub window: Duration,
    /// Fewer probes than that within the window say nothing.
    pub window_probes: u32,
    /// Between two probes, while it is down.
    pub down_interval: Duration,
    /// It is up again after so many successes in a row …
    pub successes: u32,
    /// … and so long without a failure.
    pub quiet: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            failures: 3,
            window: Duration::from_secs(60),
            window_probes: 4,
            down_interval: Duration::from_secs(60),
            successes: 5,
            quiet: Duration::from_secs(5 * 60),
        }
    }
}

/// What is known of one provider.
#[derive(Clone, Debug)]
pub struct Health {
    rules: Rules,
    down_since: Option<Timestamp>,
    recent: VecDeque<Probe>,
    in_a_row: Row,
    last_failure: Option<Timestamp>,
    last_began: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    at: Timestamp,
    well: bool,
}

/// Probes with the same outcome, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Failures(u32),
    Successes(u32),
}

/// The verdict changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on it is held to be down.
    Down,
    /// It is up again, after so long.
    Up {
        /// How long it was down.
        after: Duration,
    },
}

impl Health {
    /// Nothing is known yet, and nobody is down.
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            down_since: None,
            recent: VecDeque::new(),
            in_a_row: Row::Successes(0),
            last_failure: None,
            last_began: None,
        }
    }

    /// Whether it is time for a probe. A clock that was set back makes it time at once.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let interval = if self.is_down() { self.rules.down_interval } else { self.rules.interval };
        self.last_began.is_none_or(|last| now.since(last) >= interval || now < last)
    }

    /// A probe begins.
    pub const fn begin(&mut self, now: Timestamp) {
        self.last_began = Some(now);
    }

    /// A probe ended.
    pub fn end(&mut self, now: Timestamp, well: bool) -> Option<Change> {
        self.note(now, well);
        match self.down_since {
            None if self.must_go_down() => {
                self.down_since = Some(now);
                Some(Change::Down)
            }
            Some(since) if self.may_come_up(now) => {
                self.down_since = None;
                self.recent.clear();
                Some(Change::Up { after: now.since(since) })
            }
            None | Some(_) => None,
        }
    }

    /// Whether it is down.
    pub const fn is_down(&self) -> bool {
        self.down_since.is_some()
    }

    /// How long it has been down.
    pub fn down_for(&self, now: Timestamp) -> Option<Duration> {
        self.down_since.map(|since| now.since(since))
    }

    /// Failed probes in a row.
    pub const fn failures(&self) -> u32 {
        match self.in_a_row {
            Row::Failures(count) => count,
            Row::Successes(_) => 0,
        }
    }

    /// Good probes in a row.
    pub const fn successes(&self) -> u32 {
        match self.in_a_row {
            Row::Successes(count) => count,
            Row::Failures(_) => 0,
        }
    }

    /// Whether it answers again, and has yet to show that it stays so.
    pub const fn is_stabilising(&self) -> bool {
        self.is_down() && self.successes() > 0
    }

    fn note(&mut self, now: Timestamp, well: bool) {
        self.in_a_row = match (self.in_a_row, well) {
            (Row::Successes(count), true) => Row::Successes(count.saturating_add(1)),
            (Row::Failures(count), false) => Row::Failures(count.saturating_add(1)),
            (_, true) => Row::Successes(1),
            (_, false) => Row::Failures(1),
        };
        // Where a clock was set back, a failure that lies in the future is one of now: else the quiet would never come.
        self.last_failure = if well { self.last_failure.map(|last| last.min(now)) } else { Some(now) };
        let oldest = now.minus(self.rules.window);
        // What a clock that was set back has put into the future says nothing of this window.
        self.recent.retain(|probe| probe.at > oldest && probe.at <= now);
        self.recent.push_back(Probe { at: now, well });
        if self.recent.len() > MOST_PROBES {
            self.recent.pop_front();
        }
    }

    fn must_go_down(&self) -> bool {
        self.failures() >= self.rules.failures || self.mostly_fails()
    }

    fn mostly_fails(&self) -> bool {
        let failed = self.recent.iter().filter(|probe| !probe.well).count();
        self.recent.len() >= self.rules.window_probes as usize && failed * 2 > self.recent.len()
    }

    fn may_come_up(&self, now: Timestamp) -> bool {
        let quiet = self.last_failure.is_none_or(|last| now.since(last) >= self.rules.quiet);
        self.successes() >= self.rules.successes && quiet
    }
}

/// Most probes within the window that are kept.
pub const MOST_PROBES: usize = 1_024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_000_000;

    /// Probes as they come, `+` for a good one and `-` for a failure, each when it is due, a second long.
    fn driven(probes: &str) -> (Health, Timestamp, Vec<(u64, Change)>) {
        let mut health = Health::new(Rules::default());
        let mut now = Timestamp::from_seconds(START);
        let mut changes = Vec::new();
        for probe in probes.chars() {
            while !health.is_due(now) {
                now = now.plus(Duration::from_secs(1));
            }
            health.begin(now);
            now = now.plus(Duration::from_secs(1));
            if let Some(change) = health.end(now, probe == '+') {
                changes.push((now.seconds() - START, change));
            }
        }
        (health, now, changes)
    }

    #[test]
    fn verdicts_follow_the_rules() {
        let check = |probes: &str, expected: &[(u64, Change)]| assert_eq!(driven(probes).2, expected, "{probes}");
        check("+++++++", &[]);
        check("--", &[]);
        check("---", &[(21, Change::Down)]);
        check("+-+-+-+-", &[]);
        check("+--+-", &[(41, Change::Down)]);
        check("-+-", &[]);
        check("+-+-", &[]);
        check("++--++--++--", &[(71, Change::Down)]);
        // Ten seconds until the last of three, then once a minute: five good ones, five minutes after the last failure.
        check("---++++", &[(21, Change::Down)]);
        let up = Change::Up { after: Duration::from_secs(300) };
        check("---+++++", &[(21, Change::Down), (321, up)]);
        check("---++++-+++++", &[(21, Change::Down), (621, Change::Up { after: Duration::from_secs(600) })]);
    }

    #[test]
    fn five_good_probes_are_too_few_within_five_minutes() {
        let rules = Rules { down_interval: Duration::from_secs(10), ..Rules::default() };
        let mut health = Health::new(rules);
        let at = |seconds: u64| Timestamp::from_seconds(START + seconds);
        for seconds in [0, 10, 20] {
            let _ = health.end(at(seconds), false);
        }
        assert!(!health.is_stabilising(), "it fails still");
        assert_eq!(health.down_for(at(25)), Some(Duration::from_secs(5)));
        assert!((3..32).all(|tens| health.end(at(tens * 10), true).is_none() && health.is_stabilising()));
        assert_eq!(health.end(at(320), true), Some(Change::Up { after: Duration::from_secs(300) }));
        assert_eq!(health.down_for(at(321)), None);
        assert!(!health.is_stabilising());
    }

    #[test]
    fn half_of_all_probes_failing_moves_it_once_at_most() {
        let (health, _, changes) = driven(&"+-".repeat(500));
        assert!(changes.len() <= 1, "{changes:?}");
        assert!(health.is_down() || changes.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_holds_no_probe_up() {
        let mut health = Health::new(Rules::default());
        health.begin(Timestamp::from_seconds(START));
        assert!(!health.is_due(Timestamp::from_seconds(START)));
        assert!(!health.is_due(Timestamp::from_seconds(START + 9)));
        assert!(health.is_due(Timestamp::from_seconds(START + 10)));
        assert!(health.is_due(Timestamp::from_seconds(START - 3_600)));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_no_provider_down() {
        let (mut health, mut now, _) = driven("---");
        now = now.minus(Duration::from_secs(86_400));
        let began = now;
        while health.is_down() {
            assert!(now.since(began) <= Duration::from_secs(360), "still down");
            now = now.plus(Duration::from_secs(60));
            let _ = health.end(now, true);
        }
    }

    #[test]
    fn from_death_to_the_verdict_it_takes_forty_seconds_at_most() {
        // The provider dies right after a good probe, and each probe waits for its time-out.
        let mut health = Health::new(Rules::default());
        let died = Timestamp::from_seconds(START);
        health.begin(died);
        assert_eq!(health.end(died, true), None);
        let mut now = died;
        while !health.is_down() {
            now = now.plus(Duration::from_secs(1));
            if health.is_due(now) {
                health.begin(now);
                let _ = health.end(now.plus(Rules::default().timeout), false);
            }
        }
        assert!(now.plus(Rules::default().timeout).since(died) <= Duration::from_secs(40));
    }

    proptest! {
        /// The rules, written down once more over the whole history.
        #[test]
        fn it_is_down_and_up_by_the_rules_alone(steps in proptest::collection::vec((1_u64..90, any::<bool>()), 0..200)) {
            let rules = Rules::default();
            let mut health = Health::new(rules.clone());
            let mut now = Timestamp::from_seconds(START);
            let mut history: Vec<(Timestamp, bool)> = Vec::new();
            let mut since_up = 0;
            for (pause, well) in steps {
                now = now.plus(Duration::from_secs(pause));
                let before = health.is_down();
                let change = health.end(now, well);
                history.push((now, well));
                let row = |of: bool| history.iter().rev().take_while(|(_, well)| *well == of).count() as u64;
                let window: Vec<bool> = history[since_up..]
                    .iter()
                    .filter(|(at, _)| now.since(*at) < rules.window)
                    .map(|(_, well)| *well)
                    .collect();
                let failed = window.iter().filter(|well| !**well).count();
                let enters = row(false) >= u64::from(rules.failures) || (window.len() >= 4 && failed * 2 > window.len());
                let last_failure = history.iter().rev().find(|(_, well)| !well).map(|(at, _)| *at);
                let leaves = row(true) >= u64::from(rules.successes)
                    && last_failure.is_none_or(|last| now.since(last) >= rules.quiet);
                let expected = match (before, enters, leaves) {
                    (false, true, _) => Some(true),
                    (true, _, true) => Some(false),
                    _ => None,
                };
                prop_assert_eq!(change.map(|change| change == Change::Down), expected);
                prop_assert_eq!(health.is_down(), expected.unwrap_or(before));
                if expected == Some(false) {
                    since_up = history.len();
                }
            }
        }
    }
}
