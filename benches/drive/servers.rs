//! Starting the servers, all on loopback ports and sockets of their own, and waiting until they are ready.

use std::{
    fs,
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
    /// In Redis.
    Redis,
}

impl Store {
    /// Its name in the settings.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
        }
    }
}

/// A server that answers verify, and an nginx of its own in front of it.
pub(crate) struct Server {
    /// What it is called.
    pub(crate) name: String,
    /// Where it looks a session up.
    pub(crate) store: Store,
    /// Where it answers verify without nginx.
    pub(crate) verify: Url,
    /// A page behind its nginx.
    pub(crate) page: Url,
    /// The server.
    pub(crate) watched: Watched,
    /// Its nginx.
    pub(crate) nginx: Watched,
}

/// Starts servers.
pub(crate) struct Starter<'a> {
    /// Where they run.
    pub(crate) stage: &'a Stage,
    /// The programs.
    pub(crate) programs: &'a Programs,
}

impl Starter<'_> {
    /// Starts Redis, and gives its socket.
    pub(crate) fn redis(&self) -> anyhow::Result<(PathBuf, Watched)> {
        let socket = self.stage.path("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(self.stage.path(""));
        let id = self.stage.start("redis", &mut command)?;
        self.stage.wait_until("Redis", || redis::commands(&socket).ok())?;
        Ok((socket, Watched::new("redis", id)?))
    }

    /// Starts the provider for gateways behind these addresses, and gives its issuer.
    pub(crate) fn provider(&self, sites: &[SocketAddr]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.programs.dev_idp);
        command.args(["--listen", "127.0.0.1:0", "--client-id", CLIENT]);
        for site in sites {
            command.arg("--redirect-uri").arg(format!("http://{site}/auth/callback"));
        }
        self.stage.start("dev-idp", &mut command)?;
        self.stage.wait_until("the provider", || {
            let said = self.stage.output("dev-idp");
            said.lines().find_map(|line| line.strip_prefix("issuer ")).map(str::to_owned)
        })
    }

    /// Starts a gateway, with an nginx at `site`.
    pub(crate) fn gateway(&self, store: Store, issuer: &str, site: SocketAddr) -> anyhow::Result<Server> {
        let name = format!("gateway-{}", store.label());
        let (direct, socket) = (free_address()?, self.stage.path(&format!("{name}.sock")));
        let settings = self.stage.path(&format!("{name}.toml"));
        let text = include_str!("settings.toml")
            .replace("{socket}", &socket.display().to_string())
            .replace("{direct}", &direct.to_string())
            .replace("{ops}", &free_address()?.to_string())
            .replace("{site}", &format!("http://{site}"))
            .replace("{issuer}", issuer)
            .replace("{client}", CLIENT)
            .replace("{store}", store.label())
            .replace("{redis}", &self.stage.path("redis.sock").display().to_string());
        fs::write(&settings, text)?;
        let key = self.stage.run("keygen", Command::new(&self.programs.gateway).arg("keygen"))?;
        let mut command = Command::new(&self.programs.gateway);
        command.arg("serve").arg("--config").arg(&settings).env("SESSION_ENCRYPTION_KEY", key.trim());
        let id = self.stage.start_unheard(&name, &mut command)?;
        self.behind_nginx(name, store, (direct, &socket, site), Watched::new("gateway", id)?)
    }

    /// Starts a bare server that answers like this, after it has read that record from Redis, if any.
    pub(crate) fn bare(&self, answer: &Reply, record: Option<(&Path, &str)>) -> anyhow::Result<Server> {
        let store = record.map_or(Store::Memory, |_| Store::Redis);
        let name = format!("bare-{}", store.label());
        let (direct, socket) = (free_address()?, self.stage.path(&format!("{name}.sock")));
        let mut command = Command::new(&self.programs.bare);
        command.arg("--tcp").arg(direct.to_string()).arg("--unix").arg(&socket);
        for (name, value) in answer.headers.iter().filter(|(name, _)| !OF_HYPER.contains(&name.as_str())) {
            command.arg("--header").arg(format!("{name}: {value}"));
        }
        if let Some((redis, record)) = record {
            command.arg("--redis").arg(redis).arg("--record").arg(record);
        }
        let id = self.stage.start(&name, &mut command)?;
        self.behind_nginx(name, store, (direct, &socket, free_address()?), Watched::new("bare", id)?)
    }

    fn behind_nginx(
        &self,
        name: String,
        store: Store,
        (direct, socket, site): (SocketAddr, &Path, SocketAddr),
        watched: Watched,
    ) -> anyhow::Result<Server> {
        self.stage.wait_until(&name, || is_there(socket))?;
        let nginx = self.nginx(&name, socket, site)?;
        let verify = format!("http://{direct}/auth/verify?policy=staff").parse()?;
        Ok(Server { name, store, verify, page: format!("http://{site}/{PAGE}").parse()?, watched, nginx })
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
        fs::write(www.join(PAGE), "ok\n")?;
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

/// The page behind nginx.
pub(crate) const PAGE: &str = "small.txt";
const CLIENT: &str = "portcullis-bench";
/// Headers that hyper itself writes.
const OF_HYPER: [&str; 3] = ["content-length", "date", "connection"];
