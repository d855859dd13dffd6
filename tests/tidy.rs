//! The house rules as tests: what neither the compiler nor clippy can see.
//!
//! A rule is a function from the files of the tree to a list of offences. Each is first shown a file that breaks it,
//! so that a rule which can no longer fail is noticed, and only then asked about the real tree.

#[path = "tidy/alerts.rs"]
mod alerts;
#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/fuzz.rs"]
mod fuzz;
#[path = "tidy/tree.rs"]
mod tree;

use alerts::{RULES, RUNBOOKS, TESTS, leads_to_runbooks, tests_every_alert};
use code::{
    MOST_LINES, has_one_source, is_finished, is_named, is_pure, is_short, keeps_its_floor, leaves_headers_alone,
    leaves_the_gateway_alone, reveals_no_secret, says_what_for, ships_no_test_parts,
};
use documents::{
    ARCHITECTURE, CASES, METRICS, METRICS_TABLE, REASONS, REASONS_TABLE, REQUIRED_CASES, documents_limits,
    documents_metrics, documents_reasons, is_on_the_map, links_well, numbers_decisions, required, runs_strictly,
    tests_every_case,
};
use fuzz::{fuzzes_from_seeds, fuzzes_what_ships};
use tree::{Source, TREE, Tree, source};

type Rule = fn(&Tree) -> Vec<String>;

#[test]
fn every_file_says_first_what_it_is_for() {
    house(says_what_for, &[("src/a.rs", "use std::fmt;\n")]);
}

#[test]
fn pure_files_neither_wait_nor_look_around() {
    for line in [
        "use tokio::time;",
        "use hyper_util::rt;",
        "async fn f() {}",
        "let now = Instant::now();",
        "use crate::{clock::{Clock, Timestamp}, reason::Reason};",
        "use crate::random;\nfn f() { random::bytes::<4>(); }",
        "use crate::{random::{NoRandomness, bytes}};",
        "fn f(store: &Store) {}",
        "let home = std::env::var(\"HOME\");",
    ] {
        house(is_pure, &[("src/a.rs", &format!("//! Pure. A.\n{line}\n"))]);
    }
}

#[test]
fn lower_floors_know_nothing_of_higher_ones() {
    house(keeps_its_floor, &[("src/seal.rs", "use crate::session::Facts;\n")]);
    house(keeps_its_floor, &[("src/store/memory.rs", "use crate::{clock::Clock, session};\n")]);
}

#[test]
fn only_the_composition_root_and_what_starts_it_know_the_gateway() {
    house(leaves_the_gateway_alone, &[("src/account.rs", "use crate::gateway::Gateway;\n")]);
}

#[test]
fn wall_time_and_randomness_have_one_source_each() {
    house(has_one_source, &[("src/a.rs", "let now = SystemTime::now();\n")]);
    house(has_one_source, &[("src/a.rs", "let state = CsrfToken::new_random();\n")]);
}

#[test]
fn request_headers_are_read_in_one_file() {
    house(leaves_headers_alone, &[("src/a.rs", "let all = parts.headers.len();\n")]);
}

#[test]
fn secrets_are_revealed_in_known_places_alone() {
    house(reveals_no_secret, &[("src/telemetry.rs", "info!(token = token.reveal());\n")]);
    house(reveals_no_secret, &[("src/secret.rs", "fn hide() {}\n")]);
}

#[test]
fn files_have_names_that_say_something_and_are_not_long() {
    house(is_named, &[("src/session/mod.rs", "")]);
    house(is_named, &[("src/util.rs", "")]);
    house(is_short, &[("src/a.rs", &"\n".repeat(MOST_LINES + 1))]);
}

#[test]
fn nothing_is_left_for_later() {
    house(is_finished, &[("src/a.rs", "fn f() { todo!() }\n")]);
    house(is_finished, &[("src/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}\n")]);
    house(is_finished, &[("docs/a.md", "FIXME: say why\n")]);
}

#[test]
fn the_reasons_are_those_of_the_code() {
    let reasons = "reasons! {\n    A \"a\" SignIn \"It.\";\n    B \"b\" Internal \"It.\";\n}\n";
    let check = |table: &str| house(documents_reasons, &[(REASONS, reasons), (REASONS_TABLE, table)]);
    check("| `a` | SignIn | It. | Wait. |\n");
    check("| `a` | SignIn | It. | Wait. |\n| `b` | SignIn | It. | Wait. |\n");
    check("| `a` | SignIn | It. | Wait. |\n| `b` | Internal | It. | Wait. |\n| `c` | Internal | It. | Wait. |\n");
}

#[test]
fn the_metrics_are_those_of_the_code() {
    let code = "registry.register(\n    \"a\",\n    \"A\",\n);\n";
    for file in [format!("src/{METRICS}.rs"), format!("src/{METRICS}/more.rs")] {
        house(documents_metrics, &[(&file, code), (METRICS_TABLE, "")]);
        house(documents_metrics, &[(&file, code), (METRICS_TABLE, "| `a_total` | |\n| `b` | |\n")]);
    }
}

#[test]
fn the_map_is_of_the_files_there_are() {
    let check = |map: &str| house(is_on_the_map, &[("src/a.rs", "//! Pure. A.\n"), (ARCHITECTURE, map)]);
    check("");
    check("src/a.rs ○ a\n");
    check("src/a.rs ● a\nsrc/b.rs ● b\n");
}

#[test]
fn the_limits_are_those_of_the_code() {
    let code = ("src/a.rs", "const MAX_BYTES: usize = 1;\n");
    house(documents_limits, &[code, (ARCHITECTURE, "no table\n")]);
    let row = "| `MAX_BYTES` | 1 | `src/a.rs` |\n";
    house(documents_limits, &[code, (ARCHITECTURE, &format!("{row}| `OTHER` | 1 | `src/a.rs` |\n"))]);
    house(documents_limits, &[code, (ARCHITECTURE, &row.replace("a.rs", "b.rs"))]);
}

#[test]
fn decisions_are_numbered_without_gaps() {
    house(numbers_decisions, &[("docs/decisions/0002-b.md", "# 2. B\n")]);
    house(numbers_decisions, &[("docs/decisions/0001-a.md", "# 2. A\n")]);
}

#[test]
fn the_product_never_depends_on_what_tests_use() {
    house(ships_no_test_parts, &[("Cargo.toml", "[dependencies]\ndev-idp = { path = \"dev-idp\" }\n")]);
    let target = "[target.'cfg(unix)'.dependencies]\ndev-idp = \"1\"\n";
    house(ships_no_test_parts, &[("Cargo.toml", target)]);
}

#[test]
fn links_lead_somewhere() {
    house(links_well, &[("docs/a.md", "[b](b.md)\n")]);
    house(links_well, &[("docs/a.md", "[b](b.md#two)\n"), ("docs/b.md", "# One\n")]);
    house(links_well, &[("docs/a.md", "# One\n![two](#two)\n")]);
}

#[test]
fn scripts_stop_at_the_first_failure() {
    house(runs_strictly, &[("scripts/a", "#!/usr/bin/env bash\nset -euo pipefail\n")]);
    let loose = Tree(vec![Source { executable: true, ..source("scripts/a", "#!/usr/bin/env bash\necho\n") }]);
    assert!(!runs_strictly(&loose).is_empty());
}

#[test]
fn every_case_that_must_hold_has_its_test() {
    let check = |cases: &str| {
        let all = REQUIRED_CASES
            .iter()
            .flat_map(|(group, numbers)| required(group, numbers))
            .map(|id| format!("[{id}]\nwhat = \"x\"\ntests = [\"src/a.rs::f\"]\n"));
        let mut text: String = all.skip(1).collect();
        text.push_str(cases);
        house(tests_every_case, &[(CASES, &text), ("src/a.rs", "#[test]\nfn f() {}\nfn g() {}\n")]);
    };
    check("");
    check("[gate-1]\nwhat = \"x\"\ntests = []\n");
    check("[gate-1]\nwhat = \"x\"\ntests = [\"src/a.rs::missing\"]\n");
    check("[gate-1]\nwhat = \"x\"\ntests = [\"src/a.rs::g\"]\n");
    check("[gate-1]\nwhat = \"x\"\ntests = [\"src/a.rs::f\"]\n[gate-0]\nwhat = \"x\"\ntests = [\"src/a.rs::f\"]\n");
}

#[test]
fn every_fuzz_target_begins_with_a_seed() {
    let manifest = ("fuzz/Cargo.toml", "[[bin]]\nname = \"a\"\n");
    let (file, seed) = (("fuzz/fuzz_targets/a.rs", ""), ("fuzz/seeds/a/one", ""));
    house(fuzzes_from_seeds, &[manifest, file]);
    house(fuzzes_from_seeds, &[manifest, seed]);
    house(fuzzes_from_seeds, &[manifest, file, seed, ("fuzz/fuzz_targets/b.rs", "")]);
    house(fuzzes_from_seeds, &[manifest, file, seed, ("fuzz/dictionaries/b.dict", "")]);
}

#[test]
fn what_is_fuzzed_is_what_ships() {
    let lock = |version: &str| format!("[[package]]\nname = \"a\"\nversion = \"{version}\"\n");
    house(fuzzes_what_ships, &[("Cargo.lock", &lock("1.0.0")), ("fuzz/Cargo.lock", &lock("1.0.1"))]);
}

#[test]
fn every_alert_leads_to_its_place_in_a_runbook() {
    let (rules, runbook) = (format!("{RULES}a.yml"), format!("{RUNBOOKS}b.md"));
    let check = |alert: &str| house(leads_to_runbooks, &[(&rules, alert), (&runbook, "# B\n### One\n")]);
    let alert = |url: &str| {
        let labels = "severity: info\nservice: portcullis\ncomponent: c\n";
        format!("- alert: One\n{labels}summary: s\ndescription: d\nrunbook_url: {url}\n")
    };
    check(&alert("https://c.test/b.md#one").replace("severity: info\n", ""));
    check(&alert("/b.md#one"));
    check(&alert("https://c.test/b.md#two"));
    check(&alert("https://c.test/c.md#one"));
    check(&format!("{}{}", alert("https://c.test/b.md#one"), alert("https://d.test/b.md#one")));
}

#[test]
fn every_alert_is_tested_in_both_ways() {
    let (rules, tests) = (format!("{RULES}a.yml"), format!("{TESTS}a_test.yml"));
    let check = |cases: &str| house(tests_every_alert, &[(&rules, "- alert: One\n"), (&tests, cases)]);
    let (fires, silent) = ("alertname: One\nexp_alerts:\n  - exp_labels: {}\n", "alertname: One\nexp_alerts: []\n");
    check("");
    check(fires);
    check(silent);
    check(&format!("{fires}{silent}alertname: Two\nexp_alerts: []\n"));
}

/// Shows a rule something that breaks it, then asks it about the tree.
#[track_caller]
fn house(rule: Rule, broken: &[(&str, &str)]) {
    let broken = Tree(broken.iter().map(|(path, text)| source(path, text)).collect());
    assert!(!rule(&broken).is_empty(), "this rule cannot fail");
    let offences = rule(&TREE);
    assert!(offences.is_empty(), "\n  {}\n", offences.join("\n  "));
}
