//! The program as it is called: exit codes, what it prints, and what it never prints.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use tempfile::TempDir;

const SETTINGS: &str = include_str!("../config/portcullis.toml");
const MARKER: &str = "m4rk3r";

struct Called {
    code: Option<i32>,
    out: String,
    err: String,
}

fn portcullis(arguments: &[&str], environment: &[(&str, &str)]) -> Called {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Called { code: status.code(), out: text(stdout), err: text(stderr) }
}

fn settings(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn fresh_key() -> String {
    portcullis(&["keygen"], &[]).out.trim().to_owned()
}

#[test]
fn the_shipped_settings_are_ok_with_the_documented_environment() {
    let (_folder, path) = settings(SETTINGS);
    let key = fresh_key();
    let environment = [("SESSION_ENCRYPTION_KEY", key.as_str()), ("OIDC_CLIENT_SECRET", MARKER)];
    let by_flag = portcullis(&["check", "--config", path.to_str().unwrap()], &environment);
    assert_eq!(by_flag.code, Some(0), "{}", by_flag.err);
    assert!(by_flag.out.starts_with("ok\n"));
    assert!(!by_flag.out.contains(MARKER) && !by_flag.out.contains(&key));
    let by_variable = [&environment[..], &[("PORTCULLIS_CONFIG", path.to_str().unwrap())]].concat();
    assert_eq!(portcullis(&["check"], &by_variable).out, by_flag.out);
}

#[test]
fn wrong_settings_are_told_whole_and_neither_checked_nor_served() {
    let (_folder, path) = settings(&SETTINGS.replace("https://app.example.com", "http://app.example.com"));
    for command in ["check", "serve", "healthcheck"] {
        let path = path.to_str().unwrap();
        let called = portcullis(&[command, "--config", path], &[("SESSION_ENCRYPTION_KEY", MARKER)]);
        assert_eq!(called.code, Some(2), "{command}");
        assert_eq!(called.out, "");
        assert_eq!(
            called.err,
            format!(
                "provider.main.client_secret: the environment has no variable OIDC_CLIENT_SECRET\n\
                 session.key: is not base64 (set by SESSION_ENCRYPTION_KEY)\n\
                 site.main.public_url: must be https outside development mode\n\
                 portcullis: 3 problems in {path}\n"
            )
        );
    }
}

#[test]
fn settings_that_nobody_knows_stop_the_start() {
    let unknown = "[policy.staff]\nrules = [{ allow = true, groups = ['staff'], group = ['admins'] }]\n[matchings]\n";
    let (_folder, path) = settings(&SETTINGS.replace("[policy.staff]\nrules = [\n", &format!("{unknown}rules = [\n")));
    let key = fresh_key();
    let environment = [("SESSION_ENCRYPTION_KEY", key.as_str()), ("OIDC_CLIENT_SECRET", MARKER)];
    let path = path.to_str().unwrap();
    let called = portcullis(&["serve", "--config", path], &environment);
    assert_eq!(called.code, Some(2));
    assert_eq!(
        called.err,
        format!(
            "matchings: is not a setting; did you mean matching?\n\
             policy.staff.rules[0].group: is not a setting; did you mean groups?\n\
             portcullis: 2 problems in {path}\n"
        )
    );
}

#[test]
fn a_health_check_of_nothing_fails() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("ops.sock");
    let called = portcullis(&["healthcheck", "--socket", socket.to_str().unwrap()], &[]);
    assert_eq!(called.code, Some(1));
    assert!(called.err.starts_with("portcullis: cannot connect to "), "{}", called.err);
}

#[test]
fn a_gateway_that_cannot_listen_says_which_listener() {
    let (folder, path) = settings(SETTINGS);
    let key = fresh_key();
    let environment = [
        ("SESSION_ENCRYPTION_KEY", key.as_str()),
        ("OIDC_CLIENT_SECRET", MARKER),
        ("PORTCULLIS_LISTENER__NGINX__ADDRESS", &format!("unix:{}/no/folder.sock", folder.path().display())),
    ];
    let called = portcullis(&["serve", "--config", path.to_str().unwrap()], &environment);
    assert_eq!(called.code, Some(1));
    assert!(called.err.starts_with("portcullis: listener.nginx cannot listen"), "{}", called.err);
}
