//! What a gateway holds in memory for the sessions that it remembers.

use std::thread;

use anyhow::{Context, ensure};
use url::Url;

use crate::{
    connection::{self, Connection},
    load::CONNECTIONS,
    redis, scene,
    servers::{Cache, Gateway, Redis, Site, Starter, Store},
    stage::Stage,
    visitor,
};

/// The memory of a gateway with [`SESSIONS`] sessions.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// As it had just begun, in MiB.
    pub(crate) begun_mib: f64,
    /// With all connections open and one session asked for on each, in MiB.
    pub(crate) before_mib: f64,
    /// With all sessions asked for, in MiB.
    pub(crate) after_mib: f64,
    /// How many of them had to be read from the store when they were asked for once more.
    pub(crate) read_again: u64,
    /// What the gateway itself thinks that each takes, in bytes.
    pub(crate) counted_bytes: f64,
}

impl Memory {
    /// What each session takes, in bytes.
    pub(crate) fn bytes_each(&self) -> f64 {
        (self.after_mib - self.before_mib) * 1024.0 * 1024.0 / SESSIONS_F
    }
}

/// Starts a gateway and has every session asked for twice, within a few seconds.
pub(crate) fn measure(
    starter: &Starter<'_>,
    site: Site<'_>,
    redis: &Redis,
    cookies: &[String],
) -> anyhow::Result<Memory> {
    ensure!(cookies.len() == SESSIONS as usize, "{} sessions are not {SESSIONS}", cookies.len());
    let mark = starter.stage.mark();
    let Gateway { server: gateway, metrics, .. } =
        starter.gateway("gateway-fresh", (Store::Redis, Cache::Shipped), site, redis)?;
    let begun_mib = gateway.watched.resident_mib()?;
    let share = cookies.len().div_ceil(CONNECTIONS as usize);
    let mut parts: Vec<_> = cookies.chunks(share).map(|part| Part { part, connection: None }).collect();
    let url = &gateway.verify;
    wait_until_remembered(starter.stage, redis, url, &cookies[0])?;
    for _ in 0..WARM_UP {
        each(&mut parts, |part| part.ask(url, 1))?;
    }
    let before_mib = gateway.watched.resident_mib()?;
    each(&mut parts, |part| part.ask(url, part.part.len()))?;
    let read = reads(redis)?;
    each(&mut parts, |part| part.ask(url, part.part.len()))?;
    let read_again = reads(redis)? - read;
    let after_mib = gateway.watched.resident_mib()?;
    let told = visitor::get::<&str>(&metrics, &[])?.body;
    let counted = |name| visitor::metric(&told, name).with_context(|| format!("the gateway does not tell {name}"));
    let counted_bytes = counted("portcullis_session_cache_bytes ")? / counted("portcullis_session_cache_entries ")?;
    starter.stage.end_since(mark);
    Ok(Memory { begun_mib, before_mib, after_mib, read_again, counted_bytes })
}

/// Waits until a gateway that has just begun goes by what it has read: until then it does not know whether it hears the
/// others.
pub(crate) fn wait_until_remembered(stage: &Stage, redis: &Redis, url: &Url, cookie: &str) -> anyhow::Result<()> {
    let request = connection::request("GET", url, &scene::facts(Some(cookie)));
    let mut connection = Connection::open(url)?;
    let mut asked = || -> anyhow::Result<u64> {
        ensure!(connection.ask(&request)? == 200, "a session that lives is refused");
        reads(redis)
    };
    stage.wait_until("the gateway to remember sessions", || {
        let read = asked().ok()?;
        (asked().ok()? == read).then_some(())
    })
}

fn reads(redis: &Redis) -> anyhow::Result<u64> {
    Ok(redis::commands(&redis.socket)?.get("hmget").copied().unwrap_or_default())
}

/// The sessions that one connection asks for.
struct Part<'a> {
    part: &'a [String],
    connection: Option<Connection>,
}

impl Part<'_> {
    fn ask(&mut self, url: &Url, count: usize) -> anyhow::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(url)?),
        };
        for cookie in &self.part[..count] {
            let status = connection.ask(&connection::request("GET", url, &scene::facts(Some(cookie))))?;
            ensure!(status == 200, "a session is answered with {status}");
        }
        Ok(())
    }
}

fn each<'a>(
    parts: &mut [Part<'a>],
    act: impl Fn(&mut Part<'a>) -> anyhow::Result<()> + Copy + Send,
) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let acting: Vec<_> = parts.iter_mut().map(|part| scope.spawn(move || act(part))).collect();
        acting.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread is lost"))?)
    })
}

/// How many sessions are remembered.
pub(crate) const SESSIONS: u32 = 10_000;
const SESSIONS_F: f64 = 10_000.0;
/// How often each connection asks for its first session before it is counted: what a connection takes, and what the
/// allocator takes ahead, are no session's.
const WARM_UP: usize = 50;
