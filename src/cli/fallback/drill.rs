//! `portcullis fallback drill`: every process takes a certificate through all of its checks, and lets nobody in.

#![expect(clippy::print_stdout, reason = "this is where the program speaks to people and scripts")]

use std::{fs::File, io::Read, path::Path, time::Duration};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{Outcome, Plan, Target};
use crate::{
    clock::Clock,
    fallback::{certificate::MAX_ESCAPED_BYTES, drill::Order},
    random,
};

/// Holds a drill in every process.
///
/// # Errors
/// When the file cannot be read, or nobody could be asked.
pub(super) fn hold(plan: &Plan, certificate: &Path) -> anyhow::Result<Outcome> {
    let order = Order::of_pem(&read(certificate)?, Clock::system().now()).seal(&plan.ring, random::bytes()?)?;
    let (mut silent, mut failed) = (0, 0);
    for target in &plan.processes {
        match ask(target, &order, plan.timeout) {
            Ok(report) => {
                println!("{target}");
                failed += usize::from(!told(&report));
            }
            Err(error) => {
                println!("{target}\n  DID NOT ANSWER: {error:#}");
                silent += 1;
            }
        }
    }
    ensure!(silent < plan.processes.len(), "no process answered");
    ensure!(failed == 0, "the certificate would not be let in");
    Ok(if silent == 0 { Outcome::Done } else { Outcome::Some })
}

/// No more of it than a certificate may be long.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut pem = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.take(MAX_ESCAPED_BYTES as u64 + 1).read_to_end(&mut pem)?;
    ensure!(pem.len() <= MAX_ESCAPED_BYTES, "{} is longer than a certificate may be", path.display());
    Ok(pem)
}

fn ask(target: &Target, order: &[u8], timeout: Duration) -> anyhow::Result<Value> {
    let reply = target.ask("/fallback/drill", Some(order), timeout)?;
    match (reply.status, reply.reason) {
        (200, _) => Ok(serde_json::from_slice(&reply.body)?),
        (status, Some(reason)) => bail!("it refused: {status}, {reason}"),
        (status, None) => bail!("it answered {status}"),
    }
}

/// Prints each step; whether all of them held.
fn told(report: &Value) -> bool {
    let text = |step: &Value, key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    for step in report.get("steps").and_then(Value::as_array).into_iter().flatten() {
        let held = step.get("ok").and_then(Value::as_bool) == Some(true);
        let mark = if held { "ok  " } else { "FAIL" };
        println!("  {mark}  {:<12} {}", text(step, "step"), text(step, "says"));
    }
    report.get("ok").and_then(Value::as_bool) == Some(true)
}
