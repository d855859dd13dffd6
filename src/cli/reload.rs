//! Settings that are read again while the gateway runs: all of them are taken over in one step, or the former ones stay.

use std::{path::PathBuf, sync::Arc};

use tokio::task::spawn_blocking;

use crate::{
    config::{Config, Problems, environment::Environment, given::Given, load::load},
    seal::Farewell,
    server::front::Front,
    telemetry::{Event, Telemetry},
};

/// What reading settings again takes.
pub(super) struct Reloading {
    settings: PathBuf,
    /// What the settings in use were given as.
    given: Given,
    front: Arc<Front>,
    telemetry: Telemetry,
}

impl Reloading {
    /// Begins with what the gateway was started with.
    pub(super) const fn new(settings: PathBuf, given: Given, front: Arc<Front>, telemetry: Telemetry) -> Self {
        Self { settings, given, front, telemetry }
    }

    /// Reads the settings and takes them over, or says why not. The other gateways hear of keys that are given up.
    pub(super) async fn reload(&mut self) {
        match Box::pin(self.reloaded()).await {
            Ok(removed) => {
                let gateway = self.front.gateway();
                self.telemetry.event(&Event::Reloaded { removed: &removed, at: gateway.clock().now() });
                gateway.announce(&removed);
            }
            Err(problems) => self.telemetry.event(&Event::ReloadRefused { problems: &problems }),
        }
    }

    async fn reloaded(&mut self) -> Result<Vec<Farewell>, Vec<String>> {
        let config = self.read().await?;
        self.given.admits(&config.given).map_err(|problems| told(&problems))?;
        let replaced = self.front.replace(config.gateway, config.server.listeners).await;
        let removed = replaced.map_err(|error| vec![error.to_string()])?;
        self.given = config.given;
        Ok(removed)
    }

    async fn read(&self) -> Result<Config, Vec<String>> {
        let settings = self.settings.clone();
        let read = spawn_blocking(move || load(&settings, &Environment::of_process()));
        let read = read.await.map_err(|error| vec![error.to_string()])?;
        read.map_err(|problems| told(&problems))
    }
}

fn told(problems: &Problems) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
