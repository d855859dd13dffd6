//! What other clients of providers have stumbled over: odd requests, cookies and answers, crowds, and providers that
//! are not who they say.

use std::{sync::Arc, time::Duration};

use dev_idp::{Client, Endpoint, Person, Switch};
use futures_util::{StreamExt, stream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use reqwest::Method;
use tempfile::TempDir;

use crate::support::{APP, Plan, Reply, Stage, Visitor, nginx::raw, visitor::USER_AGENT};

#[tokio::test(flavor = "multi_thread")]
async fn a_post_without_a_body_or_its_type_is_refused_and_nothing_else_happens() {
    let stage = Stage::usual().await;
    let alice = stage.signed_in("alice").await;
    let cookies = alice.cookies();
    let post = async |path: &str, more: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {APP}\r\nUser-Agent: {USER_AGENT}\r\nCookie: {cookies}\r\n{more}Connection: close\r\n\r\n"
        );
        raw(&stage, request.as_bytes()).await
    };
    for (path, status, reason) in [
        ("/auth/callback", "405", "method_not_allowed"),
        ("/auth/callback?code=x&state=y", "405", "method_not_allowed"),
        ("/auth/login", "405", "method_not_allowed"),
        ("/auth/logout", "403", "cross_site"),
        ("/auth/check", "403", "cross_site"),
    ] {
        for body in BODIES {
            let answer = post(path, body).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {body:?}: {answer}");
            assert!(answer.contains(&format!("x-portcullis-reason: {reason}\r\n")), "{path} {body:?}: {answer}");
        }
    }
    assert_eq!(alice.get("/").await.status, 200, "the session goes on");
    for body in BODIES {
        let answer = post("/auth/logout", &format!("Sec-Fetch-Site: same-origin\r\n{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("signed_out"), "{body:?}: {answer}");
    }
    assert_eq!(alice.fetch(Method::GET, "/").await.refusal(), (401, "session_ended"), "our own page needs none either");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_cookies_crash_nothing_name_nobody_and_reach_the_application_well_formed() {
    let stage = Plan::new().with_redis().start().await;
    let alice = stage.signed_in("alice").await;
    let good = format!("__Host-portcullis={}", alice.session().unwrap());
    let ask = async |cookie: &str| {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {APP}\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
        );
        raw(&stage, request.as_bytes()).await
    };
    let many = (0..300).map(|number| format!("c{number}=v")).collect::<Vec<_>>().join("; ");
    let odd = [";", "=", "foo=1; ; bar=2", "foo", "foo; bar=2", many.as_str(), "__Host-portcullis"];
    for cookie in odd {
        let stranger = ask(cookie).await;
        assert!(stranger.starts_with("HTTP/1.1 401 "), "{cookie}: {stranger}");
        let signed_in = ask(&format!("{cookie}; {good}")).await;
        assert!(signed_in.starts_with("HTTP/1.1 200 "), "{cookie}: {signed_in}");
        let arrived = stage.upstream.requests().pop().unwrap().headers;
        let arrived = arrived.get("cookie").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        assert!(!arrived.contains("portcullis=") && !arrived.ends_with(';'), "{cookie}: {arrived}");
    }
    let operations = r#"portcullis_store_operations_total{operation="facts",result="ok"}"#;
    let before = stage.metric(operations).await;
    for value in ["%s%n%x", "a b%0d%0aFLUSHALL", "99999999", "-1", "2147483648", "", &"A".repeat(7_000)] {
        for name in ["__Host-portcullis", "__Host-portcullis_chunks", "__Host-portcullis-0"] {
            let answer = ask(&format!("{name}={value}")).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{name}={value}: {answer}");
        }
    }
    assert_eq!(stage.metric(operations).await.to_bits(), before.to_bits(), "none of these asked the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sign_ins_at_once_each_end_as_themselves() {
    let stage = Plan::new().set("LIMITS__LOGIN", "off").provider(|provider| provider.people.clear()).start().await;
    for number in 0..1_000 {
        stage.idp.enrol(Person::new(&format!("person{number}"), "Crowd").in_groups(&["staff"]));
    }
    let stage = Arc::new(stage);
    let sign_ins = stream::iter(0..1_000).map(|number| {
        let stage = Arc::clone(&stage);
        tokio::spawn(async move {
            let login = format!("person{number}");
            let visitor = Visitor::new(&stage);
            let reply = visitor.sign_in(&login, &format!("/page/{number}")).await;
            assert_eq!((reply.status, reply.url.path()), (200, format!("/page/{number}").as_str()), "{reply:?}");
            let who = visitor.fetch(Method::GET, "/auth/userinfo").await.json();
            assert_eq!(who["user"], format!("subject-of-{login}"));
        })
    });
    let ended: Vec<_> = sign_ins.buffer_unordered(50).collect().await;
    assert!(ended.into_iter().all(|task| task.is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_one_tab_does_not_fit_the_verifier_of_another() {
    let stage = Stage::usual().await;
    let alice = Visitor::new(&stage);
    let first = alice.up_to_callback("alice", "/first").await;
    let second = alice.up_to_callback("alice", "/second").await;
    let part = |url: &url::Url, wanted: &str| {
        url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).unwrap()
    };
    let mut swapped = first.clone();
    let pairs = [("code", part(&second, "code")), ("state", part(&first, "state")), ("iss", part(&first, "iss"))];
    swapped.query_pairs_mut().clear().extend_pairs(pairs);
    assert_eq!(alice.visit(&swapped).await.refusal(), (400, "code_rejected"));
    assert!(alice.session().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_almost_the_right_one_is_another() {
    let stage = Stage::usual().await;
    let issuer = stage.idp.issuer().to_owned();
    let check = async |iss: &str, reason: &str| {
        let alice = Visitor::new(&stage);
        let mut callback = alice.up_to_callback("alice", "/").await;
        let kept = callback.query().unwrap().split('&').filter(|pair| !pair.starts_with("iss=")).collect::<Vec<_>>();
        let query = format!("{}&{iss}", kept.join("&"));
        callback.set_query(Some(&query));
        assert_eq!(alice.visit(&callback).await.refusal(), (400, reason), "{iss}");
    };
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    check(&format!("iss={}1", encoded(&issuer)), "issuer_mismatch").await;
    check(&format!("iss={}", encoded(&format!("{issuer}/"))), "issuer_mismatch").await;
    check(&format!("iss={}", encoded(&issuer.to_uppercase())), "issuer_mismatch").await;
    check(&format!("iss={}", encoded(&encoded(&issuer))), "issuer_mismatch").await;
    check("iss=", "issuer_mismatch").await;
    check(&format!("iss={0}&iss={0}", encoded(&issuer)), "parameter_repeated").await;
    check("", "issuer_missing").await;
    stage.idp.set(Switch::AuthorizationError);
    check("iss=https%3A%2F%2Fother.example", "issuer_mismatch").await;
    assert_eq!(stage.asked(Endpoint::Token), 0);
}

fn assert_cookies_are_out_of_reach(reply: &Reply) {
    for cookie in reply.headers.get_all("set-cookie") {
        let cookie = cookie.to_str().unwrap();
        let name = cookie.split('=').next().unwrap();
        assert!(name.starts_with("__Host-portcullis"), "{cookie}");
        for attribute in ["; HttpOnly", "; Secure", "; SameSite=Lax", "; Path=/"] {
            assert!(cookie.contains(attribute), "{cookie} lacks {attribute}");
        }
        assert!(!cookie.to_lowercase().contains("domain="), "{cookie}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cookie_and_no_referrer_of_ours_is_within_reach_whatever_becomes_of_the_sign_in() {
    let stage = Stage::usual().await;
    let alice = Visitor::new(&stage);
    let mut cookies = 0;
    let mut look = |reply: &Reply| {
        assert_cookies_are_out_of_reach(reply);
        assert_eq!(reply.header("referrer-policy"), "no-referrer", "{reply:?}");
        cookies += reply.headers.get_all("set-cookie").iter().count();
    };
    let begun = alice.get("/auth/login").await;
    look(&begun);
    let callback = alice.up_to_callback("alice", "/").await;
    let used = alice.visit(&callback).await;
    assert_eq!(used.status, 302);
    look(&used);
    look(&alice.get("/auth/callback?error=access_denied&state=x").await);
    look(&alice.visit(&callback).await);
    stage.clock.advance(Duration::from_secs(1));
    let refused = alice.up_to_callback("alice", "/auth/login?account=other").await;
    stage.idp.set(Switch::IdTokenWrongNonce);
    look(&alice.visit(&refused).await);
    look(&alice.get("/auth/logout").await);
    assert!(cookies >= 5, "{cookies}: begun, used and cleared, refused and cleared, signed out");
}

/// A body that is not there, and two that are empty.
const BODIES: [&str; 3] = ["", "Content-Length: 0\r\n", "Content-Type: \r\nContent-Length: 0\r\n"];

/// What a provider's certificate may be about.
struct Identity {
    names: Vec<String>,
    until: i32,
    by_own_authority: bool,
}

async fn signs_in_at_a_provider_with(identity: &Identity) -> (u16, String) {
    let folder = TempDir::new().unwrap();
    let certificates = crate::support::certificates::Certificates::make(folder.path());
    let authority = || {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    };
    let (trusted, stranger) = (authority(), authority());
    let trusted_file = folder.path().join("trusted.pem");
    std::fs::write(&trusted_file, trusted.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(identity.names.clone()).unwrap();
    leaf.not_before = date_time_ymd(2020, 1, 1);
    leaf.not_after = date_time_ymd(identity.until, 1, 1);
    let leaf = leaf.signed_by(&key, if identity.by_own_authority { &trusted } else { &stranger }).unwrap();
    let https = crate::support::free_port();
    let settings = dev_idp::Settings {
        clients: vec![Client::public("gateway", &format!("https://{APP}:{https}/auth/callback"))],
        tls: Some(dev_idp::Tls { certificates_pem: leaf.pem(), key_pem: key.serialize_pem() }),
        ..dev_idp::Settings::default()
    };
    let idp = dev_idp::start(settings).await.unwrap();
    let plan = Plan::new()
        .with_issuer(idp.issuer(), "gateway")
        .set("PROVIDER__MAIN__CA_FILE", trusted_file.display().to_string());
    let stage = plan.standing_on(folder, certificates).start_at(https).await;
    let reply = Visitor::new(&stage).get("/auth/login").await;
    (reply.status, reply.header("x-portcullis-reason").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_who_its_certificate_says_or_nobody() {
    let good = || Identity { names: vec!["127.0.0.1".into()], until: 2090, by_own_authority: true };
    let check = async |identity: Identity, expected: (u16, &str)| {
        let (status, reason) = signs_in_at_a_provider_with(&identity).await;
        assert_eq!((status, reason.as_str()), expected);
    };
    check(good(), (302, "")).await;
    check(Identity { by_own_authority: false, ..good() }, (503, "provider_unreachable")).await;
    check(Identity { names: vec!["op.test".into()], ..good() }, (503, "provider_unreachable")).await;
    check(Identity { until: 2021, ..good() }, (503, "provider_unreachable")).await;
}
