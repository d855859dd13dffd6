//! Requests that two servers could read in two ways: one answer at most, and nothing after what was refused.

use std::path::Path;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::support::{APP, PATIENCE, Stage, nginx::raw, visitor::USER_AGENT};

/// What would be a second request, if the first one ended before it.
const NEXT: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";

/// The rest of a request after its first line and `Host`; and what the gateway answers to it and to [`NEXT`].
const SHAPES: [(&str, &[u16]); 38] = [
    // Read in one way alone: the next request is one.
    ("\r\n", &[200, 404]),
    ("Content-Length: 0\r\n\r\n", &[200, 404]),
    ("Content-Length: 5\r\n\r\nhello", &[200, 404]),
    ("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", &[200, 404]),
    ("Upgrade: h2c\r\nConnection: upgrade\r\n\r\n", &[200, 404]),
    ("Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", &[100, 200, 404]),
    // An encoding, with or without a length: answered, and over.
    ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[200]),
    ("Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Portcullis-Exposure: internal\r\n\r\n", &[200]),
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[200]),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", &[200]),
    ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[200]),
    ("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", &[200]),
    // Encodings that are none.
    ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", &[400]),
    ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", &[400]),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", &[400]),
    ("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", &[400]),
    ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", &[400]),
    ("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", &[400]),
    ("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\nhello", &[400]),
    // Lengths that are none.
    ("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", &[400]),
    ("Content-Length: 5, 5\r\n\r\nhello", &[400]),
    ("Content-Length: +5\r\n\r\nhello", &[400]),
    ("Content-Length: -5\r\n\r\nhello", &[400]),
    ("Content-Length: 0x5\r\n\r\nhello", &[400]),
    ("Content-Length: \r\n\r\nhello", &[400]),
    ("Content-Length : 5\r\n\r\nhello", &[400]),
    ("Content-Length: 99999999999999999999\r\n\r\nhello", &[400]),
    ("Content-Length: 18446744073709551615\r\n\r\nhello", &[431]),
    // Lines that are none.
    ("X-Folded: a\r\n b\r\n\r\n", &[400]),
    ("X-Nul: a\0b\r\n\r\n", &[400]),
    ("X-Return: a\rContent-Length: 5\r\n\r\n", &[400]),
    (" X-Indented: a\r\n\r\n", &[400]),
    ("X-Nothing\r\n\r\n", &[400]),
    // Chunks that are none.
    ("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", &[413]),
    ("Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n", &[413]),
    ("Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", &[413]),
    ("Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", &[413]),
    ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", &[413]),
];

/// Everything that comes back until the connection ends.
async fn told(socket: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<u16> {
    answer.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_as_two_requests_is_answered_once_and_ends_the_connection() {
    let stage = Stage::usual().await;
    let socket = stage.folder.path().join("nginx.sock");
    for (rest, expected) in SHAPES {
        let request = format!("GET /auth/health HTTP/1.1\r\nHost: a\r\n{rest}{NEXT}");
        let answer = told(&socket, request.as_bytes()).await;
        assert_eq!(statuses(&answer), expected, "{rest:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_lines_that_are_none_are_refused_and_end_the_connection() {
    let stage = Stage::usual().await;
    let socket = stage.folder.path().join("nginx.sock");
    let shapes: [(&[u8], &[u16]); 11] = [
        (b"\r\n\r\nGET /auth/health HTTP/1.1\r\nHost: a\r\n\r\n", &[200, 404]),
        (b"GET /auth/health HTTP/1.1\nHost: a\n\n", &[200, 404]),
        (b"GET http://evil.example/auth/health HTTP/1.1\r\nHost: a\r\n\r\n", &[200, 404]),
        (b"GET /auth/health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
        (b"GET /auth/health\r\n", &[400]),
        (b" GET /auth/health HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        (b"GET\t/auth/health HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        (b"GET /auth/health HTTP/1.2\r\nHost: a\r\n\r\n", &[400]),
        (b"GET /auth/health HTTP/1.1\r\nHo st: a\r\n\r\n", &[400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[]),
        (b"\x16\x03\x01\x00\x31\x01\x00\x00", &[400]),
    ];
    for (start, expected) in shapes {
        let answer = told(&socket, &[start, NEXT.as_bytes()].concat()).await;
        assert_eq!(statuses(&answer), expected, "{:?}: {answer}", String::from_utf8_lossy(start));
    }
    let tunnel = told(&socket, format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n{NEXT}").as_bytes()).await;
    assert!(!tunnel.contains("HTTP/1.1 2"), "{tunnel}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_state_no_facts() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let whole = crate::server::verify_request(&crate::server::session_lines(&alice));
    let exposure = "X-Portcullis-Exposure: internal\r\n";
    let request = whole.replace(exposure, "Transfer-Encoding: chunked\r\nTrailer: X-Portcullis-Exposure\r\n");
    let answer =
        told(&stage.folder.path().join("nginx.sock"), format!("{request}0\r\n{exposure}\r\n").as_bytes()).await;
    assert_eq!(statuses(&answer), [403], "{answer}");
    assert!(answer.contains("facts_malformed"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_through_nginx_past_the_gate() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let session = alice.session().unwrap();
    let start = format!(
        "POST /api/whoami HTTP/1.1\r\nHost: {APP}\r\nUser-Agent: {USER_AGENT}\r\nCookie: __Host-portcullis={session}\r\n"
    );
    for (rest, _) in SHAPES {
        stage.upstream.forget();
        let answer = raw(&stage, format!("{start}{rest}{NEXT}").as_bytes()).await;
        let statuses = statuses(&answer);
        let refused = statuses.iter().position(|status| matches!(status, 400..=499));
        assert!(refused.is_none_or(|position| position + 1 == statuses.len()), "{rest:?}: {answer}");
        let seen = stage.upstream.requests();
        assert!(seen.len() <= 1, "{rest:?}: {seen:?}");
        assert!(seen.iter().all(|request| !request.target.contains("smuggled")), "{rest:?}: {seen:?}");
    }
    assert_eq!(alice.get("/").await.status, 200);
}
