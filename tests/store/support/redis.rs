//! A real `redis-server` in a temporary folder, ended with its test.

use std::{
    io::{Read, Write},
    net::TcpListener,
    num::NonZeroUsize,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use deadpool_redis::redis::{self, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisResult};
use portcullis::{
    clock::Clock,
    store::{
        self, Store,
        redis::{Address, Config},
    },
};
use tempfile::TempDir;

use super::PATIENCE;

/// A Redis on a Unix socket that writes each change to its disk at once.
pub(crate) struct Server {
    folder: TempDir,
    options: Vec<String>,
    process: Option<Child>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        let mut server = Self::prepared(options);
        server.up();
        server
    }

    /// One that does not run yet.
    pub(crate) fn prepared(options: &[&str]) -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            options: options.iter().map(ToString::to_string).collect(),
            process: None,
        }
    }

    /// More options for the next start.
    pub(crate) fn add_options(&mut self, options: &[&str]) {
        let more = options.iter().map(ToString::to_string);
        self.options.extend(more);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Starts it and waits until it answers.
    pub(crate) fn up(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--daemonize", "no"])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder())
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "redis-server cannot be started ({error}); it comes with: \
                     apt-get install --no-install-recommends redis-server"
                )
            });
        self.process = Some(process);
        let started = Instant::now();
        while !self.answers() {
            assert!(started.elapsed() < PATIENCE, "redis-server never answered");
            std::thread::yield_now();
        }
    }

    /// Ends it and waits until it is gone.
    pub(crate) fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends it a signal: `STOP` and `CONT` make it hang and go on.
    pub(crate) fn signal(&self, signal: &str) {
        send(signal, self.process.as_ref().unwrap().id());
    }

    /// Settings to reach it by, with much patience.
    pub(crate) fn config(&self) -> Config {
        let address = Address::Unix(self.socket());
        Config { deadline: PATIENCE, connections: SEVERAL, ..Config::new(address) }
    }

    pub(crate) fn store(&self) -> Store {
        store(self.config())
    }

    /// Asks it something behind the store's back.
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).unwrap()
    }

    /// The same, where it may refuse.
    pub(crate) fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        ask(&self.socket(), words)
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(self.socket()) else {
            return false;
        };
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut answer = [0; 5];
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && (answer == *b"+PONG" || answer == *b"-NOAU" || answer == *b"-NOPE")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

/// Asks the server behind a socket.
pub(crate) fn ask<T: FromRedisValue>(socket: &Path, words: &[&str]) -> RedisResult<T> {
    let address = ConnectionAddr::Unix(socket.to_owned());
    let mut connection = Client::open(address.into_connection_info()?)?.get_connection()?;
    redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
}

pub(crate) fn store(config: Config) -> Store {
    Store::open(store::Config::Redis(config), &Clock::system(), Box::new(|_, _, _| ())).unwrap()
}

/// All that the ACL user of the guide may do.
pub(crate) const PERMISSIONS: &[&str] = &[
    "+evalsha",
    "+eval",
    "+hmget",
    "+hget",
    "+hset",
    "+exists",
    "+get",
    "+set",
    "+del",
    "+pttl",
    "+pexpire",
    "+pexpireat",
    "+zadd",
    "+zrem",
    "+zrange",
    "+zremrangebyscore",
    "+zrevrangebyscore",
    "+zcard",
    "+zcount",
    "+zscore",
    "+publish",
    "+subscribe",
    "+time",
    "+ping",
    "+select",
];

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// More than the one that is the default: what goes wrong with one connection goes wrong with two as well.
const SEVERAL: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Sends a signal to a process; with `STOP`, all its threads hang by the time this returns.
pub(crate) fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").args(["-s", signal, &process.to_string()]).status().unwrap();
    assert!(sent.success());
    let deadline = Instant::now() + Duration::from_secs(10);
    while signal == "STOP" && !hangs(process) {
        assert!(Instant::now() < deadline, "process {process} does not stop");
        std::thread::yield_now();
    }
}

fn hangs(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut states = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap());
    states.all(|state| state.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with(['T', 't'])))
}
