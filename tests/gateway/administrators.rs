//! Administrators with certificates made by openssl, through a real nginx that terminates TLS, while the provider is down.

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::Value;

use crate::{
    outage::{self, MINUTE},
    support::{
        Visitor,
        admin_ca::{AdminCa, Asked, DAY, Identity, Lists},
        emergency::{Emergency, prepared},
        eventually, free_port, nginx, wire,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn only_a_good_certificate_of_a_listed_administrator_opens_the_door() {
    let emergency = Emergency::open().await;
    let ca = &emergency.ca;
    let foreign = AdminCa::make();
    let hour = 3_600;
    let server_only = "extendedKeyUsage = serverAuth";
    let refused = [
        ("expired", ca.issue("expired", &Asked::named("alice").lasting(-2 * DAY, -hour)), "expired"),
        ("not yet", ca.issue("early", &Asked::named("alice").lasting(hour, 2 * DAY)), "not_yet_valid"),
        ("eight days", ca.issue("long", &Asked::named("alice").lasting(-hour, 8 * DAY - hour)), "lifetime_too_long"),
        ("wrong CA", foreign.issue("other", &Asked::named("bob")), "untrusted_chain"),
        ("right CN, wrong CA", foreign.issue("alice", &Asked::named("alice")), "untrusted_chain"),
        ("server", ca.issue("server", &Asked::named("alice").extended(server_only)), "untrusted_chain"),
        ("unknown", ca.issue("unknown", &Asked::named("mallory")), "name_not_allowed"),
        ("look-alike", ca.issue("cyrillic", &Asked::named("\u{430}lice")), "name_not_allowed"),
        ("capital", ca.issue("capital", &Asked::named("Alice")), "name_not_allowed"),
        ("second RDN", ca.issue("second", &Asked::with_subject("0.CN = mallory\n1.CN = alice")), "name_not_allowed"),
        ("first RDN", ca.issue("first", &Asked::with_subject("0.CN = alice\n1.CN = mallory")), "name_not_allowed"),
        ("in one RDN", ca.issue("one", &Asked::with_subject("0.CN = mallory\n1.+CN = alice")), "name_not_allowed"),
        ("NUL", with_nul(ca), "name_not_allowed"),
        ("SAN only", san_only(ca), "name_not_allowed"),
        ("64 KiB", ca.issue("huge", &huge()), "malformed_certificate"),
    ];
    for (what, identity, reason) in &refused {
        let reply = emergency.ask(identity).await;
        assert_eq!(reply.refusal(), (403, *reason), "{what}: {reply:?}");
    }
    let none = Visitor::new(&emergency.stage).fetch(Method::GET, "/admin").await;
    assert_eq!(none.refusal(), (401, "no_certificate"), "{none:?}");
    assert!(emergency.stage.upstream.requests().is_empty(), "the application was asked");

    let good = emergency.ask(&emergency.alice()).await;
    assert_eq!(good.status, 200, "{good:?}");
    assert_eq!(good.header("x-portcullis-mode"), "fallback");
    assert!(!good.body.contains("Your certificate ends"), "{}", good.body);
    let seen = emergency.stage.upstream.requests();
    let header = |name: &str| seen[0].headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("x-auth-request-user").as_deref(), Some("alice-by-certificate"));
    assert_eq!(header("x-auth-request-groups").as_deref(), Some("admins"));
    assert_eq!(header("x-auth-request-method").as_deref(), Some("client-certificate"));
    assert_eq!(header("x-portcullis-mode").as_deref(), Some("fallback"));
    for name in ["x-ssl-client-cert", "x-ssl-client-verify"] {
        assert_eq!(header(name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_within_a_day_is_taken_and_its_owner_warned() {
    let emergency = Emergency::open().await;
    let soon = emergency.ca.issue("soon", &Asked::named("alice").lasting(-3_600, 23 * 3_600));
    let reply = emergency.ask(&soon).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains("Your certificate ends on 20"), "{}", reply.body);
    let left = emergency.stage.counted("oauth2_mtls_cert_not_after_timestamp{cn=\"alice\"}").await;
    let now = emergency.stage.clock.now().seconds();
    assert!(left > now && left - now < 24 * 3_600, "{left}");
    let page = Visitor::showing(&emergency.stage, &soon).get("/auth/signed-out").await;
    assert!(page.body.contains("Your certificate ends on"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_and_one_below_a_revoked_authority_are_refused() {
    let emergency = Emergency::open().await;
    let (alice, other) = (emergency.alice(), emergency.ca.issue("again", &Asked::named("alice")));
    assert_eq!(emergency.ask(&alice).await.status, 200);
    emergency.ca.revoke("intermediate", &alice.certificate);
    emergency.ca.publish("intermediate");
    refetch(&emergency).await;
    assert_eq!(emergency.ask(&alice).await.refusal(), (403, "revoked"));
    assert_eq!(emergency.ask(&other).await.status, 200);

    emergency.ca.revoke("root", &emergency.ca.path("intermediate/certificate.pem"));
    emergency.ca.publish("root");
    refetch(&emergency).await;
    assert_eq!(emergency.ask(&other).await.refusal(), (403, "revoked"));
}

/// Puts up the lists as they are now, and lets the gateway fetch them.
async fn refetch(emergency: &Emergency) {
    emergency.lists.put_up(&emergency.ca);
    let before = emergency.lists.asked("/intermediate.crl");
    emergency.stage.advance(MINUTE * 40);
    eventually("the lists are fetched anew", || async { emergency.lists.asked("/intermediate.crl") > before }).await;
    let fetched = "oauth2_mtls_crl_fetch_total";
    eventually("they are read", || async {
        let text = emergency.stage.metrics().await;
        let lines = text.lines().filter(|line| line.starts_with(fetched) && line.contains("success"));
        let sum: usize = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum();
        sum >= emergency.lists.asked("/root.crl") + emergency.lists.asked("/intermediate.crl")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_they_become_is_what_the_list_says_and_the_policy_decides() {
    let emergency = Emergency::open().await;
    let mail = "extendedKeyUsage = clientAuth\nsubjectAltName = email:mail@example.com";
    let mail = emergency.ca.issue("mail", &Asked::named("somebody").extended(mail));
    let uri = "extendedKeyUsage = clientAuth\nsubjectAltName = URI:spiffe://example.com/admins/carol";
    let uri = emergency.ca.issue("uri", &Asked::named("carol").extended(uri));
    assert_eq!(emergency.ask(&mail).await.status, 200);
    let seen = emergency.stage.upstream.requests();
    assert_eq!(seen[0].headers.get("x-auth-request-user").unwrap(), "by-mail");
    // Carol is on the list, in a group that no rule lets in.
    assert_eq!(emergency.ask(&uri).await.refusal(), (403, "policy_denied"));
    let page = Visitor::showing(&emergency.stage, &uri).get("/admin").await;
    assert_eq!(page.refusal(), (403, "policy_denied"));
    assert!(page.body.contains("by-uri") && page.body.contains("Emergency access"), "{}", page.body);
    assert_eq!(page.header("x-portcullis-mode"), "fallback");
    // A policy whose rules name no method takes no certificate.
    let staff = Visitor::showing(&emergency.stage, &emergency.alice()).fetch(Method::GET, "/").await;
    assert_eq!(staff.refusal(), (403, "policy_denied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_page_cannot_use_an_administrators_browser() {
    let emergency = Emergency::open().await;
    let alice = Visitor::showing(&emergency.stage, &emergency.alice());
    let own = emergency.stage.url("");
    let evil = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let check = |method: Method, headers: Vec<(&'static str, String)>| {
        let alice = &alice;
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            alice.ask(method, "/admin", &headers).await
        }
    };
    let evil = |more: &[(&'static str, &str)]| {
        let all = evil.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned()));
        all.collect::<Vec<_>>()
    };
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        assert_eq!(check(method.clone(), evil(&[])).await.refusal(), (403, "cross_site"), "{method}");
        assert_eq!(
            check(method.clone(), Vec::new()).await.refusal(),
            (403, "cross_site"),
            "{method}, and nobody says who"
        );
        assert_eq!(check(method, vec![("origin", own.clone())]).await.status, 200);
    }
    let socket = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13")];
    assert_eq!(check(Method::GET, evil(&socket)).await.refusal(), (403, "cross_site"), "a WebSocket");
    assert_eq!(check(Method::GET, evil(&[])).await.status, 200, "looking changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_provider_is_back_the_door_closes_and_administrators_sign_in_like_everybody() {
    let emergency = Emergency::open().await;
    let alice = emergency.alice();
    assert_eq!(emergency.ask(&alice).await.status, 200);
    outage::provider_recovers(&emergency.stage).await;
    assert_eq!(emergency.ask(&alice).await.refusal(), (403, "idp_healthy"));
    let browser = Visitor::showing(&emergency.stage, &alice);
    let sent = browser.get("/admin").await;
    assert_eq!(sent.location().unwrap().path(), "/auth/login", "{sent:?}");
    let reply = browser.sign_in("alice", "/admin").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("x-portcullis-mode"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_before_a_certificate_and_says_so() {
    let emergency = Emergency::usual().await;
    let browser = Visitor::showing(&emergency.stage, &emergency.alice());
    assert_eq!(browser.sign_in("alice", "/admin").await.status, 200);
    emergency.arm();
    outage::provider_dies(&emergency.stage).await;
    let reply = browser.get("/admin").await;
    assert_eq!((reply.status, reply.header("x-portcullis-mode")), (200, ""));
    let seen = emergency.stage.upstream.requests();
    assert_eq!(seen.last().unwrap().headers.get("x-auth-request-method").unwrap(), "oidc");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_applications_pages_carry_the_banner_for_administrators_alone() {
    let emergency = Emergency::usual().await;
    let bob = Visitor::new(&emergency.stage);
    let before = bob.sign_in("alice", "/admin").await;
    assert!(!before.body.contains("Emergency access"), "{}", before.body);
    emergency.arm();
    outage::provider_dies(&emergency.stage).await;
    let page = Visitor::showing(&emergency.stage, &emergency.alice()).get("/admin").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Emergency access"), "{}", page.body);
    assert!(!bob.get("/admin").await.body.contains("Emergency access"));
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_certificate_headers_reach_neither_the_gateway_nor_the_application() {
    let emergency = Emergency::open().await;
    let escaped = emergency.alice().escaped();
    let stranger = Visitor::new(&emergency.stage);
    let names = [
        "X-SSL-Client-Verify",
        "x-ssl-client-verify",
        "X_SSL_Client_Verify",
        "X-SSL-Verify",
        "X-SSL-Client-S-DN",
        "X-Portcullis-Mode",
        "x_portcullis_mode",
    ];
    for name in names {
        let spelt = name.replace("Verify", "Cert").replace("verify", "cert");
        let headers = [(name, "SUCCESS"), (spelt.as_str(), escaped.as_str())];
        let reply = stranger.ask(Method::GET, "/admin", &headers[..=usize::from(spelt != name)]).await;
        assert_eq!(reply.refusal(), (401, "no_certificate"), "{name}");
        let public = stranger.ask(Method::GET, "/public/page", &headers).await;
        assert_eq!(public.status, 200, "{name}");
        let seen = emergency.stage.upstream.requests();
        let arrived = seen
            .last()
            .unwrap()
            .headers
            .iter()
            .find(|(_, value)| [b"SUCCESS".as_slice(), escaped.as_bytes()].contains(&value.as_bytes()));
        assert_eq!(arrived.map(|(name, _)| name.as_str().to_owned()), None, "{name}");
    }
    // Twice, and in two spellings, on one raw request.
    let raw = format!(
        "GET /admin HTTP/1.1\r\nHost: app.test\r\nX-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-Verify: SUCCESS\r\n\
         X-SSL-Client-Cert: {escaped}\r\nx-ssl-client-cert: {escaped}\r\nConnection: close\r\n\r\n"
    );
    let answer = nginx::raw(&emergency.stage, raw.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_certificate_headers_over_http_2_are_no_better() {
    let emergency = Emergency::open().await;
    let alice = emergency.alice();
    let curl = |more: &[&str]| {
        let output = std::process::Command::new("curl")
            .args([
                "--silent",
                "--http2",
                "--max-time",
                "10",
                "--dump-header",
                "-",
                "--output",
                "/dev/null",
                "--insecure",
            ])
            .args(["--resolve", &format!("app.test:{}:127.0.0.1", emergency.stage.nginx.https)])
            .args(more)
            .arg(emergency.stage.url("/admin"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let escaped = format!("x-ssl-client-cert: {}", alice.escaped());
    let forged = curl(&["--header", "X-SSL-Client-Verify: SUCCESS", "--header", &escaped]);
    assert!(forged.starts_with("HTTP/2 401"), "{forged}");
    assert!(forged.to_lowercase().contains("x-portcullis-reason: no_certificate"), "{forged}");
    let (certificate, key) = (alice.certificate.display().to_string(), alice.key.display().to_string());
    let shown = curl(&["--cert", &certificate, "--key", &key, "--header", "X-SSL-Client-Verify: NONE"]);
    assert!(shown.starts_with("HTTP/2 200"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nginx_refuses_itself_is_audited_and_gets_a_page() {
    let emergency = Emergency::open().await;
    let expired = emergency.ca.issue("expired", &Asked::named("alice").lasting(-2 * DAY, -3_600));
    let browser = Visitor::showing(&emergency.stage, &expired);
    for path in ["/admin", "/public/page", "/auth/login"] {
        let page = browser.get(path).await;
        assert_eq!(page.refusal(), (403, "expired"), "{path}: {page:?}");
        assert!(page.body.contains("out of date") && page.location().is_none(), "{}", page.body);
    }
    let posted = browser.ask(Method::POST, "/admin", &[("accept", "application/json")]).await;
    assert_eq!(posted.refusal(), (403, "expired"));
    // Whom it names is not asked of a certificate that is out of date.
    let failures = "oauth2_mtls_auth_failures_total{cn=\"unauthorized\",reason=\"expired\"}";
    assert_eq!(emergency.stage.counted(failures).await, 4);
    let outside = Visitor::new(&emergency.stage).get("/auth/certificate-refused").await;
    assert_eq!(outside.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_name_of_their_own_administrators_alone_are_asked_for_a_certificate() {
    let https = free_port();
    let emergency = Emergency::at(https, |plan| {
        plan.rendering(&["--admin-name".to_owned(), "localhost".to_owned()])
            .set("SITE__ADMINS__PUBLIC_URL", format!("https://localhost:{https}"))
            .set("LISTENER__APPLICATION__SITE", "main")
    })
    .await;
    let asks = |name: &str| {
        let output = std::process::Command::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{https}"), "-servername", name])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("Server certificate"), "{said}");
        said.contains("Acceptable client certificate CA names")
    };
    assert!(!asks("app.test") && asks("localhost"));
    emergency.arm();
    outage::provider_dies(&emergency.stage).await;
    let alice = Visitor::showing(&emergency.stage, &emergency.alice());
    let own = format!("https://localhost:{https}/").parse().unwrap();
    let reply = alice.visit(&own).await;
    assert_eq!((reply.status, reply.header("x-portcullis-mode")), (200, "fallback"), "{reply:?}");
    assert_eq!(alice.fetch(Method::GET, "/admin").await.refusal(), (401, "no_certificate"), "nobody asked for it");
    assert_eq!(Visitor::new(&emergency.stage).visit(&own).await.refusal(), (503, "idp_down"));
}

/// The figures of an outage that is found out within a second.
const AT_ONCE: [(&str, &str); 3] =
    [("HEALTH__INTERVAL", "200ms"), ("HEALTH__TIMEOUT", "200ms"), ("HEALTH__DOWN_INTERVAL", "200ms")];

#[tokio::test]
async fn every_attempt_is_a_line_of_the_audit_log() {
    let ca = AdminCa::make();
    let lists = Lists::of(&ca).await;
    let audit = ca.path("audit.log");
    let plan = AT_ONCE.into_iter().fold(prepared(&ca, &lists), |plan, (key, value)| plan.set(key, value));
    let plan = plan.set("LOG__AUDIT", audit.display().to_string()).without_gateway();
    let emergency = Emergency { stage: plan.start().await, ca, lists };
    let program = emergency.stage.start_program("audited").await;
    emergency.arm();
    emergency.stage.idp.stop().await;
    eventually("the provider is found down", async || outage::is_down(&emergency.stage).await).await;
    let (alice, mallory) = (emergency.alice(), emergency.ca.issue("mallory", &Asked::named("mallory")));
    eventually("alice is in", async || emergency.ask(&alice).await.status == 200).await;
    assert_eq!(emergency.ask(&mallory).await.refusal(), (403, "name_not_allowed"));
    let staff = Visitor::showing(&emergency.stage, &alice).fetch(Method::GET, "/").await;
    assert_eq!(staff.refusal(), (403, "policy_denied"));
    program.end().await;

    let log = fs::read_to_string(audit).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let attempts: Vec<Value> = lines.filter(|line| line["event"] == "client_certificate").collect();
    let last = |count: usize| &attempts[attempts.len() - count];
    let (let_in, unknown, denied) = (last(3), last(2), last(1));
    let openssl = |identity: &Identity, what: &str| {
        let output = std::process::Command::new("openssl")
            .args(["x509", "-noout", what, "-sha256", "-in"])
            .arg(&identity.certificate)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase()
    };
    for (line, identity, cn, decision, reason) in [
        (let_in, &alice, "alice", "allow", Value::Null),
        (unknown, &mallory, "unauthorized", "refuse", "name_not_allowed".into()),
        (denied, &alice, "alice", "refuse", "policy_denied".into()),
    ] {
        assert_eq!(
            (&line["decision"], &line["reason"], &line["cn"]),
            (&decision.into(), &reason, &cn.into()),
            "{line}"
        );
        assert_eq!(line["fingerprint"], openssl(identity, "-fingerprint"), "{line}");
        assert_eq!(line["serial"], openssl(identity, "-serial"), "{line}");
        assert_eq!((&line["client"], &line["crl_status"]), (&"127.0.0.1".into(), &"good".into()), "{line}");
        assert!(line["subject"].as_str().unwrap().contains(if cn == "alice" { "CN=alice" } else { "CN=mallory" }));
        assert!(line["not_after"].as_u64().unwrap() > 1_700_000_000 && line["request_id"].is_string(), "{line}");
    }
    let switched = log.lines().find(|line| line.contains("fallback_switched")).unwrap();
    assert!(switched.contains("on-duty") && switched.contains("the provider is down"), "{switched}");
    assert!(log.contains("idp_down"), "{log}");
    assert!(!log.contains("BEGIN") && !log.contains("%2D"), "no certificate is written down: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_unknown_names_make_one_series() {
    let emergency = Emergency::open().await;
    // Garbage that only nginx could send; whoever has the socket is nginx.
    for number in 0..1_000 {
        let reply = as_nginx(&emergency, "SUCCESS", &format!("%2D{number}")).await;
        assert!(reply.contains("malformed_certificate"), "{reply}");
    }
    for name in ["mallory", "eve", "trudy"] {
        let reply = emergency.ask(&emergency.ca.issue(name, &Asked::named(name))).await;
        assert_eq!(reply.refusal(), (403, "name_not_allowed"));
    }
    let text = emergency.stage.metrics().await;
    let names: std::collections::BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("oauth2_mtls_auth"))
        .filter_map(|line| line.split("cn=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["unauthorized"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_not_made_for_certificates_reads_none() {
    let emergency = Emergency::with(|plan| {
        let second = free_port();
        plan.set("LISTENER__PLAIN__KIND", "nginx").set("LISTENER__PLAIN__ADDRESS", format!("127.0.0.1:{second}"))
    })
    .await;
    emergency.arm();
    outage::provider_dies(&emergency.stage).await;
    let request = verify_request("SUCCESS", &emergency.alice().escaped());
    let marked = wire::to_unix(&emergency.stage.folder.path().join("nginx.sock"), &request).await;
    assert!(marked.starts_with("HTTP/1.1 200"), "{marked}");
    let portcullis::server::Address::Tcp(address) = emergency.stage.listener("plain") else { unreachable!() };
    let plain = wire::to_tcp(address, &request).await;
    assert!(plain.starts_with("HTTP/1.1 401"), "{plain}");
    let twice = request.replace(
        "X-SSL-Client-Verify: SUCCESS\r\n",
        "X-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-Verify: SUCCESS\r\n",
    );
    let twice = wire::to_unix(&emergency.stage.folder.path().join("nginx.sock"), &twice).await;
    assert!(twice.starts_with("HTTP/1.1 403") && twice.contains("facts_malformed"), "{twice}");
    for said in ["NONE", "FAILED:certificate revoked", "success", ""] {
        let reply = as_nginx(&emergency, said, &emergency.alice().escaped()).await;
        assert!(reply.starts_with("HTTP/1.1 403") && reply.contains("nginx_verify_failed"), "{said}: {reply}");
    }
}

/// What the gateway answers to nginx's question about somebody whose certificate nginx describes so.
async fn as_nginx(emergency: &Emergency, verify: &str, escaped: &str) -> String {
    let request = verify_request(verify, escaped);
    wire::to_unix(&emergency.stage.folder.path().join("nginx.sock"), &request).await
}

fn verify_request(verify: &str, escaped: &str) -> String {
    format!(
        "GET /auth/verify?policy=admins HTTP/1.1\r\nHost: app.test\r\nX-Portcullis-Exposure: internal\r\n\
         X-Portcullis-Method: GET\r\nX-Portcullis-Scheme: https\r\nX-Portcullis-Host: app.test\r\nX-Portcullis-Uri: /\r\n\
         X-Portcullis-Client-Address: 192.0.2.7\r\nX-SSL-Client-Verify: {verify}\r\nX-SSL-Client-Cert: {escaped}\r\n\
         Connection: close\r\n\r\n"
    )
}

/// The name as an alternative name, and no common name at all.
fn san_only(ca: &AdminCa) -> Identity {
    let extensions = "extendedKeyUsage = clientAuth\nsubjectAltName = DNS:alice, email:alice@example.com";
    ca.issue("san", &Asked::with_subject("O = Example").extended(extensions))
}

fn huge() -> Asked {
    let filler = "41".repeat(60 * 1_024);
    Asked::named("alice").extended(&format!("extendedKeyUsage = clientAuth\n1.3.6.1.4.1.99999.1 = DER:{filler}"))
}

/// A common name that a C program reads as `alice`: openssl writes none, so its certificate is changed and signed anew.
fn with_nul(ca: &AdminCa) -> Identity {
    let identity = ca.issue("nul", &Asked::named("alice@evil"));
    let pem = fs::read_to_string(&identity.certificate).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(base64).unwrap();
    let whole = Der::read(&der);
    let parts: Vec<Der<'_>> = whole.parts();
    let mut signed = parts[0].all.to_vec();
    let at = signed.windows(10).position(|window| window == b"alice@evil").unwrap();
    signed[at + 5] = 0;
    fs::write(ca.path("nul.tbs"), &signed).unwrap();
    ca.openssl(&["dgst", "-sha256", "-sign", "intermediate/key.pem", "-out", "nul.signature", "nul.tbs"]);
    let mut bits = vec![0];
    bits.extend(fs::read(ca.path("nul.signature")).unwrap());
    let body = [signed, parts[1].all.to_vec(), wrapped(0x03, &bits)].concat();
    let text = STANDARD.encode(wrapped(0x30, &body));
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    fs::write(&identity.certificate, pem).unwrap();
    identity
}

/// One element of DER, as far as this file needs it.
struct Der<'a> {
    all: &'a [u8],
    content: &'a [u8],
}

impl<'a> Der<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let (length, head) = match bytes[1] {
            short @ 0..=0x7f => (usize::from(short), 2),
            long => {
                let count = usize::from(long & 0x7f);
                let length = bytes[2..2 + count].iter().fold(0, |sum, byte| sum * 256 + usize::from(*byte));
                (length, 2 + count)
            }
        };
        Self { all: &bytes[..head + length], content: &bytes[head..head + length] }
    }

    fn parts(&self) -> Vec<Self> {
        let (mut rest, mut parts) = (self.content, Vec::new());
        while !rest.is_empty() {
            let part = Self::read(rest);
            rest = &rest[part.all.len()..];
            parts.push(part);
        }
        parts
    }
}

fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = if length < 0x80 {
        vec![tag, u8::try_from(length).unwrap()]
    } else {
        let [.., high, low] = length.to_be_bytes();
        vec![tag, 0x82, high, low]
    };
    [head, content.to_vec()].concat()
}
