//! Lists over a real network: from servers that are honest, gone, slow, huge or sly.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{collections::HashMap, fs, sync::LazyLock};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    fallback::fixture::{Authorities, DAY, HOUR, ListTemplate, NOW, Template},
    outbound::MAX_ANSWER_BYTES,
    seal::{KeyRing, MasterKey},
};

const MINUTE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(20);

static MADE: LazyLock<Authorities> = LazyLock::new(Authorities::new);

fn path(revocations: &Revocations) -> Path {
    revocations.0.ca.verify(&Template::leaf("alice").signed_by(&MADE.middle).leaf(), NOW).unwrap()
}

/// What a server says of a path.
#[derive(Clone)]
enum Says {
    List(ListTemplate),
    Bytes(Vec<u8>),
    Status(u16, &'static str),
    Nothing,
}

/// A server of lists, told what to say while it runs.
#[derive(Clone)]
struct Server {
    origin: String,
    says: Arc<Mutex<HashMap<&'static str, Says>>>,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { origin, says: Arc::default(), asked: Arc::default() };
        server.honest(1);
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.answer(stream).await });
            }
        });
        server
    }

    /// Both lists, made an hour ago, for a week.
    fn honest(&self, number: u8) {
        let list = ListTemplate::number(number).times(NOW.minus(HOUR), NOW.plus(7 * DAY));
        self.says("/root", Says::List(list.clone()));
        self.says("/middle", Says::List(list));
    }

    fn says(&self, path: &'static str, says: Says) {
        self.says.lock().unwrap().insert(path, says);
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    async fn answer(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split([' ', '?']).nth(1).unwrap();
        *self.asked.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        let says = self.says.lock().unwrap().get(path).cloned();
        let issuer = if path == "/root" { &MADE.root } else { &MADE.middle };
        let (status, header, body) = match says {
            Some(Says::List(list)) => (200, "X-Any: thing", list.signed_by(issuer)),
            Some(Says::Bytes(bytes)) => (200, "X-Any: thing", bytes),
            Some(Says::Status(status, header)) => (status, header, Vec::new()),
            Some(Says::Nothing) => return std::future::pending().await,
            None => (404, "X-Any: thing", Vec::new()),
        };
        let head = format!("HTTP/1.1 {status} X\r\n{header}\r\nContent-Length: {}\r\n\r\n", body.len());
        // The client hangs up on what is too long.
        drop(stream.write_all(&[head.as_bytes(), &body].concat()).await);
    }
}

struct Gate {
    revocations: Revocations,
    clock: Clock,
    telemetry: Telemetry,
    drain: Drain,
}

impl Gate {
    fn start(server: &Server, folder: Option<&TempDir>) -> Self {
        Self::start_at(server, folder, NOW)
    }

    fn start_at(server: &Server, folder: Option<&TempDir>, now: Timestamp) -> Self {
        let urls =
            ["/root?secret=marker", "/middle"].map(|path| Url::parse(&format!("{}{path}", server.origin)).unwrap());
        let config = Config {
            urls: urls.to_vec(),
            folder: folder.map(|folder| folder.path().to_owned()),
            rules: Rules::default(),
            outbound: outbound::Config::default(),
        };
        let keys = RingInForce::new(Arc::new(KeyRing::new(&MasterKey::from_bytes([1; 32]), &[])));
        let (clock, telemetry, drain) = (Clock::manual(now), Telemetry::new(false), Drain::default());
        let (clock_too, telemetry_too, drain_too) = (clock.clone(), telemetry.clone(), drain.clone());
        let revocations = Revocations::new(config, Arc::new(MADE.ca()), keys, clock_too, telemetry_too, drain_too);
        Self { revocations: revocations.unwrap(), clock, telemetry, drain }
    }

    async fn check(&self) -> Result<(), Reason> {
        self.revocations.check(&path(&self.revocations)).await.map(|_| ())
    }

    async fn landed(&self) {
        until(|| !self.revocations.desk().flying.contains(&true)).await;
    }

    /// Waits for the last write as well: a flight lands when all of it is done.
    async fn stop(self) {
        self.landed().await;
        self.drain.stop();
        assert!(self.drain.ended_within(PATIENCE).await);
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come about");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_first_request_brings_the_lists_and_the_next_ones_have_them() {
    let server = Server::start().await;
    let gate = Gate::start(&server, None);
    assert_eq!(gate.check().await, Ok(()));
    assert_eq!(gate.check().await, Ok(()));
    assert_eq!((server.asked("/root"), server.asked("/middle")), (1, 1));
    let list = ListTemplate::number(2).times(NOW.minus(HOUR), NOW.plus(7 * DAY));
    server.says("/middle", Says::List(list.revoking(&[0x51])));
    assert_eq!(gate.check().await, Ok(()), "it has its hour");
    gate.clock.advance(61 * MINUTE);
    assert_eq!(gate.check().await, Err(Reason::Revoked));
}

#[tokio::test]
async fn whatever_a_server_says_wrong_has_its_reason() {
    let server = Server::start().await;
    let list = || ListTemplate::number(1);
    let huge = vec![b'x'; MAX_ANSWER_BYTES + 1];
    for (says, expected) in [
        (Says::Status(404, "X: y"), Reason::CrlUnavailable),
        (Says::Status(500, "X: y"), Reason::CrlUnavailable),
        (Says::Status(204, "X: y"), Reason::CrlUnavailable),
        (Says::Status(302, "Location: /root"), Reason::CrlUnavailable),
        (Says::Status(301, "Location: /elsewhere"), Reason::CrlUnavailable),
        (Says::Bytes(Vec::new()), Reason::CrlInvalid),
        (Says::Bytes(b"<html>sign in here</html>".to_vec()), Reason::CrlInvalid),
        (Says::Bytes(huge), Reason::CrlInvalid),
        (Says::Bytes(list().signed_by(&Authorities::new().middle)), Reason::CrlInvalid),
        (Says::List(list().and(crate::fallback::fixture::extension(27, true, &[2, 1, 1]))), Reason::CrlInvalid),
        (Says::List(list().times(NOW.plus(HOUR), NOW.plus(DAY))), Reason::CrlInvalid),
        (Says::List(list().times(NOW.minus(HOUR), NOW.minus(MINUTE))), Reason::CrlStale),
        (Says::List(list().times(NOW.minus(2 * DAY), NOW.plus(DAY))), Reason::CrlStale),
        (Says::List(list().revoking(&[0x51])), Reason::Revoked),
    ] {
        server.says("/middle", says);
        let gate = Gate::start(&server, None);
        assert_eq!(gate.check().await, Err(expected));
    }
    assert_eq!(server.asked("/elsewhere"), 0);
    server.honest(1);
    server.says("/root", Says::List(list().revoking(&[0x0b])));
    assert_eq!(Gate::start(&server, None).check().await, Err(Reason::Revoked), "the intermediate's own");
}

#[tokio::test]
async fn a_slow_server_holds_up_neither_the_other_nor_a_request_for_long() {
    let server = Server::start().await;
    server.says("/root", Says::Nothing);
    let gate = Gate::start(&server, None);
    let began = Instant::now();
    assert_eq!(gate.check().await, Err(Reason::CrlUnavailable));
    assert!((WAIT_ON_MISS..5 * WAIT_ON_MISS).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(gate.revocations.desk().book.in_use(1, NOW).is_some(), "the other's is there");
    assert_eq!((server.asked("/root"), server.asked("/middle")), (1, 1), "it is still being asked");
}

#[tokio::test]
async fn a_thousand_requests_at_once_ask_each_address_once() {
    let server = Server::start().await;
    let gate = Gate::start(&server, None);
    let (revocations, path) = (&gate.revocations, &path(&gate.revocations));
    let all = futures_util::future::join_all((0..1_000).map(|_| revocations.check(path))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!((server.asked("/root"), server.asked("/middle")), (1, 1));
}

#[tokio::test]
async fn after_a_failure_nobody_asks_again_before_the_pause_is_over() {
    let server = Server::start().await;
    server.says("/middle", Says::Status(500, "X: y"));
    let gate = Gate::start(&server, None);
    for _ in 0..20 {
        assert_eq!(gate.check().await, Err(Reason::CrlUnavailable));
    }
    assert_eq!((server.asked("/root"), server.asked("/middle")), (1, 1));
    server.honest(1);
    gate.clock.advance(crate::fallback::revocation::RETRY_AFTER);
    assert_eq!(gate.check().await, Ok(()));
    assert_eq!((server.asked("/root"), server.asked("/middle")), (1, 2));
}

#[tokio::test]
async fn lists_are_fetched_anew_before_anybody_needs_it_and_metrics_say_how_old_they_are() {
    let server = Server::start().await;
    let gate = Gate::start(&server, None);
    let fetching = gate.revocations.clone();
    gate.drain.spawn_until_stop(async move { fetching.keep_fetching().await });
    until(|| server.asked("/root") == 1 && server.asked("/middle") == 1).await;
    gate.landed().await;
    gate.clock.advance(30 * MINUTE);
    until(|| server.asked("/root") == 2 && server.asked("/middle") == 2).await;
    gate.landed().await;
    gate.clock.advance(29 * MINUTE);
    server.says("/middle", Says::Nothing);
    let age = format!("oauth2_mtls_crl_cache_age_seconds{{crl_url=\"{}/root\"}} 1740", server.origin);
    until(|| gate.telemetry.metrics().text().unwrap().contains(&age)).await;
    let text = gate.telemetry.metrics().text().unwrap();
    let fetched = format!("oauth2_mtls_crl_fetch_total{{crl_url=\"{}/root\",result=\"success\"}} 2", server.origin);
    assert!(text.contains(&fetched) && !text.contains("marker"), "{text}");
    gate.clock.advance(2 * MINUTE);
    assert_eq!(gate.check().await, Ok(()), "of the second fetch's hour half is left");
    gate.drain.stop();
    assert!(gate.drain.ended_within(PATIENCE).await);
}

#[tokio::test]
async fn the_last_good_lists_outlive_a_restart_and_count_from_their_fetch() {
    let (server, folder) = (Server::start().await, TempDir::new().unwrap());
    let gate = Gate::start(&server, Some(&folder));
    assert_eq!(gate.check().await, Ok(()));
    gate.stop().await;
    server.says("/root", Says::Status(500, "X: y"));
    server.says("/middle", Says::Status(500, "X: y"));
    let gate = Gate::start_at(&server, Some(&folder), NOW.plus(59 * MINUTE));
    assert_eq!(gate.check().await, Ok(()));
    assert_eq!(server.asked("/root"), 1, "nobody had to be asked");
    gate.clock.advance(MINUTE);
    assert_eq!(gate.check().await, Err(Reason::CrlUnavailable));
    gate.stop().await;
    let gate = Gate::start_at(&server, Some(&folder), NOW.plus(2 * DAY));
    assert_eq!(gate.check().await, Err(Reason::CrlStale));
}

#[tokio::test]
async fn a_restart_does_not_make_an_older_list_any_newer() {
    let (server, folder) = (Server::start().await, TempDir::new().unwrap());
    server.honest(9);
    let gate = Gate::start(&server, Some(&folder));
    assert_eq!(gate.check().await, Ok(()));
    gate.stop().await;
    server.honest(8);
    let gate = Gate::start_at(&server, Some(&folder), NOW.plus(61 * MINUTE));
    assert_eq!(gate.check().await, Err(Reason::CrlStale));
    server.honest(9);
    gate.clock.advance(MINUTE);
    assert_eq!(gate.check().await, Ok(()));
}

#[tokio::test]
async fn a_file_that_was_swapped_or_edited_is_as_good_as_none() {
    let (server, folder) = (Server::start().await, TempDir::new().unwrap());
    let gate = Gate::start(&server, Some(&folder));
    assert_eq!(gate.check().await, Ok(()));
    gate.stop().await;
    server.says("/root", Says::Status(500, "X: y"));
    server.says("/middle", Says::Status(500, "X: y"));
    let files: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    let contents: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(Gate::start(&server, Some(&folder)).check().await, Ok(()));
    fs::write(&files[0], &contents[1]).unwrap();
    fs::write(&files[1], &contents[0]).unwrap();
    assert_eq!(Gate::start(&server, Some(&folder)).check().await, Err(Reason::CrlUnavailable));
    let edited = |bytes: &[u8]| [&bytes[..40], &[bytes[40] ^ 1], &bytes[41..]].concat();
    fs::write(&files[0], edited(&contents[0])).unwrap();
    fs::write(&files[1], &contents[1]).unwrap();
    assert_eq!(Gate::start(&server, Some(&folder)).check().await, Err(Reason::CrlUnavailable));
    fs::write(&files[0], &contents[0]).unwrap();
    assert_eq!(Gate::start(&server, Some(&folder)).check().await, Ok(()));
}

#[tokio::test]
async fn a_folder_that_takes_nothing_keeps_nobody_out() {
    let (server, folder) = (Server::start().await, TempDir::new().unwrap());
    let place = folder.path().join("file");
    fs::write(&place, b"no folder").unwrap();
    let mut gate = Gate::start(&server, Some(&folder));
    let keys = RingInForce::new(Arc::new(KeyRing::new(&MasterKey::from_bytes([1; 32]), &[])));
    let shelf = Some(Arc::new(Shelf::new(place, keys)));
    Arc::get_mut(&mut gate.revocations.0).unwrap().shelf = shelf;
    assert_eq!(gate.check().await, Ok(()));
    gate.stop().await;
}

#[tokio::test]
async fn other_settings_forget_no_list_and_no_number() {
    let server = Server::start().await;
    let gate = Gate::start(&server, None);
    server.honest(5);
    assert_eq!(gate.check().await, Ok(()));
    gate.landed().await;
    let keys = || RingInForce::new(Arc::new(KeyRing::new(&MasterKey::from_bytes([1; 32]), &[])));
    let (same, ca) = (gate.revocations.0.config.clone(), Arc::new(MADE.ca()));
    assert!(gate.revocations.reloaded(same.clone(), &ca, keys()).unwrap().is_same_as(&gate.revocations));
    let other = Config { rules: Rules { retry_after: MINUTE, ..same.rules }, ..same };
    let new = gate.revocations.reloaded(other, &ca, keys()).unwrap();
    assert!(!new.is_same_as(&gate.revocations));
    assert!(new.check_now(&path(&new)).is_ok(), "as known before");
    server.honest(4);
    gate.drain.spawn_until_stop(new.keep_fetching());
    new.asked_all_within(PATIENCE).await;
    assert_eq!(server.asked("/root"), 2, "it asks anew");
    let failed = new.desk().book.due(gate.clock.now());
    assert!(failed.is_empty() && new.check_now(&path(&new)).is_ok(), "an older list takes no place");
    gate.clock.advance(61 * MINUTE);
    assert_eq!(new.check_now(&path(&new)).err(), Some(Reason::CrlStale), "and is refused for being older");
    gate.drain.stop();
}

#[test]
fn more_addresses_than_the_limit_are_refused_and_none_shows_its_secrets() {
    let url = Url::parse("https://user:password@crl.example.com:8443/a/root.crl?token=x#y").unwrap();
    assert_eq!(shown(&url), "https://crl.example.com:8443/a/root.crl");
    let start = |count: usize| {
        let config = Config {
            urls: vec![url.clone(); count],
            folder: None,
            rules: Rules::default(),
            outbound: outbound::Config::default(),
        };
        let keys = RingInForce::new(Arc::new(KeyRing::new(&MasterKey::from_bytes([1; 32]), &[])));
        let telemetry = Telemetry::new(false);
        Revocations::new(config, Arc::new(MADE.ca()), keys, Clock::manual(NOW), telemetry, Drain::default())
    };
    assert!(start(MOST_LISTS).is_ok());
    assert!(matches!(start(MOST_LISTS + 1), Err(StartError::TooMany)));
}
