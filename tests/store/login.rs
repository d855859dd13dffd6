//! Who may speak to Redis, and over what: passwords, ACL users, TLS.

use std::fs;

use portcullis::{
    secret::Secret,
    store::{
        Ended, Mark, Store, StoreError, StoredSwitches, Swap, Thrown,
        notice::{Beat, Notice},
        redis::Config,
        window::{Counted, Kind, Rate, Window},
    },
};
use tokio::time::timeout;

use crate::support::{
    HOUR, PATIENCE, change, in_an_hour, name,
    redis::{PERMISSIONS, Server, store},
    session, token,
};

const PASSWORD: &str = "marker: /@?# password";

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
    let window = Window { kind: Kind::SignIn, name: name(3) };
    let rates = [Rate::new(2, HOUR).unwrap()];
    assert_eq!(store.count_in_window(window, &rates, &token(1)).await, Ok(Counted::Admitted));
    assert_eq!(store.bar_window(window, HOUR).await, Ok(()));
    assert!(matches!(store.count_in_window(window, &rates, &token(2)).await, Ok(Counted::Refused { .. })));
    let beat = Beat { by: token(1), number: 1 };
    assert_eq!(store.beat(beat, &token(2)).await.unwrap().mark, token(2));
    let mut ear = store.listen().await.unwrap().unwrap();
    store.announce(Notice::Switches).await.unwrap();
    assert_eq!(timeout(PATIENCE, ear.next()).await.unwrap(), Some(Notice::Switches));
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
        format!(
            "user default off\nuser gateway on >marker-acl ~portcullis:* resetchannels &portcullis:* -@all {rights}\n"
        ),
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
