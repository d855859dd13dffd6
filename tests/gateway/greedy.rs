//! Clients that are slow, or want too much: they are cut off, and nobody else notices.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};

use crate::{
    server::{session_lines, verify_request},
    support::{
        APP, PATIENCE, Plan, Stage, eventually, free_port,
        nginx::{Way, connected, raw},
        visitor::USER_AGENT,
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn socket(stage: &Stage) -> PathBuf {
    stage.folder.path().join("nginx.sock")
}

/// Sends bytes to the gateway itself; gives what comes back until the connection ends.
async fn told(stage: &Stage, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket(stage)).await.unwrap();
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `start` and then a byte of `rest` every 50 ms, again and again; gives what came back and how long it took.
async fn dripped(mut stream: UnixStream, start: &str, rest: &str) -> (String, Duration) {
    let began = Instant::now();
    stream.write_all(start.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    for byte in rest.bytes().cycle() {
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        match timeout(Duration::from_millis(50), stream.read_buf(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) | Err(_) => assert!(began.elapsed() < PATIENCE, "for ever"),
        }
    }
    let _ = stream.read_to_end(&mut answer).await;
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_bodies_that_drip_are_cut_off_in_time_and_others_are_served() {
    let stage = Plan::new().set("SERVER__HEADER_TIMEOUT", "1s").set("SERVER__BODY_TIMEOUT", "1s").start().await;
    let alice = stage.signed_in("alice").await;
    let mut slow = JoinSet::new();
    for number in 0..40 {
        let stream = UnixStream::connect(socket(&stage)).await.unwrap();
        slow.spawn(async move {
            if number % 2 == 0 {
                let (answer, took) = dripped(stream, "G", "ET /auth/health HTTP/1.1\r\nX-Slow: x\r\nX-").await;
                assert_eq!(answer, "", "a head that is not whole has no answer");
                took
            } else {
                let head = "POST /auth/logout HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n";
                let (answer, took) = dripped(stream, head, "x").await;
                assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");
                took
            }
        });
    }
    let mut served = 0;
    while !slow.is_empty() {
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
        served += 1;
        while let Some(took) = slow.try_join_next() {
            let took = took.unwrap();
            assert!(took >= SECOND.mul_f32(0.9) && took < PATIENCE / 2, "{took:?}");
        }
    }
    assert!(served >= 3, "{served}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_at_nginx_never_reaches_the_gateway() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let (mut head, mut body) = (connected(&stage).await, connected(&stage).await);
    head.write_all(format!("GET /auth/login HTTP/1.1\r\nHost: {APP}\r\n").as_bytes()).await.unwrap();
    let post = format!("POST /auth/refresh HTTP/1.1\r\nHost: {APP}\r\nContent-Length: 9\r\n\r\nhalf");
    body.write_all(post.as_bytes()).await.unwrap();
    let began = Instant::now();
    for mut stream in [body, head] {
        let mut answer = Vec::new();
        assert!(timeout(PATIENCE * 2, stream.read_to_end(&mut answer)).await.is_ok(), "nginx closes it: {answer:?}");
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    }
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
    let metrics = stage.metrics().await;
    assert!(!metrics.contains(r#"endpoint="refresh""#), "the gateway was never asked");
    assert!(!metrics.contains(r#"endpoint="login",status="4"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_dropped() {
    let stage = Plan::new().set("SERVER__IDLE_TIMEOUT", "1s").start().await;
    let mut greedy = UnixStream::connect(socket(&stage)).await.unwrap();
    let request = "GET /auth/health HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
    let began = Instant::now();
    let dropped = async { while greedy.write_all(request.as_bytes()).await.is_ok() {} };
    assert!(timeout(PATIENCE, dropped).await.is_ok(), "nobody waits for it for ever");
    assert!(began.elapsed() >= SECOND.mul_f32(0.9), "{:?}", began.elapsed());
}

fn health(total: usize) -> Vec<u8> {
    let start = "GET /auth/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Large: ";
    let padding = "x".repeat(total - start.len() - 4);
    format!("{start}{padding}\r\n\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_32_kib_is_read_and_one_byte_more_is_431() {
    let stage = Stage::usual().await;
    let limit = 32 * 1024;
    assert!(told(&stage, &health(limit)).await.starts_with("HTTP/1.1 200"));
    for size in [limit + 1, limit + 4_096, 4 * limit] {
        let answer = told(&stage, &health(size)).await;
        assert!(answer.starts_with("HTTP/1.1 431") && answer.matches("HTTP/1.1").count() == 1, "{size}: {answer}");
    }
    let endless = [b"GET /auth/health HTTP/1.1\r\nHost: a\r\nX-Endless: ".as_slice(), &vec![b'x'; limit]].concat();
    assert!(told(&stage, &endless).await.starts_with("HTTP/1.1 431"), "its end is not waited for");
    let target = format!("GET /auth/health?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(40_000));
    assert!(told(&stage, target.as_bytes()).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_100_lines_is_read_and_one_line_more_is_431() {
    let stage = Stage::usual().await;
    let head = |lines: usize| {
        let more = "X-Many: 1\r\n".repeat(lines - 2);
        format!("GET /auth/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n").into_bytes()
    };
    assert!(told(&stage, &head(100)).await.starts_with("HTTP/1.1 200"));
    for lines in [101, 300, 2_000] {
        assert!(told(&stage, &head(lines)).await.starts_with("HTTP/1.1 431"), "{lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_nginx_too_much_of_a_head_lets_nobody_in() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    stage.upstream.forget();
    let start = format!(
        "GET /api/whoami HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\nUser-Agent: {USER_AGENT}\r\nCookie: __Host-portcullis={}\r\n",
        alice.session().unwrap()
    );
    let too_long = format!("X-Large: {}\r\n", "x".repeat(20_000));
    let too_much = format!("X-Large: {}\r\n", "x".repeat(15_000)).repeat(5);
    let too_many = "X-Many: 1\r\n".repeat(200);
    for (more, expected) in [(too_long, 400), (too_much, 400), (too_many, 503)] {
        let answer = raw(&stage, format!("{start}{more}\r\n").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
    assert!(stage.upstream.requests().is_empty());
    assert_eq!(alice.get("/").await.status, 200);
}

/// As `docs/deployment.md` and `docs/reasons.md` say: seven of the 100 lines are nginx's, whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn through_nginx_a_visitor_has_93_header_lines_and_with_more_is_told_to_try_again() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let session = alice.session().unwrap();
    // Of these nginx passes three on; the connection is its own.
    let own = format!(
        "Host: {APP}\r\nUser-Agent: {USER_AGENT}\r\nCookie: __Host-portcullis={session}\r\nConnection: close\r\n"
    );
    for (lines, expected) in [(93, 200), (94, 503)] {
        let more = "X-Many: 1\r\n".repeat(lines - 3);
        let answer = raw(&stage, format!("GET /docs/index.html HTTP/1.1\r\n{own}{more}\r\n").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{lines}: {answer}");
    }
    assert!(stage.nginx.error_log().contains("auth request unexpected status: 431"), "{}", stage.nginx.error_log());
    assert!(stage.nginx.access_log().contains("verify=431"), "{}", stage.nginx.access_log());
}

#[tokio::test(flavor = "multi_thread")]
async fn among_300_cookies_the_right_one_is_found() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let right = format!("__Host-portcullis={}", alice.session().unwrap());
    let made_up = format!("__Host-portcullis={}", "A".repeat(60));
    let strangers: Vec<String> = (0..299).map(|number| format!("cookie-{number}=value-{number}")).collect();
    let plain = verify_request(&format!("User-Agent: {USER_AGENT}\r\n"));
    for place in [0, 150, 299] {
        let mut cookies = strangers.clone();
        cookies.insert(place, right.clone());
        let in_lines = |each: usize| -> String {
            cookies.chunks(each).flat_map(|some| ["Cookie: ".to_owned(), some.join("; "), "\r\n".to_owned()]).collect()
        };
        for each in [300, 5] {
            let request = plain.replace("Connection: close\r\n", &format!("Connection: close\r\n{}", in_lines(each)));
            let answer = told(&stage, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{place} {each}: {answer}");
            let start = format!("GET / HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\nUser-Agent: {USER_AGENT}\r\n");
            let answer = raw(&stage, format!("{start}{}\r\n", in_lines(each)).as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{place} {each}: {answer}");
        }
    }
    let ours = format!("Cookie: {}{right}\r\n", format!("{made_up}; ").repeat(299));
    let request = plain.replace("Connection: close\r\n", &format!("Connection: close\r\n{ours}"));
    let answer = told(&stage, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "made-up ones of our name are told apart without the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_questions_are_answered_in_their_order() {
    let stage = Stage::usual().await;
    let bob = stage.signed_in("bob").await;
    let lines = session_lines(&bob);
    let staff = verify_request(&lines).replace("Connection: close\r\n", "");
    let questions = [
        (staff.clone(), "200"),
        (staff.replace("policy=staff", "policy=admins"), "403"),
        (staff.replace(&lines, ""), "401"),
    ];
    let asked: Vec<_> = questions.iter().cycle().take(100).collect();
    let mut bytes: String = asked.iter().map(|(question, _)| question.as_str()).collect();
    bytes.push_str(&verify_request(&lines));
    let answer = told(&stage, bytes.as_bytes()).await;
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
    let expected: Vec<&str> = asked.iter().map(|(_, status)| *status).chain(["200"]).collect();
    assert_eq!(statuses, expected);
}

/// What the program holds in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Opens a connection and asks something on it, so that the gateway has made room for it.
async fn idle(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /auth/health HTTP/1.1\r\nHost: a\r\n\r\n").await.ok()?;
    let count = stream.read(&mut [0; 1_024]).await.ok()?;
    (count > 0).then_some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_little_and_harm_nobody() {
    let limited = Command::new("prlimit").args(["--pid", &std::process::id().to_string(), "--nofile=20000:"]).status();
    assert!(limited.unwrap().success(), "the limit of open files is below 20,000: raise it (ulimit -Hn)");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let plan = Plan::new()
        .set("LISTENER__NGINX__ADDRESS", address.to_string())
        .set("SERVER__CONNECTIONS", (IDLE + ROOM_FOR_NGINX).to_string())
        .asking_by(Way::to(&address.to_string()));
    let stage = plan.without_gateway().start().await;
    let program = stage.start_program("gateway").await;
    let alice = Arc::new(stage.signed_in("alice").await);
    let before = resident(program.pid());
    let mut opening = JoinSet::new();
    for _ in 0..100 {
        opening.spawn(async move {
            let mut open = Vec::new();
            for _ in 0..IDLE / 100 {
                open.push(idle(address).await.unwrap());
            }
            open
        });
    }
    let mut open = Vec::new();
    while let Some(some) = opening.join_next().await {
        open.extend(some.unwrap());
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    }
    assert_eq!(open.len(), IDLE);
    let each = (resident(program.pid()) - before) * 1_024 / IDLE as u64;
    assert!(each < 40 * 1_024, "{each} bytes for each idle connection");
    let mut surplus = 0;
    for _ in 0..2 * ROOM_FOR_NGINX {
        match idle(address).await {
            Some(stream) => open.push(stream),
            None => surplus += 1,
        }
    }
    assert!(surplus >= ROOM_FOR_NGINX, "{surplus}");
    let refused = stage.metric("portcullis_connections_refused_total").await;
    assert!(refused >= 16.0, "{refused}");
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
        assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    }
    drop(open);
    eventually("the places are free again", async || idle(address).await.is_some()).await;
    assert_eq!(alice.get("/").await.status, 200);
}

const IDLE: usize = 10_000;
const ROOM_FOR_NGINX: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn cookies_that_look_like_the_sessions_cost_nginx_no_more_than_others() {
    let stage = Stage::usual().await;
    let time = async |name: &str| {
        let cookies = vec![format!("{name}={}", "x".repeat(1_600)); 9].join("; ");
        let head = format!("GET /public/ HTTP/1.1\r\nHost: {APP}\r\nCookie: {cookies}\r\n");
        let requests = format!("{head}\r\n").repeat(29) + head.as_str() + "Connection: close\r\n\r\n";
        let began = Instant::now();
        let answers = raw(&stage, requests.as_bytes()).await;
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 30, "{answers}");
        began.elapsed()
    };
    let (others, ours) = (time("anything").await, time("__Host-portcullis").await);
    assert!(ours < others * 2, "{ours:?}, {others:?}");
}
