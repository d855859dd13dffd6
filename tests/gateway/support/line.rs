//! A line between the gateway and Redis that can be put through to another server, garbled or cut.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinHandle,
};

/// Ends with its journey.
pub(crate) struct Line {
    port: u16,
    end: Arc<Mutex<End>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct End {
    server: PathBuf,
    noise: Noise,
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
        let end = Arc::new(Mutex::new(End { server, noise: Noise::None }));
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
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: TcpStream, end: Arc<Mutex<End>>) {
    let server = end.lock().unwrap().server.clone();
    let Ok(server) = UnixStream::connect(&server).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut piece = vec![0; 65_536];
    let mut silent = false;
    while let Ok(length @ 1..) = from_server.read(&mut piece).await {
        let noise = {
            let mut end = end.lock().unwrap();
            let noise = end.noise;
            if matches!(noise, Noise::Once(_)) {
                end.noise = Noise::None;
            }
            noise
        };
        let answer = match noise {
            Noise::None => &piece[..length],
            Noise::Instead(text) | Noise::Once(text) => text.as_bytes(),
            Noise::HalfAndClose | Noise::HalfAndHang => &piece[..length / 2],
        };
        if !silent && to_client.write_all(answer).await.is_err() {
            break;
        }
        silent |= noise == Noise::HalfAndHang;
        if noise == Noise::HalfAndClose {
            break;
        }
    }
    requests.abort();
}
