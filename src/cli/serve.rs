//! `portcullis serve`: from checked settings to a running gateway, and to its end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

use super::reload::Reloading;
use crate::{
    clock::Clock,
    config::Config,
    drain::Drain,
    gateway::Gateway,
    server::{Server, activation::Inherited, front::Front},
    telemetry::{self, Telemetry},
};

/// Runs the gateway until it is told to stop. Settings are read again from that file.
///
/// # Errors
/// When it cannot begin: a log file, a listener, a client that cannot be set up.
pub(super) fn serve(config: Config, settings: PathBuf) -> anyhow::Result<()> {
    let inherited = Inherited::of_process()?;
    telemetry::log::begin(&config.telemetry)?;
    let runtime = Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let served = runtime.block_on(until_stopped(config, settings, inherited));
    runtime.shutdown_timeout(LAST_WAIT);
    served
}

async fn until_stopped(config: Config, settings: PathBuf, inherited: Inherited) -> anyhow::Result<()> {
    // Without somebody who listens to it, the signal would end the process.
    let hangup = signal(SignalKind::hangup()).context("no handler for SIGHUP")?;
    let drain = Drain::default();
    let telemetry = Telemetry::new(config.telemetry.audit_allowed);
    let stop_delay = config.server.stop_delay;
    let server = Server::with(config.server, inherited)?;
    let gateway = Gateway::new(config.gateway, &Clock::system(), telemetry.clone(), drain.clone())?;
    stop_on_signal(&drain, stop_delay)?;
    gateway.begin();
    let front = Front::of(gateway);
    let reloading = Reloading::new(settings, config.given, Arc::clone(&front), telemetry);
    drain.spawn_until_stop(reload_on_signal(hangup, reloading));
    server.serve(front, drain).await;
    Ok(())
}

async fn reload_on_signal(mut hangup: Signal, mut reloading: Reloading) {
    while hangup.recv().await.is_some() {
        reloading.reload().await;
    }
}

/// The first signal announces the stop, for as long as the settings say; another one does not wait for that.
fn stop_on_signal(drain: &Drain, delay: Duration) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;
    let stop = drain.clone();
    drain.spawn_until_stop(async move {
        let mut told = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        told().await;
        stop.leave();
        tracing::info!("leaving");
        let _ = tokio::time::timeout(delay, told()).await;
        stop.stop();
    });
    Ok(())
}

/// How long a disk may take with what was begun, once all else has ended; one that hangs must not keep the process.
const LAST_WAIT: Duration = Duration::from_secs(1);
