//! The servers that hold the sessions: one at a time, or a cluster.

use deadpool_redis::redis::{Cmd, aio::PubSub};

use super::{
    cluster::Cluster,
    connections::{Connections, Serial},
    reply::{self, Failure},
    request::{Read, Request},
};
use crate::store::StoreError;

/// Whom to ask.
pub(super) enum Servers {
    /// One server, whichever it is at the moment.
    One(Connections),
    /// The nodes of a cluster.
    Cluster(Box<Cluster>),
}

impl Servers {
    /// Asks, and again where that may help.
    pub(super) async fn ask<T>(&self, request: Request<'_>, read: Read<T>) -> Result<T, StoreError> {
        match self {
            Self::One(connections) => connections.ask(request, read).await,
            Self::Cluster(cluster) => Box::pin(cluster.ask(request, read)).await,
        }
    }

    /// Says something on every server that says such things, and how many they are.
    pub(super) async fn ask_each(&self, command: &Cmd) -> Result<u32, StoreError> {
        match self {
            Self::One(connections) => connections.ask(Request::Command(command), reply::number).await.map(|_| 1),
            Self::Cluster(cluster) => cluster.ask_each(command).await,
        }
    }

    /// A line for what is announced.
    pub(super) async fn pubsub(&self) -> Result<PubSub, Failure> {
        match self {
            Self::One(connections) => connections.source().pubsub().await,
            Self::Cluster(cluster) => cluster.pubsub().await,
        }
    }

    /// The newest connection so far. Those of a cluster are forgotten node by node, where they fail.
    pub(super) fn newest(&self) -> Serial {
        match self {
            Self::One(connections) => connections.newest(),
            Self::Cluster(_) => Serial::default(),
        }
    }

    /// Forgets the connections up to this one.
    pub(super) fn forget(&self, newest: Serial) {
        if let Self::One(connections) = self {
            connections.forget(newest);
        }
    }

    /// Takes new connections from now on if one of those that there are gives answers that do not fit their questions.
    pub(super) async fn leave_if_out_of_step(&self) {
        match self {
            Self::One(connections) => connections.leave_if_out_of_step().await,
            Self::Cluster(cluster) => cluster.leave_if_out_of_step().await,
        }
    }

    /// Counts the times a connection was made after one was lost or could not be made, or another server took over.
    pub(super) fn generation(&self) -> u64 {
        match self {
            Self::One(connections) => connections.generation(),
            Self::Cluster(cluster) => cluster.generation(),
        }
    }
}
