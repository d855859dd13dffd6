//! The reference: a bare hyper server that answers 200 at once, or after one read from Redis. It imports nothing of ours.
//!
//! Runtime, HTTP/1 settings, allocator and profile are the gateway's (src/cli/serve.rs, src/server/connection.rs,
//! src/main.rs): who changes them there changes them here. What the gateway adds on top of hyper, its own deadlines
//! included, is left out on purpose: that is what is measured.

use std::{
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Value, aio::MultiplexedConnection,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    runtime::Builder,
};

/// A bare server to compare the gateway with.
#[derive(Debug, Parser)]
struct Arguments {
    /// The address to listen on.
    #[arg(long)]
    tcp: SocketAddr,
    /// The Unix socket to listen on too.
    #[arg(long)]
    unix: PathBuf,
    /// A header of every answer, as "name: value". May be given several times.
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The Unix socket of a Redis to ask before each answer.
    #[arg(long, requires = "records")]
    redis: Option<PathBuf>,
    /// A file that names hashes, a line each; every request reads the fields `v` and `f` of the next one.
    #[arg(long, requires = "redis")]
    records: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(serve_forever(arguments))
}

async fn serve_forever(arguments: Arguments) -> anyhow::Result<()> {
    let read = match (&arguments.redis, &arguments.records) {
        (Some(socket), Some(records)) => Some(Read::new(socket.clone(), records).await?),
        _ => None,
    };
    let answers = Arc::new(Answers { headers: arguments.headers.into_iter().collect(), read });
    let (tcp, unix) = (TcpListener::bind(arguments.tcp).await?, UnixListener::bind(&arguments.unix)?);
    loop {
        tokio::select! {
            accepted = tcp.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                tokio::spawn(serve(stream, Arc::clone(&answers)));
            }
            accepted = unix.accept() => {
                tokio::spawn(serve(accepted?.0, Arc::clone(&answers)));
            }
        }
    }
}

async fn serve<S>(stream: S, answers: Arc<Answers>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|_| async { Ok::<_, Infallible>(answers.answer().await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEADER_BYTES)
        .max_headers(MOST_HEADERS)
        .half_close(false)
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever measures hangs up when the time is over.
    let _ = connection.await;
}

/// The one answer.
struct Answers {
    headers: HeaderMap,
    read: Option<Read>,
}

impl Answers {
    async fn answer(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        let found = match &self.read {
            Some(read) => read.finds_both().await,
            None => true,
        };
        if found {
            *response.headers_mut() = self.headers.clone();
        } else {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}

/// One read over one connection that all requests share.
struct Read {
    connection: MultiplexedConnection,
    records: Vec<String>,
    next: AtomicUsize,
}

impl Read {
    async fn new(socket: PathBuf, records: &Path) -> anyhow::Result<Self> {
        let client = Client::open(ConnectionAddr::Unix(socket).into_connection_info()?)?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let records = fs::read_to_string(records)?.lines().map(str::to_owned).collect();
        Ok(Self { connection, records, next: AtomicUsize::new(0) })
    }

    async fn finds_both(&self) -> bool {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.records.len().max(1);
        let Some(record) = self.records.get(next) else {
            return false;
        };
        let mut command = Cmd::with_capacity(4, COMMAND_BYTES);
        command.arg("HMGET").arg(record).arg("v").arg("f");
        let mut connection = self.connection.clone();
        match command.query_async(&mut connection).await {
            Ok(Value::Array(fields)) => fields.iter().all(|field| matches!(field, Value::BulkString(_))),
            _ => false,
        }
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header has a colon")?;
    let name = name.parse().map_err(|_| format!("{name} is no header's name"))?;
    let value = value.trim().parse().map_err(|_| format!("{value} is no header's value"))?;
    Ok((name, value))
}

/// `server.header_bytes` unless the settings say otherwise.
const HEADER_BYTES: usize = 32 * 1024;
const MOST_HEADERS: usize = 100;
/// Room for the command, as the gateway makes it.
const COMMAND_BYTES: usize = 128;
/// The queue of the gateway's own connections to Redis.
const QUEUE: usize = 256;
