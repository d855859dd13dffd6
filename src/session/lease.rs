//! Pure. What a gateway may conclude from hearing itself: for how long everything that was said has reached it.
//!
//! Invariant: what was said before a beat is heard before it, on every server that says it on. So whoever has heard a beat
//! from each of them has heard whatever was said until the beat was sent, and may go by that for [`HEARS_FOR`], not longer.

use std::time::Duration;

/// The beats of one gateway, of which one at a time is under way. Moments are times since it began.
#[derive(Debug, Default)]
pub struct Beats {
    number: u64,
    sent: Option<Duration>,
    heard: u32,
    said: Option<u32>,
}

/// A beat came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Until when it counts.
    pub until: Duration,
    /// How long it was under way.
    pub took: Duration,
}

impl Beats {
    /// Begins the next beat, and gives its number; one that is still under way counts no more.
    pub const fn begin(&mut self, now: Duration) -> u64 {
        self.number = self.number.wrapping_add(1);
        self.sent = Some(now);
        self.heard = 0;
        self.said = None;
        self.number
    }

    /// That beat was said on by so many servers.
    pub fn said(&mut self, number: u64, servers: u32, now: Duration) -> Option<Heard> {
        if number == self.number {
            self.said = Some(servers);
        }
        self.complete(now)
    }

    /// That beat was heard, from one more server.
    pub fn heard(&mut self, number: u64, now: Duration) -> Option<Heard> {
        if number == self.number {
            self.heard = self.heard.saturating_add(1);
        }
        self.complete(now)
    }

    /// Once for each beat: as soon as it was heard as often as it was said.
    fn complete(&mut self, now: Duration) -> Option<Heard> {
        let servers = self.said.filter(|servers| *servers > 0)?;
        let sent = self.sent.filter(|_| self.heard >= servers)?;
        self.sent = None;
        Some(Heard { until: sent + HEARS_FOR, took: now.saturating_sub(sent) })
    }
}

/// How long after it was sent a beat that came back still counts: sooner than that, what was revoked elsewhere is refused.
pub const HEARS_FOR: Duration = Duration::from_millis(80);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_beat_counts_from_when_it_was_sent_once_it_was_said_and_heard() {
        let start = Duration::from_secs(5);
        let mut beats = Beats::default();
        let number = beats.begin(start);
        assert_eq!(beats.heard(number, start + MILLI), None);
        let heard = beats.said(number, 1, start + 2 * MILLI);
        assert_eq!(heard, Some(Heard { until: start + HEARS_FOR, took: 2 * MILLI }));
        assert_eq!(beats.heard(number, start + 3 * MILLI), None, "once");
    }

    #[test]
    fn every_server_that_says_it_on_must_be_heard() {
        let start = Duration::from_secs(5);
        let mut beats = Beats::default();
        let number = beats.begin(start);
        assert_eq!(beats.said(number, 3, start), None);
        assert_eq!(beats.heard(number, start), None);
        assert_eq!(beats.heard(number, start), None);
        assert!(beats.heard(number, start).is_some());
    }

    #[test]
    fn a_beat_that_nobody_says_on_proves_nothing() {
        let start = Duration::from_secs(5);
        let mut beats = Beats::default();
        let number = beats.begin(start);
        assert_eq!(beats.heard(number, start), None);
        assert_eq!(beats.said(number, 0, start), None);
        assert_eq!(beats.heard(number, start), None);
    }

    #[test]
    fn a_late_beat_does_not_count_as_the_one_after_it() {
        let start = Duration::from_secs(5);
        let mut beats = Beats::default();
        let late = beats.begin(start);
        let number = beats.begin(start + 50 * MILLI);
        assert_eq!(beats.said(number, 1, start + 51 * MILLI), None);
        assert_eq!(beats.said(late, 1, start + 51 * MILLI), None);
        assert_eq!(beats.heard(late, start + 52 * MILLI), None);
        let heard = beats.heard(number, start + 53 * MILLI);
        assert_eq!(heard, Some(Heard { until: start + 50 * MILLI + HEARS_FOR, took: 3 * MILLI }));
    }

    proptest! {
        /// Whatever comes in whatever order: what is concluded never reaches further than from the newest beat, and only
        /// after as many copies of it were heard as were said.
        #[test]
        fn nothing_is_concluded_from_less_than_all_copies_of_one_beat(
            steps in prop::collection::vec((0..3_u8, 0..4_u64, 0..4_u32), 0..60),
        ) {
            let start = Duration::from_secs(5);
            let mut beats = Beats::default();
            let (mut newest, mut sent, mut said, mut heard) = (0_u64, start, None, 0);
            for (at, (step, back, servers)) in steps.into_iter().enumerate() {
                let now = start + MILLI * u32::try_from(at).unwrap_or(0);
                let number = newest.saturating_sub(back);
                let concluded = match step {
                    0 => {
                        newest = beats.begin(now);
                        (sent, said, heard) = (now, None, 0);
                        None
                    }
                    1 => {
                        if number == newest { said = Some(servers); }
                        beats.said(number, servers, now)
                    }
                    _ => {
                        if number == newest { heard += 1; }
                        beats.heard(number, now)
                    }
                };
                if let Some(concluded) = concluded {
                    prop_assert_eq!(concluded.until, sent + HEARS_FOR);
                    prop_assert!(said.is_some_and(|servers| servers > 0 && heard >= servers));
                }
            }
        }
    }
}
