//! Asks an ops listener, over TCP or a Unix socket, without a runtime: one request, one bounded answer, one deadline.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{config::Config, inbound::Listener, server::Address};

/// An ops listener, as it is reached from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `host:port`.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Why it is a refusal, if it says so.
    pub(super) reason: Option<String>,
}

impl Target {
    /// The ops listener of these settings.
    ///
    /// # Errors
    /// When they have none.
    pub(super) fn of_settings(config: &Config) -> anyhow::Result<Self> {
        let mut listeners = config.server.listeners.iter();
        let ops = listeners.find(|listener| listener.kind == Listener::Ops);
        match ops.map(|listener| &listener.address) {
            Some(Address::Unix { path, .. }) => Ok(Self::Unix(path.clone())),
            Some(Address::Tcp(address)) => Ok(Self::of_address(*address)),
            None => bail!("the settings have no ops listener"),
        }
    }

    /// A listener on every address is asked on this machine's own.
    pub(super) fn of_address(address: SocketAddr) -> Self {
        let host = match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            host => host,
        };
        Self::Tcp(SocketAddr::new(host, address.port()).to_string())
    }

    /// The status that a GET is answered with, whatever else comes.
    ///
    /// # Errors
    /// When none comes in time, or something that is no HTTP.
    pub(super) fn status_of(&self, path: &str, timeout: Duration) -> anyhow::Result<u16> {
        let mut line = self.connect(Instant::now() + timeout)?;
        write!(line, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        status(&mut BufReader::new(line))
    }

    /// One request and its whole answer. Without a body it is a GET, with one a POST.
    ///
    /// # Errors
    /// When no whole answer of at most [`MAX_REPLY_BYTES`] comes in time.
    pub(super) fn ask(&self, path: &str, body: Option<&[u8]>, timeout: Duration) -> anyhow::Result<Reply> {
        let mut line = self.connect(Instant::now() + timeout)?;
        let method = if body.is_some() { "POST" } else { "GET" };
        let body = body.unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        line.write_all(&[head.as_bytes(), body].concat())?;
        reply(&mut BufReader::new(line.take(MAX_REPLY_BYTES)))
    }

    fn connect(&self, deadline: Instant) -> anyhow::Result<Line> {
        let socket = match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path);
                Socket::Unix(stream.with_context(|| format!("cannot connect to {}", path.display()))?)
            }
            Self::Tcp(address) => {
                let resolved = address.to_socket_addrs()?.next();
                let resolved = resolved.with_context(|| format!("{address} has no address"))?;
                let stream = TcpStream::connect_timeout(&resolved, left(deadline)?);
                Socket::Tcp(stream.with_context(|| format!("cannot connect to {address}"))?)
            }
        };
        Ok(Line { socket, deadline })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => formatter.write_str(address),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// A connection that lasts until its deadline, however slowly the other end speaks.
struct Line {
    socket: Socket,
    deadline: Instant,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Line {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = left(self.deadline)?;
        match &mut self.socket {
            Socket::Tcp(stream) => stream.set_read_timeout(Some(left)).and_then(|()| stream.read(into)),
            Socket::Unix(stream) => stream.set_read_timeout(Some(left)).and_then(|()| stream.read(into)),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = left(self.deadline)?;
        match &mut self.socket {
            Socket::Tcp(stream) => stream.set_write_timeout(Some(left)).and_then(|()| stream.write(bytes)),
            Socket::Unix(stream) => stream.set_write_timeout(Some(left)).and_then(|()| stream.write(bytes)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
}

fn status(answer: &mut impl BufRead) -> anyhow::Result<u16> {
    let mut line = Vec::new();
    answer.take(LINE_BYTES).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    let status = line.split(' ').nth(1).filter(|_| line.starts_with("HTTP/1."));
    let status = status.and_then(|status| status.trim_end().parse().ok());
    status.with_context(|| format!("the answer was {:?}", line.trim_end()))
}

fn reply(answer: &mut impl BufRead) -> anyhow::Result<Reply> {
    let status = status(answer)?;
    let (mut length, mut reason) = (None, None);
    loop {
        let mut line = String::new();
        answer.take(LINE_BYTES).read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "the answer was cut");
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok(),
            Some((name, value)) if name.eq_ignore_ascii_case("x-portcullis-reason") => reason = code(value.trim()),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    answer.read_to_end(&mut body)?;
    ensure!(length == Some(body.len()), "the answer was cut, or says nothing of its length");
    Ok(Reply { status, body, reason })
}

/// A reason's code, and nothing else that somebody may have put there.
fn code(text: &str) -> Option<String> {
    let plain = text.len() <= MAX_REASON_BYTES && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    plain.then(|| text.to_owned())
}

/// Longest answer that is read, head included.
const MAX_REPLY_BYTES: u64 = 64 << 10;

/// Longest reason's code.
const MAX_REASON_BYTES: usize = 64;

/// Longest line of its head.
const LINE_BYTES: u64 = 8 << 10;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use std::{net::TcpListener, thread};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A listener that reads a request, and then says this.
    fn saying(answer: Vec<u8>) -> (Target, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap().to_string());
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).unwrap();
            asked.truncate(length);
            let _ = stream.write_all(&answer);
            asked
        });
        (target, server)
    }

    #[test]
    fn a_whole_answer_is_read_and_no_other() {
        let check = |answer: &str, expected: Option<(u16, &str)>| {
            let reply = saying(answer.into()).0.ask("/fallback", None, PATIENCE).ok();
            let expected = expected.map(|(status, body)| Reply { status, body: body.into(), reason: None });
            assert_eq!(reply, expected, "{answer:?}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}")));
        check("HTTP/1.1 409 Conflict\r\nx: y\r\ncontent-length: 0\r\n\r\n", Some((409, "")));
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", None);
        check("HTTP/1.1 200 OK\r\n\r\n{}", None);
        check("HTTP/1.1 200 OK\r\ncontent-le", None);
        check("SSH-2.0 200 x\r\n\r\n", None);
        check("", None);
    }

    #[test]
    fn a_refusal_says_why() {
        let check = |reason: &str, expected: Option<&str>| {
            let answer =
                format!("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nX-Portcullis-Reason: {reason}\r\n\r\n");
            let reply = saying(answer.into()).0.ask("/fallback", None, PATIENCE).unwrap();
            assert_eq!((reply.status, reply.reason.as_deref()), (403, expected), "{reason:?}");
        };
        check("switches_invalid", Some("switches_invalid"));
        check("\u{1b}[2K", None);
        check(&"a".repeat(65), None);
    }

    #[test]
    fn an_endless_answer_is_not_read_to_its_end() {
        let answer = [b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n", vec![b'a'; 200_000].as_slice()].concat();
        assert!(saying(answer).0.ask("/", None, PATIENCE).is_err());
    }

    #[test]
    fn what_is_posted_arrives() {
        let (target, server) = saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into());
        target.ask("/fallback", Some(b"7.AAAA"), PATIENCE).unwrap();
        let asked = String::from_utf8(server.join().unwrap()).unwrap();
        assert!(asked.starts_with("POST /fallback HTTP/1.1\r\n") && asked.ends_with("\r\n\r\n7.AAAA"), "{asked}");
    }

    #[test]
    fn a_listener_that_speaks_too_slowly_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap().to_string());
        let began = Instant::now();
        assert!(target.ask("/", None, Duration::from_millis(50)).is_err());
        assert!(began.elapsed() < PATIENCE);
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_this_machine() {
        let check = |address: &str, expected: &str| {
            assert_eq!(Target::of_address(address.parse().unwrap()), Target::Tcp(expected.into()));
        };
        check("0.0.0.0:80", "127.0.0.1:80");
        check("[::]:80", "[::1]:80");
        check("10.0.0.2:80", "10.0.0.2:80");
    }
}
