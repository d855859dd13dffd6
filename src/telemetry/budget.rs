//! Pure. How many lines a second are written about what costs its cause nothing, so that nobody fills a disk by asking.
//!
//! Everything is counted all the same, and a line says how many were left out before it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lines that may be written in one second after another.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// The second, in the upper half, and how many lines it was asked for, in the lower.
    asked: AtomicU64,
    left_out: AtomicU64,
}

impl Budget {
    /// Whether one more line may be written in that second; how many were left out since the last one that was.
    pub(super) fn take(&self, second: u32) -> Option<u64> {
        let asked = self.asked.fetch_update(Ordering::AcqRel, Ordering::Acquire, |asked| Some(one_more(asked, second)));
        let (of, count) = halves(one_more(asked.unwrap_or_default(), second));
        if of == second && count > LINES_PER_SECOND {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

fn one_more(asked: u64, second: u32) -> u64 {
    let (of, count) = halves(asked);
    let count = if of == second { count.saturating_add(1) } else { 1 };
    (u64::from(second) << 32) | u64::from(count)
}

fn halves(asked: u64) -> (u32, u32) {
    let half = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
    (half(asked >> 32), half(asked & u64::from(u32::MAX)))
}

/// Most refusals of visitors without a session that are written in one second; the others are counted.
const LINES_PER_SECOND: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_says_what_was_left_out() {
        let budget = Budget::default();
        let asked = LINES_PER_SECOND + 50;
        let written = (0..asked).filter(|_| budget.take(7).is_some()).count();
        assert_eq!(u32::try_from(written), Ok(LINES_PER_SECOND));
        assert_eq!(budget.take(8), Some(50));
        assert_eq!(budget.take(8), Some(0));
    }

    #[test]
    fn the_first_second_of_all_is_one_like_the_others() {
        let budget = Budget::default();
        let written = (0..2 * LINES_PER_SECOND).filter(|_| budget.take(0).is_some()).count();
        assert_eq!(u32::try_from(written), Ok(LINES_PER_SECOND));
    }

    #[test]
    fn many_at_once_are_counted_exactly() {
        let budget = Budget::default();
        let ask = || (0..1_000).filter_map(|_| budget.take(3)).count();
        let written: usize = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
        });
        assert_eq!(u32::try_from(written), Ok(LINES_PER_SECOND));
        assert_eq!(budget.take(4), Some(4_000 - u64::from(LINES_PER_SECOND)));
    }
}
