//! The settings. Input: TOML; after a line `---`, variables of the environment, one `NAME=text` a line.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use portcullis::config::{Config, Problems, environment::Environment, load};
use toml::{Table, Value};

/// Stands for a secret that somebody wrote into a wrong place; no variable's name and no number can look like it.
const MARKER: &str = "s3cr3t!";
/// 32 bytes that protect nothing.
const KEY: &str = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let (toml, variables) = text.split_once("\n---\n").unwrap_or((text, ""));
    let mut environment = Environment::default();
    for (name, value) in variables.lines().filter_map(|line| line.split_once('=')) {
        environment.add(name.into(), Some(value.into()));
    }
    let outcome = read(toml, &environment);
    let table = toml.parse::<Table>();
    // A variable's name may be shown, and becomes a key of small letters.
    let may_show = variables.lines().any(|line| names(&line.split('=').next().unwrap_or_default().to_lowercase()));
    if !may_show && !table.as_ref().is_ok_and(|table| table.iter().any(|(key, value)| is_named(key, value))) {
        shows_nothing(&outcome);
    }
    let Ok(table) = table else { return assert!(outcome.is_err()) };
    if !names(text) && !text.contains('$') && !text.contains('\\') {
        shows_nothing(&read(&marked(table.clone()).to_string(), &Environment::default()));
        keeps_secrets(table);
    }
});

fn read(toml: &str, environment: &Environment) -> Result<Config, Problems> {
    load::from_text("portcullis.toml", toml.as_bytes(), environment, &|path: &Path| match path
        .extension()
        .and_then(|extension| extension.to_str())
    {
        Some("key") => Ok(KEY.as_bytes().to_vec().into()),
        Some("bin") => Ok(vec![0xff; 40].into()),
        Some("missing") => Err("cannot be read".into()),
        _ => Ok(format!("{MARKER}\n").into_bytes().into()),
    })
}

/// A problem says where it is, and never what stands there.
fn shows_nothing(outcome: &Result<Config, Problems>) {
    if let Err(problems) = outcome {
        assert!(!problems.is_empty());
        assert!(!names(&problems.to_string()), "{problems}");
    }
}

/// Secrets that come by the environment are not in what is printed of the settings.
fn keeps_secrets(mut table: Table) {
    for section in ["session", "store"] {
        table.remove(section);
    }
    let mut environment = Environment::default();
    environment.add("PORTCULLIS_SESSION__KEY".into(), Some(KEY.into()));
    for provider in table.get("provider").and_then(Value::as_table).into_iter().flat_map(Table::keys) {
        let variable = format!("PORTCULLIS_PROVIDER__{}__CLIENT_SECRET", provider.to_uppercase());
        environment.add(variable, Some(MARKER.into()));
    }
    let redis = format!("redis://user:{MARKER}@cache.example");
    environment.add("PORTCULLIS_STORE__KIND".into(), Some("redis".into()));
    environment.add("PORTCULLIS_STORE__REDIS__URL".into(), Some(redis));
    let printed = match read(&table.to_string(), &environment) {
        Ok(config) => format!("{config:?}"),
        Err(problems) => problems.to_string(),
    };
    assert!(!names(&printed) && !printed.contains(KEY), "{printed}");
}

/// The same settings with the marker in every text.
fn marked(table: Table) -> Table {
    table.into_iter().map(|(key, value)| (key, marked_value(value))).collect()
}

fn marked_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(format!("{text}{MARKER}")),
        Value::Array(members) => members.into_iter().map(marked_value).collect::<Vec<_>>().into(),
        Value::Table(table) => Value::Table(marked(table)),
        other => other,
    }
}

/// Keys may be shown.
fn is_named(key: &str, value: &Value) -> bool {
    names(key)
        || match value {
            Value::Table(table) => table.iter().any(|(key, value)| is_named(key, value)),
            Value::Array(members) => members.iter().any(|member| is_named("", member)),
            _ => false,
        }
}

fn names(text: &str) -> bool {
    text.contains(MARKER)
}
