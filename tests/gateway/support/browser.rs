//! A headless Chromium that knows the application by its name, and the steps a person takes in it.

use std::{process::Stdio, time::Instant};

use serde_json::Value;
use tempfile::TempDir;
use thirtyfour::{ChromeCapabilities, ChromiumLikeCapabilities, LoggingPrefsLogLevel, prelude::*};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};
use url::Url;

use super::{PATIENCE, Stage, eventually};

/// A running browser with an empty profile. The session ends before its driver does, also in a journey that fails.
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    base: Url,
    _chromedriver: Child,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn open(stage: &Stage) -> Self {
        let profile = TempDir::new().unwrap();
        let (chromedriver, port) = chromedriver().await;
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(&profile)).await;
        let driver =
            driver.unwrap_or_else(|error| panic!("Chromium does not start ({error}): scripts/install chromium"));
        driver.set_page_load_timeout(PATIENCE).await.unwrap();
        driver.set_script_timeout(PATIENCE).await.unwrap();
        Self { driver, base: stage.url("/").parse().unwrap(), _chromedriver: chromedriver, _profile: profile }
    }

    /// Opens a page of the application, as somebody who types its address.
    pub(crate) async fn visit(&self, path: &str) {
        self.driver.goto(self.url(path).as_str()).await.unwrap();
    }

    /// Presses somebody's button on the provider's page, and waits until the application shows `path`.
    pub(crate) async fn sign_in(&self, login: &str, path: &str) {
        self.press(&format!("#login-{login}")).await;
        self.arrives(path).await;
    }

    /// Follows a link to the application that stands on the page shown now, whosever it is.
    pub(crate) async fn follow_link_to(&self, path: &str) {
        let link = self.url(path);
        let script = format!(
            "const link = document.createElement('a'); link.href = '{link}'; document.body.append(link); link.click()"
        );
        self.script(&script).await;
    }

    /// Presses a button as soon as it is there.
    pub(crate) async fn press(&self, css: &str) {
        self.shows(css).await;
        self.driver.find(By::Css(css)).await.unwrap().click().await.unwrap();
    }

    /// Waits until a page shows an element.
    pub(crate) async fn shows(&self, css: &str) {
        let what = format!("the page shows {css}");
        eventually(&what, async || self.driver.find(By::Css(css)).await.is_ok()).await;
    }

    /// Waits until a page of the application is there, whole.
    pub(crate) async fn arrives(&self, path: &str) {
        let expected = self.url(path);
        let there = async || {
            let complete = self.script("return document.readyState").await == "complete";
            complete && self.driver.current_url().await.unwrap() == expected
        };
        let began = Instant::now();
        while !there().await {
            let at = self.driver.current_url().await.unwrap();
            assert!(began.elapsed() < PATIENCE, "not at {expected} but at {at}: {}", self.text("body").await);
            tokio::task::yield_now().await;
        }
    }

    /// What an element says.
    pub(crate) async fn text(&self, css: &str) -> String {
        self.driver.find(By::Css(css)).await.unwrap().text().await.unwrap()
    }

    /// Runs a script in the page; while the page changes there is no answer.
    pub(crate) async fn script(&self, script: &str) -> Value {
        match self.driver.execute(script, vec![]).await {
            Ok(answer) => answer.json().clone(),
            Err(_) => Value::Null,
        }
    }

    /// The status that the page itself was answered with.
    pub(crate) async fn status(&self) -> u64 {
        let asked = "return performance.getEntriesByType('navigation')[0].responseStatus";
        self.script(asked).await.as_u64().unwrap()
    }

    /// What the browser has to say against the pages since it was asked last, but for the statuses of pages.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.driver.get_log("browser").await.unwrap().into_iter().map(|entry| entry.message);
        entries.filter(|message| !message.contains("the server responded with a status of")).collect()
    }

    /// Opens a page of another host that nginx serves.
    pub(crate) async fn visit_host(&self, host: &str) {
        let mut url = self.url("/");
        url.set_host(Some(host)).unwrap();
        self.driver.goto(url.as_str()).await.unwrap();
    }

    /// Ends the browser, then its driver.
    pub(crate) async fn close(self) {
        self.driver.quit().await.unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap()
    }
}

/// It now and then ends at once, when two of them look for a port in the same moment.
async fn chromedriver() -> (Child, u16) {
    for _ in 0..STARTS {
        if let Some(started) = one_chromedriver().await {
            return started;
        }
    }
    panic!("chromedriver ended before it said its port, {STARTS} times");
}

async fn one_chromedriver() -> Option<(Child, u16)> {
    let mut child = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("chromedriver does not start ({error}); install it: scripts/install chromium"));
    let port = tokio::time::timeout(PATIENCE, port_of(child.stdout.take().unwrap())).await.unwrap();
    port.map(|port| (child, port))
}

/// Chromedriver says "… was started successfully on port 12345."
async fn port_of(output: ChildStdout) -> Option<u16> {
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("successfully on port ") {
            return Some(port.trim_end_matches('.').parse().unwrap());
        }
    }
    None
}

/// How often a driver that ends at once is started.
const STARTS: usize = 3;

fn capabilities(profile: &TempDir) -> ChromeCapabilities {
    let mut capabilities = DesiredCapabilities::chrome();
    for argument in ARGUMENTS {
        capabilities.add_arg(argument).unwrap();
    }
    capabilities.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
    capabilities.accept_insecure_certs(true).unwrap();
    capabilities.set_logging_prefs("browser", LoggingPrefsLogLevel::All).unwrap();
    capabilities
}

/// No sandbox, because continuous integration runs as root; nothing but loopback can be reached.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--short-reporting-delay",
];
