//! Rules about code: what each file may use, be called and leave open.

#![expect(clippy::unwrap_used, reason = "a manifest that cannot be read is a failed test")]

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::tree::{Source, Tree, code_of, has_word};

pub(super) fn says_what_for(tree: &Tree) -> Vec<String> {
    let silent = tree.rust().filter(|file| !file.text.starts_with("//! "));
    silent.map(|file| file.offence("does not begin with //!")).collect()
}

pub(super) fn is_pure(tree: &Tree) -> Vec<String> {
    let pure = tree.product().filter(|file| file.says_pure());
    pure.flat_map(|file| {
        let code = file.code();
        let settings = file.path.starts_with("src/config");
        let words = IMPURE.iter().filter(|word| !(settings && **word == "Store"));
        let mut offences: Vec<String> = words
            .filter(|word| has_word(&code, word))
            .map(|word| file.offence(&format!("says it is pure and uses {word}")))
            .collect();
        if code.replace("random::NoRandomness", "").contains("random::") {
            offences.push(file.offence("says it is pure and draws at random"));
        }
        offences
    })
    .collect()
}

pub(super) fn keeps_its_floor(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree.product() {
        let Some((floor, below)) = FLOORS.iter().find(|(floor, _)| file.is_of(floor)) else {
            continue;
        };
        for module in imports(&file.code()) {
            if module != *floor && !below.contains(&module.as_str()) {
                offences.push(file.offence(&format!("is of `{floor}`, which knows nothing of `{module}`")));
            }
        }
    }
    offences
}

pub(super) fn leaves_the_gateway_alone(tree: &Tree) -> Vec<String> {
    let others = tree.product().filter(|file| !ROOTS.iter().any(|root| file.is_of(root)));
    let knowing = others.filter(|file| has_word(&file.code(), "Gateway"));
    knowing.map(|file| file.offence("knows the whole gateway")).collect()
}

pub(super) fn has_one_source(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for (words, home) in [(CLOCKS, "src/clock.rs"), (DICE, "src/random.rs")] {
        for file in tree.product().filter(|file| file.path != home) {
            let code = file.code();
            let used = words.iter().filter(|word| has_word(&code, word));
            offences.extend(used.map(|word| file.offence(&format!("uses {word}, which is for {home}"))));
        }
    }
    offences
}

pub(super) fn leaves_headers_alone(tree: &Tree) -> Vec<String> {
    let others = tree.product().filter(|file| file.path != "src/inbound.rs");
    let reading = others.filter(|file| RAW_HEADERS.iter().any(|way| file.code().contains(way)));
    reading.map(|file| file.offence("reads request headers, which is for src/inbound.rs")).collect()
}

pub(super) fn reveals_no_secret(tree: &Tree) -> Vec<String> {
    let wrong = tree.product().filter_map(|file| {
        let reveals = has_word(&file.code(), "reveal");
        match (reveals, MAY_REVEAL.contains(&file.path.as_str())) {
            (true, false) => Some(file.offence("reveals a secret and is not in MAY_REVEAL")),
            (false, true) => Some(file.offence("reveals no secret any more: take it out of MAY_REVEAL")),
            (true, true) | (false, false) => None,
        }
    });
    wrong.collect()
}

pub(super) fn is_named(tree: &Tree) -> Vec<String> {
    let name = |file: &Source| file.path.rsplit('/').next().unwrap_or_default().to_owned();
    let vague = tree.rust().filter(|file| VAGUE_NAMES.contains(&name(file).as_str()));
    vague.map(|file| file.offence("has a name that says nothing")).collect()
}

pub(super) fn is_short(tree: &Tree) -> Vec<String> {
    let long = tree.rust().filter(|file| file.text.lines().count() > MOST_LINES);
    long.map(|file| file.offence(&format!("is longer than {MOST_LINES} lines"))).collect()
}

pub(super) fn is_finished(tree: &Tree) -> Vec<String> {
    let others = tree.0.iter().filter(|file| !file.path.starts_with("tests/tidy"));
    let unfinished = others.filter(|file| {
        let code = if file.is_rust() { code_of(&file.text) } else { String::new() };
        let stub = ["todo!", "unimplemented!", "#[ignore"].iter().any(|mark| code.contains(mark));
        stub || ["TODO", "FIXME", "XXX"].iter().any(|mark| has_word(&file.text, mark))
    });
    unfinished.map(|file| file.offence("leaves something for later")).collect()
}

pub(super) fn ships_no_test_parts(tree: &Tree) -> Vec<String> {
    let manifest: Table = tree.text("Cargo.toml").parse().unwrap();
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
    let tables = targets.filter_map(|(_, target)| target.as_table()).chain([&manifest]);
    let shipped = tables.flat_map(|table| ["dependencies", "build-dependencies"].map(|kind| table.get(kind)));
    let names = shipped.flatten().filter_map(Value::as_table).flat_map(Table::keys);
    let wrong = names.filter(|name| TEST_PARTS.contains(&name.as_str()));
    wrong.map(|name| format!("Cargo.toml: {name} is for tests")).collect()
}

/// The modules that a file takes from its own crate.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).next().unwrap_or_default().to_owned()
    };
    let mut modules = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            modules.insert(word(rest));
            continue;
        };
        let (mut depth, mut starts) = (0_i32, true);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                letter if starts && letter.is_alphabetic() => {
                    modules.insert(word(&group[at..]));
                    starts = false;
                }
                _ => {}
            }
        }
    }
    modules
}

pub(super) const MOST_LINES: usize = 600;
const TEST_PARTS: [&str; 2] = ["dev-idp", "sample-upstream"];
const VAGUE_NAMES: [&str; 6] = ["mod.rs", "util.rs", "utils.rs", "types.rs", "helpers.rs", "common.rs"];
const IMPURE: [&str; 12] = [
    "tokio",
    "hyper",
    "hyper_util",
    "reqwest",
    "async",
    "await",
    "Clock",
    "SystemTime",
    "Instant",
    "Store",
    "fs",
    "env",
];
const CLOCKS: &[&str] = &["SystemTime", "UNIX_EPOCH"];
const DICE: &[&str] =
    &["SystemRandom", "SecureRandom", "OsRng", "getrandom", "thread_rng", "new_random", "new_random_sha256"];
const RAW_HEADERS: [&str; 3] = ["parts.headers", "request.headers()", "inbound.headers"];
/// The modules that may know the whole gateway.
const ROOTS: [&str; 4] = ["gateway", "server", "cli", "main"];
/// A module, and all that it may know of this crate.
const FLOORS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("random", &[]),
    ("secret", &[]),
    ("reason", &[]),
    ("origin", &[]),
    ("seal", &[]),
    ("drain", &[]),
    ("outbound", &[]),
    ("store", &["clock", "random", "secret"]),
    ("pages", &["reason"]),
    ("inbound", &["origin", "reason"]),
    ("route", &["inbound", "origin", "reason"]),
];
/// Where a secret's text is needed: to compare, seal, send or hand over.
const MAY_REVEAL: &[&str] = &[
    "src/config/check/session.rs",
    "src/config/check/store.rs",
    "src/oidc/failure.rs",
    "src/oidc/id_token.rs",
    "src/oidc/logout_url.rs",
    "src/oidc/provider.rs",
    "src/oidc/request.rs",
    "src/oidc/transaction.rs",
    "src/oidc/transport.rs",
    "src/secret.rs",
    "src/session/cookie.rs",
    "src/store/redis/client.rs",
    "src/verify/identity.rs",
];
