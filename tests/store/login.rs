//! Who may speak to Redis, and over what: passwords, ACL users, TLS.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use portcullis::{
    secret::Secret,
    store::{
        Ended, Mark, Store, StoreError, StoredSwitches, Swap, Thrown,
        redis::{Address, Config, Tls},
    },
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{
    HOUR, change, in_an_hour, name, redis::Server, redis::free_port, redis::store, session, token, wire::loopback,
};

const PASSWORD: &str = "marker: /@?# password";

/// All that the ACL user of the guide may do.
const PERMISSIONS: &[&str] = &[
    "+evalsha",
    "+eval",
    "+hmget",
    "+hget",
    "+hset",
    "+exists",
    "+get",
    "+set",
    "+del",
    "+pttl",
    "+pexpire",
    "+pexpireat",
    "+zadd",
    "+zrem",
    "+zrange",
    "+zremrangebyscore",
    "+zrevrangebyscore",
    "+zcard",
    "+zcount",
    "+zscore",
    "+publish",
    "+subscribe",
    "+time",
    "+ping",
    "+select",
];

fn with_password(server: &Server, username: Option<&str>, password: &str) -> Config {
    Config { username: username.map(str::to_owned), password: Some(Secret::new(password)), ..server.config() }
}

/// Every operation once.
async fn works(store: &Store) {
    store.create(&session(1)).await.unwrap();
    let swap = store.compare_and_set(&name(1), &change(1, "two")).await;
    assert_eq!(swap, Ok(Swap::Done));
    assert!(store.session(&name(1)).await.unwrap().is_some());
    assert_eq!(store.group(&name(0)).await.unwrap().len(), 1);
    assert_eq!(store.count().await, Ok(1));
    assert_eq!(store.end(&name(1), in_an_hour()).await, Ok(Ended::Now));
    assert_eq!(store.was_ended(&name(1)).await, Ok(true));
    assert_eq!(store.group(&name(0)).await, Ok(Vec::new()));
    let mark = store.mark_once(&name(2), &token(1), in_an_hour()).await;
    assert_eq!(mark, Ok(Mark::First));
    assert_eq!(store.lock(&name(2), &token(1), HOUR).await, Ok(true));
    assert_eq!(store.unlock(&name(2), &token(1)).await, Ok(()));
    let switches = StoredSwitches { epoch: 1, sealed: b"sealed".to_vec() };
    assert_eq!(store.throw_switches(&switches).await, Ok(Thrown::Done));
    assert_eq!(store.switches().await, Ok(Some(switches)));
    assert_eq!(store.ping().await, Ok(()));
    assert_eq!(store.count().await, Ok(0));
}

/// A refusal that does not tell the password.
async fn is_refused(store: &Store) {
    for refused in [store.ping().await.unwrap_err(), store.facts(&name(1)).await.unwrap_err()] {
        assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("marker"));
    }
}

#[tokio::test]
async fn the_password_opens_and_no_other_does() {
    let server = Server::start_with(&["--requirepass", PASSWORD]);
    works(&store(with_password(&server, None, PASSWORD))).await;
    is_refused(&store(with_password(&server, None, "marker: wrong"))).await;
    is_refused(&store(server.config())).await;
}

#[tokio::test]
async fn an_acl_user_needs_only_the_permissions_of_the_guide() {
    let mut server = Server::prepared(&[]);
    let file = server.folder().join("users.acl");
    let rights = PERMISSIONS.join(" ");
    fs::write(
        &file,
        format!("user default off\nuser gateway on >marker-acl ~portcullis:* resetchannels -@all {rights}\n"),
    )
    .unwrap();
    let option = file.to_str().unwrap().to_owned();
    server.add_options(&["--aclfile", &option]);
    server.up();
    works(&store(with_password(&server, Some("gateway"), "marker-acl"))).await;
    let in_database = Config { database: 1, ..with_password(&server, Some("gateway"), "marker-acl") };
    works(&store(in_database)).await;
    is_refused(&store(with_password(&server, Some("gateway"), "marker"))).await;
    is_refused(&store(with_password(&server, Some("nobody"), "marker-acl"))).await;
    let elsewhere = Config { prefix: "other".to_owned(), ..with_password(&server, Some("gateway"), "marker-acl") };
    let refused = store(elsewhere).facts(&name(1)).await;
    let expected = "NOPERM, the user lacks a permission".to_owned();
    assert_eq!(refused, Err(StoreError::Refused(expected)));
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_refused() {
    let server = Server::start();
    let config = Config { database: 999, ..server.config() };
    is_refused(&store(config)).await;
}

/// An authority, and a certificate of `redis.test` and 127.0.0.1 under it, as files.
struct Certificates {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

fn certificates(folder: &Path) -> Certificates {
    let files = Certificates {
        ca: folder.join("ca.pem"),
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
    };
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    fs::write(&files.ca, root.pem()).unwrap();
    fs::write(&files.certificate, leaf.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

/// A Redis that speaks TLS on a port of loopback.
fn tls_server() -> (Server, Certificates, u16) {
    let mut server = Server::prepared(&[]);
    let files = certificates(server.folder());
    let port = free_port();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    server.add_options(&["--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
    server.add_options(&["--tls-cert-file", &text(&files.certificate)]);
    server.add_options(&["--tls-key-file", &text(&files.key)]);
    server.add_options(&["--tls-ca-cert-file", &text(&files.ca)]);
    server.up();
    (server, files, port)
}

fn over_tls(server: &Server, host: &str, port: u16, ca_file: Option<PathBuf>) -> Config {
    let tls = Tls { ca_file, client: None };
    Config { address: Address::Tls { host: host.to_owned(), port, tls }, ..server.config() }
}

#[tokio::test]
async fn tls_works_with_the_right_authority_only() {
    let (server, files, port) = tls_server();
    works(&store(over_tls(&server, "127.0.0.1", port, Some(files.ca)))).await;

    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = certificates(elsewhere.path());
    for ca_file in [None, Some(stranger.ca)] {
        let refused = store(over_tls(&server, "127.0.0.1", port, ca_file)).ping().await;
        let Err(StoreError::Unreachable(why)) = &refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("certificate"), "{why}");
    }
}

#[tokio::test]
async fn tls_demands_a_certificate_of_the_servers_own_name() {
    let (server, files, port) = tls_server();
    let refused = store(over_tls(&server, "localhost", port, Some(files.ca))).ping().await;
    let Err(StoreError::Unreachable(why)) = &refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test]
async fn without_tls_nothing_is_said_to_a_port_that_wants_it() {
    let (server, _files, port) = tls_server();
    let plain = Config {
        address: loopback(port),
        deadline: Duration::from_millis(800),
        ..with_password(&server, None, PASSWORD)
    };
    let refused = store(plain).ping().await.unwrap_err();
    assert!(!refused.to_string().contains("marker"), "{refused}");
}
