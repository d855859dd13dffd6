//! `portcullis healthcheck`: asks an ops listener's `/livez`, over TCP or a Unix socket, without a runtime.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use url::Url;

use super::SettingsFile;
use crate::{config::Config, inbound::Listener, server::Address};

/// Where to ask.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// Ask this http URL instead of the settings' ops listener
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    url: Option<Url>,
    /// Ask over this Unix socket instead
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    timeout: humantime::Duration,
    #[command(flatten)]
    settings: SettingsFile,
}

/// An ops listener, as it is reached from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Tcp { address: String, path: String },
    Unix(PathBuf),
}

impl Arguments {
    /// How long to wait.
    pub(super) fn timeout(&self) -> Duration {
        (*self.timeout).max(Duration::from_millis(1))
    }

    /// Where to ask; the settings are read only when nothing else says it.
    ///
    /// # Errors
    /// The exit code, when the settings are wrong, which has been told then.
    pub(super) fn target(&self) -> Result<anyhow::Result<Target>, ExitCode> {
        match (&self.url, &self.socket) {
            (Some(url), _) => Ok(Target::of_url(url)),
            (None, Some(socket)) => Ok(Ok(Target::Unix(socket.clone()))),
            (None, None) => self.settings.load().map(|config| Target::of_settings(&config)),
        }
    }
}

impl Target {
    fn of_url(url: &Url) -> anyhow::Result<Self> {
        ensure!(url.scheme() == "http", "a health check speaks http only");
        let host = url.host_str().context("the URL has no host")?;
        let port = url.port_or_known_default().context("the URL has no port")?;
        let path = if url.path() == "/" { LIVENESS } else { url.path() };
        Ok(Self::Tcp { address: format!("{host}:{port}"), path: path.to_owned() })
    }

    fn of_settings(config: &Config) -> anyhow::Result<Self> {
        let mut listeners = config.server.listeners.iter();
        let ops = listeners.find(|listener| listener.kind == Listener::Ops);
        match ops.map(|listener| &listener.address) {
            Some(Address::Unix { path, .. }) => Ok(Self::Unix(path.clone())),
            Some(Address::Tcp(address)) => {
                let address = SocketAddr::new(reachable(address.ip()), address.port()).to_string();
                Ok(Self::Tcp { address, path: LIVENESS.to_owned() })
            }
            None => bail!("the settings have no ops listener"),
        }
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// When none comes in time, or another answer than 200.
    pub(super) fn ask(self, timeout: Duration) -> anyhow::Result<()> {
        match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(&path);
                let stream = stream.with_context(|| format!("cannot connect to {}", path.display()))?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                is_alive(stream, LIVENESS)
            }
            Self::Tcp { address, path } => {
                let resolved = address.to_socket_addrs()?.next();
                let resolved = resolved.with_context(|| format!("{address} has no address"))?;
                let stream = TcpStream::connect_timeout(&resolved, timeout);
                let stream = stream.with_context(|| format!("cannot connect to {address}"))?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                is_alive(stream, &path)
            }
        }
    }
}

/// A listener on every address is asked on this machine's own.
const fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    }
}

fn is_alive(mut stream: impl Read + Write, path: &str) -> anyhow::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut line = Vec::new();
    BufReader::new(stream.take(STATUS_LINE_BYTES)).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    match line.split(' ').nth(1) {
        Some("200") if line.starts_with("HTTP/1.") => Ok(()),
        _ => bail!("the answer was {:?}", line.trim_end()),
    }
}

const LIVENESS: &str = "/livez";
const STATUS_LINE_BYTES: u64 = 256;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use std::{net::TcpListener, os::unix::net::UnixListener, thread};

    use super::*;
    use crate::config::fixture::Settings;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn answering(answer: &'static [u8]) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || answer_once(listener.accept().unwrap().0, answer));
        Target::Tcp { address, path: LIVENESS.into() }
    }

    fn answer_once(mut stream: impl Read + Write, answer: &[u8]) {
        let mut head = BufReader::new(&mut stream);
        let mut line = String::new();
        while head.read_line(&mut line).unwrap() > 2 {}
        assert!(line.starts_with("GET /livez HTTP/1.1\r\n"));
        stream.write_all(answer).unwrap();
    }

    #[test]
    fn only_200_is_a_sign_of_life() {
        let check = |answer: &'static [u8], expected: bool| {
            assert_eq!(answering(answer).ask(PATIENCE).is_ok(), expected, "{answer:?}");
        };
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true);
        check(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", false);
        check(b"SSH-2.0 200 x\r\n", false);
        check(b"", false);
    }

    #[test]
    fn a_unix_socket_is_asked_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            answer_once(listener.accept().unwrap().0, b"HTTP/1.1 200 OK\r\n\r\n");
        });
        assert!(Target::Unix(path.clone()).ask(PATIENCE).is_ok());
        server.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(Target::Unix(path).ask(PATIENCE).is_err());
    }

    #[test]
    fn a_silent_listener_does_not_live() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let target = Target::Tcp { address, path: LIVENESS.into() };
        assert!(target.ask(Duration::from_millis(50)).is_err());
    }

    #[test]
    fn the_settings_say_where_the_ops_listener_is() {
        let check = |address: &str, expected: Target| {
            let config = Settings::valid().with(&format!("[listener.ops]\naddress = '{address}'")).config();
            assert_eq!(Target::of_settings(&config).unwrap(), expected);
        };
        let tcp = |address: &str| Target::Tcp { address: address.into(), path: LIVENESS.into() };
        check("0.0.0.0:4182", tcp("127.0.0.1:4182"));
        check("[::]:4182", tcp("[::1]:4182"));
        check("192.0.2.1:4182", tcp("192.0.2.1:4182"));
        check("unix:/run/ops.sock", Target::Unix("/run/ops.sock".into()));
    }

    #[test]
    fn urls_are_http() {
        let check = |url: &str, expected: Option<(&str, &str)>| {
            let target = Target::of_url(&Url::parse(url).unwrap()).ok();
            let expected = expected.map(|(address, path)| Target::Tcp { address: address.into(), path: path.into() });
            assert_eq!(target, expected, "{url}");
        };
        check("http://127.0.0.1:4182", Some(("127.0.0.1:4182", "/livez")));
        check("http://[::1]:4182/readyz", Some(("[::1]:4182", "/readyz")));
        check("https://127.0.0.1:4182", None);
    }
}
