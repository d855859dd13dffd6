//! A line between the gateway and Redis that can be put through to another server, garbled or cut.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream, tcp::OwnedReadHalf, unix::OwnedWriteHalf},
    task::JoinHandle,
};

/// Ends with its journey.
pub(crate) struct Line {
    port: u16,
    end: Arc<Mutex<End>>,
    task: JoinHandle<()>,
}

struct End {
    server: PathBuf,
    noise: Noise,
    calls: Vec<Arc<Call>>,
}

/// One connection.
#[derive(Default)]
struct Call {
    listens: AtomicBool,
    is_dead: AtomicBool,
}

/// What the line does to the server's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noise {
    /// Nothing.
    None,
    /// Says this instead.
    Instead(&'static str),
    /// Says this instead of the next piece, and is a good line again: from then on answers and questions are out of step.
    Once(&'static str),
    /// Lets the first half of each piece through, and then hangs up.
    HalfAndClose,
    /// Lets the first half of each piece through, and then nothing more.
    HalfAndHang,
}

impl Line {
    /// A line to a Redis on a Unix socket.
    pub(crate) async fn to(server: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let end = Arc::new(Mutex::new(End { server, noise: Noise::None, calls: Vec::new() }));
        let ends = Arc::clone(&end);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, Arc::clone(&ends)));
            }
        });
        Self { port, end, task }
    }

    /// The URL that the gateway is given.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Lets new connections go to another server.
    pub(crate) fn put_through_to(&self, server: PathBuf) {
        self.end.lock().unwrap().server = server;
    }

    /// Garbles the answers from now on, on every connection there is.
    pub(crate) fn garble(&self, noise: Noise) {
        self.end.lock().unwrap().noise = noise;
    }

    /// From now on nothing goes through, either way, on the connections on which somebody listens to a channel; nobody
    /// is told.
    pub(crate) fn deafen(&self) -> usize {
        self.die_where(|call| call.listens.load(Ordering::Acquire))
    }

    /// The same on all connections that there are.
    pub(crate) fn die(&self) -> usize {
        self.die_where(|_| true)
    }

    fn die_where(&self, which: impl Fn(&Call) -> bool) -> usize {
        let end = self.end.lock().unwrap();
        let dying = end.calls.iter().filter(|call| which(call));
        dying.map(|call| call.is_dead.store(true, Ordering::Release)).count()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: TcpStream, end: Arc<Mutex<End>>) {
    let call = Arc::new(Call::default());
    let server = {
        let mut end = end.lock().unwrap();
        end.calls.push(Arc::clone(&call));
        end.server.clone()
    };
    let Ok(server) = UnixStream::connect(&server).await else {
        return;
    };
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let requests = tokio::spawn(ask(from_client, to_server, Arc::clone(&call)));
    let mut piece = vec![0; 65_536];
    let mut silent = false;
    while let Ok(length @ 1..) = from_server.read(&mut piece).await {
        let noise = end.lock().unwrap().make_noise();
        let answer = match noise {
            Noise::None => &piece[..length],
            Noise::Instead(text) | Noise::Once(text) => text.as_bytes(),
            Noise::HalfAndClose | Noise::HalfAndHang => &piece[..length / 2],
        };
        let passes = !(silent || call.is_dead.load(Ordering::Acquire));
        if passes && to_client.write_all(answer).await.is_err() {
            break;
        }
        silent |= noise == Noise::HalfAndHang;
        if noise == Noise::HalfAndClose {
            break;
        }
    }
    if call.is_dead.load(Ordering::Acquire) {
        // Not even the end of it is heard.
        std::future::pending::<()>().await;
    }
    requests.abort();
}

async fn ask(mut from_client: OwnedReadHalf, mut to_server: OwnedWriteHalf, call: Arc<Call>) {
    let mut piece = vec![0; 65_536];
    while let Ok(length @ 1..) = from_client.read(&mut piece).await {
        let subscribes = piece[..length].windows(LISTENS.len()).any(|word| word == LISTENS);
        call.listens.fetch_or(subscribes, Ordering::AcqRel);
        if !call.is_dead.load(Ordering::Acquire) && to_server.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

impl End {
    fn make_noise(&mut self) -> Noise {
        let noise = self.noise;
        if matches!(noise, Noise::Once(_)) {
            self.noise = Noise::None;
        }
        noise
    }
}

/// What somebody says who listens to a channel.
const LISTENS: &[u8] = b"SUBSCRIBE\r\n";
