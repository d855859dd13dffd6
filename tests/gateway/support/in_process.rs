//! One gateway at work in this process; on a runtime of its own where a journey wants to kill it.

use std::{path::Path, time::Duration};

use portcullis::{
    clock::Clock,
    config::{environment::Environment, load::load},
    drain::Drain,
    gateway::Gateway,
    server::{Address, Server, front::Front},
    telemetry::Telemetry,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinHandle, block_in_place},
};

use super::free_port;

/// It ends with its journey.
pub(crate) struct InProcess {
    pub(crate) drain: Drain,
    addresses: Vec<(String, Address)>,
    serving: JoinHandle<()>,
    apart: Option<Runtime>,
}

impl InProcess {
    /// Starts one on the journey's own runtime.
    pub(crate) fn start(
        settings: &Path,
        environment: &[(String, String)],
        clock: &Clock,
        telemetry: &Telemetry,
    ) -> Self {
        let mut given = Environment::default();
        for (key, value) in environment {
            given.add(key.clone(), Some(value.clone()));
        }
        let config = load(settings, &given).unwrap_or_else(|problems| panic!("{problems}"));
        let drain = Drain::default();
        let server = Server::bind(config.server).unwrap();
        let gateway = Gateway::new(config.gateway, clock, telemetry.clone(), drain.clone()).unwrap();
        gateway.begin();
        let addresses = server.addresses();
        let serving = tokio::spawn(server.serve(Front::of(gateway), drain.clone()));
        Self { drain, addresses, serving, apart: None }
    }

    /// Starts one that [`InProcess::kill`] ends as SIGKILL ends a process.
    pub(crate) fn start_apart(
        settings: &Path,
        environment: &[(String, String)],
        clock: &Clock,
        telemetry: &Telemetry,
    ) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inside = runtime.enter();
        let mut started = Self::start(settings, environment, clock, telemetry);
        drop(inside);
        started.apart = Some(runtime);
        started
    }

    /// Where one of its listeners listens.
    pub(crate) fn listener(&self, name: &str) -> Address {
        self.addresses.iter().find(|(found, _)| found == name).unwrap().1.clone()
    }

    /// Stops it as a signal does, and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.drain.stop();
        (&mut self.serving).await.unwrap();
    }

    /// Ends it at once: nothing that it had begun goes on, nobody is told, every connection is gone.
    pub(crate) fn kill(mut self) {
        let runtime = self.apart.take().unwrap_or_else(|| panic!("it shares the journey's runtime"));
        block_in_place(|| runtime.shutdown_timeout(Duration::from_secs(2)));
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.drain.stop();
        self.serving.abort();
        if let Some(runtime) = self.apart.take() {
            runtime.shutdown_background();
        }
    }
}

/// The settings of another gateway beside the one that these are of: the same but for its sockets and files.
pub(crate) fn elsewhere(environment: &[(String, String)], socket: &Path) -> Vec<(String, String)> {
    let own = [
        ("PORTCULLIS_LISTENER__NGINX__ADDRESS", format!("unix:{}", socket.display())),
        ("PORTCULLIS_LISTENER__APPLICATION__ADDRESS", format!("unix:{}-application", socket.display())),
        ("PORTCULLIS_LISTENER__OPS__ADDRESS", format!("127.0.0.1:{}", free_port())),
        ("PORTCULLIS_FALLBACK__STATE_FILE", format!("{}-switches", socket.display())),
        ("PORTCULLIS_FALLBACK__CRL_FOLDER", format!("{}-lists", socket.display())),
    ];
    let changed = |key: &str| own.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
    environment.iter().map(|(key, value)| (key.clone(), changed(key).unwrap_or_else(|| value.clone()))).collect()
}
