//! Sessions in numbers, made by the gateway's own library with the gateway's own settings: each a real one, sealed.
//!
//! They are what somebody's sign-in made, but for who it is at the provider, who differs from one to the next.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use portcullis::{
    clock::Clock,
    config::load,
    origin::Site,
    session::{Facts, Tokens, cookie, index::Entry, keeper::Keeper},
    store::{self, Store},
    telemetry::Telemetry,
};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{servers::KEY_VARIABLE, visitor::USER_AGENT};

/// What makes sessions for one gateway with Redis.
pub(crate) struct Maker {
    runtime: Runtime,
    keeper: Arc<Keeper>,
    site: Site,
}

/// What a sign-in made.
#[derive(Clone)]
pub(crate) struct Model {
    facts: Facts,
    tokens: Tokens,
}

impl Maker {
    /// By a gateway's settings and its key.
    pub(crate) fn new(settings: &Path, key: &str) -> anyhow::Result<Self> {
        let environment = [(KEY_VARIABLE.to_owned(), key.to_owned())].into_iter().collect();
        let config = load::load(settings, &environment).map_err(|problems| anyhow!("{problems}"))?.gateway;
        let mut store = config.store;
        if let store::Config::Redis(redis) = &mut store {
            redis.deadline = PATIENCE;
        }
        let runtime = Runtime::new()?;
        let entered = runtime.enter();
        let store = Store::open(store, &Clock::system(), Box::new(|_, _, _| {}))?;
        let keeper = Arc::new(Keeper::new(config.session, Arc::new(store), Clock::system(), Telemetry::new(false)));
        drop(entered);
        let site = config.sites.iter().next().context("the settings name no site")?.clone();
        Ok(Self { runtime, keeper, site })
    }

    /// Reads the session that a sign-in made.
    pub(crate) fn model(&self, cookie: &str) -> anyhow::Result<Model> {
        let (_, value) = cookie.split_once('=').context("a cookie has a value")?;
        let ring = self.keeper.ring();
        let shown = cookie::read(ring, self.site.name(), value).map_err(|reason| anyhow!("{reason:?}"))?;
        let handle = shown.handle(ring).context("no key opens the session")?;
        let whole = self.runtime.block_on(self.keeper.read_whole(&handle));
        let (_, facts, tokens) = whole.map_err(|reason| anyhow!("the session cannot be read: {reason:?}"))?;
        Ok(Model { facts, tokens })
    }

    /// Makes so many more sessions, and gives their cookies.
    pub(crate) fn make(&self, count: u32, model: &Model, say: &dyn Fn(&str)) -> anyhow::Result<Vec<String>> {
        let next = Arc::new(AtomicU32::new(0));
        self.runtime.block_on(async {
            let mut makers = JoinSet::new();
            for _ in 0..AT_ONCE.min(count) {
                let one = One { keeper: Arc::clone(&self.keeper), site: self.site.clone(), model: model.clone() };
                makers.spawn(one.make_until(count, Arc::clone(&next)));
            }
            let telling = async {
                loop {
                    tokio::time::sleep(TOLD_EVERY).await;
                    say(&format!("{} of {count} sessions", next.load(Ordering::Relaxed).min(count)));
                }
            };
            let making = async {
                let mut cookies = Vec::new();
                while let Some(made) = makers.join_next().await {
                    cookies.append(&mut made??);
                }
                Ok(cookies)
            };
            tokio::select! {
                made = making => made,
                () = telling => Err(anyhow!("nobody makes sessions")),
            }
        })
    }
}

/// One of those that make sessions side by side.
struct One {
    keeper: Arc<Keeper>,
    site: Site,
    model: Model,
}

impl One {
    async fn make_until(self, count: u32, next: Arc<AtomicU32>) -> anyhow::Result<Vec<String>> {
        let mut cookies = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(cookies);
            }
            cookies.push(self.make(number).await?);
        }
    }

    async fn make(&self, number: u32) -> anyhow::Result<String> {
        let mut facts = self.model.facts.clone();
        facts.subject = format!("{}-{number}", facts.subject).into();
        facts.sid = facts.sid.map(|sid| format!("{sid}-{number}").into());
        let now = self.keeper.clock().now();
        (facts.signed_in_at, facts.expires_at) = (now, now.plus(self.keeper.lifetimes().absolute));
        // Nobody is to write it back while verify is measured, nor to refresh tokens.
        facts.last_seen = now.plus(self.keeper.lifetimes().idle);
        facts.tokens.access_expires_at = Some(facts.expires_at);
        let entry = Entry::of(&facts, [127, 0, 0, 1].into(), USER_AGENT.as_bytes());
        let made = self.keeper.create(&self.site, &facts, &self.model.tokens, &entry).await;
        let cookie = made.map_err(|reason| anyhow!("a session cannot be made: {reason:?}"))?;
        Ok(format!("{}={}", cookie.name(), cookie.value()))
    }
}

/// Enough to keep Redis busy all the time.
const AT_ONCE: u32 = 128;
/// Redis works through what all of them ask, so one may wait.
const PATIENCE: Duration = Duration::from_secs(20);
const TOLD_EVERY: Duration = Duration::from_secs(5);
