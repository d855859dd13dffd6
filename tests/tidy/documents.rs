//! Rules about what is written about the code: documents, scripts, and the map of cases.

#![expect(clippy::unwrap_used, reason = "a map that cannot be read is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::tree::{Source, Tree};

pub(super) fn documents_reasons(tree: &Tree) -> Vec<String> {
    let (_, list) = tree.text(REASONS).split_once("reasons! {").unwrap_or_default();
    let lines = list.lines().take_while(|line| *line != "}");
    let in_code: BTreeSet<(String, String)> = lines
        .filter_map(|line| match *line.split('"').collect::<Vec<_>>() {
            [_, code, kind, ..] => Some((code.to_owned(), kind.trim().to_owned())),
            _ => None,
        })
        .collect();
    let first_word = |cell: &str| cell.split_whitespace().next().unwrap_or_default().to_owned();
    let rows = tree.rows(REASONS_TABLE).into_iter().filter(|row| row.len() >= 2);
    let in_table = rows.map(|row| (row[0].clone(), first_word(&row[1]))).collect();
    differences(&in_code, &in_table, REASONS_TABLE)
}

pub(super) fn documents_metrics(tree: &Tree) -> Vec<String> {
    let bare = |name: &str| name.trim_end_matches("_total").to_owned();
    let files = tree.product().filter(|file| file.is_of(METRICS));
    let registered = files.flat_map(|file| file.text.split("registry.register(").skip(1));
    let in_code = registered.filter_map(|rest| rest.split('"').nth(1)).map(bare).collect();
    let in_table = tree.rows(METRICS_TABLE).iter().map(|row| bare(&row[0])).collect();
    differences(&in_code, &in_table, METRICS_TABLE)
}

pub(super) fn is_on_the_map(tree: &Tree) -> Vec<String> {
    let mark = |file: &Source| if file.says_pure() { "●" } else { "○" };
    let in_code = tree.product().map(|file| (file.path.clone(), mark(file).to_owned())).collect();
    let lines = tree.text(ARCHITECTURE).lines().filter(|line| line.starts_with("src/"));
    let in_map = lines
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            words.next().zip(words.next())
        })
        .collect();
    differences(&in_code, &in_map, ARCHITECTURE)
}

pub(super) fn documents_limits(tree: &Tree) -> Vec<String> {
    let named =
        tree.product().flat_map(|file| limits(&file.code()).map(|name| (name, file.path.clone())).collect::<Vec<_>>());
    let rows = tree.rows(ARCHITECTURE).into_iter().filter(|row| is_constant(&row[0]));
    let in_table: BTreeSet<_> = rows.map(|row| (row[0].clone(), row.last().cloned().unwrap_or_default())).collect();
    let missing = named.filter(|limit| !in_table.contains(limit));
    let missing = missing.map(|(name, file)| format!("{ARCHITECTURE}: the limit {name} of {file} is missing"));
    let gone = in_table.iter().filter(|(name, file)| !tree.text(file).contains(&format!("const {name}:")));
    missing.chain(gone.map(|(name, file)| format!("{ARCHITECTURE}: there is no {name} in {file}"))).collect()
}

/// The constants that say by their names that they are limits.
fn limits(code: &str) -> impl Iterator<Item = String> {
    let constants = code.split("const ").skip(1).filter_map(|rest| rest.split_once(':'));
    let limit = |name: &str| name.starts_with("MAX_") || name.starts_with("MOST_") || name.ends_with("_LIMIT");
    constants.map(|(name, _)| name.to_owned()).filter(move |name| is_constant(name) && limit(name))
}

pub(super) fn numbers_decisions(tree: &Tree) -> Vec<String> {
    let decisions = tree.0.iter().filter(|file| file.path.starts_with("docs/decisions/"));
    let numbered = decisions.zip(1..).filter(|(file, number)| {
        let named = file.path.starts_with(&format!("docs/decisions/{number:04}-"));
        !(named && file.text.starts_with(&format!("# {number}. ")))
    });
    numbered.map(|(file, number)| file.offence(&format!("is not decision {number} in name and heading"))).collect()
}

pub(super) fn links_well(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree.0.iter().filter(|file| file.is_a("md")) {
        for link in links(&file.text) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = if path.is_empty() { file.path.clone() } else { beside(&file.path, path) };
            let anchored = anchor.is_empty() || headings(tree.text(&path)).contains(anchor);
            if !(tree.has(&path) && anchored) {
                offences.push(file.offence(&format!("links to {link}, which is not there")));
            }
        }
    }
    offences
}

pub(super) fn runs_strictly(tree: &Tree) -> Vec<String> {
    let scripts = tree.0.iter().filter(|file| file.path.starts_with("scripts/") || file.path == ".ci/run");
    let wrong = scripts.filter(|file| {
        let bash = file.text.starts_with("#!/usr/bin/env bash\n");
        let strict = file.text.lines().any(|line| line == "set -euo pipefail");
        !(file.executable && file.text.starts_with("#!") && (strict || !bash))
    });
    wrong.map(|file| file.offence("is not executable, or not `set -euo pipefail`")).collect()
}

pub(super) fn tests_every_case(tree: &Tree) -> Vec<String> {
    let cases: BTreeMap<String, Value> = tree.text(CASES).parse::<Table>().unwrap().into_iter().collect();
    let wanted = REQUIRED_CASES.iter().flat_map(|(group, numbers)| required(group, numbers)).collect();
    let mut offences = differences(&wanted, &cases.keys().cloned().collect(), CASES);
    for (id, case) in &cases {
        let says_what = case.get("what").and_then(Value::as_str).is_some_and(|what| !what.is_empty());
        let tests: Vec<_> = case.get("tests").and_then(Value::as_array).into_iter().flatten().collect();
        if !says_what || tests.is_empty() {
            offences.push(format!("{CASES}: {id} has no words or no test"));
        }
        let lost = tests.iter().filter(|test| !test.as_str().is_some_and(|test| is_test(tree, test)));
        offences.extend(lost.map(|test| format!("{CASES}: {id} names {test}, which is no test")));
    }
    offences
}

/// `gate-1`, `gate-3`, `gate-4` of `gate` and `1 3-4`.
pub(super) fn required(group: &str, numbers: &str) -> Vec<String> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    numbers.split(' ').flat_map(range).map(|number| format!("{group}-{number}")).collect()
}

/// Whether `file::function` is a test: not merely a function of that name.
fn is_test(tree: &Tree, name: &str) -> bool {
    let Some((path, function)) = name.split_once("::") else {
        return false;
    };
    let lines: Vec<&str> = tree.text(path).lines().map(str::trim).collect();
    let start = format!("fn {function}(");
    let found = lines.iter().position(|line| line.trim_start_matches("async ").starts_with(&start));
    found.is_some_and(|at| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/', ')']));
        attributes.into_iter().any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
    })
}

fn is_constant(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn differences<T: Ord + std::fmt::Debug>(wanted: &BTreeSet<T>, found: &BTreeSet<T>, place: &str) -> Vec<String> {
    let missing = wanted.difference(found).map(|one| format!("{place}: {one:?} is missing"));
    missing.chain(found.difference(wanted).map(|one| format!("{place}: {one:?} does not exist"))).collect()
}

/// Targets of the links and pictures that lead to files here; code is no text.
fn links(text: &str) -> Vec<String> {
    let fenced = text.split("```").step_by(2).collect::<String>();
    let plain: String = fenced.split('`').step_by(2).collect();
    let targets = plain.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let here = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    here.map(str::to_owned).collect()
}

/// The path of a link in that file.
fn beside(file: &str, link: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a document, as forges make them of its headings.
pub(super) fn headings(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

pub(super) const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
pub(super) const CASES: &str = "tests/cases.toml";
pub(super) const METRICS: &str = "telemetry/metrics";
pub(super) const METRICS_TABLE: &str = "docs/metrics.md";
pub(super) const REASONS: &str = "src/reason.rs";
pub(super) const REASONS_TABLE: &str = "docs/reasons.md";
/// Groups of cases, and the numbers in each that are ours.
pub(super) const REQUIRED_CASES: [(&str, &str); 5] = [
    ("gate", "1-27"),
    ("oidc-1", "1-12 14-18 20-25 28-33 35-38"),
    ("oidc-2", "1-18 30-34 41-46"),
    ("oidc-3", "1-13 15-27 29-30"),
    ("fapi", "2-15 17"),
];
