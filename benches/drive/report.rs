//! Pure. What was measured, as tables for people and as one JSON object for programs.

use serde_json::{Map, Value, json};

use crate::{
    figures::{Medians, Sample},
    load::CONNECTIONS,
    memory::{self, Memory},
    population::Size,
    results::{self, Named},
    rounds::Measured,
    row::Row,
};

/// One JSON object. What could not be measured is null.
pub(crate) fn json(measured: &Measured<'_>) -> Value {
    let rows: Vec<_> = measured.rows.iter().map(|(row, samples)| row_json(row, samples)).collect();
    let mut all = json!({
        "ratios": named(results::ratios(measured), 3),
        "sizes": measured.before.sizes.iter().map(size_json).collect::<Vec<_>>(),
        "memory": memory_json(&measured.before.memory),
        "revocations": measured.before.delays.revocations,
        "resident_mib": object(measured.resident_mib.iter().copied(), 2),
        "rows": rows,
        "seconds": measured.plan.time.as_secs(),
        "rounds": measured.plan.rounds,
        "connections": CONNECTIONS,
        "processors": measured.machine.processors,
        "load_before": rounded(measured.machine.load_before, 2),
    });
    if let Some(all) = all.as_object_mut() {
        all.extend(named(results::singles(measured), 3));
        all.insert("forged_store_commands".to_owned(), results::forged_store_commands(measured).into());
        all.extend(named(results::beside_others(measured), 2));
    }
    all
}

fn size_json(size: &Size) -> Value {
    json!({
        "sessions": size.sessions,
        "redis_bytes_per_session": rounded(size.bytes_each, 0),
        "made_in_seconds": rounded(size.made_in_seconds, 1),
        "active_sessions": size.active,
        "gauge_ms": rounded(size.gauge_ms, 2),
    })
}

fn memory_json(memory: &Memory) -> Value {
    json!({
        "sessions": memory::SESSIONS,
        "begun_mib": rounded(memory.begun_mib, 2),
        "before_mib": rounded(memory.before_mib, 2),
        "after_mib": rounded(memory.after_mib, 2),
        "read_again": memory.read_again,
        "counted_bytes_per_session": rounded(memory.counted_bytes, 0),
    })
}

fn row_json(row: &Row, samples: &[Sample]) -> Value {
    let medians = Medians::of(samples);
    json!({
        "row": row.letter,
        "what": row.what,
        "store": row.store.label(),
        "sessions": row.sessions,
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
    rows.sort_by_key(|(row, _)| (row.letter, row.store.label(), row.sessions));
    lines.extend(rows.into_iter().map(|(row, samples)| line(row, samples)));
    lines.push(String::new());
    lines.extend(results::all(measured).into_iter().map(|(name, figure)| single(name, figure)));
    lines.push(sizes(&measured.before.sizes));
    let memory = &measured.before.memory;
    lines.push(format!(
        "\n{} sessions remembered: {:.2} MiB as it began, {:.2} with its connections, {:.2} with all; {} read again.",
        memory::SESSIONS,
        memory.begun_mib,
        memory.before_mib,
        memory.after_mib,
        memory.read_again
    ));
    lines.push(format!(
        "{} sessions ended at one gateway and asked for at another.",
        measured.before.delays.revocations
    ));
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

fn sizes(sizes: &[Size]) -> String {
    let mut lines =
        vec![format!("\n{:>10} {:>15} {:>9} {:>9}", "sessions", "Redis bytes/ses", "made in s", "gauge ms")];
    lines.extend(sizes.iter().map(|size| {
        let Size { sessions, bytes_each, made_in_seconds, gauge_ms, .. } = size;
        format!("{sessions:>10} {bytes_each:>15.0} {made_in_seconds:>9.1} {gauge_ms:>9.2}")
    }));
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
        [row.letter, &row.what, row.store.label()],
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
        "forged_store_commands" | "cached_session_bytes" => 0,
        "start_ms" => 1,
        "rss_mib" | "rss_10k_mib" | "revocation_p50_ms" | "revocation_p99_ms" => 2,
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
        revocation::Delays,
        rounds::{Machine, Plan},
        scene::Before,
        servers::Store,
    };

    fn row(letter: &'static str, store: Store) -> Row {
        Row::new(letter, "something", store, Load::new("", Vec::new(), Answers::Allowed), Vec::new())
    }

    fn sized(letter: &'static str, sessions: u32) -> Row {
        Row { sessions: Some(sessions), ..row(letter, Store::Redis) }
    }

    fn samples(cpu: &[(&'static str, f64)]) -> Vec<Sample> {
        let seen = Seen { requests: 10.0, requests_per_second: 1234.4, p50_us: 5.0, p99_us: 9.0 };
        vec![Sample { seen, cpu_us: cpu.iter().copied().collect::<BTreeMap<_, _>>(), store_commands: 0 }; 3]
    }

    fn before() -> Before {
        let size = Size { sessions: 1_000, bytes_each: 1536.4, made_in_seconds: 0.5, active: 1_000.0, gauge_ms: 0.75 };
        Before {
            start_ms: 12.25,
            sizes: vec![size],
            memory: Memory { begun_mib: 6.0, before_mib: 8.0, after_mib: 18.0, read_again: 3, counted_bytes: 900.0 },
            delays: Delays { revocations: 250, p50_ms: 0.5, p99_ms: 2.25 },
        }
    }

    fn measured<'a>(rows: &'a [(Row, Vec<Sample>)], before: &'a Before) -> Measured<'a> {
        Measured {
            plan: Plan { time: Duration::from_secs(3), rounds: 3 },
            rows: rows.iter().map(|(row, samples)| (row, samples.clone())).collect(),
            resident_mib: vec![("gateway-memory", 12.34), ("bare-memory", 5.0), ("gateway-redis", 13.0)],
            before,
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
        let found = json(&measured(&rows, &before()));
        assert_eq!(found["ratios"]["warm_direct_cpu"], json!(1.5));
        assert_eq!(found["ratios"]["cold_direct_cpu"], Value::Null);
        assert_eq!(found["ratios"]["scale_1m"], Value::Null);
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
        let found = json(&measured(&rows, &before()));
        assert_eq!(found["apache_shm_above_static_cpu_us"], json!(65.0));
        assert_eq!(found["apache_redis_above_static_cpu_us"], json!(275.0));
        assert_eq!(found["oauth2_proxy_cookie_direct_cpu_us"], json!(87.0));
        assert_eq!(found["oauth2_proxy_redis_direct_cpu_us"], Value::Null);
    }

    #[test]
    fn what_was_measured_before_the_rounds_stands_at_the_top() {
        let found = json(&measured(&[], &before()));
        assert_eq!(found["start_ms"], json!(12.25));
        assert_eq!(found["revocation_p99_ms"], json!(2.25));
        assert_eq!(found["rss_10k_mib"], json!(18.0));
        assert_eq!(found["cached_session_bytes"], json!(1048.576));
        assert_eq!(found["sizes"][0]["redis_bytes_per_session"], json!(1536.0));
    }

    #[test]
    fn many_sessions_are_compared_with_few_and_cold_ones_with_the_bare_server_that_reads_the_same() {
        let rows = [
            (sized("l", 1_000_000), samples(&[("gateway", 22.0), ("redis", 4.0)])),
            (sized("l", 1_000), samples(&[("gateway", 20.0), ("redis", 4.0)])),
            (sized("l", 100_000), samples(&[("gateway", 18.0), ("redis", 4.0)])),
            (sized("f", 100_000), samples(&[("bare", 15.0), ("redis", 4.0)])),
        ];
        let found = json(&measured(&rows, &before()));
        assert_eq!(found["ratios"]["scale_1m"], json!(1.1));
        assert_eq!(found["ratios"]["cold_direct_cpu"], json!(1.2));
        let found = json(&measured(&rows[1..], &before()));
        assert_eq!(found["ratios"]["scale_1m"], Value::Null);
    }

    #[test]
    fn the_gateway_is_compared_with_the_bare_server_and_with_itself() {
        let rows = [
            (row("a", Store::Memory), samples(&[("gateway", 10.0)])),
            (row("a", Store::Redis), samples(&[("gateway", 12.0), ("redis", 0.0)])),
            (row("c", Store::Memory), samples(&[("gateway", 9.0)])),
            (row("e", Store::Memory), samples(&[("bare", 8.0)])),
            (row("m", Store::Memory), slower(&samples(&[("gateway", 11.0)]))),
            (row("n", Store::Memory), samples(&[("bare", 11.0)])),
        ];
        let found = json(&measured(&rows, &before()));
        let ratios = [
            ("warm_direct_cpu", 1.25),
            ("warm_redis_direct_cpu", 1.5),
            ("warm_direct_rps", 1.0),
            ("unauthorized_cpu", 0.9),
            ("nginx_p99", 2.0),
        ];
        for (name, expected) in ratios {
            assert_eq!(found["ratios"][name], json!(expected), "{name}");
        }
    }

    fn slower(samples: &[Sample]) -> Vec<Sample> {
        let slower = |sample: &Sample| {
            let mut slower = sample.clone();
            slower.seen.p99_us *= 2.0;
            slower
        };
        samples.iter().map(slower).collect()
    }

    #[test]
    fn the_table_shows_each_server_in_one_column_and_says_what_is_missing() {
        let mut rows = ours();
        rows.push((row("i", Store::Nowhere), samples(&[("apache", 25.0)])));
        let found = table(&measured(&rows, &before()));
        let has = |text: &str| assert!(found.lines().any(|line| line == text), "{text:?} is not in\n{found}");
        has("b  something                         memory     1234        5        9    11.00    30.00");
        has("h  something                         none       1234        5        9             10.00");
        has("i  something                         none       1234        5        9    25.00");
        has("start_ms                            12.2");
        has("forged_store_commands               0");
        has("revocation_p99_ms                   2.25");
        has("      1000            1536       0.5      0.75");
        has("apache_redis_above_static_cpu_us    not measured");
    }
}
