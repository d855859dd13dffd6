//! Measures the gateway beside bare servers and beside others, in one run: started by `scripts/bench`, which builds and
//! names the programs.
//!
//! Everything it starts is ended by its process id, also on Ctrl-C. What it measures, and how to read it, is in
//! docs/performance.md.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{results::Named, rounds::Plan, scene::Scene, stage::Stage};

mod apache;
mod bars;
mod figures;
mod load;
mod oauth2_proxy;
mod others;
mod process;
mod redis;
mod report;
mod results;
mod rounds;
mod row;
mod scene;
mod servers;
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
    /// How long each measurement takes.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// How often everything is measured; the medians are shown.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(3..=99))]
    rounds: u32,
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

fn told(error: &anyhow::Error) -> ExitCode {
    eprintln!("bench: {error:#}");
    ExitCode::FAILURE
}

fn measure(stage: &Stage, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let say = |line: &str| eprintln!("bench: {line}");
    let scene = Scene::set(stage, &arguments.programs, &say)?;
    let plan = Plan { time: Duration::from_secs(arguments.seconds), rounds: arguments.rounds };
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
