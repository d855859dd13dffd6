//! The program's commands, as operators and their scripts meet them.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;

use crate::support::{
    binary::{Binary, run, said},
    eventually,
};

/// Settings in a folder of their own. Provider and Redis are at a port where nobody listens.
struct Installed {
    folder: TempDir,
    settings: PathBuf,
}

impl Installed {
    fn with(more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let settings = folder.path().join("portcullis.toml");
        let text = VALID
            .replace("{folder}", folder.path().to_str().unwrap())
            .replace("{key}", &STANDARD.encode(b"thirty-two bytes for the journey"));
        fs::write(&settings, text + more).unwrap();
        Self { folder, settings }
    }

    fn run(&self, command: &str) -> (i32, String) {
        let output = run(&[command, "--config", self.settings.to_str().unwrap()], &[]);
        (output.status.code().unwrap(), said(&output))
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.sock"))
    }
}

const VALID: &str = r#"
mode = "production"
[listener.nginx]
kind = "nginx"
address = "unix:{folder}/nginx.sock"
[listener.ops]
kind = "ops"
address = "unix:{folder}/ops.sock"
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
url = "redis://:only-for-this-test@127.0.0.1:1"
[policy.staff]
rules = [{ allow = true, groups = ["staff"] }]
"#;

async fn ask(installed: &Installed, path: &str) -> Option<(u16, String)> {
    let client = reqwest::Client::builder().unix_socket(installed.socket("ops")).build().unwrap();
    let reply = client.get(format!("http://gateway{path}")).send().await.ok()?;
    Some((reply.status().as_u16(), reply.text().await.ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_and_answers_with_provider_and_store_dead_and_ends_when_told() {
    let installed = Installed::with("");
    let began = Instant::now();
    let mut gateway = Binary::serve(&installed.settings, &[], "gateway");
    let ready = async || ask(&installed, "/readyz").await == Some((200, "ok\n".into()));
    eventually("it is ready", ready).await;
    assert!(began.elapsed() < QUICKLY, "{:?}", began.elapsed());
    assert_eq!(installed.run("healthcheck"), (0, String::new()));
    assert!(gateway.runs());
    assert!(installed.socket("nginx").exists());
    let began = Instant::now();
    let (status, said) = gateway.end().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(began.elapsed() < QUICKLY, "{:?}", began.elapsed());
    assert!(!installed.socket("nginx").exists() && !installed.socket("ops").exists(), "no socket is left behind");
    assert!(!said.contains("only-for-this-test") && !said.contains("panicked"), "{said}");
    let (code, told) = installed.run("healthcheck");
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("cannot connect"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_a_crash_left_behind_is_in_nobodys_way() {
    let installed = Installed::with("");
    drop(std::os::unix::net::UnixListener::bind(installed.socket("ops")).unwrap());
    let _gateway = Binary::serve(&installed.settings, &[], "gateway");
    eventually("it is ready", async || ask(&installed, "/readyz").await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_leaves_the_first_ones_sockets_alone() {
    let installed = Installed::with("");
    let mut first = Binary::serve(&installed.settings, &[], "first");
    eventually("it is ready", async || ask(&installed, "/readyz").await.is_some()).await;
    let (code, told) = installed.run("serve");
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("sock"), "it says which address is taken: {told}");
    assert!(first.runs());
    assert_eq!(ask(&installed, "/livez").await, Some((200, "ok\n".into())));
}

#[test]
fn good_settings_are_good_and_no_secret_is_shown() {
    let (code, told) = Installed::with("").run("check");
    assert_eq!(code, 0, "{told}");
    assert!(told.starts_with("ok\n") && told.contains("https://app.test/auth/callback"), "{told}");
    assert!(!told.contains("only-for-this-test"), "{told}");
}

#[test]
fn all_problems_are_told_at_once_under_their_keys() {
    let wrong = Installed::with("[policy.wide]\nrules = [{ allow = true }]\n[log]\nformat = 'xml'\n[sesion]\nx = 1\n");
    let text = fs::read_to_string(&wrong.settings).unwrap();
    let text = text.replace("https://app.test", "http://app.test").replace("client_id = \"gateway\"", "");
    fs::write(&wrong.settings, text.replace("[session]", "[session]\nidle_timeout = 'soon'")).unwrap();
    for command in ["check", "serve"] {
        let (code, told) = wrong.run(command);
        assert_eq!(code, 2, "{command}: {told}");
        for key in [
            "log.format: ",
            "policy.wide.rules[0]: ",
            "provider.main.client_id: ",
            "sesion: ",
            "session.idle_timeout: ",
            "site.main.public_url: ",
        ] {
            assert!(told.lines().any(|line| line.starts_with(key)), "{command}: {key} in {told}");
        }
        assert!(told.contains("6 problems in "), "{told}");
    }
}

#[test]
fn settings_that_are_not_there_or_no_settings_are_told_with_their_place() {
    let none = Installed::with("");
    fs::remove_file(&none.settings).unwrap();
    let (code, told) = none.run("check");
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("portcullis.toml: cannot be read"), "{told}");
    let (code, told) = Installed::with("\n[[[").run("check");
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("is not TOML"), "{told}");
}

#[test]
fn the_environment_goes_over_the_file_and_is_named_in_its_problems() {
    let installed = Installed::with("");
    let settings = installed.settings.to_str().unwrap();
    let output = run(&["check"], &[("PORTCULLIS_CONFIG", settings), ("PORTCULLIS_SESSION__ABSOLUTE_LIFETIME", "9h")]);
    assert!(said(&output).contains("9h at most"), "{}", said(&output));
    let output = run(&["check", "--config", settings], &[("PORTCULLIS_SESSION__IDLE_TIMEOUT", "soon")]);
    assert_eq!(output.status.code(), Some(2));
    let told = said(&output);
    assert!(told.contains("session.idle_timeout: ") && told.contains("PORTCULLIS_SESSION__IDLE_TIMEOUT"), "{told}");
}

#[test]
fn keys_are_32_bytes_and_never_the_same() {
    let keys = [(); 2].map(|()| {
        let output = run(&["keygen"], &[]);
        assert!(output.status.success());
        let line = String::from_utf8(output.stdout).unwrap();
        STANDARD.decode(line.trim_end()).unwrap()
    });
    assert_eq!(keys.each_ref().map(Vec::len), [32, 32]);
    assert_ne!(keys[0], keys[1]);
    let (installed, fresh) = (Installed::with(""), STANDARD.encode(&keys[0]));
    let settings = installed.settings.to_str().unwrap();
    let output = run(&["check", "--config", settings], &[("PORTCULLIS_SESSION__KEY", &fresh)]);
    assert!(output.status.success(), "and are taken as they are: {}", said(&output));
}

#[test]
fn a_wrong_command_line_is_told_from_wrong_settings() {
    for arguments in [&["sreve"][..], &[], &["check", "--conf"]] {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(said(&output).contains("Usage"), "{arguments:?}: {}", said(&output));
    }
}

const QUICKLY: Duration = Duration::from_secs(3);
