//! Pure. From samples to figures: medians over the rounds, and ratios round by round.

use std::collections::BTreeMap;

use crate::load::Seen;

/// One measurement in one round.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// What was seen of the answers.
    pub(crate) seen: Seen,
    /// The processor time of each part, in microseconds per request.
    pub(crate) cpu_us: BTreeMap<&'static str, f64>,
    /// Commands that Redis was asked meanwhile.
    pub(crate) store_commands: u64,
}

/// The medians of a measurement's rounds.
pub(crate) struct Medians {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu_us: BTreeMap<&'static str, f64>,
    pub(crate) store_commands_per_request: f64,
}

impl Medians {
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let over = |figure: &dyn Fn(&Sample) -> f64| median(samples.iter().map(figure));
        let parts = samples.first().map(|sample| sample.cpu_us.keys()).into_iter().flatten();
        Self {
            requests_per_second: over(&|sample| sample.seen.requests_per_second),
            p50_us: over(&|sample| sample.seen.p50_us),
            p99_us: over(&|sample| sample.seen.p99_us),
            cpu_us: parts.map(|part| (*part, over(&|sample| sample.cpu(part)))).collect(),
            store_commands_per_request: over(&Sample::store_commands_per_request),
        }
    }
}

impl Sample {
    /// The processor time of one part, in microseconds per request.
    pub(crate) fn cpu(&self, part: &str) -> f64 {
        self.cpu_us.get(part).copied().unwrap_or(f64::NAN)
    }

    /// The processor time of all parts but Redis, which is a machine of its own in earnest.
    pub(crate) fn cpu_of_servers(&self) -> f64 {
        self.cpu_us.iter().filter(|(part, _)| **part != "redis").map(|(_, micros)| micros).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 here")]
    pub(crate) fn store_commands_per_request(&self) -> f64 {
        self.store_commands as f64 / self.seen.requests
    }
}

/// The median of the rounds' own quotients: whatever slows a whole round down falls out.
pub(crate) fn ratio(
    ours: &[Sample],
    theirs: &[Sample],
    of_ours: impl Fn(&Sample) -> f64,
    of_theirs: impl Fn(&Sample) -> f64,
) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| of_ours(ours) / of_theirs(theirs)))
}

/// The median of the rounds' own differences.
pub(crate) fn above(ours: &[Sample], theirs: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) - of(theirs)))
}

/// The one in the middle; of an even number, the mean of the two there.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle.wrapping_sub(1)), values.get(middle)) {
        (0, Some(below), Some(above)) => f64::midpoint(*below, *above),
        (_, _, Some(value)) => *value,
        _ => f64::NAN,
    }
}

/// The least value that this share of them does not exceed (nearest rank); they are sorted.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 here")]
    let rank = (sorted.len() as f64 * share).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is a small whole number")]
    let at = (rank as usize).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<_> = (1..=1_000).map(f64::from).collect();
        let check = |values: &[f64], share: f64, expected: f64| {
            let found = percentile(values, share);
            assert!((found - expected).abs() < 1e-9, "{share}: {found}");
        };
        check(&values, 0.5, 500.0);
        check(&values, 0.99, 990.0);
        check(&values, 1.0, 1_000.0);
        check(&values, 0.0, 1.0);
        check(&[7.0], 0.99, 7.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let check = |values: &[f64], expected: f64| {
            let found = median(values.iter().copied());
            assert!((found - expected).abs() < 1e-9, "{values:?}: {found}");
        };
        check(&[5.0], 5.0);
        check(&[9.0, 1.0, 5.0], 5.0);
        check(&[9.0, 1.0, 5.0, 3.0], 4.0);
    }

    fn sample(cpu: f64) -> Sample {
        Sample {
            seen: Seen { requests: 1.0, requests_per_second: 1.0, p50_us: 1.0, p99_us: 1.0 },
            cpu_us: BTreeMap::from([("part", cpu), ("redis", 100.0)]),
            store_commands: 0,
        }
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let ours = [sample(2.0), sample(20.0), sample(6.0)];
        let theirs = [sample(1.0), sample(10.0), sample(2.0)];
        assert!((ratio(&ours, &theirs, |ours| ours.cpu("part"), |theirs| theirs.cpu("part")) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_difference_is_taken_within_each_round_and_without_redis() {
        let ours = [sample(2.0), sample(20.0), sample(6.0)];
        let theirs = [sample(1.0), sample(17.0), sample(4.0)];
        assert!((above(&ours, &theirs, Sample::cpu_of_servers) - 2.0).abs() < 1e-9);
        assert!(above(&[], &theirs, Sample::cpu_of_servers).is_nan());
    }
}
