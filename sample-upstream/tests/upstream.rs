//! The sample application over real sockets: what it answers, what it remembers, and that it ends.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use sample_upstream::{Address, Upstream};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::{client_async, tungstenite::Message};

async fn upstream() -> (Upstream, SocketAddr) {
    let upstream = sample_upstream::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    match *upstream.address() {
        Address::Tcp(address) => (upstream, address),
        Address::Unix(_) => unreachable!("asked for TCP"),
    }
}

#[tokio::test]
async fn it_shows_and_remembers_the_identity_it_received() {
    let (upstream, address) = upstream().await;
    let asked = reqwest::Client::new()
        .post(format!("http://{address}/api/whoami?a=b"))
        .header("X-Auth-Request-User", "alice")
        .header("X-Auth-Request-Groups", "staff,admins")
        .header("X-Other", "x")
        .body("something");
    let answer: serde_json::Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer, serde_json::json!({"x-auth-request-user": "alice", "x-auth-request-groups": "staff,admins"}));
    let requests = upstream.requests();
    let [request] = requests.as_slice() else { unreachable!("one request was made: {requests:?}") };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/api/whoami?a=b"));
    assert_eq!(request.headers["x-other"], "x");
    upstream.forget();
    assert!(upstream.requests().is_empty());
    upstream.stop().await;
}

#[tokio::test]
async fn the_web_socket_echoes_and_ends_with_the_application() {
    let (upstream, address) = upstream().await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, answer) = client_async(format!("ws://{address}/ws"), stream).await.unwrap();
    assert_eq!(answer.status(), 101);
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    upstream.stop().await;
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_unix_socket_is_served_and_taken_away_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let upstream = sample_upstream::start(Address::Unix(path.clone())).await.unwrap();
    let stream = UnixStream::connect(&path).await.unwrap();
    let (mut socket, _) = client_async("ws://app.test/ws", stream).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    upstream.stop().await;
    assert!(!path.exists());
}
