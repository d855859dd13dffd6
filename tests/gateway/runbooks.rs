//! The runbooks' commands, every one of them, in the order of the page and in the state that the page speaks of: with the
//! real program as the gateway, a real provider that dies and comes back, and the shipped scripts.

use std::{
    collections::VecDeque,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use http::Method;
use tempfile::TempDir;

use crate::{
    outage,
    support::{
        Plan, Reply, Stage, Visitor,
        admin_ca::{AdminCa, Asked, Identity, Lists, Served},
        binary,
        certificates::Certificates,
        emergency, eventually,
        replica::{Replica, stage_for},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_outages_runbook_do_what_it_says() {
    let ca = AdminCa::make();
    let lists = Lists::of(&ca).await;
    let stage = &hasty(emergency::prepared(&ca, &lists)).start().await;
    let alice = ca.issue("alice", &Asked::named("alice"));
    let mut page = Runbook::open("idp-outage.md");
    page.know(stage);
    page.know_that(&[("OPERATOR", "carol")]);
    let _gateway = stage.start_program("gateway").await;
    eventually("the first probe ends", || async { outage::probes(stage).await >= 1 }).await;

    page.run("Runbook: the identity provider is down", &[]).await;
    let well = ["oauth2_idp_fallback_mode{idp=\"main\"} 0", "oauth2_fallback_armed 0", "enabled in the settings"];
    page.run("Detection", &well).await;
    page.run("PortcullisIdpSlow", &["connected", "status 200"]).await;

    provider_dies(stage).await;
    page.run("PortcullisIdpDown", &["000\nno answer"]).await;

    arm(stage);
    door_is(stage, true).await;
    for number in 0..11 {
        let stranger = ca.issue(&format!("stranger-{number}"), &Asked::named("mallory"));
        assert_eq!(ask(stage, &stranger).await.refusal(), (403, "name_not_allowed"));
    }
    door_is(stage, false).await;
    let refused = page.run("PortcullisFallbackClosedByItself", &["name_not_allowed", "CN=mallory"]).await;
    assert!(refused.lines().count() >= 11, "{refused}");

    page.run("Steps", &["would arm: epoch", "\narm: epoch", "by carol: INC-0000: provider down, approved by"]).await;
    door_is(stage, true).await;
    page.run("Steps", &["armed", "by carol", "oauth2_fallback_door_open 1", "oauth2_fallback_armed 1"]).await;
    let seen = Visitor::showing(stage, &alice).get("/admin").await;
    assert!(seen.body.contains("Emergency access"), "the yellow line: {seen:?}");
    let watched = ["\"decision\":\"allow\"", "oauth2_mtls_auth_total{cn=\"alice\",result=\"success\"} 1"];
    page.run("Steps", &watched).await;

    provider_recovers(stage).await;
    assert_eq!(ask(stage, &alice).await.refusal(), (403, "idp_healthy"), "it closed by itself");
    page.run("Roll-back", &["disable: epoch", "by carol: INC-0000: the provider is back", "disabled"]).await;
    let armed = fallback(stage, &ARM);
    assert_eq!(armed.status.code(), Some(1), "nobody can arm anything by mistake: {}", emergency::said(&armed));
    page.run("Roll-back", &["enable: epoch", "by carol: INC-0000: closed"]).await;
    assert!(stage.metric("oauth2_fallback_armed").await < 0.5, "it arms nothing");
    page.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_certificates_runbook_do_what_it_says() {
    let home = TempDir::new().unwrap();
    let authority = Authority { folder: home.path().join("admin-ca"), lists: Lists::none().await };
    let mut page = Runbook::open("client-certificates.md");
    page.know_that(&[("AUTHORITY", authority.folder.to_str().unwrap()), ("ADMIN", "alice")]);
    page.run("Runbook: administrators' client certificates", &[]).await;
    page.run("Once", &["root.crl", "intermediate.crl"]).await;
    authority.publish();
    let stage = authority.stage().await;
    page.know(&stage);
    page.run("Once", &["ok\n", "ops at"]).await;

    let gateway = stage.start_program("first").await;
    authority.is_known_to(&stage).await;
    page.run("Detection", &["oauth2_mtls_crl_fetch_total", "oauth2_mtls_crl_last_update_timestamp"]).await;
    let mallory = authority.issue("mallory");
    arm(&stage);
    provider_dies(&stage).await;
    door_is(&stage, true).await;
    assert_eq!(ask(&stage, &mallory).await.refusal(), (403, "name_not_allowed"));
    let refused = ["oauth2_mtls_auth_failures_total{cn=\"unauthorized\",reason=\"name_not_allowed\"} 1", "CN=mallory"];
    page.run("PortcullisCertificateFailuresHigh", &refused).await;
    provider_recovers(&stage).await;
    gateway.end().await;

    authority.lists.put("/root.crl", Served::Nothing);
    let gateway = stage.start_program("without-a-list").await;
    let failures = format!("oauth2_mtls_crl_fetch_failures_total{{crl_url=\"{}\"}}", authority.lists.url("/root.crl"));
    eventually("the list is missed", || async { stage.counted(&failures).await >= 1 }).await;
    let failing = page.run("PortcullisCrlFetchFailing", &["oauth2_mtls_crl_cache_age_seconds", &failures]).await;
    assert!(!failing.contains(&format!("{failures} 0")), "{failing}");
    gateway.end().await;
    authority.publish();
    let gateway = stage.start_program("with-all-lists").await;

    let issued = page.run("A new certificate", &["alice.pem", "alice.p12 is: "]).await;
    authority.is_opened_by("alice", issued.lines().find_map(|line| Some(line.split_once(".p12 is: ")?.1)).unwrap());
    let alice = authority.identity("alice");
    page.run("A drill", &["ok    revocation", "ok    names", "let in by admins"]).await;
    let until = stage.metric("oauth2_mtls_cert_not_after_timestamp{cn=\"alice\"}").await;
    assert!(until > 0.0, "it tells the gateway until when it is good");
    assert_eq!(ask(&stage, &alice).await.refusal(), (403, "idp_healthy"), "and opens nothing");
    provider_dies(&stage).await;
    assert_eq!(ask(&stage, &alice).await.status, 200);

    page.run("A key may be in other hands", &["is revoked", "intermediate.crl: crlNumber"]).await;
    authority.publish();
    gateway.end().await;
    let _gateway = stage.start_program("with-new-lists").await;
    door_is(&stage, true).await;
    eventually("the new list is heard of", async || ask(&stage, &alice).await.refusal() == (403, "revoked")).await;
    page.run("A key may be in other hands", &["\"decision\":\"allow\"", "CN=alice", "\"reason\":\"revoked\""]).await;
    let drill = fallback(&stage, &["drill", "--certificate", alice.certificate.to_str().unwrap()]);
    assert_eq!(drill.status.code(), Some(1), "it would not be let in: {}", emergency::said(&drill));
    assert!(emergency::said(&drill).contains("FAIL  revocation   revoked"), "{}", emergency::said(&drill));
    page.run("A new list", &["intermediate.crl: crlNumber", "oauth2_mtls_crl_last_update_timestamp{"]).await;
    page.run("The authority is lost", &["disable: epoch", "the admin CA is compromised"]).await;
    door_is(&stage, false).await;
    page.run("Roll-back", &["would"]).await;
    page.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_session_keys_runbook_do_what_it_says() {
    let stage = stage_for(&["one"]).await;
    let mut gateway = Replica::prepared(&stage, "one");
    let file = |name: &str| gateway.folder.join(name).display().to_string();
    fs::rename(file("key"), file("current")).unwrap();
    let (current, others) = (file("current"), "#key_new_file = \"\"\n#key_old_file = \"\"\n");
    let keys = file("");
    gateway.change(|settings| {
        let settings: Vec<_> = settings.lines().filter(|line| !line.starts_with("key_file")).collect();
        format!("{}\nkey_file = {current:?}\n{others}", settings.join("\n"))
    });
    gateway.start().await;
    let mut page = Runbook::open("session-keys.md");
    page.known.extend(gateway.environment().iter().cloned());
    page.know_that(&[
        ("PORTCULLIS_CONFIG", gateway.settings_file().to_str().unwrap()),
        ("OPS", &format!("http://{}", gateway.ops())),
        ("KEYS", keys.trim_end_matches('/')),
        ("RELOAD", &format!("kill -HUP {}", gateway.pid())),
    ]);
    let alice = stage.signed_in("alice").await;
    page.run("Runbook: another session key", &[]).await;
    page.run("Detection", &["seals and opens", "portcullis_last_reload_successful 1"]).await;

    let good = fs::read_to_string(gateway.settings_file()).unwrap();
    fs::write(gateway.settings_file(), good.replace("[policy.staff]", "[policy.staff]\nmood = 1")).unwrap();
    gateway.reload("refused").await;
    page.run("PortcullisReloadRefused", &["policy.staff.mood"]).await;
    fs::write(gateway.settings_file(), good).unwrap();

    page.run("Steps", &["(new) opens", "portcullis_last_reload_successful 1"]).await;
    page.run("Steps", &["(old) opens", "portcullis_last_reload_successful 1"]).await;
    let bob = stage.signed_in("bob").await;
    assert_eq!([alice.get("/").await.status, bob.get("/").await.status], [200, 200], "nobody is signed out");
    page.run("Steps", &["seals and opens", "portcullis_last_reload_successful 1"]).await;
    assert_eq!(bob.get("/").await.status, 200);
    assert_eq!(alice.fetch(Method::GET, "/").await.refusal(), (401, "session_malformed"), "hers is under the old key");
    page.run("Roll-back", &["portcullis_last_reload_successful 1"]).await;
    assert_eq!(bob.get("/").await.status, 200);
    page.run("A key may be in other hands", &["portcullis_last_reload_successful 1"]).await;
    assert_eq!(bob.fetch(Method::GET, "/").await.refusal(), (401, "session_malformed"));
    page.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_stores_runbook_do_what_it_says() {
    let mut stage = Plan::new().with_redis().set("SESSION__CACHE_ENTRIES", "0").without_gateway().start().await;
    let mut page = Runbook::open("store.md");
    page.know(&stage);
    let _gateway = stage.start_program("gateway").await;
    let alice = stage.signed_in("alice").await;
    page.run("Runbook: the session store", &[]).await;
    stage.redis.as_mut().unwrap().down();
    assert_eq!(alice.get("/").await.status, 503);
    let failing = ["portcullis_store_failures_total{operation=\"facts\"", "portcullis_session_lookups_total"];
    page.run("Detection", &failing).await;
    page.run("PortcullisRevocationsNotHeard", &["portcullis_revocations_heard 0"]).await;
    stage.redis.as_mut().unwrap().up();
    page.run("Steps", &["redis.sock answers"]).await;
    eventually("it hears again", async || stage.counted("portcullis_revocations_heard").await == 1).await;
    page.run("Steps", &["portcullis_revocations_heard 1"]).await;
    assert_eq!(alice.get("/").await.status, 200);
    page.end();
}

#[test]
fn there_is_no_runbook_that_is_not_run_here() {
    let found = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = found.collect();
    found.sort();
    assert_eq!(found, ["client-certificates.md", "idp-outage.md", "session-keys.md", "store.md"]);
}

/// The blocks of a runbook that are still to be run.
struct Runbook {
    blocks: VecDeque<(String, String)>,
    first: String,
    known: Vec<(String, String)>,
    home: TempDir,
}

impl Runbook {
    fn open(name: &str) -> Self {
        let blocks = blocks(&fs::read_to_string(folder().join(name)).unwrap());
        let first = blocks[0].1.clone();
        Self { blocks, first, known: Vec::new(), home: TempDir::new().unwrap() }
    }

    /// What whoever is on duty has in their environment, instead of what the first block sets.
    fn know_that(&mut self, known: &[(&str, &str)]) {
        self.known.extend(known.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    }

    fn know(&mut self, stage: &Stage) {
        let folder = stage.folder.path().display();
        let environment = stage.environment();
        let ops =
            environment.iter().rev().find(|(key, _)| key == "PORTCULLIS_LISTENER__OPS__ADDRESS").unwrap().1.clone();
        self.known.extend(environment);
        self.know_that(&[
            ("PORTCULLIS_CONFIG", stage.settings_file().to_str().unwrap()),
            ("OPS", &format!("http://{ops}")),
            ("ISSUER", stage.idp.issuer()),
            ("AUDIT", &format!("{folder}/audit.log")),
            ("CURL_CA_BUNDLE", &format!("{folder}/ca.pem")),
        ]);
    }

    /// Runs the next block, which stands under that heading; it must do it, and say these words.
    async fn run(&mut self, heading: &str, words: &[&str]) -> String {
        let (found, block) = self.blocks.pop_front().unwrap_or_else(|| panic!("there is no block for {heading}"));
        assert_eq!(found, heading, "nobody runs this block: {block}");
        let program = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().unwrap().display().to_string();
        let output = tokio::process::Command::new("bash")
            .args(["-eu", "-o", "pipefail", "-c", &format!("{}{block}", self.first)])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("PATH", format!("{program}:{}", env::var("PATH").unwrap()))
            .env("HOME", self.home.path())
            .envs(self.known.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(MOST_OF_A_BLOCK, output).await.unwrap().unwrap();
        let said = emergency::said(&output);
        assert!(output.status.success(), "{heading}: {block}{}: {said}", output.status);
        for word in words {
            assert!(said.contains(word), "{heading}: {block}did not say {word:?}: {said}");
        }
        said
    }

    /// Nothing is left.
    fn end(self) {
        assert!(self.blocks.is_empty(), "nobody runs these blocks: {:?}", self.blocks);
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks")
}

/// The commands of a page, each with the heading that it stands under.
fn blocks(page: &str) -> VecDeque<(String, String)> {
    let (mut blocks, mut heading, mut open) = (VecDeque::new(), String::new(), None::<String>);
    for line in page.lines() {
        let is_mark = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        match open.take() {
            Some(block) if is_mark => blocks.push_back((heading.clone(), block)),
            Some(block) => open = Some(block + line + "\n"),
            None if is_mark => {
                assert_eq!(line, "```sh", "under {heading}: what is it, and who runs it?");
                open = Some(String::new());
            }
            None if line.starts_with('#') => line.trim_start_matches('#').trim().clone_into(&mut heading),
            None => {}
        }
    }
    assert!(open.is_none(), "the block under {heading} has no end");
    blocks
}

/// The authority that the runbook itself makes, and where its lists are published.
struct Authority {
    folder: PathBuf,
    lists: Lists,
}

impl Authority {
    fn publish(&self) {
        for list in ["root.crl", "intermediate.crl"] {
            self.lists.put(&format!("/{list}"), Served::Bytes(fs::read(self.folder.join(list)).unwrap()));
        }
    }

    /// Where everything is, as the runbook has it put after the authority was made.
    async fn stage(&self) -> Stage {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let urls = ["/root.crl", "/intermediate.crl"].map(|list| self.lists.url(list));
        let plan = Plan::new()
            .rendering(&["--admin-ca".to_owned(), file("client-ca.pem")])
            .set("LISTENER__NGINX__CERTIFICATES", "true")
            .set("FALLBACK__ENABLED", "true")
            .set("FALLBACK__STATE_FILE", file("switches"))
            .set("FALLBACK__CA_FILE", file("root.pem"))
            .set("FALLBACK__INTERMEDIATES_FILE", file("intermediate.pem"))
            .set("FALLBACK__CRL_URLS", format!("{urls:?}"))
            .set("FALLBACK__CRL_FOLDER", file("lists"))
            .set("FALLBACK__ADMINISTRATORS__ALICE__COMMON_NAME", "alice")
            .set("FALLBACK__ADMINISTRATORS__ALICE__USER", "alice-by-certificate")
            .set("FALLBACK__ADMINISTRATORS__ALICE__GROUPS", "[\"admins\"]");
        hasty(plan).start().await
    }

    /// A certificate that this runbook issues to nobody.
    fn issue(&self, name: &str) -> Identity {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/admin-cert.sh");
        let mut command = Command::new(script);
        command.arg("issue").arg("--into").arg(&self.folder).args(["--cn", name, "--out"]);
        let output = command.arg(self.folder.join(format!("{name}.pem"))).output().unwrap();
        assert!(output.status.success(), "{}", emergency::said(&output));
        self.identity(name)
    }

    /// The gateway has its lists.
    async fn is_known_to(&self, stage: &Stage) {
        for list in ["/root.crl", "/intermediate.crl"] {
            let made = format!("oauth2_mtls_crl_last_update_timestamp{{crl_url=\"{}\"}}", self.lists.url(list));
            eventually("its lists are fetched", async || stage.metric(&made).await > 0.0).await;
        }
    }

    /// What the person imports has that password.
    fn is_opened_by(&self, name: &str, password: &str) {
        let mut command = Command::new("openssl");
        command
            .args(["pkcs12", "-noout", "-passin", "env:PASSWORD", "-in"])
            .arg(self.folder.join(format!("{name}.p12")));
        let output = command.env("PASSWORD", password).output().unwrap();
        assert!(output.status.success(), "{}", emergency::said(&output));
    }

    fn identity(&self, name: &str) -> Identity {
        let [certificate, key] = ["pem", "key"].map(|kind| self.folder.join(format!("{name}.{kind}")));
        Identity { certificate, key }
    }
}

/// The program is the gateway; it writes an audit log, and is quicker to find the provider down or up than usual.
pub(crate) fn hasty(plan: Plan) -> Plan {
    let folder = TempDir::new().unwrap();
    let certificates = Certificates::make(folder.path());
    let audit = folder.path().join("audit.log").display().to_string();
    plan.standing_on(folder, certificates)
        .without_gateway()
        .set("LOG__AUDIT", audit)
        .set("HEALTH__INTERVAL", "200ms")
        .set("HEALTH__TIMEOUT", "2s")
        .set("HEALTH__DOWN_INTERVAL", "200ms")
        .set("HEALTH__QUIET", "1s")
}

pub(crate) async fn provider_dies(stage: &Stage) {
    stage.idp.stop().await;
    eventually("the provider is found down", || async { outage::is_down(stage).await }).await;
}

async fn provider_recovers(stage: &Stage) {
    stage.idp.restart().await.unwrap();
    eventually("the provider is found up", || async { !outage::is_down(stage).await }).await;
}

pub(crate) async fn door_is(stage: &Stage, open: bool) {
    let is_open = async || stage.metric("oauth2_fallback_door_open").await > 0.5;
    eventually(&format!("the door's being open is {open}"), async || is_open().await == open).await;
}

pub(crate) fn arm(stage: &Stage) {
    let armed = fallback(stage, &ARM);
    assert!(armed.status.success(), "{}", emergency::said(&armed));
}

fn fallback(stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = binary::command();
    command.envs(stage.environment()).arg("fallback").args(arguments).arg("--config").arg(stage.settings_file());
    command.output().unwrap()
}

/// Asks for an administrators' page as a script, with that certificate.
pub(crate) async fn ask(stage: &Stage, identity: &Identity) -> Reply {
    Visitor::showing(stage, identity).fetch(Method::GET, "/admin").await
}

const ARM: [&str; 7] = ["arm", "--for", "4h", "--reason", "the provider is down", "--operator", "on-duty"];
/// Longer than any of them waits.
const MOST_OF_A_BLOCK: Duration = Duration::from_secs(30);
