//! The sample application as a program: says where it listens, serves until a signal.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use anyhow::{Context as _, Result};
use clap::Parser;
use sample_upstream::Address;
use tokio::signal::unix::{SignalKind, signal};

/// The application behind the gate, in the demo: it shows the identity it received.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// ADDRESS:PORT or unix:PATH; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: Address,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let upstream = sample_upstream::start(arguments.listen.clone())
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    println!("listening {}", upstream.address());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    upstream.stop().await;
    Ok(())
}
