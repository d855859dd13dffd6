//! Where connections come from: the server that commands go to at this moment, and another line to it for what it announces.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::managed;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError, Value,
    aio::{MultiplexedConnection, PubSub},
    cmd,
};
use tokio::time::{Instant, timeout};

use super::{
    client::{Host, SetupError},
    reply::{self, Failure, Remedy},
};
use crate::store::StoreError;

/// Whom to ask for a connection.
pub(super) enum Source {
    /// The one server there is, or one node of a cluster.
    Standalone(Box<Endpoint>),
    /// The server that sentinels name.
    Sentinel(Box<Sentinel>),
}

impl Source {
    /// A connection for commands.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        match self {
            Self::Standalone(endpoint) => endpoint.connect().await,
            Self::Sentinel(sentinel) => Ok(sentinel.primary().await?.1),
        }
    }

    /// Whether the sentinels name another server than the one that was connected to last. They are asked once in a while:
    /// a server that they have given up may go on taking writes for some seconds, and those writes will be lost.
    pub(super) async fn has_moved(&self) -> bool {
        match self {
            Self::Standalone(_) => false,
            Self::Sentinel(sentinel) => sentinel.names_another().await,
        }
    }

    /// A line to the server that commands go to now, for what it announces.
    pub(super) async fn pubsub(&self) -> Result<PubSub, Failure> {
        match self {
            Self::Standalone(endpoint) => endpoint.pubsub().await,
            Self::Sentinel(sentinel) => sentinel.primary().await?.0.pubsub().await,
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

    /// Another server, where the same log-in and the same TLS hold.
    pub(super) fn at(&self, host: &Host) -> Result<Self, SetupError> {
        let info = self.client.get_connection_info();
        let Host { name, port } = host.clone();
        let address = match info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host: name, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(name, port),
        };
        Self::new(address, info.redis_settings().clone())
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

/// Sentinels, and the server that they name: the one that takes writes.
///
/// They are asked in turn, each for a share of an operation's time, so that one that hangs does not keep the others from
/// being asked. Whom they name is asked for its role: for some time after a fail-over a sentinel may not know of it.
pub(super) struct Sentinel {
    sentinels: Vec<Endpoint>,
    master: Endpoint,
    name: String,
    patience: Duration,
    /// Which sentinel is asked first: the one that knew last time.
    first: AtomicUsize,
    last: Mutex<Last>,
}

/// Whom the sentinels named last, and when they are asked about it again.
#[derive(Default)]
struct Last {
    named: Option<Host>,
    /// Whether another one was named since somebody looked: a connection to it was made, and others may lead elsewhere.
    changed: bool,
    again: Option<Instant>,
}

impl Sentinel {
    pub(super) fn new(sentinels: Vec<Endpoint>, master: Endpoint, name: String, deadline: Duration) -> Self {
        let shares = u32::try_from(sentinels.len()).unwrap_or(u32::MAX).saturating_add(1);
        Self {
            sentinels,
            master,
            name,
            patience: deadline / shares,
            first: AtomicUsize::new(0),
            last: Mutex::default(),
        }
    }

    /// The server that takes writes, and a connection to it.
    async fn primary(&self) -> Result<(Endpoint, MultiplexedConnection), Failure> {
        self.in_turn(|sentinel| self.connected_by(sentinel)).await
    }

    /// What the first sentinel says that can.
    async fn in_turn<'a, T, F>(&'a self, question: impl Fn(&'a Endpoint) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut why = unreachable("there is no sentinel");
        for _ in &self.sentinels {
            let turn = self.first.load(Ordering::Relaxed);
            let Some(sentinel) = turn.checked_rem(self.sentinels.len()).and_then(|turn| self.sentinels.get(turn))
            else {
                break;
            };
            match timeout(self.patience, question(sentinel)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(failure)) => why = failure,
                Err(_) => why = unreachable("a sentinel, or whom it names, does not answer"),
            }
            let _ = self.first.compare_exchange(turn, turn.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        Err(why)
    }

    async fn connected_by(&self, sentinel: &Endpoint) -> Result<(Endpoint, MultiplexedConnection), Failure> {
        let host = self.named_by(sentinel).await?;
        let endpoint = self.master.at(&host).map_err(|error| unreachable(&error.to_string()))?;
        let mut connection = endpoint.connect().await?;
        reply::primary(ask(&cmd("ROLE"), &mut connection).await?)?;
        let mut last = self.last();
        let changed = last.changed || last.named.as_ref().is_some_and(|named| *named != host);
        *last = Last { named: Some(host), changed, again: Some(Instant::now() + CONFIRM_EVERY) };
        drop(last);
        Ok((endpoint, connection))
    }

    async fn named_by(&self, sentinel: &Endpoint) -> Result<Host, Failure> {
        let mut asked = sentinel.connect().await?;
        let mut question = cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(&self.name);
        reply::named(ask(&question, &mut asked).await?)
    }

    async fn names_another(&self) -> bool {
        let named = {
            let mut last = self.last();
            let now = Instant::now();
            if std::mem::take(&mut last.changed) {
                return true;
            }
            if last.again.is_none_or(|again| now < again) {
                return false;
            }
            last.again = Some(now + CONFIRM_EVERY);
            last.named.clone()
        };
        let Ok(now) = self.in_turn(|sentinel| self.named_by(sentinel)).await else {
            self.last().again = Some(Instant::now() + CONFIRM_LATER);
            return false;
        };
        Some(now) != named
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(question: &Cmd, connection: &mut MultiplexedConnection) -> Result<Value, Failure> {
    question.query_async(connection).await.map_err(|error| reply::failure(&error))
}

fn unreachable(why: &str) -> Failure {
    Failure { error: StoreError::Unreachable(why.to_owned()), remedy: Remedy::Reconnect }
}

fn refused(error: &RedisError) -> SetupError {
    SetupError::Client(error.category().to_owned())
}

/// Most requests that wait to be written to one connection.
const QUEUE: usize = 256;

/// Between two questions to the sentinels whether a server still is the one.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);

/// The same where no sentinel answered: whoever asks waits for it.
const CONFIRM_LATER: Duration = Duration::from_secs(10);
