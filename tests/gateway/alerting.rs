//! The shipped alerts, in a real Prometheus that asks a real gateway through a real outage.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::support::{emergency::Emergency, eventually, prometheus::Prometheus};

/// From one good day to the next: the provider dies, the door is opened, somebody comes in, the provider comes back, and
/// the door is shut. Nobody tells Prometheus anything.
#[tokio::test(flavor = "multi_thread")]
async fn through_an_outage_each_alert_comes_in_its_turn_and_goes_when_it_is_over() {
    let emergency = hasty().await;
    let prometheus = Prometheus::asking(&ops(&emergency), &shortened(&shipped())).await;
    eventually("the gateway is asked", async || is_up(&prometheus).await).await;
    let alice = emergency.alice();
    assert_eq!(emergency.ask(&alice).await.refusal(), (403, "fallback_not_armed"), "browsers show theirs unasked");
    eventually("its state is known", async || !prometheus.query("oauth2_idp_fallback_mode == 0").await.is_empty())
        .await;
    assert_eq!(alerts(&prometheus).await, set(&[]), "in good times");

    emergency.stage.idp.stop().await;
    let down = set(&["PortcullisIdpConsecutiveFailures", "PortcullisIdpDown", "PortcullisIdpFailing"]);
    eventually("the outage wakes somebody", async || alerts(&prometheus).await == down).await;
    assert!(was_pending(&prometheus, "PortcullisIdpFailing").await, "first it waited");
    assert_eq!(label(&prometheus, "PortcullisIdpDown", "idp").await, "main");

    emergency.arm();
    let open = &down | &set(&["PortcullisFallbackDoorOpen"]);
    eventually("the open door wakes somebody", async || alerts(&prometheus).await == open).await;
    assert_eq!(emergency.ask(&alice).await.status, 200);

    emergency.stage.idp.restart().await.unwrap();
    let armed = set(&["PortcullisFallbackStillArmed"]);
    eventually("only what was forgotten is left", async || alerts(&prometheus).await == armed).await;
    assert!(was_pending(&prometheus, "PortcullisFallbackStillArmed").await, "first it waited");

    emergency.fallback(&["disable", "--reason", "the provider is back", "--operator", "on-duty"]);
    eventually("all is quiet", async || alerts(&prometheus).await.is_empty()).await;
    assert!(is_up(&prometheus).await, "and not because nobody is asked");
    every_metric_of_a_rule_exists(&emergency, &prometheus).await;
}

/// A gateway whose health monitor is quicker than an operator would have it.
async fn hasty() -> Emergency {
    Emergency::with(|plan| {
        plan.on_real_time()
            .set("HEALTH__INTERVAL", "300ms")
            .set("HEALTH__TIMEOUT", "2s")
            .set("HEALTH__FAILURES", "3")
            .set("HEALTH__WINDOW", "3s")
            .set("HEALTH__DOWN_INTERVAL", "300ms")
            .set("HEALTH__SUCCESSES", "3")
            .set("HEALTH__QUIET", "2s")
    })
    .await
}

fn ops(emergency: &Emergency) -> String {
    let portcullis::server::Address::Tcp(address) = emergency.stage.listener("ops") else { unreachable!() };
    address.to_string()
}

fn shipped() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring/rules/portcullis-fallback.yml");
    fs::read_to_string(file).unwrap()
}

/// The rules as they are shipped, with shorter durations: how long an alert waits (`for:`), and how far an expression
/// looks back (`[10m]`). Nothing else is changed, or a test of minutes would be one of seconds about other rules.
fn shortened(rules: &str) -> String {
    let lines = rules.lines().map(|line| match line.trim_start().strip_prefix("for: ") {
        Some(waits) => line.replace(waits, "1s"),
        None => with_short_windows(line),
    });
    lines.map(|line| line + "\n").collect()
}

fn with_short_windows(line: &str) -> String {
    let mut pieces = line.split('[');
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |before, piece| match piece.split_once(']') {
        Some((span, after)) if is_duration(span) => format!("{before}[3s]{after}"),
        _ => format!("{before}[{piece}"),
    })
}

/// As in `10m`.
fn is_duration(text: &str) -> bool {
    let number = text.trim_end_matches(['s', 'm', 'h', 'd']);
    number.len() + 1 == text.len() && number.parse::<u32>().is_ok()
}

async fn is_up(prometheus: &Prometheus) -> bool {
    let targets = prometheus.api("targets").await;
    let targets = targets["activeTargets"].as_array().unwrap();
    targets.len() == 1 && targets[0]["health"] == "up"
}

/// The names of the alerts that are on, those that wait yet as in `pending X`.
async fn alerts(prometheus: &Prometheus) -> BTreeSet<String> {
    let alerts = prometheus.api("alerts").await;
    let name = |alert: &Value| match (text(&alert["labels"]["alertname"]), text(&alert["state"])) {
        (name, "firing") => name.to_owned(),
        (name, state) => format!("{state} {name}"),
    };
    alerts["alerts"].as_array().unwrap().iter().map(name).collect()
}

async fn label(prometheus: &Prometheus, alert: &str, label: &str) -> String {
    let found = prometheus.query(&format!("ALERTS{{alertname=\"{alert}\"}}")).await;
    text(&found[0]["metric"][label]).to_owned()
}

/// Prometheus remembers: nobody has to look in the right moment.
async fn was_pending(prometheus: &Prometheus, alert: &str) -> bool {
    let ever = format!("count_over_time(ALERTS{{alertname=\"{alert}\",alertstate=\"pending\"}}[1h])");
    !prometheus.query(&ever).await.is_empty()
}

/// No rule is about a name that is not there.
async fn every_metric_of_a_rule_exists(emergency: &Emergency, prometheus: &Prometheus) {
    let text = emergency.stage.metrics().await;
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let series: BTreeSet<&str> = series.filter_map(|line| line.split(['{', ' ']).next()).collect();
    let rules = prometheus.api("rules").await;
    let rules = rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let mut asked = BTreeSet::new();
    for rule in rules {
        let metrics = metrics_of(self::text(&rule["query"]));
        assert!(!metrics.is_empty(), "{rule} is about nothing");
        asked.extend(metrics);
    }
    let unknown: Vec<_> = asked.iter().filter(|name| !series.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "rules are about {unknown:?}; there are {series:?}");
    for name in asked {
        assert!(!prometheus.query(&format!("count_over_time({name}[1h])")).await.is_empty(), "{name} never arrived");
    }
}

/// The metrics that an expression asks for: the words that are neither functions, nor labels, nor operators.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let mut bare = without(expression, "\"", "\"");
    for (open, close) in [("{", "}"), ("[", "]"), ("by (", ")"), ("by(", ")")] {
        bare = without(&bare, open, close);
    }
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let mut metrics = BTreeSet::new();
    let mut rest = bare.as_str();
    while let Some(start) = rest.find(is_word) {
        let word = &rest[start..];
        let (word, after) = word.split_at(word.find(|letter| !is_word(letter)).unwrap_or(word.len()));
        let is_called = after.trim_start().starts_with('(') || ["and", "or", "unless"].contains(&word);
        if !is_called && !word.starts_with(|first: char| first.is_ascii_digit()) {
            metrics.insert(word.to_owned());
        }
        rest = after;
    }
    metrics
}

/// A text without what stands between two marks, and the marks.
fn without(text: &str, open: &str, close: &str) -> String {
    let mut pieces = text.split_once(open);
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, inside)) = pieces {
        kept.push_str(before);
        rest = inside.split_once(close).unwrap().1;
        pieces = rest.split_once(open);
    }
    kept + rest
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn of_the_shipped_rules_only_durations_are_changed_and_the_metrics_of_an_expression_are_found() {
    let shipped = shipped();
    let shortened = shortened(&shipped);
    let differ = shipped.lines().zip(shortened.lines()).filter(|(before, after)| before != after);
    for (before, after) in differ {
        let is_waiting = after.trim() == "for: 1s";
        assert!(is_waiting || after.contains("[3s]"), "{before} became {after}");
    }
    assert_eq!(shipped.lines().count(), shortened.lines().count());
    assert!(!shortened.contains("m]") && !shortened.contains("h]"), "{shortened}");
    let expression = r#"sum by (a) (rate(x_total{b="c_total"}[5m])) > 3 or vector(0) unless y{d=~"e|f"} == time()"#;
    assert_eq!(metrics_of(expression), set(&["x_total", "y"]));
}
