//! The fallback's switches, thrown by the program and its script, and believed by running gateways.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    admin_ca::AdminCa,
    binary::{Binary, run, said},
    eventually,
    redis::Server,
};

/// Gateways of one fleet, each with settings, a file and an ops listener of its own.
struct Fleet {
    folder: TempDir,
    ca: AdminCa,
    redis: Server,
    running: Vec<(&'static str, Binary)>,
}

/// What the program said, and its exit code.
type Told = (i32, String);

impl Fleet {
    /// Gateways of these names. Commands know of `processes`, and of the first one's settings.
    async fn of(names: &[&'static str], processes: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut fleet = Self { folder, ca: AdminCa::make(), redis: Server::start(), running: Vec::new() };
        for name in names {
            let addresses: Vec<_> =
                processes.iter().map(|name| format!("unix:{}", fleet.ops(name).display())).collect();
            fs::create_dir(fleet.home(name)).unwrap();
            let text = SETTINGS
                .replace("{home}", fleet.home(name).to_str().unwrap())
                .replace("{ca}", fleet.ca.path("root/certificate.pem").to_str().unwrap())
                .replace("{redis}", fleet.redis.socket().to_str().unwrap())
                .replace("{key}", &STANDARD.encode(b"thirty-two bytes for the journey"))
                .replace("{processes}", &format!("{addresses:?}"));
            fs::write(fleet.settings(name), text).unwrap();
            fleet.start(name).await;
        }
        fleet
    }

    async fn start(&mut self, name: &'static str) {
        self.running.push((name, Binary::serve(&self.settings(name), &[], name)));
        eventually("it answers", async || self.ask(name).await.is_some()).await;
    }

    async fn stop(&mut self, name: &str) {
        let at = self.running.iter().position(|(running, _)| *running == name).unwrap();
        self.running.remove(at).1.end().await;
    }

    fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, name: &str) -> PathBuf {
        self.home(name).join("portcullis.toml")
    }

    fn ops(&self, name: &str) -> PathBuf {
        self.home(name).join("ops.sock")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home(name).join("switches")
    }

    fn fallback(&self, words: &[&str]) -> Told {
        let settings = self.settings("one");
        let common = ["--config", settings.to_str().unwrap(), "--timeout", "2s"];
        let all = [&["fallback"], words, &common].concat();
        told(&run(&all, &[("USER", "carol")]))
    }

    fn arm(&self) -> Told {
        self.fallback(&["arm", "--for", "1h", "--operator", "alice", "--reason", "the provider is down"])
    }

    fn enable(&self) -> Told {
        self.fallback(&["enable", "--operator", "alice", "--reason", "all is well"])
    }

    /// The kill switch, by the script that is found in a hurry.
    fn kill(&self, more: &[&str]) -> Told {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/disable_mtls_fallback.sh");
        let mut command = Command::new(script);
        command.args(["--reason", "stolen laptop", "--config"]).arg(self.settings("one")).args(more);
        command.env("PORTCULLIS", env!("CARGO_BIN_EXE_portcullis"));
        told(&command.output().unwrap())
    }

    /// What a gateway says of itself.
    async fn ask(&self, name: &str) -> Option<Value> {
        let client = reqwest::Client::builder().unix_socket(self.ops(name)).build().unwrap();
        let reply = client.get("http://gateway/fallback").send().await.ok()?;
        assert_eq!(reply.status(), 200);
        serde_json::from_slice(&reply.bytes().await.ok()?).ok()
    }

    async fn is(&self, name: &str, mark: &str) -> bool {
        self.ask(name).await.is_some_and(|status| status["believed"] == true && status[mark] == true)
    }

    async fn all_are(&self, mark: &str) {
        for (name, _) in &self.running {
            eventually(&format!("{name} is {mark}"), async || self.is(name, mark).await).await;
        }
    }

    async fn none_is(&self, mark: &str) {
        for (name, _) in &self.running {
            eventually(&format!("{name} is not {mark}"), async || !self.is(name, mark).await).await;
        }
    }
}

fn told(output: &Output) -> Told {
    (output.status.code().unwrap(), said(output))
}

#[track_caller]
fn expect((code, said): Told, expected: i32, words: &[&str]) {
    assert_eq!(code, expected, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_reaches_a_gateway_that_the_command_does_not_know_within_a_second() {
    let fleet = Fleet::of(&["one", "two"], &["one"]).await;
    expect(fleet.arm(), 0, &["arm: epoch 1", "by alice: the provider is down"]);
    fleet.all_are("armed").await;
    expect(fleet.kill(&[]), 0, &["disable: epoch 2", "store"]);
    let began = Instant::now();
    fleet.all_are("killed").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    fleet.none_is("armed").await;
    expect(fleet.kill(&[]), 0, &["disable already: epoch 2"]);
    expect(fleet.arm(), 1, &["enable it first"]);
    expect(fleet.enable(), 0, &["enable: epoch 3"]);
    fleet.none_is("killed").await;
    expect(fleet.enable(), 0, &["enable already: epoch 3"]);
    expect(fleet.arm(), 0, &["arm: epoch 4"]);
    fleet.all_are("armed").await;
    let log = fleet.running[1].1.said();
    assert!(log.contains("fallback_switched") && log.contains("stolen laptop"), "it is audited: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_down_every_gateway_that_can_be_reached_is_told_and_the_others_are_named() {
    let mut fleet = Fleet::of(&["one", "two", "three"], &["one", "two", "three"]).await;
    expect(fleet.arm(), 0, &[]);
    fleet.all_are("armed").await;
    fleet.stop("three").await;
    fleet.redis.down();
    let told = fleet.kill(&["--operator", "bob"]);
    expect(told.clone(), 3, &["by bob", "DID NOT ACKNOWLEDGE"]);
    let silent = told.1.lines().filter(|line| line.contains("DID NOT ACKNOWLEDGE"));
    assert!(silent.clone().any(|line| line.contains(fleet.ops("three").to_str().unwrap())), "{}", told.1);
    assert_eq!(silent.count(), 2, "the store, and the third: {}", told.1);
    assert!(fleet.is("one", "killed").await && fleet.is("two", "killed").await, "they were told");

    // A gateway that did not run when the switch was thrown goes by its file, and hears of it when it is thrown again.
    fleet.start("three").await;
    eventually("it goes by its file", async || fleet.is("three", "armed").await).await;
    expect(fleet.kill(&[]), 0, &["disable: epoch 2003"]);
    assert!(fleet.is("three", "killed").await);

    // Redis comes back with what it had before, and learns better.
    fleet.redis.up();
    eventually("the store is mended", async || {
        fleet.fallback(&["status", "--json"]).1.parse::<Value>().is_ok_and(|status| status["store"] == "epoch 2003")
    })
    .await;
    fleet.all_are("killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_switch_that_the_store_has_is_not_done_while_a_gateway_does_not_acknowledge() {
    let mut fleet = Fleet::of(&["one", "two"], &["one", "two"]).await;
    fleet.stop("two").await;
    let two = fleet.ops("two").display().to_string();
    expect(fleet.kill(&[]), 3, &["disable: epoch 1", "DID NOT ACKNOWLEDGE", &two]);
    assert!(fleet.is("one", "killed").await);
    fleet.start("two").await;
    expect(fleet.kill(&[]), 0, &["disable already: epoch 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_lies_in_the_store_a_kill_switch_reaches_whom_it_can() {
    let fleet = Fleet::of(&["one"], &[]).await;
    let put = |record: &str| fleet.redis.ask::<()>(&["SET", "portcullis:switches", record]);
    put("99999999999999999999garbage");
    expect(fleet.kill(&[]), 0, &["disable: epoch 1"]);
    put("00000000000000000900garbage");
    expect(fleet.enable(), 0, &["enable: epoch 901"]);
    expect(fleet.arm(), 0, &["arm: epoch 902"]);
    fleet.all_are("armed").await;
    put("18446744073709551615garbage");
    let told = fleet.kill(&[]);
    assert!(told.0 == 3 || told.0 == 1, "whether the gateway has seen it already or not: {}", told.1);
    assert!(told.1.contains("take it away by hand"), "{}", told.1);
    assert!(!fleet.is("one", "armed").await);
    let status = fleet.ask("one").await.unwrap();
    assert!(status["killed"] == true || status["believed"] == false, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_there_it_could_not_be_done() {
    let mut fleet = Fleet::of(&["one"], &[]).await;
    fleet.stop("one").await;
    fleet.redis.down();
    expect(fleet.kill(&[]), 1, &["neither the store nor any process took it", "DID NOT ACKNOWLEDGE"]);
    expect(fleet.fallback(&["status"]), 1, &["NOT REACHED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_switches_outlive_gateways_and_a_flushed_store() {
    let mut fleet = Fleet::of(&["one", "two"], &["one", "two"]).await;
    expect(fleet.kill(&[]), 0, &[]);
    fleet.all_are("killed").await;
    eventually("its file is written", async || fleet.file("one").exists() && fleet.file("two").exists()).await;
    let _: () = fleet.redis.ask(&["FLUSHALL"]);
    eventually("the store is mended", async || fleet.redis.ask::<i64>(&["EXISTS", "portcullis:switches"]) == 1).await;
    for name in ["one", "two"] {
        fleet.stop(name).await;
    }
    let _: () = fleet.redis.ask(&["FLUSHALL"]);
    fleet.start("one").await;
    eventually("the file is believed", async || fleet.is("one", "killed").await).await;
    eventually("the store is mended", async || fleet.redis.ask::<i64>(&["EXISTS", "portcullis:switches"]) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_closes_the_door_until_the_switches_are_thrown_anew() {
    let fleet = Fleet::of(&["one"], &[]).await;
    expect(fleet.arm(), 0, &[]);
    fleet.all_are("armed").await;
    let _: () = fleet.redis.ask(&["SET", "portcullis:switches", "garbage"]);
    fleet.none_is("believed").await;
    expect(fleet.fallback(&["status"]), 4, &["CANNOT BE BELIEVED", "BROKEN"]);
    expect(fleet.arm(), 1, &["disable or enable the fallback first"]);
    expect(fleet.enable(), 0, &[]);
    expect(fleet.arm(), 0, &[]);
    fleet.all_are("armed").await;
    let log = fleet.running[0].1.said();
    assert_eq!(log.matches("\"event\":\"fallback_switches_invalid\"").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_fallback_nothing_is_thrown() {
    let mut fleet = Fleet::of(&["one"], &[]).await;
    fleet.stop("one").await;
    let settings = fs::read_to_string(fleet.settings("one")).unwrap();
    fs::write(fleet.settings("one"), settings.replace("enabled = true", "enabled = false")).unwrap();
    fleet.start("one").await;
    expect(fleet.arm(), 1, &["fallback.enabled is false"]);
    fleet.redis.down();
    expect(fleet.kill(&[]), 1, &["DID NOT ACKNOWLEDGE", "fallback_disabled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_wrong_words_touch_nothing() {
    let fleet = Fleet::of(&["one"], &[]).await;
    expect(fleet.kill(&["--dry-run"]), 0, &["would disable: epoch 1"]);
    let long = "x".repeat(501);
    let arm =
        |lasts, operator, reason| fleet.fallback(&["arm", "--for", lasts, "--operator", operator, "--reason", reason]);
    expect(arm("25h", "alice", "why"), 2, &["at most 1day"]);
    expect(arm("0s", "alice", "why"), 2, &["more than nothing"]);
    expect(arm("soon", "alice", "why"), 2, &["--for"]);
    expect(arm("1h", " ", "why"), 2, &["operator is empty"]);
    expect(arm("1h", "alice", &long), 2, &["longer than 500 characters"]);
    expect(arm("1h", "alice\n", "two\nlines"), 2, &["control characters"]);
    expect(fleet.fallback(&["enable", "--reason", "why"]), 2, &["--operator"]);
    expect(told(&run(&["fallback"], &[])), 2, &["Usage"]);
    let status = fleet.fallback(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.1).unwrap();
    assert_eq!((&status["epoch"], &status["store"]), (&Value::from(0), &Value::from("no record")), "{status}");
    assert!(!fleet.file("one").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_master_key_did_not_seal_is_refused_and_an_old_one_is_too_late() {
    let fleet = Fleet::of(&["one"], &[]).await;
    expect(fleet.arm(), 0, &[]);
    let old = fleet.ask("one").await.unwrap()["record"].as_str().unwrap().to_owned();
    expect(fleet.fallback(&["disable", "--reason", "why"]), 0, &["by carol"]);
    let client = reqwest::Client::builder().unix_socket(fleet.ops("one")).build().unwrap();
    let post = async |body: String| {
        let reply = client.post("http://gateway/fallback").body(body).send().await.unwrap();
        (reply.status().as_u16(), reply.json::<Value>().await.unwrap())
    };
    assert_eq!(post(old.clone()).await, (409, serde_json::json!({"epoch": 2})));
    for wrong in [old.replacen('1', "9", 1), String::new(), "garbage".to_owned(), "9.AAAA".to_owned()] {
        let (status, _) = post(wrong).await;
        assert_eq!(status, 403);
    }
    assert!(fleet.is("one", "killed").await);
}

const SETTINGS: &str = r#"
[listener.nginx]
kind = "nginx"
address = "unix:{home}/nginx.sock"
certificates = true
[listener.ops]
kind = "ops"
address = "unix:{home}/ops.sock"
[site.main]
public_url = "https://app.test"
[provider.main]
issuer = "https://127.0.0.1:1"
client_id = "gateway"
client_secret = "only-for-this-test"
[session]
key = "{key}"
[store]
kind = "redis"
[store.redis]
url = "unix:{redis}"
[policy.staff]
rules = [{ allow = true, groups = ["staff"] }]
[fallback]
enabled = true
ca_file = "{ca}"
crl_urls = ["http://127.0.0.1:1/root.crl"]
crl_folder = "{home}/lists"
state_file = "{home}/switches"
processes = {processes}
[fallback.administrators.alice]
common_name = "alice"
user = "alice"
"#;
