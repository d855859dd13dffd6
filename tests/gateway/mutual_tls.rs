//! nginx over mutual TLS: who is believed, who is not, and certificates that change while people work.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis::server::tls::HANDSHAKE_TIMEOUT;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use reqwest::Method;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion, pki_types::ServerName};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    server::{session_lines, verify_request},
    support::{
        APP, PATIENCE, Plan, Stage, Visitor,
        certificates::{Authority, Certificates, Issued, Wanted},
        eventually, free_port,
        nginx::Way,
    },
};

const GATEWAY: &str = "portcullis.internal";

/// What both ends of the way from nginx to the gateway are told.
struct Ground {
    /// Who issues the gateway's certificate.
    gateway_ca: Authority,
    /// Who issues nginx's.
    nginx_ca: Authority,
    gateway: SocketAddr,
    folder: PathBuf,
}

impl Ground {
    /// Certificates as an operator would make them, and a plan that uses them.
    fn laid() -> (Self, Plan) {
        Self::with(Wanted::default(), GATEWAY)
    }

    /// The same with another certificate for nginx, and another name that nginx expects of the gateway.
    fn with(nginx: Wanted, expected: &str) -> (Self, Plan) {
        let folder = TempDir::new().unwrap();
        let certificates = Certificates::make(folder.path());
        let ground = Self {
            gateway_ca: Authority::new(),
            nginx_ca: Authority::new(),
            gateway: SocketAddr::from(([127, 0, 0, 1], free_port())),
            folder: folder.path().to_owned(),
        };
        ground.write("gateway-ca.pem", &ground.gateway_ca.pem());
        ground.write("nginx-ca.pem", &ground.nginx_ca.pem());
        ground.put("gateway", &ground.for_gateway());
        ground.put("nginx", &ground.nginx_ca.issue(nginx));
        let file = |name: &str| ground.folder.join(name);
        let text = |name: &str| file(name).display().to_string();
        let way = Way::over_tls(
            &ground.gateway.to_string(),
            &file("gateway-ca.pem"),
            expected,
            &file("nginx.pem"),
            &file("nginx.key"),
        );
        let plan = Plan::new()
            .set("LISTENER__NGINX__ADDRESS", ground.gateway.to_string())
            .set("LISTENER__NGINX__TLS_CERTIFICATE_FILE", text("gateway.pem"))
            .set("LISTENER__NGINX__TLS_KEY_FILE", text("gateway.key"))
            .set("LISTENER__NGINX__CLIENT_CA_FILE", text("nginx-ca.pem"))
            .set("LISTENER__NGINX__CLIENT_NAMES", r#"["nginx.internal", "URI:spiffe://example.com/nginx"]"#)
            .asking_by(way)
            .standing_on(folder, certificates);
        (ground, plan)
    }

    fn for_gateway(&self) -> Issued {
        let usage = Some(ExtendedKeyUsagePurpose::ServerAuth);
        self.gateway_ca.issue(Wanted { usage, ..Wanted::named(&[GATEWAY, "other.internal", "127.0.0.1"]) })
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn put(&self, name: &str, issued: &Issued) {
        self.write(&format!("{name}.pem"), &issued.certificate);
        self.write(&format!("{name}.key"), &issued.key);
    }

    /// A client that shows that certificate, or none, and believes the gateway's authority.
    fn client(&self, shown: Option<&Issued>, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.gateway_ca.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
        let Some(issued) = shown else {
            return Arc::new(builder.with_no_client_auth());
        };
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        Arc::new(builder.with_client_auth_cert(chain, key).unwrap())
    }

    async fn connect(&self, client: &Arc<ClientConfig>, name: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.gateway).await?;
        TlsConnector::from(Arc::clone(client)).connect(ServerName::try_from(name).unwrap(), stream).await
    }

    /// Asks, whoever it is; nothing comes back where the handshake failed.
    async fn ask(&self, shown: Option<&Issued>, request: &str) -> String {
        let client = self.client(shown, rustls::ALL_VERSIONS);
        self.ask_as(&client, GATEWAY, request).await
    }

    async fn ask_as(&self, client: &Arc<ClientConfig>, name: &'static str, request: &str) -> String {
        match self.connect(client, name).await {
            Ok(stream) => answer(stream, request).await,
            Err(_) => String::new(),
        }
    }
}

/// With TLS 1.3 a client learns only by reading that its certificate was refused.
async fn answer(mut stream: TlsStream<TcpStream>, request: &str) -> String {
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes without TLS.
async fn knock(gateway: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    answer
}

async fn handshakes(stage: &Stage, result: &str) -> f64 {
    stage.metric(&format!(r#"portcullis_tls_handshakes_total{{listener="nginx",result="{result}"}}"#)).await
}

async fn reloads(stage: &Stage, result: &str) -> f64 {
    stage.metric(&format!(r#"portcullis_tls_reloads_total{{listener="nginx",result="{result}"}}"#)).await
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_and_out_while_nginx_asks_over_tls() {
    let (_ground, plan) = Ground::laid();
    let stage = plan.start().await;
    let alice = stage.signed_in("alice").await;
    assert_eq!(alice.get("/").await.status, 200);
    let bob = stage.signed_in("bob").await;
    assert_eq!(bob.get("/admin").await.refusal(), (403, "policy_denied"));
    assert_eq!(Visitor::new(&stage).fetch(Method::GET, "/").await.refusal(), (401, "no_session"));
    for _ in 0..20 {
        assert_eq!(alice.fetch(Method::GET, "/api/whoami").await.status, 200);
    }
    assert_eq!(alice.fetch(Method::POST, "/auth/logout").await.status, 200);
    assert_eq!(alice.fetch(Method::GET, "/").await.refusal(), (401, "no_session"));
    let done = handshakes(&stage, "ok").await;
    assert!((1.0..=4.0).contains(&done), "connections are kept: {done}");
    let until = stage.metric(r#"portcullis_tls_certificate_not_after_timestamp_seconds{listener="nginx"}"#).await;
    assert!(until > 4_000_000_000.0, "{until}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_the_gateway_is_said_in_one_file() {
    let (_ground, plan) = Ground::laid();
    let stage = plan.start().await;
    let mut seen = 0;
    for folder in ["portcullis", "portcullis/snippets"] {
        for file in fs::read_dir(stage.nginx.folder.join(folder)).unwrap().map(Result::unwrap) {
            // An example site has the application's, which is not the gateway's.
            if file.file_name().to_string_lossy().starts_with("site") {
                continue;
            }
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let lines = text.lines().filter(|line| line.trim_start().starts_with("proxy_pass "));
            for line in lines {
                assert_eq!(line, "proxy_pass https://portcullis;", "{:?}", file.path());
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_right_in_every_way() {
    let (ground, plan) = Ground::laid();
    let stage = plan.start().await;
    let alice = stage.signed_in("alice").await;
    let request = verify_request(&session_lines(&alice));
    let check = async |issued: &Issued, result: &str, status: &str| {
        for version in rustls::ALL_VERSIONS {
            let before = handshakes(&stage, result).await;
            let answer = ground.ask_as(&ground.client(Some(issued), &[version]), GATEWAY, &request).await;
            let first: String = answer.chars().take(12).collect();
            assert_eq!(first, status, "{result} {answer}");
            assert_eq!(answer.contains("x-portcullis-reason: untrusted_peer"), result == "name_not_listed", "{answer}");
            eventually("it is counted", async || handshakes(&stage, result).await > before).await;
        }
    };
    let nginx = |wanted| ground.nginx_ca.issue(wanted);
    check(&nginx(Wanted::default()), "ok", "HTTP/1.1 200").await;
    check(&nginx(Wanted::named(&["other.internal", "NGINX.internal"])), "ok", "HTTP/1.1 200").await;
    let uri = SanType::URI("spiffe://example.com/nginx".try_into().unwrap());
    check(&nginx(Wanted { names: vec![uri], ..Wanted::default() }), "ok", "HTTP/1.1 200").await;
    check(&nginx(Wanted { usage: None, ..Wanted::default() }), "ok", "HTTP/1.1 200").await;

    let named = |names: Vec<SanType>| nginx(Wanted { names, common_name: "nginx.internal", ..Wanted::default() });
    for stranger in [
        vec![],
        vec![dns("other.internal")],
        vec![dns("*.internal")],
        vec![dns("nginx.internal.evil.example")],
        vec![SanType::Rfc822Name("nginx.internal".try_into().unwrap())],
        vec![SanType::URI("spiffe://example.com/other".try_into().unwrap())],
    ] {
        check(&named(stranger), "name_not_listed", "HTTP/1.1 403").await;
    }

    let refused = "certificate_refused";
    check(&Authority::new().issue(Wanted::default()), refused, "").await;
    check(&ground.gateway_ca.issue(Wanted::default()), refused, "").await;
    check(&nginx(Wanted { years: (2000, 2020), ..Wanted::default() }), refused, "").await;
    check(&nginx(Wanted { years: (2100, 2120), ..Wanted::default() }), refused, "").await;
    check(&nginx(Wanted { usage: Some(ExtendedKeyUsagePurpose::ServerAuth), ..Wanted::default() }), refused, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_certificate_or_speaks_no_tls_gets_no_answer() {
    let (ground, plan) = Ground::laid();
    let stage = plan.start().await;
    let alice = stage.signed_in("alice").await;
    let request = verify_request(&session_lines(&alice));
    for version in rustls::ALL_VERSIONS {
        assert_eq!(ground.ask_as(&ground.client(None, &[version]), GATEWAY, &request).await, "");
    }
    assert!(handshakes(&stage, "no_certificate").await >= 2.0);
    let before = handshakes(&stage, "failed").await;
    for bytes in [request.as_bytes(), b"\x16\x03\x01", &[0xff; 2_000], &TLS_1_1] {
        let answer = knock(ground.gateway, bytes).await;
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    }
    let alert = knock(ground.gateway, &TLS_1_1).await;
    assert!(matches!(alert[..], [21, 3, 3, 0, 2, 2, _]), "a fatal alert: {alert:?}");
    eventually("they are counted", async || handshakes(&stage, "failed").await >= before + 4.0).await;
    let mut client =
        ClientConfig::clone(&ground.client(Some(&ground.nginx_ca.issue(Wanted::default())), rustls::ALL_VERSIONS));
    client.alpn_protocols = vec![b"h2".to_vec()];
    assert!(ground.connect(&Arc::new(client), GATEWAY).await.is_err(), "HTTP/2 is not spoken");
    assert_eq!(alice.get("/").await.status, 200, "nginx does not notice any of it");
}

/// The first message of a client that knows TLS 1.1 and nothing newer.
const TLS_1_1: [u8; 54] = {
    let mut hello = [0; 54];
    let start = [0x16, 3, 1, 0, 49, 1, 0, 0, 45, 3, 2];
    let end = [0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0, 0, 0];
    let mut at = 0;
    while at < start.len() {
        hello[at] = start[at];
        hello[hello.len() - end.len() + at] = end[at];
        at += 1;
    }
    hello
};

#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_client_asks_for_changes_nothing_and_no_session_is_resumed() {
    let (ground, plan) = Ground::laid();
    let stage = plan.start().await;
    let alice = stage.signed_in("alice").await;
    let request = verify_request(&session_lines(&alice));
    let nginx = ground.nginx_ca.issue(Wanted::default());
    let stranger = ground.nginx_ca.issue(Wanted::named(&["other.internal"]));
    for version in rustls::ALL_VERSIONS {
        let (good, bad) = (ground.client(Some(&nginx), &[version]), ground.client(Some(&stranger), &[version]));
        for name in [GATEWAY, "other.internal"] {
            assert!(ground.ask_as(&good, name, &request).await.starts_with("HTTP/1.1 200"), "{name}");
            assert!(ground.ask_as(&bad, name, &request).await.starts_with("HTTP/1.1 403"), "{name}");
        }
        let again = ground.connect(&good, GATEWAY).await.unwrap();
        assert_eq!(again.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
    }
}

/// Every route that reads facts, with the method that it takes.
const READING: [(&str, &str); 11] = [
    ("GET", "/auth/verify?policy=everyone"),
    ("GET", "/auth/challenge"),
    ("GET", "/auth/deny"),
    ("GET", "/auth/login"),
    ("GET", "/auth/callback?code=x&state=y"),
    ("GET", "/auth/logout"),
    ("POST", "/auth/logout"),
    ("GET", "/auth/check"),
    ("POST", "/auth/check"),
    ("GET", "/auth/userinfo"),
    ("POST", "/auth/refresh"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_on_every_route_whatever_it_states() {
    let address = format!("127.0.0.1:{}", free_port());
    let (ground, plan) = Ground::laid();
    let plan = plan
        .set("LISTENER__PLAIN__KIND", "nginx")
        .set("LISTENER__PLAIN__ADDRESS", address.clone())
        .set("LISTENER__PLAIN__TRUSTED_PROXIES", r#"["192.0.2.0/24"]"#);
    let stage = plan.start().await;
    let alice = stage.signed_in("alice").await;
    let stranger = ground.nginx_ca.issue(Wanted::named(&["other.internal"]));
    let forged = "X-SSL-Client-Verify: SUCCESS\r\nX-Forwarded-For: 192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\n";
    let whole = verify_request(&format!("{}{forged}Sec-Fetch-Site: same-origin\r\n", session_lines(&alice)));
    for exposure in ["internal", "public"] {
        for (method, path) in READING {
            let request = whole
                .replacen("GET /auth/verify?policy=staff", &format!("{method} {path}"), 1)
                .replace("Exposure: internal", &format!("Exposure: {exposure}"));
            let over_tls = ground.ask(Some(&stranger), &request).await;
            let by_address = crate::server::spoken(address.parse().unwrap(), &request).await;
            for answer in [over_tls, by_address] {
                assert!(answer.starts_with("HTTP/1.1 403"), "{method} {path}: {answer}");
                assert!(answer.contains("x-portcullis-reason: untrusted_peer"), "{method} {path}: {answer}");
                assert!(!answer.contains("x-auth-request") && !answer.contains("set-cookie"), "{answer}");
            }
        }
    }
    let health = "GET /auth/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(ground.ask(Some(&stranger), health).await.starts_with("HTTP/1.1 200"), "it says nothing of anybody");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_trusted_proxies_certificate_and_address_must_both_be_right() {
    for (networks, status) in [(r#"["127.0.0.0/8"]"#, "HTTP/1.1 200"), (r#"["192.0.2.0/24"]"#, "HTTP/1.1 403")] {
        let (ground, plan) = Ground::laid();
        let second = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = |name: &str| ground.folder.join(name).display().to_string();
        let plan = plan
            .set("LISTENER__SECOND__KIND", "nginx")
            .set("LISTENER__SECOND__ADDRESS", second.to_string())
            .set("LISTENER__SECOND__TRUSTED_PROXIES", networks)
            .set("LISTENER__SECOND__TLS_CERTIFICATE_FILE", file("gateway.pem"))
            .set("LISTENER__SECOND__TLS_KEY_FILE", file("gateway.key"))
            .set("LISTENER__SECOND__CLIENT_CA_FILE", file("nginx-ca.pem"))
            .set("LISTENER__SECOND__CLIENT_NAMES", r#"["nginx.internal"]"#);
        let stage = plan.start().await;
        let request = verify_request(&session_lines(&stage.signed_in("alice").await));
        let there = Ground { gateway: second, ..ground };
        let nginx = there.nginx_ca.issue(Wanted::default());
        let answer = there.ask(Some(&nginx), &request).await;
        assert!(answer.starts_with(status), "{networks}: {answer}");
        let stranger = there.nginx_ca.issue(Wanted::named(&["other.internal"]));
        assert!(there.ask(Some(&stranger), &request).await.contains("untrusted_peer"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nginx_that_is_not_listed_lets_nobody_in_and_shows_why() {
    let (_ground, plan) = Ground::with(Wanted::named(&["other.internal"]), GATEWAY);
    let stage = started(plan).await;
    let visitor = Visitor::new(&stage);
    let reply = visitor.fetch(Method::GET, "/").await;
    assert_eq!(reply.refusal(), (403, "untrusted_peer"));
    assert_eq!(visitor.get("/auth/login").await.refusal(), (403, "untrusted_peer"));
    assert!(stage.upstream.requests().is_empty());
    eventually("nginx's log says it", async || {
        stage.nginx.access_log().contains(r#"verify=403 reason="untrusted_peer""#)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nginx_whose_certificate_is_refused_lets_nobody_in_and_says_try_again() {
    let (_ground, plan) = Ground::with(Wanted { years: (2000, 2020), ..Wanted::default() }, GATEWAY);
    let stage = started(plan).await;
    let reply = Visitor::new(&stage).get("/").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"));
    assert!(handshakes(&stage, "certificate_refused").await >= 1.0);
    assert!(stage.upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_does_not_believe_a_gateway_of_another_name() {
    let (_ground, plan) = Ground::with(Wanted::default(), "impostor.internal");
    let stage = started(plan).await;
    let reply = Visitor::new(&stage).get("/").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"));
    assert!(stage.upstream.requests().is_empty());
}

/// A stage whose nginx cannot get at the gateway's pages.
async fn started(plan: Plan) -> Stage {
    let mut stage = plan.without_gateway().start().await;
    stage.start_gateway_unseen();
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_cut_off_and_holds_a_place_until_then() {
    let (ground, plan) = Ground::laid();
    let stage = plan.set("SERVER__CONNECTIONS", "6").start().await;
    let alice = stage.signed_in("alice").await;
    let began = Instant::now();
    let mut silent = Vec::new();
    while stage.metric("portcullis_connections_refused_total").await < 1.0 {
        let mut stream = TcpStream::connect(ground.gateway).await.unwrap();
        if silent.len() % 2 == 1 {
            stream.write_all(&TLS_1_1[..20]).await.unwrap();
        }
        silent.push(stream);
        assert!(silent.len() <= 12, "each holds a place");
    }
    assert_eq!(alice.get("/").await.status, 200, "nginx keeps the connection that it has");
    for mut stream in silent {
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    let took = began.elapsed();
    let least = HANDSHAKE_TIMEOUT.checked_sub(Duration::from_secs(1)).unwrap();
    assert!(took > least && took < HANDSHAKE_TIMEOUT * 2, "{took:?}");
    assert!(handshakes(&stage, "timeout").await >= 2.0);
    let nginx = ground.nginx_ca.issue(Wanted::default());
    let request = verify_request(&session_lines(&alice));
    assert!(ground.ask(Some(&nginx), &request).await.starts_with("HTTP/1.1 200"), "the places are free again");
}

/// Asks for a page again and again until told to stop; gives how often it was asked, and every answer but 200.
fn traffic(
    stage: &Stage,
    alice: &Visitor,
    over: &Arc<std::sync::atomic::AtomicBool>,
) -> tokio::task::JoinHandle<(usize, Vec<u16>)> {
    let (client, url, over) = (alice.client.clone(), stage.url("/api/whoami"), Arc::clone(over));
    tokio::spawn(async move {
        let (mut asked, mut wrong) = (0, Vec::new());
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            let status = client.get(&url).send().await.unwrap().status().as_u16();
            asked += 1;
            if status != 200 {
                wrong.push(status);
            }
        }
        (asked, wrong)
    })
}

async fn serial(ground: &Ground, client: &Arc<ClientConfig>) -> Option<Vec<u8>> {
    let stream = ground.connect(client, GATEWAY).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_while_people_work_and_no_request_fails() {
    let (ground, plan) = Ground::laid();
    let stage = plan.start().await;
    let alice = stage.signed_in("alice").await;
    let over = Arc::default();
    let people: Vec<_> = (0..3).map(|_| traffic(&stage, &alice, &over)).collect();
    let old = ground.nginx_ca.issue(Wanted::default());
    let client = ground.client(Some(&old), rustls::ALL_VERSIONS);
    let first = serial(&ground, &client).await;

    let next = ground.for_gateway();
    ground.write("gateway.pem", &next.certificate[..next.certificate.len() / 2]);
    eventually("half a file is told of", async || reloads(&stage, "error").await >= 1.0).await;
    assert_eq!(serial(&ground, &client).await, first, "the former certificate stays in use");
    fs::remove_file(ground.folder.join("gateway.pem")).unwrap();
    eventually("a missing file is told of", async || reloads(&stage, "error").await >= 2.0).await;
    assert_eq!(serial(&ground, &client).await, first);
    assert!(reloads(&stage, "ok").await < 1.0);

    ground.put("gateway", &next);
    eventually("the new certificate is in use", async || {
        let shown = serial(&ground, &client).await;
        shown.is_some() && shown != first
    })
    .await;

    let new_ca = Authority::new();
    let new = new_ca.issue(Wanted::default());
    let request = verify_request(&session_lines(&alice));
    assert_eq!(ground.ask(Some(&new), &request).await, "");
    ground.write("nginx-ca.pem", &format!("{}{}", ground.nginx_ca.pem(), new_ca.pem()));
    eventually("the new authority is believed", async || {
        ground.ask(Some(&new), &request).await.starts_with("HTTP/1.1 200")
    })
    .await;
    assert!(ground.ask(Some(&old), &request).await.starts_with("HTTP/1.1 200"), "and so is the old one");

    over.store(true, std::sync::atomic::Ordering::Relaxed);
    for person in people {
        let (asked, wrong) = person.await.unwrap();
        assert!(asked > 10 && wrong.is_empty(), "{asked} {wrong:?}");
    }
    assert_eq!((reloads(&stage, "ok").await, reloads(&stage, "error").await), (2.0, 2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_was_replaced_vouches_for_nobody_not_even_on_open_connections() {
    let (ground, plan) = Ground::laid();
    let stage = plan.start().await;
    let alice = stage.signed_in("alice").await;
    let old = ground.nginx_ca.issue(Wanted::default());
    let client = ground.client(Some(&old), rustls::ALL_VERSIONS);
    let request = verify_request(&session_lines(&alice)).replace("Connection: close\r\n", "");
    let mut open = ground.connect(&client, GATEWAY).await.unwrap();
    let mut buffer = [0; 4_096];
    open.write_all(request.as_bytes()).await.unwrap();
    let count = open.read(&mut buffer).await.unwrap();
    assert!(String::from_utf8_lossy(&buffer[..count]).starts_with("HTTP/1.1 200"));
    ground.write("nginx-ca.pem", &Authority::new().pem());
    eventually("the old authority is forgotten", async || ground.ask(Some(&old), &request).await.is_empty()).await;
    let _ = open.write_all(request.as_bytes()).await;
    let rest = tokio::time::timeout(PATIENCE, open.read(&mut buffer)).await.unwrap();
    assert!(matches!(rest, Ok(0) | Err(_)), "the connection is closed");
    stage.upstream.forget();
    assert_eq!(alice.get("/").await.status, 503, "nginx itself needs a new certificate now");
    assert!(stage.upstream.requests().is_empty());
}

#[test]
fn nginx_render_wants_all_of_tls_or_none() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/nginx-render");
    let common = ["--into", "/nonexistent", "--https", "a", "--http", "b", "--certificate", "c", "--key", "d"];
    let output = std::process::Command::new(script).args(common).args(["--gateway-ca", "e"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--gateway-name is missing"), "{APP}: {output:?}");
}
