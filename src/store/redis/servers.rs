//! The servers that hold the sessions: one at a time, or a cluster.

use std::sync::Arc;

use deadpool_redis::redis::{Cmd, aio::PubSub};

use super::{
    client::Host,
    cluster::{Cluster, Node},
    connections::{Connections, Serial},
    reply::{self, Failure},
    request::{Read, Request},
    scripts::Step,
};
use crate::store::StoreError;

/// Whom to ask.
pub(super) enum Servers {
    /// One server, whichever it is at the moment.
    One(Connections),
    /// The nodes of a cluster.
    Cluster(Box<Cluster>),
}

/// One of the servers, to be asked by itself.
pub(super) enum Place<'a> {
    /// The one that there is.
    One(&'a Connections),
    /// A node of a cluster.
    Node(&'a Cluster, Arc<Node>),
}

impl Place<'_> {
    /// Asks it alone.
    pub(super) async fn ask<T>(&self, request: Request<'_>, read: Read<T>) -> Result<T, StoreError> {
        match self {
            Self::One(connections) => connections.ask(request, read).await,
            Self::Node(cluster, node) => cluster.ask_node(node, request, read).await,
        }
    }

    /// Where it is, if the settings do not say so.
    pub(super) fn host(&self) -> Option<&Host> {
        match self {
            Self::One(_) => None,
            Self::Node(_, node) => Some(node.host()),
        }
    }
}

impl Servers {
    /// Every server that takes writes.
    pub(super) async fn places(&self) -> Result<Vec<Place<'_>>, StoreError> {
        match self {
            Self::One(connections) => Ok(vec![Place::One(connections)]),
            Self::Cluster(cluster) => {
                Ok(cluster.primaries().await?.into_iter().map(|node| Place::Node(cluster, node)).collect())
            }
        }
    }

    /// Asks, and again where that may help.
    pub(super) async fn ask<T>(&self, request: Request<'_>, read: Read<T>) -> Result<T, StoreError> {
        match self {
            Self::One(connections) => connections.ask(request, read).await,
            Self::Cluster(cluster) => Box::pin(cluster.ask(request, read)).await,
        }
    }

    /// The same for a step on several keys; nothing if they are apart, because their slot is on its way to another node.
    pub(super) async fn ask_together<T>(&self, step: &Step<'_>, read: Read<T>) -> Result<Option<T>, StoreError> {
        let request = Request::Script(step);
        match self {
            Self::One(connections) => connections.ask(request, read).await.map(Some),
            Self::Cluster(cluster) => Box::pin(cluster.ask_together(request, read)).await,
        }
    }

    /// Says something on every server that says such things, and how many they are. Gateways do that all the time, so it is
    /// here that a server is left which the sentinels have given up.
    pub(super) async fn ask_each(&self, command: &Cmd) -> Result<u32, StoreError> {
        match self {
            Self::One(connections) => {
                if connections.source().has_moved().await {
                    connections.forget(connections.newest());
                }
                connections.ask(Request::Command(command), reply::number).await.map(|_| 1)
            }
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
