//! Tests of the settings that are shipped: `config/portcullis.toml`, the examples beside it, and `config/env.example`.
//!
//! A line of the first that begins with `#` and a key shows a default, or, where it ends in `# example`, a value for a
//! key that has none.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{collections::BTreeSet, fs};

use toml::{Table, Value};

use super::{
    Config, Problems,
    environment::Environment,
    fixture::KEY,
    given::Given,
    load::{from_table, read_named},
    problem::Path,
    raw::{
        Raw,
        node::{ANY_NAME, MEMBER, Node},
    },
};
use crate::store;

const SETTINGS: &str = include_str!("../../config/portcullis.toml");
const ENVIRONMENT: &str = include_str!("../../config/env.example");
const GENERIC: &str = include_str!("../../config/generic.toml");
const KEYCLOAK: &str = include_str!("../../config/keycloak.toml");

/// The settings, with the commented-out lines that `wanted` picks taken in.
fn settings(wanted: impl Fn(&str) -> bool) -> Table {
    let shown = |line: &str| {
        line.strip_prefix('#').is_some_and(|rest| {
            rest.starts_with(|first: char| !first.is_whitespace() && first != '#') || rest.starts_with("    {")
        })
    };
    let lines = SETTINGS.lines().map(|line| if shown(line) && wanted(line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n").parse().unwrap()
}

fn environment() -> Environment {
    [("SESSION_ENCRYPTION_KEY", KEY), ("OIDC_CLIENT_SECRET", "a client secret")]
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect()
}

fn config(table: Table) -> Config {
    from_table(table, &environment(), &read_named, Problems::default()).unwrap()
}

#[test]
fn they_are_valid_as_they_are() {
    config(settings(|_| false));
}

#[test]
fn the_defaults_they_show_are_the_defaults() {
    let example = |line: &str| line.ends_with("# example");
    let shown = |which: &dyn Fn(&str) -> bool| {
        // Which of them were given is another matter.
        let config = Config { given: Given::default(), ..config(settings(which)) };
        format!("{config:?}")
    };
    assert_eq!(shown(&|line| !example(line)), shown(&|_| false));
}

#[test]
fn they_have_every_key_and_no_other() {
    let all = settings(|_| true);
    let mut problems = Problems::default();
    Raw::read(Ok(Some(all.clone().into())), Path::root(), &mut problems);
    assert_eq!(problems.to_string(), "");
    let mut shown = BTreeSet::new();
    leaves(&Value::Table(all), &mut Vec::new(), &mut shown);
    let missing: Vec<String> =
        Raw::keys().iter().map(|key| key.path.join(".")).filter(|key| !shown.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The paths of all values, names and members as `Raw::keys` has them.
fn leaves(value: &Value, path: &mut Vec<String>, found: &mut BTreeSet<String>) {
    found.insert(path.join("."));
    match value {
        Value::Table(table) => {
            for (key, below) in table {
                let named = matches!(
                    path.join(".").as_str(),
                    "listener"
                        | "site"
                        | "provider"
                        | "policy"
                        | "identity.claims"
                        | "provider.*.extra_parameters"
                        | "fallback.administrators"
                );
                path.push(if named { ANY_NAME.to_owned() } else { key.clone() });
                leaves(below, path, found);
                path.pop();
            }
        }
        Value::Array(members) => {
            path.push(MEMBER.to_owned());
            for member in members {
                leaves(member, path, found);
            }
            path.pop();
        }
        _ => {}
    }
}

#[test]
fn every_default_is_shown() {
    let shown = SETTINGS.lines().filter(|line| line.starts_with('#') && !line.ends_with("# example"));
    let shown = shown.filter(|line| line[1..].starts_with(|first: char| first.is_ascii_lowercase())).count();
    assert!(shown >= 40, "{shown}");
}

#[test]
fn the_example_environment_names_what_the_settings_need() {
    let assigned = ENVIRONMENT.lines().filter_map(|line| line.split_once('=').map(|(name, _)| name));
    let assigned: BTreeSet<&str> = assigned.map(|name| name.trim_start_matches('#')).collect();
    for name in [
        "SESSION_ENCRYPTION_KEY",
        "SESSION_ENCRYPTION_KEY_NEW",
        "SESSION_ENCRYPTION_KEY_OLD",
        "OIDC_CLIENT_SECRET",
        "REDIS_URL",
        "PORTCULLIS_CONFIG",
        "PUBLIC_URL",
        "OIDC_ISSUER",
        "OIDC_CLIENT_ID",
        "OIDC_CLIENT_SECRET_FILE",
        "KEYCLOAK_URL",
        "KEYCLOAK_REALM",
    ] {
        assert!(assigned.contains(name), "{name}");
    }
}

#[test]
fn the_overrides_in_the_example_environment_are_settings() {
    let lines = ENVIRONMENT.lines().map(|line| line.trim_start_matches('#'));
    let overrides = lines
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.starts_with("PORTCULLIS_") && name.contains("__"));
    let mut environment = environment();
    for (name, text) in overrides {
        environment.add(name.to_owned(), Some(text.to_owned()));
    }
    from_table(settings(|_| false), &environment, &read_named, Problems::default()).unwrap();
}

/// What an example makes of the environment that its first lines ask for.
fn example(text: &str, without: &str) -> Result<Config, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (secret, key) = (file("client_secret", "a client secret"), file("session_key", KEY));
    let variables = [
        ("PUBLIC_URL", "https://app.example.com"),
        ("OIDC_ISSUER", "https://login.example.com"),
        ("KEYCLOAK_URL", "https://login.example.com"),
        ("KEYCLOAK_REALM", "staff"),
        ("OIDC_CLIENT_ID", "portcullis"),
        ("OIDC_CLIENT_SECRET_FILE", secret.as_str()),
        ("SESSION_ENCRYPTION_KEY_FILE", key.as_str()),
        ("REDIS_URL", "redis://redis.internal:6379"),
    ];
    let given = variables.into_iter().filter(|(name, _)| *name != without);
    let environment = given.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    from_table(text.parse().unwrap(), &environment, &read_named, Problems::default())
}

#[test]
fn the_example_for_any_provider_is_complete() {
    let config = example(GENERIC, "").unwrap();
    assert_eq!(config.gateway.policies.names().collect::<Vec<_>>(), ["admins", "staff"]);
    assert!(matches!(config.gateway.store, store::Config::Redis(_)));
    let alone = example(GENERIC, "REDIS_URL").unwrap();
    assert!(matches!(alone.gateway.store, store::Config::Memory(_)));
}

#[test]
fn the_example_for_keycloak_suits_keycloak() {
    let config = format!("{:?}", example(KEYCLOAK, "").unwrap());
    for part in ["https://login.example.com/realms/staff", "offline_access: false", "revoke_tokens: false"] {
        assert!(config.contains(part), "{part}: {config}");
    }
    for group in ["/staff", "/admins"] {
        assert!(config.contains(&format!("{group:?}")), "{group}: {config}");
    }
}

#[test]
fn the_examples_name_each_variable_that_they_need() {
    for (text, variables) in [
        (GENERIC, ["PUBLIC_URL", "OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET_FILE"].as_slice()),
        (KEYCLOAK, ["PUBLIC_URL", "KEYCLOAK_URL", "KEYCLOAK_REALM", "OIDC_CLIENT_ID"].as_slice()),
    ] {
        for variable in variables {
            let problems = example(text, variable).unwrap_err().to_string();
            assert!(problems.contains(&format!("the environment has no variable {variable}")), "{problems}");
            let explained = text.lines().take_while(|line| line.starts_with('#')).any(|line| line.contains(variable));
            assert!(explained, "{variable}");
        }
    }
}
