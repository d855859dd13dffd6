//! Pure. What was measured, as tables for people and as one JSON object for programs.

use serde_json::{Map, Value, json};

use crate::{
    figures::{Medians, Sample, ratio},
    load::CONNECTIONS,
    rounds::Measured,
    scene::Row,
    servers::Store,
};

/// One JSON object.
pub(crate) fn json(measured: &Measured<'_>) -> Value {
    let rows: Vec<_> = measured.rows.iter().map(|(row, samples)| row_json(row, samples)).collect();
    json!({
        "ratios": object(ratios(measured), 3),
        "forged_store_commands": forged_store_commands(measured),
        "rss_mib": rounded(gateway_mib(measured), 2),
        "resident_mib": object(measured.resident_mib.iter().copied(), 2),
        "rows": rows,
        "seconds": measured.plan.time.as_secs(),
        "rounds": measured.plan.rounds,
        "connections": CONNECTIONS,
        "processors": measured.machine.processors,
        "load_before": rounded(measured.machine.load_before, 2),
    })
}

fn row_json(row: &Row, samples: &[Sample]) -> Value {
    let medians = Medians::of(samples);
    json!({
        "row": row.letter,
        "what": row.what,
        "store": row.store.label(),
        "requests_per_second": rounded(medians.requests_per_second, 0),
        "p50_us": rounded(medians.p50_us, 0),
        "p99_us": rounded(medians.p99_us, 0),
        "cpu_us": object(medians.cpu_us, 2),
        "store_commands_per_request": rounded(medians.store_commands_per_request, 3),
        "rounds": samples.iter().map(sample_json).collect::<Vec<_>>(),
    })
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "requests": rounded(sample.seen.requests, 0),
        "requests_per_second": rounded(sample.seen.requests_per_second, 0),
        "p50_us": rounded(sample.seen.p50_us, 0),
        "p99_us": rounded(sample.seen.p99_us, 0),
        "cpu_us": object(sample.cpu_us.clone(), 2),
        "store_commands": sample.store_commands,
    })
}

/// Tables.
pub(crate) fn table(measured: &Measured<'_>) -> String {
    let mut lines = vec![
        format!("{:WHAT$} {:>8} {:>8} {:>8}   CPU µs per request", "", "", "", ""),
        columns(["", "what", "store"], ["req/s", "p50 µs", "p99 µs"].map(str::to_owned), PARTS.map(str::to_owned)),
    ];
    let mut rows: Vec<_> = measured.rows.iter().collect();
    rows.sort_by_key(|(row, _)| (row.letter, row.store.label()));
    lines.extend(rows.into_iter().map(|(row, samples)| {
        let medians = Medians::of(samples);
        let seen = [medians.requests_per_second, medians.p50_us, medians.p99_us].map(|figure| format!("{figure:.0}"));
        let cpu = PARTS.map(|part| medians.cpu_us.get(part).map_or_else(String::new, |micros| format!("{micros:.2}")));
        columns([row.letter, row.what, row.store.label()], seen, cpu)
    }));
    lines.push(String::new());
    let named = |name: &str, figure: String| format!("{name:24}{figure}");
    lines.extend(ratios(measured).into_iter().map(|(name, ratio)| named(name, format!("{ratio:.3}"))));
    lines.push(named("forged_store_commands", forged_store_commands(measured).to_string()));
    lines.push(named("rss_mib", format!("{:.2}", gateway_mib(measured))));
    let resident: Vec<_> = measured.resident_mib.iter().map(|(name, mib)| format!("{name} {mib:.1}")).collect();
    lines.push(named("resident MiB", resident.join(", ")));
    let (plan, machine) = (measured.plan, &measured.machine);
    lines.push(format!(
        "\nMedians of {} rounds of {} s, {CONNECTIONS} connections, {} processors, load {:.2} before.\n",
        plan.rounds,
        plan.time.as_secs(),
        machine.processors,
        machine.load_before
    ));
    lines.join("\n")
}

fn columns([letter, what, store]: [&str; 3], seen: [String; 3], cpu: [String; 4]) -> String {
    let seen = seen.map(|figure| format!("{figure:>8}")).join(" ");
    let cpu = cpu.map(|figure| format!("{figure:>8}")).join(" ");
    let what = format!("{letter:2} {what:33} {store:6}");
    format!("{what:WHAT$} {seen} {cpu}").trim_end().to_owned()
}

/// What docs/performance.md calls the ratios.
fn ratios(measured: &Measured<'_>) -> Vec<(&'static str, f64)> {
    let row = |letter: &str, store| {
        let found = measured.rows.iter().find(|(row, _)| row.letter == letter && row.store == store);
        found.map(|(_, samples)| samples.as_slice()).unwrap_or_default()
    };
    let cpu = |ours, theirs, store| {
        let (ours, theirs) = (row(ours, store), row(theirs, store));
        ratio(ours, theirs, |sample| sample.cpu("gateway"), |sample| sample.cpu("bare"))
    };
    let speed = |store| {
        let speed = |sample: &Sample| sample.seen.requests_per_second;
        ratio(row("b", store), row("g", store), speed, speed)
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

/// What Redis was asked, in all rounds, for cookies that nobody made.
fn forged_store_commands(measured: &Measured<'_>) -> u64 {
    let forged = measured.rows.iter().filter(|(row, _)| row.letter == "d");
    forged.flat_map(|(_, samples)| samples).map(|sample| sample.store_commands).sum()
}

/// The larger of the two gateways.
fn gateway_mib(measured: &Measured<'_>) -> f64 {
    let gateways = measured.resident_mib.iter().filter(|(name, _)| name.starts_with("gateway"));
    gateways.map(|(_, mib)| *mib).fold(0.0, f64::max)
}

fn object<'a>(figures: impl IntoIterator<Item = (&'a str, f64)>, digits: i32) -> Map<String, Value> {
    figures.into_iter().map(|(name, figure)| (name.to_owned(), rounded(figure, digits))).collect()
}

fn rounded(figure: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    ((figure * scale).round() / scale).into()
}

const PARTS: [&str; 4] = ["gateway", "nginx", "redis", "bare"];
const WHAT: usize = 43;
