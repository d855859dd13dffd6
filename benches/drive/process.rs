//! What the kernel knows of processes: the processor time they took, and the memory they hold.

use std::{fs, time::Duration};

use anyhow::Context;

/// A server under measurement, with all its processes.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// Which part it plays in the figures.
    pub(crate) part: &'static str,
    ids: Vec<u32>,
}

impl Watched {
    /// Watches a process and the ones that it has started by now.
    pub(crate) fn new(part: &'static str, id: u32) -> anyhow::Result<Self> {
        let mut ids = children(id)?;
        ids.insert(0, id);
        Ok(Self { part, ids })
    }

    /// How many processes it is.
    pub(crate) const fn processes(&self) -> usize {
        self.ids.len()
    }

    /// The processor time of all its threads so far, in user space and in the kernel.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        self.ids.iter().map(|id| processor_time(*id)).sum()
    }

    /// The memory that it holds, in MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        self.ids.iter().map(|id| resident_mib(*id)).sum()
    }
}

/// The kernel counts to the nanosecond and tells hundredths of a second.
fn processor_time(id: u32) -> anyhow::Result<Duration> {
    let fields = stat(id)?;
    let ticks = |field: usize| -> anyhow::Result<u64> {
        fields.get(field).and_then(|text| text.parse().ok()).with_context(|| format!("no field {field} in stat"))
    };
    Ok(Duration::from_millis((ticks(USER_TIME)? + ticks(KERNEL_TIME)?) * MILLISECONDS_PER_TICK))
}

fn resident_mib(id: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).with_context(|| format!("process {id} is gone"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kibibytes / 1024.0)
}

fn children(of: u32) -> anyhow::Result<Vec<u32>> {
    let ids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |id: &u32| stat(*id).is_ok_and(|fields| fields.get(PARENT) == Some(&of.to_string()));
    Ok(ids.filter(is_child).collect())
}

/// The fields after the program's name, which may itself have spaces and brackets.
fn stat(id: u32) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).with_context(|| format!("process {id} is gone"))?;
    let (_, fields) = text.rsplit_once(')').context("stat has no name")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

const PARENT: usize = 1;
const USER_TIME: usize = 11;
const KERNEL_TIME: usize = 12;
/// `USER_HZ` is 100 wherever Linux runs.
const MILLISECONDS_PER_TICK: u64 = 10;
