//! Pure. When a provider is held to be down.

use std::time::Duration;

use super::{DAY, HOUR, count, duration};
use crate::{
    config::{
        problem::{Checked, Problems},
        raw::{HealthTable, leaf::Count, node::Field},
    },
    fallback::health::Rules,
};

/// Checks the figures of the health monitor.
pub(super) fn health(table: &HealthTable, problems: &mut Problems) -> Checked<Rules> {
    let usual = Rules::default();
    let interval = duration(&table.interval, usual.interval, SHORTEST..=HOUR, problems);
    let timeout = duration(&table.timeout, usual.timeout, SHORTEST..=HOUR, problems);
    let failures = number(&table.failures, usual.failures, problems);
    let window = duration(&table.window, usual.window, SHORTEST..=DAY, problems);
    let window_probes = number(&table.window_probes, usual.window_probes, problems);
    let down_interval = duration(&table.down_interval, usual.down_interval, SHORTEST..=HOUR, problems);
    let successes = number(&table.successes, usual.successes, problems);
    let quiet = duration(&table.quiet, usual.quiet, Duration::ZERO..=DAY, problems);
    Ok(Rules {
        interval: interval?,
        timeout: timeout?,
        failures: failures?,
        window: window?,
        window_probes: window_probes?,
        down_interval: down_interval?,
        successes: successes?,
        quiet: quiet?,
    })
}

fn number(field: &Field<Count>, usual: u32, problems: &mut Problems) -> Checked<u32> {
    let number = count(field, usual as usize, 1..=MOST_IN_A_ROW, problems)?;
    Ok(u32::try_from(number).unwrap_or(usual))
}

/// The shortest span that a probe, or the pause between two, may take.
const SHORTEST: Duration = Duration::from_millis(100);
/// Most probes that a rule may ask for.
const MOST_IN_A_ROW: usize = 1_000;
