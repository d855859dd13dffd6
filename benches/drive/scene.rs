//! What is measured, started and ready: the gateway with each store and somebody signed in, and bare servers beside it.

use std::path::PathBuf;

use anyhow::ensure;

use crate::{
    Programs,
    load::{Answers, Load},
    others,
    process::Watched,
    redis,
    row::{Header, Row, header},
    servers::{PAGE, Server, Starter, Store, free_address},
    stage::Stage,
    start,
    visitor::{self, Reply, USER_AGENT},
};

/// What is measured.
pub(crate) struct Scene {
    /// The measurements of a round; what is compared stands side by side.
    pub(crate) rows: Vec<Row>,
    /// The servers, by name.
    pub(crate) servers: Vec<(String, Watched)>,
    /// Where Redis is.
    pub(crate) redis: PathBuf,
    /// From the gateway's start until it is ready, in milliseconds.
    pub(crate) start_ms: f64,
}

impl Scene {
    /// Starts everything, signs in, and makes sure that bare servers answer as the gateway does, to the byte.
    pub(crate) fn set(stage: &Stage, programs: &Programs, say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let starter = Starter { stage, programs };
        say("starting the gateway, again and again");
        let start_ms = start::milliseconds(&starter)?;
        say("starting everything");
        let redis = starter.redis()?;
        let sites = [free_address()?, free_address()?];
        let issuer = starter.provider("dev-idp", &sites.map(|site| format!("http://{site}/auth/callback")), None)?;
        let mut pairs = Vec::new();
        for (store, site) in [Store::Memory, Store::Redis].into_iter().zip(sites) {
            let gateway = Visited::new(stage, starter.gateway(store, &issuer, site, &redis)?)?;
            let record = (store == Store::Redis).then(|| redis::record(&redis.socket)).transpose()?;
            let record = record.as_deref().map(|record| (redis.socket.as_path(), record));
            let bare = starter.bare(&gateway.reply, record)?;
            gateway.ensure_equal(&bare)?;
            pairs.push((gateway, bare));
        }
        let others = others::set(&starter, &redis, say);
        let mut rows: Vec<_> = pairs.iter().flat_map(|(gateway, bare)| rows(gateway, bare, &redis.watched)).collect();
        rows.extend(others.rows);
        let servers = pairs.into_iter().flat_map(|(gateway, bare)| [gateway.server, bare]);
        let mut servers: Vec<_> = servers.map(|server| (server.name, server.watched)).collect();
        servers.push(("redis".to_owned(), redis.watched));
        servers.extend(others.servers);
        Ok(Self { rows, servers, redis: redis.socket, start_ms })
    }
}

fn rows(gateway: &Visited, bare: &Server, redis: &Watched) -> Vec<Row> {
    let store = gateway.server.store;
    let direct = |letter, what, server: &Server, headers: &[Header], answers| {
        let load = Load { url: server.verify.to_string(), headers: headers.to_vec(), answers };
        Row { letter, what, store, load, watched: vec![server.watched.clone()] }
    };
    let nginx = |letter, what, server: &Server| {
        let load = Load { url: server.page.to_string(), headers: gateway.browsing(), answers: Answers::Allowed };
        Row { letter, what, store, load, watched: vec![server.watched.clone(), server.nginx.clone()] }
    };
    let (alone, ours) = (if store == Store::Memory { "e" } else { "f" }, &gateway.server);
    let mut rows = vec![
        direct("a", "verify, signed in", ours, &facts(Some(&gateway.cookie)), Answers::Allowed),
        direct(alone, "bare", bare, &facts(Some(&gateway.cookie)), Answers::Allowed),
        nginx("b", "verify, signed in, through nginx", ours),
        nginx("g", "bare, through nginx", bare),
        direct("c", "verify, no cookie", ours, &facts(None), Answers::Refused),
        direct("d", "verify, forged cookie", ours, &facts(Some(&forged(&gateway.cookie))), Answers::Refused),
    ];
    if store == Store::Redis {
        for row in &mut rows {
            row.watched.push(redis.clone());
        }
    } else {
        // Beside what it is compared with.
        rows.insert(2, open(ours));
    }
    rows
}

/// The file that nginx serves without asking anybody.
fn open(server: &Server) -> Row {
    let headers = vec![header("User-Agent", USER_AGENT)];
    let load = Load { url: server.open_page.to_string(), headers, answers: Answers::Allowed };
    Row { letter: "h", what: "file, nginx, no gate", store: Store::Nowhere, load, watched: vec![server.nginx.clone()] }
}

/// A gateway at which somebody is signed in.
struct Visited {
    server: Server,
    cookie: String,
    reply: Reply,
}

impl Visited {
    fn new(stage: &Stage, server: Server) -> anyhow::Result<Self> {
        let cookie = visitor::signed_in(stage, &server.page)?;
        let reply = visitor::get(&server.verify, &facts(Some(&cookie)))?;
        ensure!(reply.status == 200, "verify answers who is signed in with:\n{}", reply.undated);
        let refusal = visitor::get(&server.verify, &facts(Some(&forged(&cookie))))?;
        let reason = refusal.header("x-portcullis-reason");
        ensure!(reason == Some("session_malformed"), "verify answers a forged cookie with:\n{}", refusal.undated);
        Ok(Self { server, cookie, reply })
    }

    /// What the browser sends to nginx.
    fn browsing(&self) -> Vec<Header> {
        vec![header("User-Agent", USER_AGENT), header("Cookie", &self.cookie)]
    }

    fn ensure_equal(&self, bare: &Server) -> anyhow::Result<()> {
        let (ours, theirs) = (&self.reply.undated, visitor::get(&bare.verify, &facts(None))?.undated);
        ensure!(*ours == theirs, "the gateway answers\n{ours}\nand {}\n{theirs}", bare.name);
        Ok(())
    }
}

/// What nginx would say about a visitor's request, and what it would pass on of it.
fn facts(cookie: Option<&str>) -> Vec<Header> {
    let mut headers = vec![
        header("X-Portcullis-Exposure", "internal"),
        header("X-Portcullis-Method", "GET"),
        header("X-Portcullis-Scheme", "http"),
        header("X-Portcullis-Host", "127.0.0.1"),
        header("X-Portcullis-Uri", &format!("/{PAGE}")),
        header("X-Portcullis-Client-Address", "127.0.0.1"),
        header("X-Portcullis-Request-Id", "00112233445566778899aabbccddeeff"),
        header("User-Agent", USER_AGENT),
    ];
    headers.extend(cookie.map(|cookie| header("Cookie", cookie)));
    headers
}

/// The same cookie with another character in the middle of its value: it still looks like one of ours.
fn forged(cookie: &str) -> String {
    let value = cookie.find('=').map_or(0, |at| at + 1);
    let (before, after) = cookie.split_at(value.midpoint(cookie.len()));
    let other = if after.starts_with('A') { 'B' } else { 'A' };
    format!("{before}{other}{}", after.get(1..).unwrap_or_default())
}
