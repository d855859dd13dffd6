//! Starting the servers, all on loopback ports and sockets of their own, and waiting until they are ready.

use std::{
    fs::{self, File},
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use url::Url;

use crate::{
    Programs,
    process::Watched,
    redis,
    stage::{Stage, is_there},
    visitor::Reply,
};

/// Where a server looks a session up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// In itself; a bare server nowhere.
    Memory,
    /// In memory that its processes share.
    SharedMemory,
    /// In the cookie, which holds it all.
    Cookie,
    /// In Redis.
    Redis,
    /// There is no session.
    Nowhere,
}

impl Store {
    /// Its name; the gateway's two have theirs from the settings.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::SharedMemory => "shm",
            Self::Cookie => "cookie",
            Self::Redis => "redis",
            Self::Nowhere => "none",
        }
    }
}

/// The Redis that all share.
pub(crate) struct Redis {
    /// Where the gateway asks.
    pub(crate) socket: PathBuf,
    /// Where those ask that know no sockets.
    pub(crate) address: SocketAddr,
    /// The server.
    pub(crate) watched: Watched,
}

/// How many sessions a gateway remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// As many as it is shipped to.
    Shipped,
    /// As few as it can.
    Smallest,
}

impl Cache {
    /// What the settings say of it.
    const fn settings(self) -> &'static str {
        match self {
            Self::Shipped => "",
            Self::Smallest => SMALLEST_CACHE,
        }
    }
}

/// The site that a gateway serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// Where its nginx is, or would be.
    pub(crate) address: SocketAddr,
    /// The provider.
    pub(crate) issuer: &'a str,
}

/// How a gateway is started.
pub(crate) struct Settings<'a> {
    /// What it is called.
    pub(crate) name: &'a str,
    /// Where it looks a session up.
    pub(crate) store: Store,
    /// How many sessions it remembers.
    pub(crate) cache: Cache,
    /// The URL of Redis.
    pub(crate) redis: String,
    /// What it serves.
    pub(crate) site: Site<'a>,
    /// Where it answers without nginx.
    pub(crate) direct: SocketAddr,
    /// Where it answers who looks after it.
    pub(crate) ops: SocketAddr,
}

/// A server that answers verify.
#[derive(Clone)]
pub(crate) struct Server {
    /// What it is called.
    pub(crate) name: String,
    /// Where it looks a session up.
    pub(crate) store: Store,
    /// Where it answers without nginx.
    pub(crate) verify: Url,
    /// Where nginx finds it.
    pub(crate) socket: PathBuf,
    /// Its process.
    pub(crate) watched: Watched,
}

impl Server {
    /// Its process, by its name.
    pub(crate) fn named(self) -> (String, Watched) {
        (self.name, self.watched)
    }
}

/// A gateway that runs.
pub(crate) struct Gateway {
    /// The server.
    pub(crate) server: Server,
    /// Its settings.
    pub(crate) settings: PathBuf,
    /// Its metrics.
    pub(crate) metrics: Url,
}

/// An nginx in front of a server, of its own.
pub(crate) struct Front {
    /// A page behind the gate.
    pub(crate) page: Url,
    /// The same, open to everybody.
    pub(crate) open_page: Url,
    /// Its processes.
    pub(crate) watched: Watched,
}

/// Starts servers.
pub(crate) struct Starter<'a> {
    /// Where they run.
    pub(crate) stage: &'a Stage,
    /// The programs.
    pub(crate) programs: &'a Programs,
    /// The key of all gateways.
    pub(crate) key: String,
}

impl<'a> Starter<'a> {
    /// Makes a key for all gateways.
    pub(crate) fn new(stage: &'a Stage, programs: &'a Programs) -> anyhow::Result<Self> {
        let key = stage.run("keygen", Command::new(&programs.gateway).arg("keygen"))?.trim().to_owned();
        Ok(Self { stage, programs, key })
    }

    /// Starts a Redis.
    pub(crate) fn redis(&self, name: &str) -> anyhow::Result<Redis> {
        let (socket, address) = (self.stage.path(&format!("{name}.sock")), free_address()?);
        let mut command = Command::new("redis-server");
        command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(self.stage.path(""));
        let id = self.stage.start(name, &mut command)?;
        self.stage.wait_until("Redis", || redis::commands(&socket).ok())?;
        Ok(Redis { socket, address, watched: Watched::new("redis", id)? })
    }

    /// Starts a provider for a client with these callbacks, and gives its issuer.
    pub(crate) fn provider(&self, name: &str, callbacks: &[String], secret: Option<&str>) -> anyhow::Result<String> {
        let mut command = Command::new(&self.programs.dev_idp);
        command.args(["--listen", "127.0.0.1:0", "--client-id", CLIENT]);
        for callback in callbacks {
            command.args(["--redirect-uri", callback]);
        }
        if let Some(secret) = secret {
            command.args(["--client-secret", secret]);
        }
        self.stage.start(name, &mut command)?;
        self.stage.wait_until("the provider", || {
            let said = self.stage.output(name);
            said.lines().find_map(|line| line.strip_prefix("issuer ")).map(str::to_owned)
        })
    }

    /// Starts a gateway.
    pub(crate) fn gateway(
        &self,
        name: &str,
        (store, cache): (Store, Cache),
        site: Site<'_>,
        redis: &Redis,
    ) -> anyhow::Result<Gateway> {
        let redis = format!("unix:{}", redis.socket.display());
        let (direct, ops) = (free_address()?, free_address()?);
        let (socket, mut command) = self.command(&Settings { name, store, cache, redis, site, direct, ops })?;
        let id = self.stage.start_unheard(name, &mut command)?;
        let server = self.server(name, store, direct, socket, Watched::new("gateway", id)?)?;
        Ok(Gateway { server, settings: self.settings_of(name), metrics: format!("http://{ops}/metrics").parse()? })
    }

    /// Writes a gateway's settings, and gives its socket and what starts it.
    pub(crate) fn command(&self, gateway: &Settings<'_>) -> anyhow::Result<(PathBuf, Command)> {
        let socket = self.socket_of(gateway.name);
        let settings = self.settings_of(gateway.name);
        let text = include_str!("settings.toml")
            .replace("{socket}", &socket.display().to_string())
            .replace("{direct}", &gateway.direct.to_string())
            .replace("{ops}", &gateway.ops.to_string())
            .replace("{site}", &format!("http://{}", gateway.site.address))
            .replace("{issuer}", gateway.site.issuer)
            .replace("{client}", CLIENT)
            .replace("{store}", gateway.store.label())
            .replace("{redis}", &gateway.redis)
            .replace("{cache}", gateway.cache.settings());
        fs::write(&settings, text)?;
        let mut command = Command::new(&self.programs.gateway);
        command.arg("serve").arg("--config").arg(&settings).env(KEY_VARIABLE, &self.key);
        Ok((socket, command))
    }

    /// Starts a bare server that answers like this, after it has read one record after the other from Redis, if any:
    /// their keys stand in a file.
    pub(crate) fn bare(&self, answer: &Reply, records: Option<(&Path, &Path)>) -> anyhow::Result<Server> {
        let store = records.map_or(Store::Memory, |_| Store::Redis);
        let name = format!("bare-{}", store.label());
        let (direct, socket) = (free_address()?, self.socket_of(&name));
        let mut command = Command::new(&self.programs.bare);
        command.arg("--tcp").arg(direct.to_string()).arg("--unix").arg(&socket);
        for (name, value) in answer.headers.iter().filter(|(name, _)| !OF_HYPER.contains(&name.as_str())) {
            command.arg("--header").arg(format!("{name}: {value}"));
        }
        if let Some((redis, records)) = records {
            command.arg("--redis").arg(redis).arg("--records").arg(records);
        }
        let id = self.stage.start(&name, &mut command)?;
        self.server(&name, store, direct, socket, Watched::new("bare", id)?)
    }

    fn server(
        &self,
        name: &str,
        store: Store,
        direct: SocketAddr,
        socket: PathBuf,
        watched: Watched,
    ) -> anyhow::Result<Server> {
        self.stage.wait_until(name, || is_there(&socket))?;
        let verify = format!("http://{direct}/auth/verify?policy=staff").parse()?;
        Ok(Server { name: name.to_owned(), store, verify, socket, watched })
    }

    fn socket_of(&self, name: &str) -> PathBuf {
        self.stage.path(&format!("{name}.sock"))
    }

    fn settings_of(&self, name: &str) -> PathBuf {
        self.stage.path(&format!("{name}.toml"))
    }

    /// Starts an nginx in front of a server.
    pub(crate) fn front(&self, server: &Server, site: SocketAddr) -> anyhow::Result<Front> {
        let watched = self.nginx(&server.name, &server.socket, site)?;
        let page = format!("http://{site}/{PAGE}").parse()?;
        let open_page = format!("http://{site}/open/{PAGE}").parse()?;
        Ok(Front { page, open_page, watched })
    }

    /// Starts the shipped files with one small site, which differs from server to server in its addresses alone.
    fn nginx(&self, behind: &str, gateway: &Path, site: SocketAddr) -> anyhow::Result<Watched> {
        let name = format!("nginx-{behind}");
        let folder = self.stage.path(&name);
        let mut render = Command::new(&self.programs.nginx_render);
        render.arg("--into").arg(&folder).arg("--gateway").arg(format!("unix:{}", gateway.display()));
        // The shipped site speaks TLS, whose cost is not asked here; a plain one takes its place.
        render.args(["--https", "127.0.0.1:0", "--http", "127.0.0.1:0", "--certificate", "none", "--key", "none"]);
        self.stage.run("nginx-render", &mut render)?;
        let www = folder.join("www");
        let text = include_str!("site.conf")
            .replace("{address}", &site.to_string())
            .replace("{www}", &www.display().to_string());
        fs::write(folder.join("sites/site.conf"), text)?;
        fs::create_dir_all(www.join("open"))?;
        fs::write(www.join(PAGE), "ok\n")?;
        fs::write(www.join("open").join(PAGE), "ok\n")?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf"));
        let id = self.stage.start(&name, &mut command)?;
        self.stage.wait_until(&name, || TcpStream::connect(site).ok())?;
        // Its worker is the one that works.
        self.stage.wait_until(&name, || Watched::new("nginx", id).ok().filter(|nginx| nginx.processes() > 1))
    }
}

/// An address whose port was free a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A secret for this run alone: 32 characters that every settings file takes as they are.
pub(crate) fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// What names the key to a gateway.
pub(crate) const KEY_VARIABLE: &str = "SESSION_ENCRYPTION_KEY";
/// What makes a gateway read the store for every session that is not the one before, and still keep what it reads, as it
/// does where more sessions are active than it keeps.
const SMALLEST_CACHE: &str = "[session]\ncache_entries = 1";
/// The page behind nginx.
pub(crate) const PAGE: &str = "small.txt";
/// What everybody is called at the provider.
pub(crate) const CLIENT: &str = "portcullis-bench";
/// Headers that hyper itself writes.
const OF_HYPER: [&str; 3] = ["content-length", "date", "connection"];
