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
    all.extend(singles(measured));
    all.extend(beside_others(measured));
    all
}

/// What the gateway takes, in terms of a bare server or of itself.
pub(crate) fn ratios(measured: &Measured<'_>) -> Vec<Named> {
    let of = |letter, store| samples(measured, letter, store);
    let cpu = |ours: &[Sample], theirs: &[Sample], part| {
        there(ratio(ours, theirs, |sample| sample.cpu("gateway"), |sample| sample.cpu(part)))
    };
    let speed = |ours, theirs| {
        let speed = |sample: &Sample| sample.seen.requests_per_second;
        there(ratio(ours, theirs, speed, speed))
    };
    let patience = |sample: &Sample| sample.seen.p99_us;
    let (warm, bare) = (of("a", Store::Memory), of("e", Store::Memory));
    let (nginx, through) = (of("b", Store::Memory), of("g", Store::Memory));
    let (paced, bare_paced) = (of("m", Store::Memory), of("n", Store::Memory));
    let (cold, reading) = cold(measured);
    let scale = million(measured).map(|(few, many)| cpu(many, few, "gateway"));
    vec![
        ("warm_direct_cpu", cpu(warm, bare, "bare")),
        ("warm_redis_direct_cpu", cpu(of("a", Store::Redis), bare, "bare")),
        ("warm_direct_rps", speed(warm, bare)),
        ("cold_direct_cpu", cpu(cold, reading, "bare")),
        ("nginx_rps", speed(nginx, through)),
        ("nginx_redis_rps", speed(of("b", Store::Redis), through)),
        ("nginx_p99", there(ratio(paced, bare_paced, patience, patience))),
        ("nginx_paced_cpu", cpu(paced, bare_paced, "bare")),
        ("unauthorized_cpu", cpu(of("c", Store::Memory), warm, "gateway")),
        ("anonymous_direct_cpu", cpu(of("c", Store::Memory), bare, "bare")),
        ("forged_direct_cpu", cpu(of("d", Store::Memory), bare, "bare")),
        ("scale_1m", scale.flatten()),
    ]
}

/// What has a meaning of its own.
pub(crate) fn singles(measured: &Measured<'_>) -> Vec<Named> {
    let before = measured.before;
    let reads = |samples: &[Sample]| there(median(samples.iter().map(Sample::store_commands_per_request)));
    let forged = forged_store_commands(measured).and_then(|commands| u32::try_from(commands).ok());
    vec![
        ("forged_store_commands", forged.map(f64::from)),
        ("warm_store_commands", reads(samples(measured, "a", Store::Redis))),
        ("cold_store_commands", reads(cold(measured).0)),
        ("rss_mib", there(gateway_mib(measured))),
        ("rss_10k_mib", there(before.memory.after_mib)),
        ("cached_session_bytes", there(before.memory.bytes_each())),
        ("start_ms", there(before.start_ms)),
        ("revocation_p50_ms", there(before.delays.p50_ms)),
        ("revocation_p99_ms", there(before.delays.p99_ms)),
    ]
}

/// Verify of sessions that the gateway does not remember, and the bare server that reads the same records.
fn cold<'a>(measured: &'a Measured<'_>) -> (&'a [Sample], &'a [Sample]) {
    let mut bare = measured.rows.iter().filter(|(row, _)| row.letter == "f");
    let (sessions, reading) = bare.next().map_or((None, &[][..]), |(row, samples)| (row.sessions, samples.as_slice()));
    let mut ours = measured.rows.iter().filter(|(row, _)| row.letter == "l" && row.sessions == sessions);
    (ours.next().map_or(&[], |(_, samples)| samples.as_slice()), reading)
}

/// Verify of one of the fewest sessions, and of one of the most, if these are a million.
fn million<'a>(measured: &'a Measured<'_>) -> Option<(&'a [Sample], &'a [Sample])> {
    let sized = || measured.rows.iter().filter(|(row, _)| row.letter == "l");
    let (_, few) = sized().min_by_key(|(row, _)| row.sessions)?;
    let (row, many) = sized().max_by_key(|(row, _)| row.sessions)?;
    (row.sessions >= Some(MILLION)).then_some((few, many))
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

const MILLION: u32 = 1_000_000;
