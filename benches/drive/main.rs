//! Measures the gateway beside bare servers and beside others, in one run: started by `scripts/bench`, which builds and
//! names the programs.
//!
//! Everything it starts is ended by its process id, also on Ctrl-C. What it measures, and how to read it, is in
//! docs/performance.md.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{results::Named, rounds::Plan, scene::Scene, stage::Stage};

mod apache;
mod bars;
mod connection;
mod figures;
mod load;
mod memory;
mod oauth2_proxy;
mod others;
mod pace;
mod population;
mod process;
mod redis;
mod report;
mod results;
mod revocation;
mod rounds;
mod row;
mod scene;
mod servers;
mod sessions;
mod stage;
mod start;
mod visitor;

/// Measures the gateway beside bare servers, and beside others that are installed.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Fail if a figure misses its bar.
    #[arg(long)]
    check: bool,
    /// To see whether it works: one round of a second each, and few sessions. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// How long each measurement takes: 3 seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// How often everything is measured: 3 times; the medians are shown.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: Option<u32>,
    /// How many sessions there are where verify is asked for one of many: 1000,100000,1000000.
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    sessions: Vec<u32>,
    #[command(flatten)]
    programs: Programs,
    /// An empty folder for settings, sockets and logs.
    #[arg(long)]
    folder: PathBuf,
}

/// The programs that are measured, or needed for it.
#[derive(Clone, Debug, clap::Args)]
struct Programs {
    /// The gateway.
    #[arg(long)]
    gateway: PathBuf,
    /// The bare server.
    #[arg(long)]
    bare: PathBuf,
    /// The provider at which a session begins.
    #[arg(long)]
    dev_idp: PathBuf,
    /// scripts/nginx-render.
    #[arg(long)]
    nginx_render: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stage = Stage::new(arguments.folder.clone());
    let measuring = tokio::task::spawn_blocking({
        let stage = stage.clone();
        move || measure(&stage, &arguments)
    });
    let outcome = tokio::select! {
        outcome = measuring => Some(outcome),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    stage.end_all();
    match outcome {
        Some(done) => Ok(done?.unwrap_or_else(|error| told(&error))),
        None => Ok(ExitCode::from(INTERRUPTED)),
    }
}

impl Arguments {
    fn plan(&self) -> Plan {
        let (seconds, rounds) = if self.quick { (1, 1) } else { (3, 3) };
        let time = Duration::from_secs(self.seconds.unwrap_or(seconds));
        Plan { time, rounds: self.rounds.unwrap_or(rounds) }
    }

    /// Fewest first, each once.
    fn sizes(&self) -> Vec<u32> {
        let usual: &[u32] = if self.quick { &[1_000, 20_000] } else { &[1_000, 100_000, 1_000_000] };
        let sizes = if self.sessions.is_empty() { usual } else { &self.sessions };
        sizes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn told(error: &anyhow::Error) -> ExitCode {
    eprintln!("bench: {error:#}");
    ExitCode::FAILURE
}

fn measure(stage: &Stage, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let say = |line: &str| eprintln!("bench: {line}");
    let scene = Scene::set(stage, &arguments.programs, &arguments.sizes(), &say)?;
    let plan = arguments.plan();
    let measured = rounds::run(stage, &scene, plan, &say)?;
    if arguments.json {
        println!("{}", report::json(&measured));
    } else {
        print!("{}", report::table(&measured));
    }
    Ok(if arguments.check { checked(&results::all(&measured)) } else { ExitCode::SUCCESS })
}

fn checked(figures: &[Named]) -> ExitCode {
    let missed = bars::missed(figures);
    for bar in &missed {
        eprintln!("bench: missed: {bar}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const INTERRUPTED: u8 = 130;
