//! The door, as it opens and closes under traffic: armed, killed, closed by itself, on one gateway and on the other.

use std::{path::Path, process::Command, time::Duration};

use http::Method;

use crate::{
    outage::{self, MINUTE},
    support::{
        Plan, Visitor,
        admin_ca::{AdminCa, Asked, Identity},
        emergency::{Emergency, said},
        eventually,
        twin::{AsNginx, Twin},
        within,
    },
};

impl Emergency {
    /// The kill switch, by the script that is found in a hurry.
    fn kill(&self) -> String {
        let output = self
            .command_of(Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/disable_mtls_fallback.sh")))
            .args(["--reason", "a certificate was stolen", "--operator", "on-duty", "--config"])
            .arg(self.stage.settings_file())
            .env("PORTCULLIS", env!("CARGO_BIN_EXE_portcullis"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }

    fn command_of(&self, mut command: Command) -> Command {
        command.envs(self.stage.environment());
        command
    }

    async fn refused(&self, identity: &Identity) -> (u16, String) {
        let reply = self.ask(identity).await;
        (reply.status, reply.header("x-portcullis-reason").to_owned())
    }

    /// So many different certificates of people who are not on the list.
    fn unknown(&self, count: usize) -> Vec<Identity> {
        (0..count).map(|number| self.ca.issue(&format!("unknown-{number}"), &Asked::named("mallory"))).collect()
    }
}

fn refusal(reason: &str) -> (u16, String) {
    (403, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_opens_only_while_it_is_armed_and_closes_by_the_kill_switch_at_once() {
    let emergency = Emergency::usual().await;
    let alice = emergency.alice();
    assert_eq!(emergency.refused(&alice).await, refusal("fallback_not_armed"));
    emergency.arm();
    assert_eq!(emergency.refused(&alice).await, refusal("idp_healthy"));
    outage::provider_dies(&emergency.stage).await;
    assert_eq!(emergency.ask(&alice).await.status, 200);
    assert_eq!(emergency.stage.counted("oauth2_fallback_door_open").await, 1);

    emergency.kill();
    assert_eq!(emergency.refused(&alice).await, refusal("kill_switch"));
    emergency.kill();
    assert_eq!(emergency.stage.counted("oauth2_fallback_switches_total{action=\"disable\"}").await, 1);
    let page = Visitor::showing(&emergency.stage, &alice).get("/admin").await;
    assert_eq!(page.refusal(), (403, "kill_switch"));
    assert!(page.body.contains("not accepted just now") && page.location().is_none(), "{}", page.body);
    let armed = emergency.try_fallback(&["arm", "--for", "1h", "--reason", "again", "--operator", "on-duty"]);
    assert_eq!(armed.status.code(), Some(1), "{}", said(&armed));

    emergency.fallback(&["enable", "--reason", "the certificate is revoked", "--operator", "on-duty"]);
    assert_eq!(emergency.refused(&alice).await, refusal("fallback_not_armed"));
    emergency.arm();
    assert_eq!(emergency.ask(&alice).await.status, 200);

    // Four hours later it has ended by itself.
    emergency.stage.advance(Duration::from_secs(4 * 3_600 + 1));
    assert_eq!(emergency.refused(&alice).await, refusal("fallback_not_armed"));
    assert_eq!(emergency.stage.counted("oauth2_fallback_armed").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_nothing_opens() {
    let emergency = Emergency::with(|plan| plan.set("FALLBACK__ENABLED", "false")).await;
    let armed = emergency.try_fallback(&["arm", "--for", "1h", "--reason", "outage", "--operator", "on-duty"]);
    assert_eq!(armed.status.code(), Some(1), "{}", said(&armed));
    outage::provider_dies(&emergency.stage).await;
    let alice = emergency.alice();
    assert_eq!(emergency.refused(&alice).await, refusal("fallback_disabled"));
    let page = Visitor::showing(&emergency.stage, &alice).get("/admin").await;
    assert_eq!(page.refusal(), (503, "idp_down"), "like everybody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_arming_is_not_required_the_fallback_must_have_been_enabled_once() {
    let emergency = Emergency::with(|plan| plan.set("FALLBACK__REQUIRE_ARMING", "false")).await;
    outage::provider_dies(&emergency.stage).await;
    let alice = emergency.alice();
    assert_eq!(emergency.refused(&alice).await, refusal("fallback_not_armed"));
    emergency.fallback(&["enable", "--reason", "set up", "--operator", "on-duty"]);
    assert_eq!(emergency.ask(&alice).await.status, 200);
}

/// The other provider's people and no other are staff; the main one's are all the rest.
const TWO_PROVIDERS: [(&str, &str); 9] = [
    ("PROVIDER__PARTNERS__ISSUER", "https://127.0.0.1:1"),
    ("PROVIDER__PARTNERS__CLIENT_ID", "gateway"),
    ("PROVIDER__PARTNERS__AUTHENTICATION", "none"),
    (
        "POLICY__STAFF__RULES",
        r#"[{ allow = true, providers = ["partners"], everyone = true },
            { allow = true, groups = ["admins"], methods = ["client-certificate"] }]"#,
    ),
    (
        "POLICY__ADMINS__RULES",
        r#"[{ allow = true, providers = ["main", "partners"], groups = ["admins"] },
            { allow = true, groups = ["admins"], methods = ["client-certificate"] }]"#,
    ),
    ("POLICY__EVERYONE__RULES", r#"[{ allow = true, providers = ["main"], everyone = true }]"#),
    ("POLICY__FRESH__RULES", r#"[{ allow = true, providers = ["main"], everyone = true }]"#),
    ("POLICY__EDITORS__RULES", r#"[{ allow = true, providers = ["main"], everyone = true }]"#),
    ("POLICY__REALM_ADMINS__RULES", r#"[{ allow = true, providers = ["main"], everyone = true }]"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_provider_of_the_asked_policy_must_be_down() {
    let emergency =
        Emergency::with(|plan| TWO_PROVIDERS.into_iter().fold(plan, |plan, (key, value)| plan.set(key, value))).await;
    emergency.arm();
    outage::pass(&emergency.stage, outage::TEN_SECONDS, 3).await;
    let partners = "oauth2_idp_fallback_mode{idp=\"partners\"}";
    eventually("the partners' provider is down", async || emergency.stage.counted(partners).await == 1).await;
    let alice = Visitor::showing(&emergency.stage, &emergency.alice());
    assert_eq!(alice.fetch(Method::GET, "/admin").await.refusal(), (403, "idp_healthy"), "the main one works");
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200, "staff come from the partners alone");
    // A door that is open for one policy is open, whoever asks.
    assert_eq!(emergency.stage.counted("oauth2_fallback_door_open").await, 1);
    let status = emergency.fallback(&["status", "--json"]);
    assert!(status.contains("\"open\""), "{status}");
    assert!(alice.get("/auth/signed-out").await.body.contains("Emergency access"));
    // People choose, and the one that is down says so.
    let visitor = Visitor::new(&emergency.stage);
    let chooser = visitor.get("/auth/login?rd=%2Fadmin").await;
    assert_eq!(chooser.status, 200, "{chooser:?}");
    assert_eq!(visitor.get("/auth/login?rd=%2Fadmin&provider=partners").await.refusal(), (503, "idp_down"));
    assert_eq!(visitor.get("/auth/login?rd=%2Fadmin&provider=main").await.location().unwrap().path(), "/authorize");

    outage::provider_dies(&emergency.stage).await;
    assert_eq!(alice.fetch(Method::GET, "/admin").await.status, 200);
    let page = visitor.get("/admin").await;
    assert_eq!(page.refusal(), (503, "idp_down"));
    assert!(page.body.contains(" and "), "both are named: {}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_ten_different_certificates_of_the_admin_ca_close_the_door_by_itself() {
    let emergency = Emergency::open().await;
    let (alice, unknown) = (emergency.alice(), emergency.unknown(11));
    for identity in &unknown[..10] {
        assert_eq!(emergency.refused(identity).await, refusal("name_not_allowed"));
    }
    for _ in 0..15 {
        assert_eq!(emergency.refused(&unknown[3]).await, refusal("name_not_allowed"));
    }
    assert_eq!(emergency.ask(&alice).await.status, 200, "ten are not more than ten");
    assert_eq!(emergency.refused(&unknown[10]).await, refusal("name_not_allowed"));
    assert_eq!(emergency.refused(&alice).await, refusal("auto_closed"));
    assert_eq!(emergency.stage.counted("oauth2_fallback_switches_total{action=\"auto_close\"}").await, 1);
    assert!(
        emergency.fallback(&["status"]).contains("closed by itself") || {
            emergency.fallback(&["status", "--json"]).contains("\"auto_closed\": true")
                || emergency.fallback(&["status", "--json"]).contains("\"auto_closed\":true")
        }
    );
    emergency.stage.advance(MINUTE);
    emergency.arm();
    assert_eq!(emergency.ask(&alice).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_junk_and_ordinary_traffic_close_no_door() {
    let emergency = Emergency::open().await;
    let foreign = AdminCa::make();
    for number in 0..12 {
        let stranger = foreign.issue(&format!("stranger-{number}"), &Asked::named("alice"));
        assert_eq!(emergency.refused(&stranger).await, refusal("untrusted_chain"));
    }
    let gateway = AsNginx::of(&emergency.stage);
    for number in 0..30 {
        assert_eq!(gateway.verify_shown("admins", &format!("%2Djunk{number}")).await, refusal("malformed_certificate"));
    }
    let visitor = Visitor::new(&emergency.stage);
    for _ in 0..30 {
        assert_eq!(visitor.fetch(Method::GET, "/admin").await.status, 401);
    }
    // Revoked lists that cannot be had are our own trouble, however many administrators meet it.
    assert_eq!(emergency.ask(&emergency.alice()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_decides_is_the_others_decision_too() {
    let emergency = Emergency::with(Plan::with_redis).await;
    let twin = Twin::of(&emergency.stage).await;
    eventually("the twin's first probe ends", async || outage::probes(&emergency.stage).await >= 2).await;
    emergency.arm();
    emergency.stage.idp.stop().await;
    outage::pass_for(&emergency.stage, 2, outage::TEN_SECONDS, 3).await;
    eventually("the provider is found down", async || outage::is_down(&emergency.stage).await).await;
    let alice = emergency.alice();
    let at_twin = async || twin.asked.verify_shown("admins", &alice.escaped()).await;
    eventually("the twin lets her in too", async || at_twin().await.0 == 200).await;

    // Half of the refused certificates are shown to the one, half to the other.
    let unknown = emergency.unknown(11);
    for (number, identity) in unknown.iter().enumerate() {
        let refused = if number % 2 == 0 {
            emergency.refused(identity).await
        } else {
            twin.asked.verify_shown("admins", &identity.escaped()).await
        };
        assert_eq!(refused, refusal("name_not_allowed"), "{number}");
    }
    assert_eq!(emergency.refused(&alice).await, refusal("auto_closed"));
    within(A_SECOND, "the twin closes", async || at_twin().await == refusal("auto_closed")).await;

    emergency.fallback(&["arm", "--for", "1h", "--reason", "looked at", "--operator", "on-duty"]);
    within(A_SECOND, "the twin opens", async || at_twin().await.0 == 200).await;
    emergency.kill();
    within(A_SECOND, "the twin closes", async || at_twin().await == refusal("kill_switch")).await;
    assert_eq!(emergency.refused(&alice).await, refusal("kill_switch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_gone_in_mid_outage_an_armed_door_stays_open_and_a_disabled_one_shut() {
    let emergency = Emergency::with(Plan::with_redis).await;
    emergency.arm();
    outage::provider_dies(&emergency.stage).await;
    let alice = emergency.alice();
    assert_eq!(emergency.ask(&alice).await.status, 200);
    let redis = emergency.stage.redis.as_ref().unwrap();
    redis.signal("STOP");
    assert_eq!(emergency.ask(&alice).await.status, 200, "Redis hangs");
    // The gateway's own process is told, and says so.
    let killed = emergency.try_fallback(&["disable", "--reason", "stolen", "--operator", "on-duty"]);
    assert_eq!(killed.status.code(), Some(0), "{}", said(&killed));
    assert_eq!(emergency.refused(&alice).await, refusal("kill_switch"));
    redis.signal("CONT");
    let stored = async || emergency.fallback(&["status"]).contains("disable");
    eventually("Redis knows it too", stored).await;
    assert_eq!(emergency.refused(&alice).await, refusal("kill_switch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_with_an_old_cookie_comes_in_while_redis_is_gone_too() {
    let plan = |plan: Plan| plan.with_redis().set("SESSION__CACHE_ENTRIES", "0");
    let emergency = Emergency::with(plan).await;
    let browser = Visitor::showing(&emergency.stage, &emergency.alice());
    assert_eq!(browser.sign_in("alice", "/admin").await.status, 200);
    emergency.arm();
    outage::provider_dies(&emergency.stage).await;
    emergency.stage.redis.as_ref().unwrap().signal("STOP");
    let reply = browser.get("/admin").await;
    assert_eq!((reply.status, reply.header("x-portcullis-mode")), (200, "fallback"), "{reply:?}");
    // Who is refused as well is told of our trouble, not of theirs, and is not sent to sign in.
    let staff = browser.get("/").await;
    assert_eq!(staff.refusal(), (503, "store_unavailable"));
    emergency.stage.redis.as_ref().unwrap().signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_goes_the_whole_way_and_opens_nothing() {
    let emergency = Emergency::usual().await;
    let alice = emergency.alice();
    let file = alice.certificate.display().to_string();
    let told = emergency.fallback(&["drill", "--certificate", &file]);
    for step in ["door", "certificate", "dates", "chain", "lifetime", "revocation", "names", "policies"] {
        assert!(told.contains(&format!("ok    {step}")), "{step}: {told}");
    }
    assert!(told.contains("closed now (fallback_not_armed)") && told.contains("let in by admins"), "{told}");
    assert!(emergency.stage.counted("oauth2_mtls_cert_not_after_timestamp{cn=\"alice\"}").await > 0);
    assert_eq!(emergency.refused(&alice).await, refusal("fallback_not_armed"));

    let mallory = emergency.ca.issue("mallory", &Asked::named("mallory"));
    let failed = emergency.try_fallback(&["drill", "--certificate", &mallory.certificate.display().to_string()]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(said(&failed).contains("FAIL  names") && said(&failed).contains("name_not_allowed"), "{}", said(&failed));
    let junk = emergency.ca.path("junk.pem");
    std::fs::write(&junk, "no certificate").unwrap();
    let failed = emergency.try_fallback(&["drill", "--certificate", &junk.display().to_string()]);
    assert!(said(&failed).contains("FAIL  certificate"), "{}", said(&failed));
    // Nobody without the master key can hold one.
    let forged = reqwest::Client::new()
        .post(format!("http://{}/fallback/drill", emergency.stage.ops()))
        .body(vec![7; 200])
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), 403);
}

/// How soon a switch that is thrown at one gateway counts at the other.
const A_SECOND: Duration = Duration::from_secs(1);
