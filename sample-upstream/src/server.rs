//! Serves the application over HTTP/1, on TCP or a Unix socket, and ends every connection when it is stopped.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::service_fn,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    Address,
    record::Record,
    reply::{self, Reply},
    websocket,
};

/// A listening socket.
pub(crate) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, Address),
}

/// A server at work. Dropping it stops it too, only without waiting.
pub(crate) struct Server {
    stop: oneshot::Sender<Infallible>,
    task: JoinHandle<()>,
}

impl Bound {
    /// Listens.
    pub(crate) async fn to(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(tcp) => TcpListener::bind(tcp).await.map(Self::Tcp),
            Address::Unix(path) => UnixListener::bind(path).map(|socket| Self::Unix(socket, address.clone())),
        }
    }

    /// Where.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, address) => Ok(address.clone()),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

impl Server {
    /// Begins to serve.
    pub(crate) fn start(bound: Bound, record: Arc<Record>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(bound, record, stopped));
        Self { stop, task }
    }

    /// Closes the port and every connection, and returns when they are closed.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // A task that panicked has closed everything as well.
        self.task.await.unwrap_or_default();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn accept(bound: Bound, record: Arc<Record>, mut stopped: oneshot::Receiver<Infallible>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = bound.accept(), if connections.len() < MOST_CONNECTIONS => {
                if let Ok(stream) = accepted {
                    connections.spawn(connection(stream, Arc::clone(&record)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    if let Bound::Unix(_, Address::Unix(path)) = &bound {
        // Nothing depends on it: a socket that is left behind answers nobody.
        let _ = std::fs::remove_file(path);
    }
    drop(bound);
    connections.shutdown().await;
}

/// A connection that ends badly is its peer's business; nothing here depends on it.
async fn connection(stream: Box<dyn Stream>, record: Arc<Record>) {
    let upgraded = Mutex::new(None);
    let service = service_fn(|request| answer(request, &record, &upgraded));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    let upgraded = upgraded.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let (Ok(()), Some(upgraded)) = (served, upgraded)
        && let Ok(socket) = upgraded.await
    {
        websocket::echo(TokioIo::new(socket)).await;
    }
}

async fn answer(
    mut request: Request<Incoming>,
    record: &Record,
    upgraded: &Mutex<Option<OnUpgrade>>,
) -> Result<Reply, Infallible> {
    let on_upgrade = upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    record.add(&parts);
    // The body is of no interest, but an application reads it.
    let _ = Limited::new(body, MOST_BODY_BYTES).collect().await;
    if reply::is_slow(&parts) {
        sleep(SLOWNESS).await;
    }
    let reply = reply::to(&parts);
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(on_upgrade);
    }
    Ok(reply)
}

/// Longer than nginx keeps a connection to an upstream.
const IDLE_TIME: Duration = Duration::from_secs(75);
const SLOWNESS: Duration = Duration::from_secs(3);
const MOST_CONNECTIONS: usize = 1_024;
const MOST_BODY_BYTES: usize = 64 * 1_024 * 1_024;
