//! Listeners, connections and the way they end: every hyper limit and timer is set here.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::inbound::{Listener, Trust};

/// What the server listens on, and its limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listeners.
    pub listeners: Vec<ListenerConfig>,
    /// Limits of every connection.
    pub limits: Limits,
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
    /// Most bytes of a request's head.
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
