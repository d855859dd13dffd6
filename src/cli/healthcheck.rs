//! `portcullis healthcheck`: asks an ops listener's `/livez`, over TCP or a Unix socket, without a runtime.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::Args;
use url::Url;

use super::{SettingsFile, ops::Target};

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

/// What is asked of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    target: Target,
    path: String,
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
    pub(super) fn question(&self) -> Result<anyhow::Result<Question>, ExitCode> {
        match (&self.url, &self.socket) {
            (Some(url), _) => Ok(Question::of_url(url)),
            (None, Some(socket)) => Ok(Ok(Question::of(Target::Unix(socket.clone())))),
            (None, None) => self.settings.load().map(|config| Target::of_settings(&config).map(Question::of)),
        }
    }
}

impl Question {
    fn of(target: Target) -> Self {
        Self { target, path: LIVENESS.to_owned() }
    }

    fn of_url(url: &Url) -> anyhow::Result<Self> {
        ensure!(url.scheme() == "http", "a health check speaks http only");
        let host = url.host_str().context("the URL has no host")?;
        let port = url.port_or_known_default().context("the URL has no port")?;
        let path = if url.path() == "/" { LIVENESS } else { url.path() };
        Ok(Self { target: Target::Tcp(format!("{host}:{port}")), path: path.to_owned() })
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// When none comes in time, or another answer than 200.
    pub(super) fn ask(self, timeout: Duration) -> anyhow::Result<()> {
        match self.target.status_of(&self.path, timeout)? {
            200 => Ok(()),
            status => bail!("the answer was {status}"),
        }
    }
}

const LIVENESS: &str = "/livez";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpListener,
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;
    use crate::config::fixture::Settings;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn answering(answer: &'static [u8]) -> Question {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || answer_once(listener.accept().unwrap().0, answer));
        Question::of(Target::Tcp(address))
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
        assert!(Question::of(Target::Unix(path.clone())).ask(PATIENCE).is_ok());
        server.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(Question::of(Target::Unix(path)).ask(PATIENCE).is_err());
    }

    #[test]
    fn a_silent_listener_does_not_live() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let target = Question::of(Target::Tcp(address));
        assert!(target.ask(Duration::from_millis(50)).is_err());
    }

    #[test]
    fn the_settings_say_where_the_ops_listener_is() {
        let check = |address: &str, expected: Target| {
            let config = Settings::valid().with(&format!("[listener.ops]\naddress = '{address}'")).config();
            assert_eq!(Target::of_settings(&config).unwrap(), expected);
        };
        let tcp = |address: &str| Target::Tcp(address.into());
        check("0.0.0.0:4182", tcp("127.0.0.1:4182"));
        check("[::]:4182", tcp("[::1]:4182"));
        check("192.0.2.1:4182", tcp("192.0.2.1:4182"));
        check("unix:/run/ops.sock", Target::Unix("/run/ops.sock".into()));
    }

    #[test]
    fn urls_are_http() {
        let check = |url: &str, expected: Option<(&str, &str)>| {
            let target = Question::of_url(&Url::parse(url).unwrap()).ok();
            let expected =
                expected.map(|(address, path)| Question { target: Target::Tcp(address.into()), path: path.into() });
            assert_eq!(target, expected, "{url}");
        };
        check("http://127.0.0.1:4182", Some(("127.0.0.1:4182", "/livez")));
        check("http://[::1]:4182/readyz", Some(("[::1]:4182", "/readyz")));
        check("https://127.0.0.1:4182", None);
    }
}
