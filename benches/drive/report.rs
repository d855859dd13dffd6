//! Pure. What was measured, as tables for people and as one JSON object for programs.

use serde_json::{Map, Value, json};

use crate::{
    figures::{Medians, Sample},
    load::CONNECTIONS,
    results::{self, Named},
    rounds::Measured,
    row::Row,
};

/// One JSON object. What could not be measured is null.
pub(crate) fn json(measured: &Measured<'_>) -> Value {
    let rows: Vec<_> = measured.rows.iter().map(|(row, samples)| row_json(row, samples)).collect();
    let mut all = json!({
        "ratios": named(results::ratios(measured), 3),
        "forged_store_commands": results::forged_store_commands(measured),
        "rss_mib": rounded(results::gateway_mib(measured), 2),
        "start_ms": rounded(measured.start_ms, 1),
        "resident_mib": object(measured.resident_mib.iter().copied(), 2),
        "rows": rows,
        "seconds": measured.plan.time.as_secs(),
        "rounds": measured.plan.rounds,
        "connections": CONNECTIONS,
        "processors": measured.machine.processors,
        "load_before": rounded(measured.machine.load_before, 2),
    });
    if let Some(all) = all.as_object_mut() {
        all.extend(named(results::beside_others(measured), 2));
    }
    all
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
        columns(["", "what", "store"], ["req/s", "p50 µs", "p99 µs"], ["server", "nginx", "redis"]),
    ];
    let mut rows: Vec<_> = measured.rows.iter().collect();
    rows.sort_by_key(|(row, _)| (row.letter, row.store.label()));
    lines.extend(rows.into_iter().map(|(row, samples)| line(row, samples)));
    lines.push(String::new());
    lines.extend(results::all(measured).into_iter().map(|(name, figure)| single(name, figure)));
    let resident = measured.resident_mib.iter().map(|(name, mib)| format!("\n  {name:NAME$}{mib:.1}"));
    lines.push(format!("\nresident MiB{}", resident.collect::<String>()));
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

fn line(row: &Row, samples: &[Sample]) -> String {
    let medians = Medians::of(samples);
    let seen = [medians.requests_per_second, medians.p50_us, medians.p99_us].map(|figure| format!("{figure:.0}"));
    let cpu = |is_it: fn(&str) -> bool| {
        let found = medians.cpu_us.iter().find(|(part, _)| is_it(part));
        found.map_or_else(String::new, |(_, micros)| format!("{micros:.2}"))
    };
    let cpu =
        [cpu(|part| !matches!(part, "nginx" | "redis")), cpu(|part| part == "nginx"), cpu(|part| part == "redis")];
    columns(
        [row.letter, row.what, row.store.label()],
        seen.each_ref().map(String::as_str),
        cpu.each_ref().map(String::as_str),
    )
}

fn columns([letter, what, store]: [&str; 3], seen: [&str; 3], cpu: [&str; 3]) -> String {
    let right = |texts: [&str; 3]| texts.map(|text| format!("{text:>8}")).join(" ");
    let what = format!("{letter:2} {what:33} {store:6}");
    format!("{what:WHAT$} {} {}", right(seen), right(cpu)).trim_end().to_owned()
}

fn single(name: &str, figure: Option<f64>) -> String {
    let figure = figure.map_or_else(|| "not measured".to_owned(), |figure| format!("{figure:.*}", digits(name)));
    format!("{name:SINGLE$}{figure}")
}

/// As many as the figure is good for.
fn digits(name: &str) -> usize {
    match name {
        "forged_store_commands" => 0,
        "start_ms" => 1,
        "rss_mib" => 2,
        _ if name.ends_with("_us") => 2,
        _ => 3,
    }
}

fn named(figures: Vec<Named>, digits: i32) -> Map<String, Value> {
    object(figures.into_iter().map(|(name, figure)| (name, figure.unwrap_or(f64::NAN))), digits)
}

fn object<'a>(figures: impl IntoIterator<Item = (&'a str, f64)>, digits: i32) -> Map<String, Value> {
    figures.into_iter().map(|(name, figure)| (name.to_owned(), rounded(figure, digits))).collect()
}

/// JSON knows no NaN: such a figure becomes null.
fn rounded(figure: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    ((figure * scale).round() / scale).into()
}

const WHAT: usize = 43;
const NAME: usize = 22;
const SINGLE: usize = 36;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::{
        load::{Answers, Load, Seen},
        rounds::{Machine, Plan},
        servers::Store,
    };

    fn row(letter: &'static str, store: Store) -> Row {
        let load = Load { url: String::new(), headers: Vec::new(), answers: Answers::Allowed };
        Row { letter, what: "something", store, load, watched: Vec::new() }
    }

    fn samples(cpu: &[(&'static str, f64)]) -> Vec<Sample> {
        let seen = Seen { requests: 10.0, requests_per_second: 1234.4, p50_us: 5.0, p99_us: 9.0 };
        vec![Sample { seen, cpu_us: cpu.iter().copied().collect::<BTreeMap<_, _>>(), store_commands: 0 }; 3]
    }

    fn measured(rows: &[(Row, Vec<Sample>)], start_ms: f64) -> Measured<'_> {
        Measured {
            plan: Plan { time: Duration::from_secs(3), rounds: 3 },
            rows: rows.iter().map(|(row, samples)| (row, samples.clone())).collect(),
            resident_mib: vec![("gateway-memory", 12.34), ("bare-memory", 5.0), ("gateway-redis", 13.0)],
            start_ms,
            machine: Machine { processors: 2, load_before: 0.5 },
        }
    }

    fn ours() -> Vec<(Row, Vec<Sample>)> {
        vec![
            (row("a", Store::Memory), samples(&[("gateway", 9.0)])),
            (row("e", Store::Memory), samples(&[("bare", 6.0)])),
            (row("b", Store::Memory), samples(&[("gateway", 11.0), ("nginx", 30.0)])),
            (row("d", Store::Redis), samples(&[("gateway", 11.0), ("redis", 0.0)])),
            (row("h", Store::Nowhere), samples(&[("nginx", 10.0)])),
        ]
    }

    #[test]
    fn who_is_not_installed_is_null_and_has_no_row() {
        let rows = ours();
        let found = json(&measured(&rows, 12.25));
        assert_eq!(found["ratios"]["warm_direct_cpu"], json!(1.5));
        assert_eq!(found["ratios"]["cold_direct_cpu"], Value::Null);
        assert_eq!(found["forged_store_commands"], json!(0));
        assert_eq!(found["rss_mib"], json!(13.0));
        assert_eq!(found["gate_memory_above_static_cpu_us"], json!(31.0));
        assert_eq!(found["rows"].as_array().map(Vec::len), Some(rows.len()));
        for name in ["apache_shm_above_static_cpu_us", "oauth2_proxy_cookie_direct_cpu_us"] {
            assert_eq!(found.get(name), Some(&Value::Null), "{name}");
        }
    }

    #[test]
    fn who_is_installed_stands_beside_us() {
        let mut rows = ours();
        rows.push((row("j", Store::SharedMemory), samples(&[("apache", 90.0)])));
        rows.push((row("j", Store::Redis), samples(&[("apache", 300.0), ("redis", 20.0)])));
        rows.push((row("i", Store::Nowhere), samples(&[("apache", 25.0)])));
        rows.push((row("k", Store::Cookie), samples(&[("oauth2-proxy", 87.0)])));
        let found = json(&measured(&rows, 12.25));
        assert_eq!(found["apache_shm_above_static_cpu_us"], json!(65.0));
        assert_eq!(found["apache_redis_above_static_cpu_us"], json!(275.0));
        assert_eq!(found["oauth2_proxy_cookie_direct_cpu_us"], json!(87.0));
        assert_eq!(found["oauth2_proxy_redis_direct_cpu_us"], Value::Null);
    }

    #[test]
    fn the_table_shows_each_server_in_one_column_and_says_what_is_missing() {
        let mut rows = ours();
        rows.push((row("i", Store::Nowhere), samples(&[("apache", 25.0)])));
        let found = table(&measured(&rows, 12.25));
        let has = |text: &str| assert!(found.lines().any(|line| line == text), "{text:?} is not in\n{found}");
        has("b  something                         memory     1234        5        9    11.00    30.00");
        has("h  something                         none       1234        5        9             10.00");
        has("i  something                         none       1234        5        9    25.00");
        has("start_ms                            12.2");
        has("forged_store_commands               0");
        has("apache_redis_above_static_cpu_us    not measured");
    }
}
