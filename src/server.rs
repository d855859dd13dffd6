//! Listeners, connections and the way they end: every hyper limit and timer is set here.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tracing::info;

use crate::{
    drain::Drain,
    inbound::{Listener, Trust},
    server::{
        activation::{Inherited, Misfit},
        front::Front,
        listener::Bound,
        tls::Tls,
    },
};

pub mod activation;
pub mod certificates;
pub mod connection;
pub mod front;
pub mod listener;
pub mod patience;
pub mod peer_certificate;
pub mod tls;

/// Bound listeners, not yet serving: the process has its addresses before it tells anybody.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<(ListenerConfig, Bound)>,
    limits: Limits,
    drain_timeout: Duration,
}

impl Server {
    /// Binds every listener.
    ///
    /// # Errors
    /// [`BindError`] names the listener that could not be bound.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        Self::with(config, Inherited::none())
    }

    /// Takes the sockets that were opened before the process began, each as the listener that it is meant for, and binds
    /// the other listeners.
    ///
    /// # Errors
    /// [`BindError`] names the listener that could not be bound, or the socket that fits none.
    pub fn with(config: Config, mut inherited: Inherited) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        for listener in config.listeners {
            let bound = match inherited.take_for(&listener).map_err(BindError::Misfit)? {
                Some(bound) => Ok(bound),
                None => listener::bind(&listener.address),
            };
            match bound {
                Ok(bound) => listeners.push((listener, bound)),
                Err(error) => return Err(BindError::System(listener.name, error)),
            }
        }
        inherited.nothing_left().map_err(BindError::Misfit)?;
        Ok(Self { listeners, limits: config.limits, drain_timeout: config.drain_timeout })
    }

    /// Where each listener listens, by name; a port that was 0 is the one it got.
    pub fn addresses(&self) -> Vec<(String, Address)> {
        self.listeners.iter().map(|(config, bound)| (config.name.clone(), bound.address())).collect()
    }

    /// Serves until the drain is told to stop, then lets requests in flight finish.
    pub async fn serve(self, front: Arc<Front>, drain: Drain) {
        let mut last = Vec::new();
        for (config, bound) in self.listeners {
            info!(listener = config.name, address = ?bound.address(), tls = config.tls.is_some(), "listening");
            let tls = config.tls.map(|tls| {
                let gateway = front.gateway();
                Arc::new(Tls::new(&config.name, tls, gateway.clock(), gateway.telemetry()))
            });
            if let Some(tls) = &tls {
                front.knows(tls);
                drain.spawn_until_stop(Arc::clone(tls).keep_up());
            }
            let serving = listener::Serving {
                kind: config.kind,
                trust: config.trust,
                site: config.site,
                certificates: config.certificates,
                tls,
                limits: self.limits.clone(),
                front: Arc::clone(&front),
                drain: drain.clone(),
            };
            // The platform's listener answers until the very end, so that it can see that the process drains.
            if config.kind == Listener::Ops {
                last.push(tokio::spawn(async move { listener::accept_forever(&bound, &Arc::new(serving)).await }));
            } else {
                drain.spawn(listener::accept(bound, Arc::new(serving)));
            }
        }
        drain.stopping().await;
        info!("draining");
        if drain.ended_within(self.drain_timeout).await {
            info!("stopped");
        } else {
            tracing::warn!("stopped with requests still in flight");
        }
        for task in last {
            task.abort();
            let _ = task.await;
        }
    }
}

/// A listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refuses.
    #[error("listener.{0} cannot listen: {1}")]
    System(String, #[source] io::Error),
    /// A socket that was opened before the process began fits no listener.
    #[error(transparent)]
    Misfit(Misfit),
}

/// What the server listens on, and its limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listeners.
    pub listeners: Vec<ListenerConfig>,
    /// Limits of every connection.
    pub limits: Limits,
    /// How long the process goes on as before once it is told to stop, and only says that it will.
    pub stop_delay: Duration,
    /// How long requests in flight may take to finish once the process is told to stop.
    pub drain_timeout: Duration,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Its name in the settings.
    pub name: String,
    /// What it is for.
    pub kind: Listener,
    /// Where it listens.
    pub address: Address,
    /// Whom it believes.
    pub trust: Trust,
    /// The site whose application asks here, on a listener for applications.
    pub site: Option<String>,
    /// Whether nginx passes on client certificates there.
    pub certificates: bool,
    /// Its TLS, where it has any.
    pub tls: Option<tls::Config>,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket, and the permissions of its file.
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// Its permissions, as in `chmod`.
        mode: u32,
    },
}

/// Limits of every connection.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's head that are buffered; one that is not complete by then is refused (431).
    pub header_bytes: usize,
    /// How long a head may take from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may stand idle; longer than nginx's own keep-alive.
    pub idle_timeout: Duration,
    /// Most bytes of a body, where one is read at all.
    pub body_bytes: usize,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// Most connections at once, per listener.
    pub connections: usize,
}
