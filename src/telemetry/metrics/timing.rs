//! A histogram of times that is counted without a lock: every verify writes one.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// How often something took how long. Clones share the counts.
#[derive(Clone, Debug)]
pub(super) struct Timing(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// The longest time that each bucket takes, in nanoseconds, and how many it took; the last one takes all that is left.
    buckets: Vec<(u64, AtomicU64)>,
    nanos: AtomicU64,
}

impl Timing {
    /// Nothing yet. `bounds` in seconds, in ascending order.
    pub(super) fn new(bounds: &[f64]) -> Self {
        let nanos = bounds.iter().map(|bound| nanos(Duration::from_secs_f64(*bound)));
        let buckets = nanos.chain([u64::MAX]).map(|bound| (bound, AtomicU64::new(0))).collect();
        Self(Arc::new(Counts { buckets, nanos: AtomicU64::new(0) }))
    }

    /// Counts one.
    pub(super) fn observe(&self, took: Duration) {
        let nanos = nanos(took);
        if let Some((_, count)) = self.0.buckets.iter().find(|(bound, _)| nanos <= *bound) {
            count.fetch_add(1, Relaxed);
        }
        self.0.nanos.fetch_add(nanos, Relaxed);
    }
}

impl TypedMetric for Timing {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Timing {
    /// What is counted in the meantime may show in the sum and not in its bucket; never the other way round for long.
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let buckets = self.0.buckets.iter().map(|(bound, count)| (seconds(*bound), count.load(Relaxed)));
        let buckets: Vec<(f64, u64)> = buckets.collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.0.nanos.load(Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The last bucket's bound is what the encoder writes as `+Inf`.
fn seconds(nanos: u64) -> f64 {
    if nanos == u64::MAX { f64::INFINITY } else { Duration::from_nanos(nanos).as_secs_f64() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use prometheus_client::{encoding::text::encode, metrics::histogram::Histogram, registry::Registry};
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [f64; 3] = [0.000_05, 0.001, 1.0];

    fn text(metric: impl EncodeMetric + Send + Sync + fmt::Debug + 'static) -> String {
        let mut registry = Registry::default();
        registry.register("portcullis_verify_duration_seconds", "Time it took", metric);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    proptest! {
        #[test]
        fn it_reads_as_the_librarys_own_histogram_does(millis in prop::collection::vec(0..3_000_u32, 0..20)) {
            let (ours, theirs) = (Timing::new(&BOUNDS), Histogram::new(BOUNDS));
            // Whole numbers of milliseconds that are sums of powers of two, so that both add up the same.
            for millis in millis {
                let took = Duration::from_micros(u64::from(millis) * 15_625);
                ours.observe(took);
                theirs.observe(took.as_secs_f64());
            }
            prop_assert_eq!(text(ours), text(theirs));
        }
    }

    #[test]
    fn a_time_at_a_bound_belongs_to_its_bucket() {
        let timing = Timing::new(&BOUNDS);
        timing.observe(Duration::from_micros(50));
        timing.observe(Duration::from_micros(51));
        timing.observe(Duration::from_secs(2));
        let text = text(timing);
        for line in ["{le=\"0.00005\"} 1", "{le=\"0.001\"} 2", "{le=\"1.0\"} 2", "{le=\"+Inf\"} 3", "_count 3"] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
