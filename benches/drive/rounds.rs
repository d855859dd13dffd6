//! Rounds: in each, everything is measured once, so that what disturbs the machine disturbs all of it alike.

use std::{fs, thread::available_parallelism, time::Duration};

use crate::{
    figures::Sample,
    redis,
    row::Row,
    scene::{Before, Scene},
    stage::Stage,
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How long each measurement takes.
    pub(crate) time: Duration,
    /// How many rounds there are.
    pub(crate) rounds: u32,
}

/// What came of it.
pub(crate) struct Measured<'a> {
    pub(crate) plan: Plan,
    /// Each measurement, with a sample for each round.
    pub(crate) rows: Vec<(&'a Row, Vec<Sample>)>,
    /// The memory of each server afterwards, in MiB.
    pub(crate) resident_mib: Vec<(&'a str, f64)>,
    /// What was measured once, before them.
    pub(crate) before: &'a Before,
    pub(crate) machine: Machine,
}

/// Where it was measured.
pub(crate) struct Machine {
    /// Processors.
    pub(crate) processors: usize,
    /// Processes that wanted one in the minute before.
    pub(crate) load_before: f64,
}

impl Machine {
    fn now() -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load_before = load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
        Self { processors: available_parallelism().map_or(0, usize::from), load_before }
    }
}

/// Measures. Every other round goes backwards, so that nothing is always the neighbour of the same.
pub(crate) fn run<'a>(stage: &Stage, scene: &'a Scene, plan: Plan, say: &dyn Fn(&str)) -> anyhow::Result<Measured<'a>> {
    let machine = Machine::now();
    say("warming up");
    for row in &scene.rows {
        row.load.run(stage, WARM_UP)?;
    }
    let mut rows: Vec<_> = scene.rows.iter().map(|row| (row, Vec::new())).collect();
    for round in 1..=plan.rounds {
        say(&format!("round {round} of {}", plan.rounds));
        if round > 1 {
            rows.reverse();
        }
        for (row, samples) in &mut rows {
            samples.push(sample(stage, row, plan.time)?);
        }
    }
    if plan.rounds.is_multiple_of(2) {
        rows.reverse();
    }
    let resident = scene.servers.iter().map(|(name, watched)| Ok((name.as_str(), watched.resident_mib()?)));
    let resident_mib = resident.collect::<anyhow::Result<_>>()?;
    Ok(Measured { plan, rows, resident_mib, before: &scene.before, machine })
}

fn sample(stage: &Stage, row: &Row, time: Duration) -> anyhow::Result<Sample> {
    stage.all_run()?;
    let before = (used(row)?, asked(row)?);
    let seen = row.load.run(stage, time)?;
    let after = (used(row)?, asked(row)?);
    row.load.check()?;
    let took = after.0.iter().zip(&before.0).map(|((part, after), (_, before))| {
        let micros = after.saturating_sub(*before).as_secs_f64() * 1e6;
        (*part, micros / seen.requests)
    });
    Ok(Sample { cpu_us: took.collect(), store_commands: after.1.saturating_sub(before.1), seen })
}

fn used(row: &Row) -> anyhow::Result<Vec<(&'static str, Duration)>> {
    row.watched.iter().map(|watched| Ok((watched.part, watched.processor_time()?))).collect()
}

fn asked(row: &Row) -> anyhow::Result<u64> {
    row.counted.as_ref().map_or(Ok(0), |redis| Ok(redis::commands(redis)?.values().sum()))
}

const WARM_UP: Duration = Duration::from_secs(1);
