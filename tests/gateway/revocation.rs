//! Revocation lists that do not bite elsewhere (row 19 of what must hold): each with its verdict, its reason, its metric.

use std::{fs, time::Duration};

use crate::{
    outage::{self, MINUTE},
    support::{
        admin_ca::{AdminCa, Identity, Lists, Served},
        emergency::{Emergency, prepared},
        eventually,
    },
};

/// An emergency whose intermediate's list is served so from the start on.
async fn with_list(change: impl FnOnce(&AdminCa) -> Option<Served>) -> (Emergency, Identity) {
    let ca = AdminCa::make();
    let lists = Lists::of(&ca).await;
    match change(&ca) {
        Some(served) => lists.put(LIST, served),
        None => lists.take_away(LIST),
    }
    let stage = prepared(&ca, &lists).start().await;
    let emergency = Emergency { stage, ca, lists };
    emergency.arm();
    outage::provider_dies(&emergency.stage).await;
    let alice = emergency.alice();
    (emergency, alice)
}

const LIST: &str = "/intermediate.crl";

async fn check(what: &str, expected: &str, change: impl FnOnce(&AdminCa) -> Option<Served>) {
    let (emergency, alice) = with_list(change).await;
    let reply = emergency.ask(&alice).await;
    assert_eq!(reply.refusal(), (403, expected), "{what}: {reply:?}");
    let url = emergency.lists.url(LIST);
    let failures = format!("oauth2_mtls_crl_fetch_failures_total{{crl_url=\"{url}\"}}");
    eventually("the failure is counted", async || emergency.stage.metric(&failures).await >= 1.0).await;
    let refused = format!("oauth2_mtls_auth_failures_total{{cn=\"alice\",reason=\"{expected}\"}}");
    assert_eq!(emergency.stage.metric(&refused).await, 1.0, "{what}");
}

fn bytes(ca: &AdminCa, name: &str) -> Option<Served> {
    Some(Served::Bytes(fs::read(ca.path(name)).unwrap()))
}

/// A list by openssl with further settings.
fn made(ca: &AdminCa, authority: &str, arguments: &[&str], extensions: &str) -> Option<Served> {
    let settings = format!(
        "[ca]\ndefault_ca = authority\n[authority]\ndatabase = {authority}/index.txt\n\
         crlnumber = {authority}/crlnumber\ndefault_md = sha256\ncrl_extensions = list\n\
         certificate = {authority}/certificate.pem\nprivate_key = {authority}/key.pem\n\
         [list]\nauthorityKeyIdentifier = keyid:always\n{extensions}\n"
    );
    fs::write(ca.path("made.cnf"), settings).unwrap();
    ca.openssl(&[&["ca", "-config", "made.cnf", "-gencrl", "-out", "made.pem"], arguments].concat());
    bytes(ca, "made.pem")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_does_not_come_is_unavailable() {
    check("missing", "crl_unavailable", |_| None).await;
    check("redirecting", "crl_unavailable", |_| Some(Served::Elsewhere("/root.crl"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_slow_is_not_waited_for_beyond_nginxs_patience() {
    let (emergency, alice) = with_list(|_| Some(Served::Silence)).await;
    let began = std::time::Instant::now();
    let reply = emergency.ask(&alice).await;
    assert_eq!(reply.refusal(), (403, "crl_unavailable"), "{reply:?}");
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_its_issuers_whole_and_plain_list_is_invalid() {
    check("empty", "crl_invalid", |_| Some(Served::Bytes(Vec::new()))).await;
    check("huge", "crl_invalid", |_| Some(Served::Endless)).await;
    check("garbage", "crl_invalid", |_| Some(Served::Bytes(b"<h1>404</h1>".to_vec()))).await;
    check("a stranger's", "crl_invalid", |_| bytes(&AdminCa::make(), "intermediate/list.pem")).await;
    check("bad signature", "crl_invalid", |ca| {
        ca.openssl(&["crl", "-in", "intermediate/list.pem", "-outform", "DER", "-out", "list.der"]);
        let mut list = fs::read(ca.path("list.der")).unwrap();
        *list.last_mut().unwrap() ^= 1;
        Some(Served::Bytes(list))
    })
    .await;
    check("to come", "crl_invalid", |ca| {
        made(ca, "intermediate", &["-crl_lastupdate", "20991231000000Z", "-crl_nextupdate", "21000101000000Z"], "")
    })
    .await;
    check("a delta", "crl_invalid", |ca| {
        made(
            ca,
            "intermediate",
            &["-crlhours", "24"],
            "deltaCRL = critical, ASN1:INTEGER:1\n2.5.29.27 = critical, ASN1:INTEGER:1",
        )
    })
    .await;
    check("of some reasons alone", "crl_invalid", |ca| {
        made(
            ca,
            "intermediate",
            &["-crlhours", "24"],
            "issuingDistributionPoint = critical, @idp\n[idp]\nonlyuser = TRUE",
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_old_is_stale() {
    check("past its next update", "crl_stale", |ca| {
        made(ca, "intermediate", &["-crl_lastupdate", &ago(20), "-crl_nextupdate", &ago(1)], "")
    })
    .await;
    check("made two days ago", "crl_stale", |ca| {
        made(ca, "intermediate", &["-crl_lastupdate", &ago(48), "-crl_nextupdate", "20991231000000Z"], "")
    })
    .await;
}

fn ago(hours: u32) -> String {
    let output = std::process::Command::new("date")
        .args(["--utc", "--date", &format!("{hours} hours ago"), "+%Y%m%d%H%M%SZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roots_list_is_needed_as_well() {
    let (emergency, alice) = with_list(|ca| bytes(ca, "intermediate/list.pem")).await;
    assert_eq!(emergency.ask(&alice).await.status, 200);
    let ca = AdminCa::make();
    let lists = Lists::of(&ca).await;
    lists.take_away("/root.crl");
    let stage = prepared(&ca, &lists).start().await;
    let emergency = Emergency { stage, ca, lists };
    emergency.arm();
    outage::provider_dies(&emergency.stage).await;
    assert_eq!(emergency.ask(&emergency.alice()).await.refusal(), (403, "crl_unavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetched_list_is_in_force_for_an_hour_and_no_longer_and_survives_a_restart() {
    let (mut emergency, alice) = with_list(|ca| bytes(ca, "intermediate/list.pem")).await;
    assert_eq!(emergency.ask(&alice).await.status, 200);
    for list in ["/root.crl", LIST] {
        emergency.lists.take_away(list);
    }
    emergency.stage.advance(MINUTE * 50);
    assert_eq!(emergency.ask(&alice).await.status, 200, "fifty minutes after it was fetched");
    let probes = outage::probes(&emergency.stage).await;
    emergency.stage.stop_gateway().await;
    emergency.stage.start_gateway().await;
    eventually("it is probed from the start on", async || outage::probes(&emergency.stage).await > probes).await;
    outage::pass(&emergency.stage, outage::TEN_SECONDS, 2).await;
    eventually("the provider is found down", async || outage::is_down(&emergency.stage).await).await;
    eventually("she is in again", async || emergency.ask(&alice).await.status == 200).await;
    emergency.stage.advance(MINUTE * 10);
    let refused = async || emergency.ask(&alice).await.refusal() == (403, "crl_unavailable");
    eventually("the hour is over", refused).await;
    emergency.lists.put_up(&emergency.ca);
    emergency.stage.advance(MINUTE);
    eventually("the lists are back", async || emergency.ask(&alice).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_never_takes_the_place_of_a_newer_one() {
    let (emergency, alice) = with_list(|ca| bytes(ca, "intermediate/list.pem")).await;
    let first = fs::read(emergency.ca.path("intermediate/list.pem")).unwrap();
    emergency.ca.revoke("intermediate", &alice.certificate);
    emergency.ca.publish("intermediate");
    emergency.lists.put_up(&emergency.ca);
    emergency.stage.advance(MINUTE * 40);
    eventually("the list bites", async || emergency.ask(&alice).await.refusal() == (403, "revoked")).await;
    emergency.lists.put(LIST, Served::Bytes(first));
    emergency.stage.advance(MINUTE * 40);
    let failures = format!("oauth2_mtls_crl_fetch_failures_total{{crl_url=\"{}\"}}", emergency.lists.url(LIST));
    eventually("the old one is refused", async || emergency.stage.metric(&failures).await >= 1.0).await;
    assert_eq!(emergency.ask(&alice).await.refusal(), (403, "revoked"));
    emergency.stage.advance(MINUTE * 30);
    eventually("the hour is over", async || emergency.ask(&alice).await.refusal() == (403, "crl_stale")).await;
}
