//! Serves a provider over HTTP/1, plain or TLS: reads requests within limits, waits where a trouble says so, and ends
//! every connection when it is stopped.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming as Body, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    endpoint::dev,
    log,
    parameters::Parameters,
    provider::{Incoming, Provider},
    reply::Reply,
    trouble::Trouble,
};

/// A server at work. Dropping it stops it too, only without waiting.
pub(crate) struct Server {
    stop: oneshot::Sender<Infallible>,
    task: JoinHandle<()>,
}

impl Server {
    /// Begins to serve.
    pub(crate) fn start(listener: TcpListener, acceptor: Option<TlsAcceptor>, provider: Arc<Provider>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(accept(listener, acceptor, provider, stopped)) }
    }

    /// Closes the port and every connection, and returns when they are closed.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // A task that panicked has closed everything as well.
        self.task.await.unwrap_or_default();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    provider: Arc<Provider>,
    mut stopped: oneshot::Receiver<Infallible>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&provider)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// A connection that ends badly is its peer's business; nothing here depends on it.
async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, provider: Arc<Provider>) {
    let served = match acceptor {
        None => serve(stream, provider).await,
        Some(acceptor) => match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, provider).await,
            Ok(Err(_)) | Err(_) => Ok(()),
        },
    };
    served.unwrap_or_default();
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, provider: Arc<Provider>) -> hyper::Result<()> {
    let service = service_fn(move |request| answer(Arc::clone(&provider), request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// An error here makes hyper drop the connection without an answer.
async fn answer(provider: Arc<Provider>, request: Request<Body>) -> io::Result<Response<Full<Bytes>>> {
    let Ok(Some(incoming)) = timeout(BODY_TIME, read(&provider, request)).await else {
        return sent(Reply::empty(StatusCode::PAYLOAD_TOO_LARGE));
    };
    if dev::is_control(&incoming.path) {
        return sent(dev::control(&provider, &incoming));
    }
    let number = provider.log.arrived(noted(&incoming));
    let response = sent(troubled(&provider, &incoming).await)?;
    provider.log.answered(number, response.status());
    Ok(response)
}

async fn troubled(provider: &Provider, incoming: &Incoming) -> Reply {
    let trouble = provider.troubles().at(incoming.endpoint);
    match trouble {
        None => provider.reply(incoming),
        Some(Trouble::Unavailable) => Reply::empty(StatusCode::SERVICE_UNAVAILABLE),
        Some(Trouble::Hang) => std::future::pending().await,
        Some(Trouble::Slow(delay)) => {
            let reply = provider.reply(incoming);
            sleep(delay).await;
            reply
        }
    }
}

async fn read(provider: &Provider, request: Request<Body>) -> Option<Incoming> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MOST_BODY_BYTES).collect().await.ok()?.to_bytes();
    let is_form = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(FORM));
    let form = if is_form { Parameters::parse(&body) } else { Parameters::default() };
    Some(Incoming {
        endpoint: provider.endpoint_at(parts.uri.path()),
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: Parameters::parse(parts.uri.query().unwrap_or_default().as_bytes()),
        headers: parts.headers,
        form,
    })
}

fn noted(incoming: &Incoming) -> log::Record {
    let parameters = incoming.query.clone().joined(incoming.form.clone());
    log::record(incoming.endpoint, incoming.method.as_str(), &incoming.path, &incoming.headers, &parameters)
}

fn sent(reply: Reply) -> io::Result<Response<Full<Bytes>>> {
    match reply {
        Reply::Answer(response) => Ok(response),
        Reply::Dropped => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

const FORM: &[u8] = b"application/x-www-form-urlencoded";
const MOST_CONNECTIONS: usize = 512;
const MOST_BODY_BYTES: usize = 64 * 1024;
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
const HEADER_TIME: Duration = Duration::from_secs(60);
const BODY_TIME: Duration = Duration::from_secs(10);
