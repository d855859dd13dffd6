//! Sockets that somebody else opened, as systemd does: the gateway is restarted and no connection is refused.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use tokio::{net::UnixStream, task::block_in_place};

use crate::support::{
    Stage, Visitor,
    replica::{Replica, stage_for},
    systemd::{Systemd, log},
    traffic::Traffic,
};

async fn prepared() -> (Stage, Replica) {
    let stage = stage_for(&["one"]).await;
    let mut replica = Replica::prepared(&stage, "one");
    replica.change(str::to_owned);
    (stage, replica)
}

/// All three listeners' sockets; a unit's own name says nothing, a listener's does.
fn sockets(replica: &Replica) -> Vec<String> {
    let socket = |name: &str| format!("unix:{}", replica.folder.join(name).display());
    vec![
        format!("portcullis.socket={}", socket("application.sock")),
        format!("ops={}", replica.ops()),
        format!("nginx={}", socket("nginx.sock")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_gateway_restarts_and_no_connection_is_refused() {
    let (stage, replica) = prepared().await;
    let mut systemd = Systemd::holding(&sockets(&replica), &replica, "log");
    systemd.start();
    replica.is_up().await;
    let traffic = Traffic::of(&stage, 4).await;
    let (over, socket) = (Arc::new(AtomicBool::new(false)), replica.socket());
    let connecting = {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            let (mut connected, mut pace) = (0, tokio::time::interval(Duration::from_millis(2)));
            while !over.load(Ordering::Acquire) {
                pace.tick().await;
                UnixStream::connect(&socket).await.unwrap();
                connected += 1;
            }
            connected
        })
    };
    for _ in 0..3 {
        let callback = Visitor::new(&stage);
        let under_way = callback.up_to_callback("bob", "/x").await;
        let status = block_in_place(|| {
            let status = systemd.stop();
            systemd.start();
            status
        });
        assert_eq!(status, "0", "{}", log(&replica.folder, "log"));
        assert_eq!(callback.visit(&under_way).await.status, 302, "a sign-in goes on");
        traffic.all_see(200, Instant::now()).await;
    }
    over.store(true, Ordering::Release);
    assert!(connecting.await.unwrap() > 100);
    let seen = traffic.end().await;
    let bad: Vec<_> = seen.iter().filter(|one| one.status != 200 || one.meddles).collect();
    assert!(bad.is_empty(), "of {}: {bad:?}\n{}", seen.len(), stage.nginx.error_log());
    assert_eq!(block_in_place(|| systemd.stop()), "0");
    assert!(replica.socket().exists(), "whoever opened it, owns it");
    assert!(log(&replica.folder, "log").contains("nginx.sock"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_fits_no_listener_is_a_start_error_that_says_which() {
    let (_stage, replica) = prepared().await;
    let path = |name: &str| format!("unix:{}", replica.folder.join(name).display());
    let cases = [
        (format!("web={}", path("web.sock")), "the socket \"web\" that was handed over listens on unix:"),
        (format!("nginx={}", path("other.sock")), "the socket \"nginx\" that was handed over bears a listener's name"),
        ("ops=udp".to_owned(), "the socket \"ops\" that was handed over is no stream socket that listens"),
        ("ops=deaf".to_owned(), "the socket \"ops\" that was handed over is no stream socket that listens"),
        (format!("x={},666", path("nginx.sock")), "the socket \"x\" that was handed over lets every user"),
    ];
    for (number, (socket, expected)) in cases.into_iter().enumerate() {
        let name = format!("log-{number}");
        let mut systemd = Systemd::holding(&[socket], &replica, &name);
        let status = block_in_place(|| {
            systemd.start();
            systemd.wait()
        });
        let said = log(&replica.folder, &name);
        assert_eq!(status, "1", "{said}");
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_handed_over_is_bound_and_another_process_sockets_are_left_alone() {
    let (stage, mut replica) = prepared().await;
    let nginx = sockets(&replica).pop().unwrap();
    let mut systemd = Systemd::holding(&[nginx], &replica, "log");
    systemd.start();
    replica.is_up().await;
    let alice = stage.signed_in("alice").await;
    assert_eq!(block_in_place(|| systemd.stop()), "0");
    assert!(replica.socket().exists() && !replica.folder.join("application.sock").exists());
    drop(systemd);
    fs::remove_file(replica.socket()).unwrap();
    let mut command = crate::support::binary::command();
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web:nginx")]);
    replica.start_by(command).await;
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
}
