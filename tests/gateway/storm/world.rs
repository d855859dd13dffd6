//! Pure. What was the matter with the world, and when.
//!
//! Times are since the beginning of the storm, as the machine counts; the clock is the one that gateways and provider go
//! by, in seconds since then.

use std::time::Duration;

use super::schedule::{REPLICAS, Way};

/// From one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Duration,
    pub(super) until: Duration,
}

/// What can be in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Store,
    Replica(usize),
    Provider,
    /// All of the machine, which others had to themselves for a moment: every deadline may have passed meanwhile.
    Machine,
}

/// Everything that was the matter so far.
#[derive(Debug, Default)]
pub(super) struct World {
    troubles: Vec<(Part, Span)>,
    pub(super) flushes: Vec<Span>,
    moves: Vec<Span>,
    /// The clock when the provider's keys were last new, or the provider was last in trouble.
    shaken: Option<u64>,
}

impl Span {
    pub(super) const fn new(from: Duration, until: Duration) -> Self {
        Self { from, until }
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.from < other.until && other.from < self.until
    }

    /// The same with so much more before and after.
    pub(super) fn widened(self, before: Duration, after: Duration) -> Self {
        Self { from: self.from.saturating_sub(before), until: self.until.saturating_add(after) }
    }
}

impl World {
    /// From here on that part is in trouble.
    pub(super) fn falls_ill(&mut self, part: Part, at: Duration) {
        self.troubles.push((part, Span::new(at, Duration::MAX)));
    }

    /// And here it is well again.
    pub(super) fn is_well(&mut self, part: Part, at: Duration) {
        let open = self.troubles.iter_mut().filter(|(ill, span)| *ill == part && span.until == Duration::MAX);
        open.for_each(|(_, span)| span.until = at);
    }

    pub(super) fn is_flushed(&mut self, during: Span) {
        self.flushes.push(during);
    }

    pub(super) fn clock_moves(&mut self, during: Span) {
        self.moves.push(during);
    }

    /// What gateways know of the provider's keys may be out of date for a while.
    pub(super) fn provider_is_shaken(&mut self, clock: u64) {
        self.shaken = Some(clock);
    }

    /// The machine stood still.
    pub(super) fn stood_still(&mut self, during: Span) {
        self.troubles.push((Part::Machine, during));
    }

    /// For how long it did, of a time.
    pub(super) fn still_for(&self, during: Span) -> Duration {
        let still = self.troubles.iter().filter(|(part, span)| *part == Part::Machine && span.meets(during));
        still.map(|(_, span)| span.until.saturating_sub(span.from)).sum()
    }

    /// Whether a part was in trouble at any time then.
    pub(super) fn was_ill(&self, part: Part, during: Span) -> bool {
        let is = |ill: Part| ill == part || ill == Part::Machine;
        self.troubles.iter().any(|(ill, span)| is(*ill) && span.meets(during))
    }

    /// Whether any gateway was.
    pub(super) fn lost_a_replica(&self, during: Span) -> bool {
        (0..REPLICAS).any(|number| self.was_ill(Part::Replica(number), during))
    }

    /// Whether one of the gateways that may have taken a request was down then.
    pub(super) fn lost(&self, way: Way, during: Span) -> bool {
        match way {
            Way::Replica(number) => self.was_ill(Part::Replica(number), during),
            Way::Nginx => self.lost_a_replica(during),
        }
    }

    /// Whether all those were that can answer a request which may be asked twice.
    pub(super) fn lost_all(&self, way: Way, during: Span) -> bool {
        match way {
            Way::Replica(_) => self.lost(way, during),
            Way::Nginx => (0..REPLICAS).all(|number| self.was_ill(Part::Replica(number), during)),
        }
    }

    /// Whether anything was.
    pub(super) fn was_stormy(&self, during: Span) -> bool {
        self.troubles.iter().any(|(_, span)| span.meets(during))
    }

    /// When a gateway that may not have heard what was said then certainly asks the store again: when the store is well,
    /// and has been for long enough to listen anew.
    pub(super) fn silent_until(&self, said: Span) -> Duration {
        let mut silence = said;
        for (part, span) in &self.troubles {
            if *part == Part::Store && span.meets(silence) {
                silence.until = silence.until.max(span.until.saturating_add(HEARS_AGAIN_WITHIN));
            }
        }
        silence.until
    }

    pub(super) fn moved_the_clock(&self, during: Span) -> bool {
        self.moves.iter().any(|span| span.meets(during))
    }

    /// Whether a gateway may have lacked the provider's keys at any time since the clock showed that.
    pub(super) fn keys_were_doubtful_since(&self, clock: u64) -> bool {
        self.shaken.is_some_and(|at| clock <= at + KEYS_SECONDS)
    }

    /// Whether gateways may fail at a provider that is well: one that was not is believed to be so for a moment, and
    /// keys are fetched once a minute.
    pub(super) fn provider_may_fail(&self, during: Span, clock: u64) -> bool {
        self.keys_were_doubtful_since(clock)
            || self.was_ill(Part::Provider, during.widened(DISCOVERED_WITHIN, Duration::ZERO))
    }
}

/// How long a gateway may take to see that the provider is there again.
const DISCOVERED_WITHIN: Duration = Duration::from_secs(2);
/// How soon a gateway hears again once the store is back.
const HEARS_AGAIN_WITHIN: Duration = Duration::from_secs(2);
/// How long new keys may go unseen.
const KEYS_SECONDS: u64 = 60;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn span(from: u64, until: u64) -> Span {
        Span::new(Duration::from_millis(from), Duration::from_millis(until))
    }

    #[test]
    fn trouble_lasts_until_it_is_over() {
        let mut world = World::default();
        world.falls_ill(Part::Store, Duration::from_millis(100));
        assert!(!world.was_ill(Part::Store, span(0, 100)));
        assert!(world.was_ill(Part::Store, span(5_000, 6_000)));
        assert!(!world.was_ill(Part::Provider, span(5_000, 6_000)));
        world.is_well(Part::Store, Duration::from_millis(300));
        assert!(world.was_ill(Part::Store, span(200, 6_000)));
        assert!(!world.was_ill(Part::Store, span(300, 6_000)));
        assert!(world.was_stormy(span(0, 200)) && !world.was_stormy(span(300, 400)));
    }

    #[test]
    fn a_machine_that_stood_still_is_trouble_of_every_part() {
        let mut world = World::default();
        world.stood_still(span(100, 400));
        for part in [Part::Store, Part::Replica(0), Part::Replica(1), Part::Provider] {
            assert!(world.was_ill(part, span(50, 150)) && !world.was_ill(part, span(400, 500)));
        }
        assert_eq!(world.still_for(span(50, 150)), Duration::from_millis(300));
        assert_eq!(world.still_for(span(400, 500)), Duration::ZERO);
    }

    #[test]
    fn nginx_goes_on_with_the_other_gateway_where_it_may() {
        let mut world = World::default();
        world.falls_ill(Part::Replica(0), Duration::ZERO);
        assert!(world.lost(Way::Nginx, span(0, 9)) && !world.lost_all(Way::Nginx, span(0, 9)));
        assert!(world.lost_all(Way::Replica(0), span(0, 9)) && !world.lost(Way::Replica(1), span(0, 9)));
        world.falls_ill(Part::Replica(1), Duration::from_millis(5));
        assert!(world.lost_all(Way::Nginx, span(0, 9)) && !world.lost_all(Way::Nginx, span(0, 5)));
    }

    #[test]
    fn a_word_that_the_stores_trouble_may_have_swallowed_is_waited_for_until_all_listen_again() {
        let mut world = World::default();
        let millis = Duration::from_millis;
        for (from, until) in [(0, 50), (150, 400), (2_300, 2_500), (5_000, 6_000)] {
            world.falls_ill(Part::Store, millis(from));
            world.is_well(Part::Store, millis(until));
        }
        assert_eq!(world.silent_until(span(60, 140)), millis(140), "nothing was in the way");
        assert_eq!(
            world.silent_until(span(60, 160)),
            millis(4_500),
            "one trouble led to the next, and not to a later one"
        );
    }

    #[test]
    fn a_provider_is_not_trusted_at_once_again() {
        let mut world = World::default();
        assert!(!world.provider_may_fail(span(0, 1), 0));
        world.falls_ill(Part::Provider, Duration::ZERO);
        world.is_well(Part::Provider, Duration::from_secs(1));
        assert!(world.provider_may_fail(span(2_900, 2_950), 0) && !world.provider_may_fail(span(3_001, 3_100), 0));
        world.provider_is_shaken(10);
        assert!(world.provider_may_fail(span(9_000, 9_001), 70) && !world.provider_may_fail(span(9_000, 9_001), 71));
    }
}
