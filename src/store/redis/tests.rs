//! Settings that can never work are refused, and the password shows nowhere.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::path::PathBuf;

use super::*;
use crate::secret::Secret;

fn tls(ca_file: &str) -> Config {
    Config::new(Address::Tls {
        host: "redis.test".to_owned(),
        port: 6379,
        tls: Tls { ca_file: Some(PathBuf::from(ca_file)), client: None },
    })
}

#[test]
fn what_can_never_work_is_refused_before_the_start() {
    let check = |config: Config, expected: &str| {
        let problem = Redis::new(config).map(drop).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    };
    check(tls("/nowhere/ca.pem"), "/nowhere/ca.pem cannot be read");
    check(tls(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")), "is not a PEM file");
    let braces = Config { prefix: "{all}".to_owned(), ..Config::new(Address::Unix(PathBuf::from("/nowhere"))) };
    check(braces, "a key prefix is");
}

#[test]
fn the_password_shows_in_no_format() {
    let config = Config {
        password: Some(Secret::new("marker-password")),
        ..Config::new(Address::Unix(PathBuf::from("/nowhere")))
    };
    assert!(!format!("{config:?}").contains("marker"));
    assert!(!format!("{:?}", Redis::new(config).unwrap()).contains("marker"));
}
