//! What `portcullis check --online` says of a store.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::support::{
    fleet::{Cluster, Watched},
    redis::{Server, free_port},
};

/// The command's exit code, and all that it printed.
fn check(redis: &str) -> (Option<i32>, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("portcullis.toml");
    let text = include_str!("../../config/portcullis.toml");
    let key = Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("keygen").output().unwrap().stdout;
    let head = "[store]\n";
    assert_eq!(text.matches(head).count(), 1);
    fs::write(
        &path,
        text.replace(head, "[store]\nkind = \"redis\"\n")
            .replace("[store.redis]\n", &format!("[store.redis]\n{redis}\n")),
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check", "--online", "--config", path.to_str().unwrap()])
        .env_clear()
        .env("SESSION_ENCRYPTION_KEY", String::from_utf8(key).unwrap().trim())
        .env("OIDC_CLIENT_SECRET", "m4rk3r")
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(told).unwrap())
}

fn unix(socket: &Path) -> String {
    format!("url = \"unix:{}\"", socket.display())
}

fn lines<'a>(told: &'a str, kind: &str) -> Vec<&'a str> {
    told.lines().filter(|line| line.starts_with(kind)).collect()
}

#[test]
fn a_durable_redis_is_ok() {
    let server = Server::start();
    let (code, told) = check(&unix(&server.socket()));
    assert_eq!(code, Some(0), "{told}");
    assert!(lines(&told, "online")[0].contains("Redis ") && told.contains(" answers\n"), "{told}");
    assert!(lines(&told, "warning").is_empty() && lines(&told, "unseen").is_empty(), "{told}");
}

#[test]
fn one_that_forgets_is_warned_of() {
    let server = Server::start_with(&["--appendfsync", "everysec", "--maxmemory-policy", "allkeys-lru"]);
    let (code, told) = check(&unix(&server.socket()));
    assert_eq!(code, Some(0), "{told}");
    let warnings = lines(&told, "warning");
    assert_eq!(warnings.len(), 2, "{told}");
    assert!(warnings[0].contains("appendfsync is everysec") && warnings[1].contains("not noeviction"), "{told}");
    let _: () = server.ask(&["CONFIG", "SET", "appendonly", "no"]);
    assert!(check(&unix(&server.socket())).1.contains("appendonly is off"));
}

#[test]
fn what_a_user_may_not_see_is_told_as_unseen() {
    let server = Server::start();
    let user = ["ACL", "SETUSER", "gateway", "on", ">m4rk3r", "~portcullis:*", "&portcullis:*", "+@all"];
    let _: () = server.ask(&[&user[..], &["-config"]].concat());
    let settings = format!("{}\nusername = \"gateway\"\npassword = \"m4rk3r\"", unix(&server.socket()));
    let (code, told) = check(&settings);
    assert_eq!((code, lines(&told, "unseen").len()), (Some(0), 1), "{told}");
    assert!(told.contains("CONFIG GET is forbidden: appendfsync could not be seen"), "{told}");
    let _: () = server.ask(&[&user[..], &["-config", "-info"]].concat());
    let (code, told) = check(&settings);
    assert_eq!((code, told.contains("INFO is forbidden")), (Some(0), true), "{told}");
    assert!(!told.contains("m4rk3r"), "{told}");
}

#[test]
fn one_that_does_not_answer_is_a_failure() {
    let (code, told) = check(&format!("url = \"redis://127.0.0.1:{}\"", free_port()));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("portcullis: the store cannot be reached"), "{told}");
}

#[test]
fn servers_that_should_have_replicas_are_asked_for_them() {
    let watched = Watched::start();
    let sentinel = format!("sentinels = [\"127.0.0.1:{}\"]\nmaster_name = \"main\"", watched.sentinel_port);
    let (code, told) = check(&sentinel);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("min-replicas-to-write is 0") && !told.contains("no replica"), "{told}");
    let _: () = watched.members[0].server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert!(lines(&check(&sentinel).1, "warning").is_empty());

    let cluster = Cluster::start();
    let (code, told) = check(&format!("cluster = [\"127.0.0.1:{}\"]", cluster.primaries[2].port));
    assert_eq!((code, lines(&told, "online").len()), (Some(0), 3), "{told}");
    assert_eq!(told.matches("no replica is connected").count(), 3, "{told}");
    for member in &cluster.primaries {
        assert!(told.contains(&format!("at 127.0.0.1:{} answers", member.port)), "{told}");
    }
}
