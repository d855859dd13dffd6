//! The servers that hold the sessions: one at a time, or a cluster.

use std::sync::Arc;

use deadpool_redis::redis::aio::PubSub;

use super::{
    client::Host,
    cluster::{Cluster, Node},
    connections::{Connections, Serial},
    keys::Keys,
    reply::Failure,
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
    /// The one that there is, and the key of its mark.
    One(&'a Connections, String),
    /// A node of a cluster, with a key for its mark that is in one of its slots.
    Node(&'a Cluster, Arc<Node>, Option<String>),
}

impl Place<'_> {
    /// Asks it alone.
    pub(super) async fn ask<T>(&self, request: Request<'_>, read: Read<T>) -> Result<T, StoreError> {
        match self {
            Self::One(connections, _) => connections.ask(request, read).await,
            Self::Node(cluster, node, _) => Box::pin(cluster.ask_node(node, request, read)).await,
        }
    }

    /// Where it is, if the settings do not say so.
    pub(super) fn host(&self) -> Option<&Host> {
        match self {
            Self::One(..) => None,
            Self::Node(_, node, _) => Some(node.host()),
        }
    }

    /// The key of its mark.
    pub(super) fn mark(&self) -> Option<&str> {
        match self {
            Self::One(_, mark) => Some(mark),
            Self::Node(_, _, mark) => mark.as_deref(),
        }
    }
}

impl Servers {
    /// Every server that takes writes, and says on what others have changed there. Gateways ask for them all the time, so it
    /// is here that a server is left which the sentinels have given up.
    pub(super) async fn places(&self, keys: &Keys) -> Result<Vec<Place<'_>>, StoreError> {
        match self {
            Self::One(connections) => {
                if Box::pin(connections.source().has_moved()).await {
                    connections.forget(connections.newest());
                }
                Ok(vec![Place::One(connections, keys.mark())])
            }
            Self::Cluster(cluster) => {
                let primaries = Box::pin(cluster.primaries_with(keys.marks())).await?;
                Ok(primaries.into_iter().map(|(node, mark)| Place::Node(cluster, node, mark)).collect())
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
