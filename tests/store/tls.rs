//! Redis over TLS: whom the gateway trusts, and what it shows.

use std::time::Duration;

use portcullis::{
    secret::Secret,
    store::{
        Store, StoreError,
        redis::{Address, ClientCertificate, Config, Tls},
    },
};

use crate::support::{
    certificates::Certificates,
    fleet::{Cluster, Watched},
    in_an_hour, name,
    redis::{Server, free_port, store},
    session,
    wire::loopback,
};

/// A Redis that speaks TLS on a port of loopback.
fn tls_server(auth_clients: &str) -> (Server, Certificates, u16) {
    let mut server = Server::prepared(&[]);
    let files = Certificates::new(server.folder());
    let port = free_port();
    let options = files.options(port, auth_clients);
    server.add_options(&options.iter().map(String::as_str).collect::<Vec<_>>());
    server.up();
    (server, files, port)
}

fn over_tls(server: &Server, host: &str, port: u16, tls: Tls) -> Store {
    store(Config { address: Address::Tls { host: host.to_owned(), port, tls }, ..server.config() })
}

async fn works(store: &Store) {
    store.create(&session(1)).await.unwrap();
    assert!(store.facts(&name(1)).await.unwrap().is_some());
    store.end(&name(1), in_an_hour()).await.unwrap();
    store.listen().await.unwrap().unwrap();
}

async fn is_unreachable(store: &Store, why: &str) {
    let refused = store.ping().await;
    let Err(StoreError::Unreachable(told)) = &refused else {
        panic!("{refused:?}");
    };
    assert!(told.contains(why), "{told}");
}

#[tokio::test]
async fn tls_works_with_the_right_authority_only() {
    let (server, files, port) = tls_server("no");
    works(&over_tls(&server, "127.0.0.1", port, files.trust())).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Certificates::new(elsewhere.path());
    for tls in [Tls::default(), stranger.trust()] {
        is_unreachable(&over_tls(&server, "127.0.0.1", port, tls), "certificate").await;
    }
}

#[tokio::test]
async fn tls_demands_a_certificate_of_the_servers_own_name() {
    let (server, files, port) = tls_server("no");
    is_unreachable(&over_tls(&server, "localhost", port, files.trust()), "certificate").await;
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let (server, files, port) = tls_server("yes");
    works(&over_tls(&server, "127.0.0.1", port, files.client())).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Certificates::new(elsewhere.path());
    let theirs = Tls { client: stranger.client().client, ..files.trust() };
    for tls in [files.trust(), theirs] {
        let refused = over_tls(&server, "127.0.0.1", port, tls).ping().await;
        assert!(matches!(refused, Err(StoreError::Unreachable(_))), "{refused:?}");
    }
}

#[test]
fn a_certificate_that_can_never_work_is_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::new(folder.path());
    let check = |certificate_file: &std::path::Path, key_file: &std::path::Path, expected: &str| {
        let client = ClientCertificate { certificate_file: certificate_file.into(), key_file: key_file.into() };
        let tls = Tls { client: Some(client), ..files.trust() };
        let config = Config::new(Address::Tls { host: "redis.test".to_owned(), port: 1, tls });
        let problem = portcullis::store::redis::Redis::new(config).map(drop).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    };
    check(&files.client_key, &files.client_key, "client.key is not a PEM file of certificates");
    check(&files.client_certificate, &files.client_certificate, "client.pem is not a PEM file of a private key");
    check(&files.client_certificate, &folder.path().join("none"), "none cannot be read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_those_that_they_name_are_shown_our_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::new(folder.path());
    let watched = Watched::start_with(Some(&files), &[]);
    works(&store(watched.config())).await;
    let mut without = watched.config();
    if let Address::Sentinel(sentinels) = &mut without.address {
        sentinels.tls = Some(files.trust());
    }
    let refused = store(without).ping().await;
    assert!(matches!(refused, Err(StoreError::Unreachable(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_of_a_cluster_are_shown_our_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::new(folder.path());
    let cluster = Cluster::start_with(0, Some(&files));
    let store = store(cluster.config());
    works(&store).await;
    assert_eq!(store.count().await, Ok(0), "all nodes were asked");
}

#[tokio::test]
async fn without_tls_nothing_is_said_to_a_port_that_wants_it() {
    let (server, _files, port) = tls_server("no");
    let plain = Config {
        address: loopback(port),
        deadline: Duration::from_millis(800),
        password: Some(Secret::new("marker password")),
        ..server.config()
    };
    let refused = store(plain).ping().await.unwrap_err();
    assert!(!refused.to_string().contains("marker"), "{refused}");
}
