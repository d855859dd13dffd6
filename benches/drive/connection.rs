//! One connection that is kept, and asks one thing after the other: for what wrk cannot do.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, ensure};
use url::{Position, Url};

use crate::row::Header;

/// A connection to one server.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(url: &Url) -> anyhow::Result<Self> {
        let address = address(url)?;
        Ok(Self { address, stream: connect(address)?, unread: Vec::new() })
    }

    /// Sends a request, waits for all of its answer, and gives its status.
    pub(crate) fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request)?;
        let head = loop {
            if let Some(head) = Head::read(&self.unread)? {
                break head;
            }
            self.receive()?;
        };
        while self.unread.len() < head.answer_bytes {
            self.receive()?;
        }
        self.unread.drain(..head.answer_bytes);
        // nginx hangs up after some hundred requests.
        if head.closes {
            *self = Self { address: self.address, stream: connect(self.address)?, unread: Vec::new() };
        }
        Ok(head.status)
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let mut bytes = [0; RECEIVED_AT_ONCE];
        let count = self.stream.read(&mut bytes)?;
        ensure!(count > 0, "{} hung up", self.address);
        self.unread.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

/// The bytes of a request without a body.
pub(crate) fn request(method: &str, url: &Url, headers: &[Header]) -> Vec<u8> {
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let mut lines = vec![format!("{method} {target} HTTP/1.1"), format!("Host: {}", url.authority())];
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.push("\r\n".to_owned());
    lines.join("\r\n").into_bytes()
}

/// The address of a URL on this machine.
pub(crate) fn address(url: &Url) -> anyhow::Result<SocketAddr> {
    ensure!(url.scheme() == "http", "{url} is not http");
    let address = (url.host_str().context("no host")?, url.port_or_known_default().unwrap_or(80));
    address.to_socket_addrs()?.next().context("no address")
}

/// Connects, for answers that come at once.
pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What the head of an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    answer_bytes: usize,
    closes: bool,
}

impl Head {
    /// Reads the head of an answer whose body has a length; nothing as long as it is not whole.
    fn read(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(at) = bytes.windows(END.len()).position(|window| window == END) else {
            return Ok(None);
        };
        let text = str::from_utf8(&bytes[..at])?;
        let status = text.split(' ').nth(1).context("no status")?.parse()?;
        let mut head = Self { status, answer_bytes: at + END.len(), closes: false };
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.answer_bytes += value.trim().parse::<usize>()?,
                "connection" => head.closes = value.trim().eq_ignore_ascii_case("close"),
                "transfer-encoding" => anyhow::bail!("an answer in pieces:\n{text}"),
                _ => {}
            }
        }
        Ok(Some(head))
    }
}

const END: &[u8] = b"\r\n\r\n";
const RECEIVED_AT_ONCE: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;

    fn check(answer: &str, expected: Option<(u16, usize, bool)>) {
        let expected = expected.map(|(status, answer_bytes, closes)| Head { status, answer_bytes, closes });
        assert_eq!(Head::read(answer.as_bytes()).unwrap(), expected, "{answer:?}");
    }

    #[test]
    fn an_answer_ends_where_its_length_says() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\nHTTP", Some((200, 41, false)));
        check("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nConnection: close\r\n\r\n", Some((401, 67, true)));
        check("HTTP/1.1 204 No Content\r\n\r\n", Some((204, 27, false)));
    }

    #[test]
    fn half_a_head_is_waited_for() {
        for part in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r"] {
            check(part, None);
        }
    }

    #[test]
    fn what_has_no_length_is_not_guessed() {
        assert!(Head::read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(Head::read(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_is_what_http_says() {
        let url = "http://127.0.0.1:80/auth/verify?policy=staff".parse().unwrap();
        let bytes = request("GET", &url, &[("Cookie".to_owned(), "a=b".to_owned())]);
        let expected = "GET /auth/verify?policy=staff HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: a=b\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
