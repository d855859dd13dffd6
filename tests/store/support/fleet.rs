//! Several real servers at once: a primary with a replica and a sentinel, and a cluster.

use std::{
    collections::HashMap,
    fs,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use deadpool_redis::redis::FromRedisValue;
use portcullis::{
    secret::Secret,
    store::redis::{Address, Config, Host, Sentinels, Tls},
};
use tempfile::TempDir;

use super::{
    PATIENCE,
    certificates::Certificates,
    redis::{PERMISSIONS, Server, ask, free_port},
};

/// A server on a TCP port of the loopback, beside its socket.
pub(crate) struct Member {
    pub(crate) server: Server,
    pub(crate) port: u16,
}

impl Member {
    fn started(tls: Option<&Certificates>, options: &[&str]) -> Self {
        let port = free_port();
        let mut server = Server::prepared(&["--bind", "127.0.0.1"]);
        let listens = match tls {
            Some(files) => files.options(port, "yes"),
            None => vec!["--port".to_owned(), port.to_string()],
        };
        server.add_options(&listens.iter().map(String::as_str).collect::<Vec<_>>());
        // Without a delay a replica has its data at once.
        server.add_options(&["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]);
        server.add_options(options);
        server.up();
        Self { server, port }
    }

    pub(crate) fn host(&self) -> Host {
        Host { name: "127.0.0.1".to_owned(), port: self.port }
    }

    /// Makes a user with the permissions of the guide, for the keys and channels of [`keeps_all`](super::keeps_all).
    pub(crate) fn add_user(&self, more: &[&str]) {
        let user = ["ACL", "SETUSER", "gateway", "on", ">marker-acl", "~case*", "resetchannels", "&case*", "-@all"];
        let _: () = self.server.ask(&[&user[..], PERMISSIONS, more].concat());
    }

    pub(crate) fn replicate(&self, of: &Self) {
        let _: () = self.server.ask(&["REPLICAOF", "127.0.0.1", &of.port.to_string()]);
        self.wait_for_link();
    }

    pub(crate) fn wait_for_link(&self) {
        until("the replica follows", || self.says("replication", "master_link_status:up"));
    }

    pub(crate) fn says(&self, section: &str, line: &str) -> bool {
        let info: String = self.server.ask(&["INFO", section]);
        info.lines().any(|said| said == line)
    }

    /// Waits until every replica has what was written.
    pub(crate) fn wait_for_replicas(&self) {
        until("the replicas have it", || {
            let info: String = self.server.ask(&["INFO", "replication"]);
            let value = |line: &str, key: &str| line.strip_prefix(key).map(str::to_owned);
            let offset = info.lines().find_map(|line| value(line, "master_repl_offset:")).unwrap();
            info.lines()
                .filter(|line| line.starts_with("slave"))
                .all(|line| line.contains(&format!("offset={offset},")))
        });
    }
}

/// Two servers, of which a sentinel names one.
pub(crate) struct Watched {
    pub(crate) members: [Member; 2],
    sentinel: Option<Child>,
    pub(crate) sentinel_port: u16,
    folder: TempDir,
    tls: Option<Tls>,
}

impl Watched {
    pub(crate) fn start() -> Self {
        Self::start_with(None, &[])
    }

    /// All of it over TLS if there are certificates, and with more options for both servers.
    pub(crate) fn start_with(tls: Option<&Certificates>, options: &[&str]) -> Self {
        let members = [Member::started(tls, options), Member::started(tls, options)];
        members[1].replicate(&members[0]);
        let mut watched = Self {
            members,
            sentinel: None,
            sentinel_port: free_port(),
            folder: TempDir::new().unwrap(),
            tls: tls.map(Certificates::client),
        };
        let port = watched.sentinel_port;
        let listens = match tls {
            Some(files) => files.options(port, "yes"),
            None => vec!["--port".to_owned(), port.to_string()],
        };
        let lines: Vec<_> = listens.chunks(2).map(|pair| format!("{} {}", &pair[0][2..], pair[1])).collect();
        let listens = lines.join("\n");
        let text = format!(
            "{listens}\nbind 127.0.0.1\nunixsocket {}\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 1500\n",
            watched.socket().display(),
            watched.folder.path().display(),
            watched.members[0].port,
        );
        fs::write(watched.settings(), text).unwrap();
        watched.sentinel_up();
        until("the sentinel knows the replica", || {
            let replicas: Vec<HashMap<String, String>> = watched.ask_sentinel(&["SENTINEL", "REPLICAS", "main"]);
            replicas.iter().any(|replica| replica["master-link-status"] == "ok")
        });
        watched
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("sentinel.conf")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("sentinel.sock")
    }

    pub(crate) fn sentinel_up(&mut self) {
        let process = Command::new("redis-server")
            .arg(self.settings())
            .args(["--sentinel", "--daemonize", "no"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.sentinel = Some(process);
        until("the sentinel answers", || UnixStream::connect(self.socket()).is_ok());
    }

    pub(crate) fn sentinel_down(&mut self) {
        if let Some(mut process) = self.sentinel.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn ask_sentinel<T: FromRedisValue>(&self, words: &[&str]) -> T {
        ask(&self.socket(), words).unwrap()
    }

    /// Who takes writes, as the sentinel says.
    pub(crate) fn named(&self) -> u16 {
        let (_, port): (String, String) = self.ask_sentinel(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
        port.parse().unwrap()
    }

    pub(crate) fn address(&self) -> Address {
        let hosts = vec![Host { name: "127.0.0.1".to_owned(), port: self.sentinel_port }];
        Address::Sentinel(Box::new(Sentinels {
            hosts,
            master: "main".to_owned(),
            username: None,
            password: None,
            tls: self.tls.clone(),
        }))
    }

    /// Settings with the usual deadline.
    pub(crate) fn config(&self) -> Config {
        Config::new(self.address())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.sentinel_down();
    }
}

/// Three nodes that share the slots, and as many replicas as were asked for.
pub(crate) struct Cluster {
    pub(crate) primaries: Vec<Member>,
    pub(crate) replicas: Vec<Member>,
    tls: Option<Tls>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::start_with(0, None)
    }

    /// The first of its nodes have a replica each.
    pub(crate) fn start_with(replicas: usize, tls: Option<&Certificates>) -> Self {
        let options =
            ["--cluster-enabled", "yes", "--cluster-node-timeout", "500", "--cluster-require-full-coverage", "no"];
        let mut members: Vec<Member> = (0..3 + replicas).map(|_| Member::started(tls, &options)).collect();
        for (number, member) in members.iter().enumerate() {
            let _: () = member.server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        for (member, (first, last)) in members.iter().zip(RANGES) {
            let _: () = member.server.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        for member in &members[1..] {
            let _: () = member.server.ask(&["CLUSTER", "MEET", "127.0.0.1", &members[0].port.to_string()]);
        }
        let whole = format!("cluster_known_nodes:{}", members.len());
        for member in &members {
            until("the nodes know each other", || cluster_says(member, &whole) && !nodes(member).contains("handshake"));
        }
        let replicas = members.split_off(3);
        let cluster = Self { primaries: members, replicas, tls: tls.map(Certificates::client) };
        for (replica, primary) in cluster.replicas.iter().zip(&cluster.primaries) {
            let id = id(primary);
            until("it becomes a replica", || replica.server.try_ask::<()>(&["CLUSTER", "REPLICATE", &id]).is_ok());
            replica.wait_for_link();
        }
        for member in cluster.primaries.iter().chain(&cluster.replicas) {
            until("the cluster works", || cluster_says(member, "cluster_state:ok"));
            until("all slots are known", || cluster_says(member, "cluster_slots_ok:16384"));
            until("all replicas are known", || nodes(member).matches("slave").count() == cluster.replicas.len());
        }
        cluster
    }

    pub(crate) fn address(&self) -> Address {
        Address::Cluster { nodes: self.primaries.iter().map(Member::host).collect(), tls: self.tls.clone() }
    }

    /// Settings with the usual deadline.
    pub(crate) fn config(&self) -> Config {
        Config::new(self.address())
    }

    /// The place of the node that had the slot at the start.
    pub(crate) fn owner(slot: u16) -> usize {
        RANGES.iter().position(|(first, last)| (first..=last).contains(&&slot)).unwrap()
    }

    /// The slot of a key.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        self.primaries[0].server.ask(&["CLUSTER", "KEYSLOT", key])
    }
}

pub(crate) fn id(member: &Member) -> String {
    member.server.ask(&["CLUSTER", "MYID"])
}

fn nodes(member: &Member) -> String {
    member.server.ask(&["CLUSTER", "NODES"])
}

pub(crate) fn cluster_says(member: &Member, line: &str) -> bool {
    let info: String = member.server.ask(&["CLUSTER", "INFO"]);
    info.lines().any(|said| said == line)
}

/// Settings for the user of [`Member::add_user`].
pub(crate) fn as_user(config: Config) -> Config {
    Config { username: Some("gateway".to_owned()), password: Some(Secret::new("marker-acl")), ..config }
}

/// Waits for something that other processes do.
pub(crate) fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let started = Instant::now();
    while !ask() {
        assert!(started.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const RANGES: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];
