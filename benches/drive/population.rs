//! Redis with so many sessions in it, and a gateway whose cache keeps next to none of them: every request that shows
//! another cookie reads the store, as if it were the first of its session.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context, ensure};
use url::Url;

use crate::{
    figures::median,
    redis,
    servers::{Cache, Gateway, Redis, Site, Starter, Store},
    sessions::{Maker, Model},
    visitor,
};

/// So many sessions.
pub(crate) struct Population {
    /// Where they are.
    pub(crate) redis: Redis,
    /// Who knows them.
    pub(crate) gateway: Gateway,
    /// A file with cookies, each of a session taken at random.
    pub(crate) cookies: PathBuf,
    /// What it takes.
    pub(crate) size: Size,
}

/// What so many sessions take, whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    /// How many there are.
    pub(crate) sessions: u32,
    /// The memory of Redis for each.
    pub(crate) bytes_each: f64,
    /// How long it took to make them.
    pub(crate) made_in_seconds: f64,
    /// How many the gateway says there are.
    pub(crate) active: f64,
    /// How long it takes to say so, in milliseconds.
    pub(crate) gauge_ms: f64,
}

impl Population {
    /// Makes so many sessions like one that a sign-in made.
    pub(crate) fn new(
        starter: &Starter<'_>,
        sessions: u32,
        site: Site<'_>,
        model: &Model,
        say: &dyn Fn(&str),
    ) -> anyhow::Result<Self> {
        say(&format!("making {sessions} sessions"));
        let redis = starter.redis(&format!("redis-{sessions}"))?;
        let name = format!("gateway-{sessions}");
        let gateway = starter.gateway(&name, (Store::Redis, Cache::Smallest), site, &redis)?;
        let (empty, began) = (redis::used_memory(&redis.socket)?, Instant::now());
        let all = Maker::new(&gateway.settings, &starter.key)?.make(sessions, model, say)?;
        let made_in_seconds = began.elapsed().as_secs_f64();
        let bytes_each = (redis::used_memory(&redis.socket)? - empty) / f64::from(sessions);
        let cookies = starter.stage.path(&format!("{name}.cookies"));
        fs::write(&cookies, drawn(&all, DRAWN).collect::<Vec<_>>().join("\n"))?;
        let (active, gauge_ms) = gauge(&gateway.metrics)?;
        ensure!((active - f64::from(sessions)).abs() < 0.5, "of {sessions} sessions the gateway counts {active}");
        Ok(Self { redis, gateway, cookies, size: Size { sessions, bytes_each, made_in_seconds, active, gauge_ms } })
    }

    /// The first cookie of the file.
    pub(crate) fn first_cookie(&self) -> anyhow::Result<String> {
        let text = fs::read_to_string(&self.cookies)?;
        Ok(text.lines().next().context("no sessions")?.to_owned())
    }

    /// A file with the keys of the sessions' records, a line each.
    pub(crate) fn records(&self, starter: &Starter<'_>) -> anyhow::Result<PathBuf> {
        let file = starter.stage.path("records");
        let all = redis::records(&self.redis.socket)?;
        fs::write(&file, drawn(&all, DRAWN).collect::<Vec<_>>().join("\n"))?;
        Ok(file)
    }
}

/// The one that stands for a gateway's usual life: of ten thousand sessions or more, if there is one.
pub(crate) fn usual(sizes: &[u32]) -> Option<u32> {
    sizes.iter().find(|sessions| **sessions >= USUAL).or(sizes.last()).copied()
}

/// What the gateway says of the number of sessions, and how long it takes.
fn gauge(metrics: &Url) -> anyhow::Result<(f64, f64)> {
    let mut told = f64::NAN;
    let mut took = Vec::new();
    for _ in 0..GAUGED {
        let began = Instant::now();
        let reply = visitor::get::<&str>(metrics, &[])?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        told = visitor::metric(&reply.body, GAUGE).context("the gateway does not say how many sessions are active")?;
    }
    Ok((told, median(took.into_iter())))
}

/// Some of them, at random but in every run the same, and none rather often: as many lines whatever the number of
/// sessions, so that who asks has the same work.
fn drawn(all: &[String], count: u64) -> impl Iterator<Item = &str> {
    (0..count).filter_map(|number| {
        let at = (u128::from(scattered(number)) * all.len() as u128) >> u64::BITS;
        all.get(usize::try_from(at).ok()?).map(String::as_str)
    })
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
const fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// More than wrk asks within a measurement of three seconds.
const DRAWN: u64 = 200_000;
const USUAL: u32 = 10_000;
const GAUGE: &str = "oauth2_active_sessions_count{method=\"oidc\"} ";
const GAUGED: usize = 5;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn whoever_is_drawn_is_one_of_them_and_all_get_their_turn() {
        let all: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let found: Vec<_> = drawn(&all, 2_000).collect();
        assert_eq!(found.len(), 2_000);
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(drawn(&[], 5).count(), 0);
    }

    #[test]
    fn ten_thousand_sessions_are_usual() {
        for (sizes, expected) in [
            (vec![1_000, 100_000, 1_000_000], Some(100_000)),
            (vec![500, 2_000], Some(2_000)),
            (vec![10_000], Some(10_000)),
            (vec![], None),
        ] {
            assert_eq!(usual(&sizes), expected, "{sizes:?}");
        }
    }
}
