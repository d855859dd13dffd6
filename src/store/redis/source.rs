//! Where connections come from: the server that commands go to at this moment, and another line to it for what it announces.

use deadpool::managed;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    aio::{MultiplexedConnection, PubSub},
};

use super::{
    client::SetupError,
    reply::{self, Failure},
};

/// Whom to ask for a connection.
pub(super) enum Source {
    /// The one server there is, or one node of a cluster.
    Standalone(Endpoint),
}

impl Source {
    /// A connection for commands.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        match self {
            Self::Standalone(endpoint) => endpoint.connect().await,
        }
    }

    /// A line to the server that commands go to now, for what it announces.
    pub(super) async fn pubsub(&self) -> Result<PubSub, Failure> {
        match self {
            Self::Standalone(endpoint) => endpoint.pubsub().await,
        }
    }
}

/// The pool makes connections and nothing else: each is taken from it for good.
impl managed::Manager for Source {
    type Type = MultiplexedConnection;
    type Error = Failure;

    async fn create(&self) -> Result<MultiplexedConnection, Failure> {
        self.connect().await
    }

    async fn recycle(&self, _: &mut MultiplexedConnection, _: &managed::Metrics) -> managed::RecycleResult<Failure> {
        Err(managed::RecycleError::message("connections are not given back"))
    }
}

/// One server, with how to log in there.
#[derive(Clone)]
pub(super) struct Endpoint {
    client: Client,
}

impl Endpoint {
    pub(super) fn new(address: ConnectionAddr, login: RedisConnectionInfo) -> Result<Self, SetupError> {
        let info = address.into_connection_info().map_err(|error| refused(&error))?;
        let client = Client::open(info.set_redis_settings(login)).map_err(|error| refused(&error))?;
        Ok(Self { client })
    }

    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        // The one deadline of each operation covers connecting and waiting for answers.
        let timing = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let made = self.client.get_multiplexed_async_connection_with_config(&timing).await;
        made.map_err(|error| reply::failure(&error))
    }

    pub(super) async fn pubsub(&self) -> Result<PubSub, Failure> {
        self.client.get_async_pubsub().await.map_err(|error| reply::failure(&error))
    }
}

fn refused(error: &RedisError) -> SetupError {
    SetupError::Client(error.category().to_owned())
}

/// Most requests that wait to be written to one connection.
const QUEUE: usize = 256;
