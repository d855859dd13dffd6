//! Rules about alerts: each is tested, and leads whoever it wakes to its place in a runbook.

use std::collections::BTreeSet;

use super::{
    documents::headings,
    tree::{Source, Tree},
};

pub(super) fn leads_to_runbooks(tree: &Tree) -> Vec<String> {
    let mut bases = BTreeSet::new();
    let mut offences = Vec::new();
    for (file, alert) in alerts(tree) {
        let name = name(alert);
        let missing = KEYS.into_iter().filter(|key| value(alert, key).is_none());
        offences.extend(missing.map(|key| file.offence(&format!("gives {name} no {key}"))));
        match value(alert, "runbook_url").and_then(|url| url.rsplit_once('/')) {
            Some((base, place)) if base.starts_with("https://") && is_headed(tree, place, name) => {
                bases.insert(base);
            }
            _ => offences.push(file.offence(&format!("leads {name} to no heading of its name in a runbook"))),
        }
    }
    if bases.len() > 1 {
        offences.push(format!("{RULES}: runbooks have more than one base: {bases:?}"));
    }
    offences
}

pub(super) fn tests_every_alert(tree: &Tree) -> Vec<String> {
    let known: BTreeSet<(&str, bool)> =
        alerts(tree).flat_map(|(_, alert)| [true, false].map(|fires| (name(alert), fires))).collect();
    let files = tree.0.iter().filter(|file| file.path.starts_with(TESTS));
    let checks = files.flat_map(|file| file.text.split("alertname: ").skip(1));
    let tested: BTreeSet<(&str, bool)> =
        checks.map(|check| (name(check), value(check, "exp_alerts") != Some("[]"))).collect();
    let missing = known.difference(&tested);
    let missing = missing.map(|(name, fires)| format!("{TESTS}: {name} has no test in which firing is {fires}"));
    let gone = tested.difference(&known).map(|(name, _)| format!("{TESTS}: there is no alert {name}"));
    missing.chain(gone).collect()
}

/// Each alert, from its name on, with the file it stands in.
fn alerts(tree: &Tree) -> impl Iterator<Item = (&Source, &str)> {
    let files = tree.0.iter().filter(|file| file.path.starts_with(RULES));
    files.flat_map(|file| file.text.split("- alert: ").skip(1).map(move |alert| (file, alert)))
}

fn name(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim()
}

/// What stands behind that key, on its line.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let after = |line: &'a str| line.trim().strip_prefix(key)?.strip_prefix(':');
    text.lines().find_map(after).map(str::trim)
}

/// Whether that place is a heading of a runbook, and the alert's own.
fn is_headed(tree: &Tree, place: &str, alert: &str) -> bool {
    let (file, anchor) = place.split_once('#').unwrap_or_default();
    anchor == alert.to_lowercase() && headings(tree.text(&format!("{RUNBOOKS}{file}"))).contains(anchor)
}

const KEYS: [&str; 5] = ["severity", "service", "component", "summary", "description"];
pub(super) const RULES: &str = "monitoring/rules/";
pub(super) const RUNBOOKS: &str = "docs/runbooks/";
pub(super) const TESTS: &str = "monitoring/tests/";
