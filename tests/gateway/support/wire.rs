//! HTTP by hand, for requests that no client library would send: a client that writes targets as they are, and an
//! application that gives back the request line that it got.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::visitor::USER_AGENT;

/// A connection that is kept as long as the other side keeps it.
pub(crate) struct Wire {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

/// One request's own parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a [u8],
    pub(crate) host: &'a str,
    pub(crate) cookie: &'a str,
    /// Further header lines, each with its end.
    pub(crate) more: &'a str,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap_or_default()
    }

    /// Status and reason.
    pub(crate) fn verdict(&self) -> (u16, &str) {
        (self.status, self.header("x-portcullis-reason"))
    }

    /// The target that the application of [`echo`] got.
    pub(crate) fn target_at_application(&self) -> &[u8] {
        let rest = self.body.splitn(2, |byte| *byte == b' ').nth(1).unwrap();
        rest.strip_suffix(b" HTTP/1.1").unwrap()
    }
}

impl Wire {
    /// To a port of this machine.
    pub(crate) fn to(port: u16) -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), stream: None }
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn ask(&mut self, line: Line<'_>) -> Answer {
        let head = format!(
            " HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nCookie: {}\r\n{}\r\n",
            line.host, line.cookie, line.more
        );
        let request = [line.method.as_bytes(), b" ", line.target, head.as_bytes()].concat();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(self.address).await.unwrap()),
        };
        stream.get_mut().write_all(&request).await.unwrap();
        let answer = answer(&mut stream, line.method == "HEAD").await;
        if answer.header("connection") != "close" {
            self.stream = Some(stream);
        }
        answer
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, is_bare: bool) -> Answer {
    let head = head(stream).await.unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut answer = Answer { status: status.unwrap_or_else(|| panic!("no status: {head}")), head, body: Vec::new() };
    if !is_bare {
        let length = answer.header("content-length").parse();
        answer.body.resize(length.unwrap_or_else(|_| panic!("no length: {answer:?}")), 0);
        stream.read_exact(&mut answer.body).await.unwrap();
    }
    answer
}

/// Lines up to the empty one; none if the other side went away before.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut bytes).await.unwrap_or_default() == 0 {
            return None;
        }
    }
    // Letter for byte, so that nothing is lost.
    Some(bytes.into_iter().map(char::from).collect())
}

/// An application whose answer is the request line that it got, byte for byte; ended with its journey.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

/// Starts one.
pub(crate) async fn echo() -> Echo {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Arc::new(listener);
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(give_back(BufReader::new(stream)));
        }
    });
    Echo { address, serving }
}

async fn give_back(mut stream: BufReader<TcpStream>) {
    while let Some(head) = head(&mut stream).await {
        let line: Vec<u8> = head.split("\r\n").next().unwrap().chars().map(|byte| byte as u8).collect();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", line.len());
        if stream.get_mut().write_all(&[answer.as_bytes(), &line].concat()).await.is_err() {
            return;
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Sends one whole request to a Unix socket, and gives what came back.
pub(crate) async fn to_unix(socket: &std::path::Path, request: &str) -> String {
    exchanged(tokio::net::UnixStream::connect(socket).await.unwrap(), request).await
}

/// Sends one whole request to an address, and gives what came back.
pub(crate) async fn to_tcp(address: SocketAddr, request: &str) -> String {
    exchanged(TcpStream::connect(address).await.unwrap(), request).await
}

async fn exchanged<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(super::PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
