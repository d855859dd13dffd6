//! The server itself, and nginx when it is gone: limits, listeners, peers, the end.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use dev_idp::{Endpoint, Trouble};
use portcullis::{oidc::providers::WAITING_FOR_PROVIDER, server::Address};
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use crate::support::{APP, PATIENCE, Plan, Stage, Visitor, free_port, nginx::NGINX_PATIENCE};

async fn ops(stage: &Stage, path: &str) -> (u16, String) {
    let Address::Tcp(address) = stage.listener("ops") else { panic!("ops listens on TCP") };
    let reply = reqwest::get(format!("http://{address}{path}")).await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_asks_on_a_listener_of_its_own() {
    let stage = Stage::usual().await;
    assert_eq!(ops(&stage, "/livez").await, (200, "ok\n".into()));
    assert_eq!(ops(&stage, "/readyz").await, (200, "ok\n".into()));
    assert_eq!(ops(&stage, "/auth/verify?policy=staff").await.0, 404);
    let visitor = Visitor::new(&stage);
    assert_eq!(visitor.fetch(Method::GET, "/auth/metrics").await.status, 404);
    let health = visitor.fetch(Method::GET, "/auth/health").await;
    assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"healthy"}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_can_read_the_metrics() {
    let stage = Stage::usual().await;
    stage.signed_in("alice").await;
    let text = ops(&stage, "/metrics").await.1;
    for name in [
        "portcullis_verify_total{decision=\"allow\",reason=\"none\",policy=\"staff\"} ",
        "portcullis_verify_duration_seconds_bucket",
        "oauth2_authorization_total{result=\"success\"} 1",
        "oauth2_session_created_total 1",
        "oauth2_active_sessions_count{method=\"oidc\"} 1",
        "oauth2_login_duration_seconds_count 1",
        "oauth2_callback_duration_seconds_count 1",
        "oauth2_token_refresh_total{result=\"success\"} 0",
        "portcullis_store_operations_total{operation=\"create\",result=\"ok\"} 1",
        "portcullis_build_info",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    let mut promtool = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool does not start ({error}); install it: scripts/install promtool"));
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success() || !said.contains("error"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_gateway_stopped_nothing_passes_and_nginx_says_try_again() {
    let mut stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    stage.upstream.forget();
    stage.stop_gateway().await;
    let began = Instant::now();
    let page = alice.get("/").await;
    assert_eq!((page.status, page.header("retry-after")), (503, "5"));
    assert!(page.body.contains("<html"), "{}", page.body);
    assert_eq!(alice.fetch(Method::GET, "/api/whoami").await.json()["error"], "unavailable");
    assert_eq!(alice.get("/auth/login").await.status, 503);
    assert!(began.elapsed() < NGINX_PATIENCE, "{:?}", began.elapsed());
    assert!(stage.upstream.requests().is_empty());
    stage.start_gateway().await;
    assert_eq!(alice.get("/").await.status, 302, "memory is gone with its process, and says so by asking to sign in");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_gateway_hanging_nothing_passes_and_nginx_says_try_again() {
    let mut stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    stage.upstream.forget();
    stage.stop_gateway().await;
    let _hanging = std::os::unix::net::UnixListener::bind(stage.folder.path().join("nginx.sock")).unwrap();
    let began = Instant::now();
    let page = alice.get("/").await;
    assert_eq!((page.status, page.header("retry-after")), (503, "5"));
    assert!(began.elapsed() < NGINX_PATIENCE, "{:?}", began.elapsed());
    assert!(stage.upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_keeps_its_connections_to_the_gateway() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let sockets = || {
        let text = std::fs::read_to_string("/proc/net/unix").unwrap();
        let path = stage.folder.path().join("nginx.sock");
        text.lines().filter(|line| line.contains(path.to_str().unwrap())).count()
    };
    for _ in 0..20 {
        assert_eq!(alice.get("/").await.status, 200);
        assert_eq!(Visitor::new(&stage).fetch(Method::GET, "/").await.status, 401);
    }
    assert!(sockets() <= 4, "one listener and few connections, not {}", sockets());
}

/// Talks to a TCP listener of kind nginx directly.
pub(crate) async fn spoken(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn verify_request(extra: &str) -> String {
    format!(
        "GET /auth/verify?policy=staff HTTP/1.1\r\nHost: gateway\r\nX-Portcullis-Exposure: internal\r\nX-Portcullis-Method: GET\r\n\
         X-Portcullis-Scheme: https\r\nX-Portcullis-Host: {APP}\r\nX-Portcullis-Uri: /\r\nX-Portcullis-Client-Address: 127.0.0.1\r\n\
         X-Portcullis-Request-Id: 0123456789abcdef\r\nConnection: close\r\n{extra}\r\n"
    )
}

/// The header lines of a browser that is signed in.
pub(crate) fn session_lines(visitor: &Visitor) -> String {
    let session = visitor.session().unwrap();
    format!("Cookie: __Host-portcullis={session}\r\nUser-Agent: {}\r\n", crate::support::visitor::USER_AGENT)
}

async fn tcp_stage(trusted: &str) -> (Stage, SocketAddr) {
    let address = format!("127.0.0.1:{}", free_port());
    let plan = Plan::new()
        .set("LISTENER__SECOND__KIND", "nginx")
        .set("LISTENER__SECOND__ADDRESS", address.clone())
        .set("LISTENER__SECOND__TRUSTED_PROXIES", trusted);
    (plan.start().await, address.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_believed_from_listed_addresses_alone() {
    let (stage, address) = tcp_stage(r#"["127.0.0.1"]"#).await;
    let alice = stage.signed_in("alice").await;
    let session = session_lines(&alice);
    assert!(spoken(address, &verify_request(&session)).await.starts_with("HTTP/1.1 200"));
    let (stage, address) = tcp_stage(r#"["192.0.2.0/24"]"#).await;
    let alice = stage.signed_in("alice").await;
    let session = session_lines(&alice);
    let answer = spoken(address, &verify_request(&session)).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("x-portcullis-reason: untrusted_peer"), "{answer}");
    let login = "GET /auth/login HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    assert!(spoken(address, login).await.contains("untrusted_peer"));
    let health = "GET /auth/health HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    assert!(spoken(address, health).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_are_missing_repeated_or_twinned_are_refused() {
    let (stage, address) = tcp_stage(r#"["127.0.0.1"]"#).await;
    let alice = stage.signed_in("alice").await;
    let session = session_lines(&alice);
    let good = verify_request(&session);
    assert!(spoken(address, &good).await.starts_with("HTTP/1.1 200"));
    let names = ["Exposure", "Method", "Scheme", "Host", "Uri", "Client-Address"];
    for name in names {
        let line_start = format!("X-Portcullis-{name}:");
        let without: String = good.split_inclusive("\r\n").filter(|line| !line.starts_with(&line_start)).collect();
        let line = good.split_inclusive("\r\n").find(|line| line.starts_with(&line_start)).unwrap();
        let twin = line.replacen('-', "_", 2);
        for request in [
            without.clone(),
            good.replacen(line, &format!("{line}{line}"), 1),
            good.replacen(line, &format!("{line}{twin}"), 1),
        ] {
            let answer = spoken(address, &request).await;
            assert!(
                answer.starts_with("HTTP/1.1 403") && answer.contains("facts_malformed"),
                "{name}: {answer}\n{request}"
            );
        }
    }
    let public = good.replace("Exposure: internal", "Exposure: public");
    assert!(spoken(address, &public).await.contains("not_found"));
    for (from, to) in [
        ("Client-Address: 127.0.0.1", "Client-Address: somewhere"),
        ("Scheme: https", "Scheme: gopher"),
        ("Exposure: internal", "Exposure: all"),
    ] {
        assert!(spoken(address, &good.replace(from, to)).await.contains("facts_malformed"), "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_is_cut_off_and_an_idle_connection_is_not() {
    let stage = Plan::new().set("SERVER__HEADER_TIMEOUT", "1s").start().await;
    let socket = stage.folder.path().join("nginx.sock");
    let mut slow = UnixStream::connect(&socket).await.unwrap();
    let mut idle = UnixStream::connect(&socket).await.unwrap();
    idle.write_all(b"GET /auth/health HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    slow.write_all(b"GET /auth/health HTTP/1.1\r\nHos").await.unwrap();
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest)).await.unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    idle.write_all(b"GET /auth/health HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let count = idle.read(&mut buffer).await.unwrap();
    assert!(String::from_utf8_lossy(&buffer[..count]).starts_with("HTTP/1.1 200"), "the idle one still works");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_bodies_over_the_limit_are_refused() {
    let stage = Stage::usual().await;
    let socket = stage.folder.path().join("nginx.sock");
    let ask = async |request: Vec<u8>| {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        let _ = stream.write_all(&request).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let large = format!("GET /auth/health HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(80_000));
    let refused = |answer: String| answer.starts_with("HTTP/1.1 431");
    assert!(refused(ask(large.into_bytes()).await));
    let many = format!("GET /auth/health HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: 1\r\n".repeat(300));
    assert!(refused(ask(many.into_bytes()).await));
    let body = format!(
        "POST /auth/logout HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\nConnection: close\r\n\r\n{}",
        "x".repeat(20_000)
    );
    let answer = ask(body.into_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_listener_closes_what_it_cannot_take() {
    let stage = Plan::new().set("SERVER__CONNECTIONS", "4").start().await;
    let socket = stage.folder.path().join("application.sock");
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(b"GET /auth/health HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        held.push(stream);
    }
    let mut one_more = UnixStream::connect(&socket).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, one_more.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "closed");
    assert!(stage.metric("portcullis_connections_refused_total").await >= 1.0);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_wait_for_a_silent_provider_do_not_take_the_place_of_those_who_are_signed_in() {
    let plan = Plan::new().with_redis().set("SERVER__CONNECTIONS", "300").set("LIMITS__LOGIN", "off");
    let mut stage = plan.start().await;
    let alice = stage.signed_in("alice").await;
    stage.stop_gateway().await;
    stage.idp.trouble(Endpoint::Discovery, Trouble::Hang);
    stage.start_gateway().await;
    let stranger = Arc::new(Visitor::new(&stage));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..320 {
        let stranger = Arc::clone(&stranger);
        waiting.spawn(async move { stranger.get("/auth/login").await.status });
    }
    for _ in WAITING_FOR_PROVIDER..320 {
        let turned_away = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(turned_away, 503);
    }
    for _ in 0..20 {
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    }
    assert!(stage.metric(r#"portcullis_responses_total{endpoint="login",status="503"}"#).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_answered_before_the_end() {
    let mut stage = Plan::new().set("PROVIDER__MAIN__OFFLINE_ACCESS", "true").start().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.trouble(Endpoint::Token, Trouble::Slow(Duration::from_millis(700)));
    let client = alice.client.clone();
    let url = alice.url("/auth/refresh");
    let refresh = tokio::spawn(async move {
        client.post(url).header("Sec-Fetch-Site", "same-origin").send().await.unwrap().status().as_u16()
    });
    crate::support::eventually("the refresh is at the provider", async || stage.asked(Endpoint::Token) == 2).await;
    stage.begin_stop();
    assert_eq!(ops(&stage, "/readyz").await, (503, "draining\n".into()));
    assert_eq!(ops(&stage, "/livez").await.0, 200);
    stage.stop_gateway().await;
    assert_eq!(refresh.await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_goes_to_https() {
    let stage = Stage::usual().await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let reply =
        client.get(format!("http://127.0.0.1:{}/x?y=z", stage.nginx.http)).header("Host", APP).send().await.unwrap();
    assert_eq!(reply.status(), 301);
    assert_eq!(reply.headers()["location"], stage.url("/x?y=z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_carries_the_security_headers() {
    let stage = Stage::usual().await;
    let bob = stage.signed_in("bob").await;
    for path in ["/auth/signed-out", "/auth/nowhere", "/auth/callback", "/admin", "/auth/check", "/auth/login"] {
        let reply = bob.get(path).await;
        let header = |name: &str| reply.header(name).to_owned();
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("cache-control"), "no-store", "{path}");
        assert_eq!(header("strict-transport-security"), "max-age=31536000; includeSubDomains", "{path}");
        assert!(!header("permissions-policy").is_empty(), "{path}");
        assert!(header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert!(!header("content-security-policy").contains("unsafe"), "{path}");
    }
    let nonce = |reply: &crate::support::Reply| {
        reply.header("content-security-policy").split("nonce-").nth(1).unwrap()[..24].to_owned()
    };
    assert_ne!(nonce(&bob.get("/auth/signed-out").await), nonce(&bob.get("/auth/signed-out").await));
}
