//! Lines to Redis that misbehave: one that is cut before an answer arrives, and servers that are not Redis at all.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use portcullis::store::redis::{Address, Config};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinHandle,
};

/// A line to a Redis on a Unix socket.
pub(crate) struct Line {
    port: u16,
    cut: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Line {
    pub(crate) async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cut);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(forward(client, server, Arc::clone(&flag)));
            }
        });
        Self { port, cut, task }
    }

    /// Lets the next request through, and cuts its line as soon as the answer comes.
    pub(crate) fn swallow_the_next_answer(&self) {
        self.cut.store(true, Ordering::Release);
    }

    pub(crate) fn was_cut(&self) -> bool {
        !self.cut.load(Ordering::Acquire)
    }

    pub(crate) fn address(&self) -> Address {
        loopback(self.port)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: TcpStream, server: UnixStream, cut: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut answer = vec![0; 65_536];
    while let Ok(length @ 1..) = from_server.read(&mut answer).await {
        if cut.swap(false, Ordering::AcqRel) {
            break;
        }
        if to_client.write_all(&answer[..length]).await.is_err() {
            break;
        }
    }
    requests.abort();
}

/// A server that says the same to everybody, whatever they ask, and counts them.
pub(crate) struct Parrot {
    port: u16,
    visitors: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Parrot {
    /// Says the next of its `lines` each time it is spoken to; at the end it keeps silent or closes the line.
    pub(crate) async fn saying(lines: &'static [&'static str], stays: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let visitors = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&visitors);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(say(client, lines, stays));
            }
        });
        Self { port, visitors, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn visitors(&self) -> usize {
        self.visitors.load(Ordering::Acquire)
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(loopback(self.port))
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn say(mut client: TcpStream, lines: &[&str], stays: bool) {
    let mut heard = vec![0; 4_096];
    for line in lines {
        let _ = client.read(&mut heard).await;
        let _ = client.write_all(line.as_bytes()).await;
    }
    while stays && client.read(&mut heard).await.is_ok_and(|length| length > 0) {}
}

pub(crate) fn loopback(port: u16) -> Address {
    Address::Tcp { host: "127.0.0.1".to_owned(), port }
}
