//! `portcullis serve`: from checked settings to a running gateway, and to its end.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::{
    clock::Clock,
    config::Config,
    drain::Drain,
    gateway::Gateway,
    server::Server,
    telemetry::{self, Telemetry},
};

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// When it cannot begin: a log file, a listener, a client that cannot be set up.
pub(super) fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::log::begin(&config.telemetry)?;
    let runtime = Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let served = runtime.block_on(until_stopped(config));
    runtime.shutdown_timeout(LAST_WAIT);
    served
}

async fn until_stopped(config: Config) -> anyhow::Result<()> {
    let drain = Drain::default();
    let telemetry = Telemetry::new(config.telemetry.audit_allowed);
    let server = Server::bind(config.server)?;
    let gateway = Gateway::new(config.gateway, &Clock::system(), telemetry, drain.clone())?;
    stop_on_signal(&drain)?;
    gateway.begin();
    server.serve(Arc::new(gateway), drain).await;
    Ok(())
}

fn stop_on_signal(drain: &Drain) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;
    let stop = drain.clone();
    drain.spawn_until_stop(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.stop();
    });
    Ok(())
}

/// How long a disk may take with what was begun, once all else has ended; one that hangs must not keep the process.
const LAST_WAIT: Duration = Duration::from_secs(1);
