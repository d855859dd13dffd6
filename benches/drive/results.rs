//! Pure. What a run says in single figures, each by its name in docs/performance.md.

use crate::{
    figures::{Sample, above, median, ratio},
    rounds::Measured,
    servers::Store,
};

/// A figure, or nothing where it could not be measured.
pub(crate) type Named = (&'static str, Option<f64>);

/// Every single figure.
pub(crate) fn all(measured: &Measured<'_>) -> Vec<Named> {
    let mut all = ratios(measured);
    let forged = forged_store_commands(measured).and_then(|commands| u32::try_from(commands).ok());
    all.push(("forged_store_commands", forged.map(f64::from)));
    all.push(("rss_mib", there(gateway_mib(measured))));
    all.push(("start_ms", there(measured.start_ms)));
    all.extend(beside_others(measured));
    all
}

/// What the gateway takes, in terms of a bare server.
pub(crate) fn ratios(measured: &Measured<'_>) -> Vec<Named> {
    let cpu = |ours, theirs, store| {
        let (ours, theirs) = (samples(measured, ours, store), samples(measured, theirs, store));
        there(ratio(ours, theirs, |sample| sample.cpu("gateway"), |sample| sample.cpu("bare")))
    };
    let speed = |store| {
        let speed = |sample: &Sample| sample.seen.requests_per_second;
        there(ratio(samples(measured, "b", store), samples(measured, "g", store), speed, speed))
    };
    vec![
        ("warm_direct_cpu", cpu("a", "e", Store::Memory)),
        ("cold_direct_cpu", cpu("a", "f", Store::Redis)),
        ("nginx_rps", speed(Store::Memory)),
        ("nginx_redis_rps", speed(Store::Redis)),
        ("anonymous_direct_cpu", cpu("c", "e", Store::Memory)),
        ("forged_direct_cpu", cpu("d", "e", Store::Memory)),
    ]
}

/// What stands beside what others take, in microseconds per request.
pub(crate) fn beside_others(measured: &Measured<'_>) -> Vec<Named> {
    let above_static = |with, store, without| {
        let (with, without) = (samples(measured, with, store), samples(measured, without, Store::Nowhere));
        there(above(with, without, Sample::cpu_of_servers))
    };
    let alone = |letter, store| there(median(samples(measured, letter, store).iter().map(Sample::cpu_of_servers)));
    vec![
        ("gate_memory_above_static_cpu_us", above_static("b", Store::Memory, "h")),
        ("gate_redis_above_static_cpu_us", above_static("b", Store::Redis, "h")),
        ("apache_shm_above_static_cpu_us", above_static("j", Store::SharedMemory, "i")),
        ("apache_redis_above_static_cpu_us", above_static("j", Store::Redis, "i")),
        ("gate_memory_direct_cpu_us", alone("a", Store::Memory)),
        ("gate_redis_direct_cpu_us", alone("a", Store::Redis)),
        ("oauth2_proxy_cookie_direct_cpu_us", alone("k", Store::Cookie)),
        ("oauth2_proxy_redis_direct_cpu_us", alone("k", Store::Redis)),
    ]
}

/// What Redis was asked, in all rounds, for cookies that nobody made.
pub(crate) fn forged_store_commands(measured: &Measured<'_>) -> Option<u64> {
    let forged = measured.rows.iter().filter(|(row, _)| row.letter == "d");
    forged.flat_map(|(_, samples)| samples).map(|sample| sample.store_commands).reduce(|sum, more| sum + more)
}

/// The larger of the two gateways.
pub(crate) fn gateway_mib(measured: &Measured<'_>) -> f64 {
    let gateways = measured.resident_mib.iter().filter(|(name, _)| name.starts_with("gateway"));
    gateways.map(|(_, mib)| *mib).fold(f64::NAN, f64::max)
}

fn samples<'a>(measured: &'a Measured<'_>, letter: &str, store: Store) -> &'a [Sample] {
    let found = measured.rows.iter().find(|(row, _)| row.letter == letter && row.store == store);
    found.map(|(_, samples)| samples.as_slice()).unwrap_or_default()
}

fn there(figure: f64) -> Option<f64> {
    figure.is_finite().then_some(figure)
}
