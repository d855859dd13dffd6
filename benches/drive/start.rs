//! How long the gateway takes from its start to its first 200 on `/readyz`, while Redis and the provider are dead.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::ensure;
use url::Url;

use crate::{
    figures::median,
    servers::{Cache, Settings, Site, Starter, Store, free_address},
    visitor,
};

/// The median of some starts, in milliseconds.
pub(crate) fn milliseconds(starter: &Starter<'_>) -> anyhow::Result<f64> {
    let starts = (0..STARTS).map(|_| once(starter)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(median(starts.iter().map(|took| took.as_secs_f64() * 1e3)))
}

fn once(starter: &Starter<'_>) -> anyhow::Result<Duration> {
    let (ops, dead) = (free_address()?, [free_address()?, free_address()?]);
    let gateway = Settings {
        name: "gateway-start",
        store: Store::Redis,
        cache: Cache::Shipped,
        redis: format!("redis://{}", dead[0]),
        site: Site { address: free_address()?, issuer: &format!("http://{}", dead[1]) },
        direct: free_address()?,
        ops,
    };
    let (_, mut command) = starter.command(&gateway)?;
    let ready = Url::parse(&format!("http://{ops}/readyz"))?;
    let (stage, mark) = (starter.stage, starter.stage.mark());
    let start = Instant::now();
    stage.start_unheard(gateway.name, &mut command)?;
    while !visitor::get::<&str>(&ready, &[]).is_ok_and(|reply| reply.status == 200) {
        stage.all_run()?;
        ensure!(start.elapsed() < PATIENCE, "the gateway is not ready after {} seconds", PATIENCE.as_secs());
        sleep(GLANCE);
    }
    let took = start.elapsed();
    stage.end_since(mark);
    Ok(took)
}

const STARTS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(10);
/// Far below what is measured, and still a rest for the processor that the gateway starts on.
const GLANCE: Duration = Duration::from_micros(500);
