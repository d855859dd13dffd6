//! A headless Chromium behind chromedriver: becomes a screen, opens a page, reports what is wrong, takes its picture.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::command::FormatRequestData;
use thirtyfour::prelude::*;
use thirtyfour::{ChromiumLikeCapabilities, LoggingPrefsLogLevel, RequestData, SessionId};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use url::Url;

/// A size and a colour scheme.
pub(crate) struct Screen {
    device: &'static str,
    width: u32,
    height: u32,
    pixels_per_point: u32,
    mobile: bool,
    scheme: &'static str,
}

pub(crate) const SCREENS: &[Screen] = &[phone("light"), phone("dark"), desktop("light"), desktop("dark")];

const fn phone(scheme: &'static str) -> Screen {
    Screen { device: "phone", width: 390, height: 844, pixels_per_point: 2, mobile: true, scheme }
}

const fn desktop(scheme: &'static str) -> Screen {
    Screen { device: "desktop", width: 1280, height: 800, pixels_per_point: 1, mobile: false, scheme }
}

impl fmt::Display for Screen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.device, self.scheme)
    }
}

/// A running browser.
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    _chromedriver: Child,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        let (chromedriver, port) = chromedriver().await?;
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(&profile)?)
            .await
            .context("Chromium does not start")?;
        driver.set_page_load_timeout(DEADLINE).await?;
        Ok(Self { driver, _chromedriver: chromedriver, _profile: profile })
    }

    pub(crate) async fn quit(self) -> anyhow::Result<()> {
        self.driver.quit().await.context("Chromium does not end")
    }

    pub(crate) async fn become_screen(&self, screen: &Screen) -> anyhow::Result<()> {
        let metrics = json!({
            "width": screen.width,
            "height": screen.height,
            "deviceScaleFactor": screen.pixels_per_point,
            "mobile": screen.mobile,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await?;
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": screen.scheme }] });
        self.devtools("Emulation.setEmulatedMedia", scheme).await?;
        // A page that thinks itself in the background shows no focus.
        self.devtools("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await?;
        Ok(())
    }

    /// Opens a page and says everything that is wrong with it.
    pub(crate) async fn look_at(&self, page: &Url, screen: &Screen) -> anyhow::Result<Vec<String>> {
        self.read_logs(page).await?;
        self.driver.goto(page.as_str()).await?;
        let found = self.driver.execute(INSPECT, vec![screen.width.into()]).await?;
        let mut problems: Vec<String> = found.convert()?;
        problems.extend(self.read_logs(page).await?);
        Ok(problems)
    }

    /// The page as it stands, its whole height, as PNG.
    pub(crate) async fn picture(&self, screen: &Screen) -> anyhow::Result<Vec<u8>> {
        let height = self.driver.execute("return document.documentElement.scrollHeight", vec![]).await?;
        let height = height.convert::<u32>()?.max(screen.height);
        let clip = json!({ "x": 0, "y": 0, "width": screen.width, "height": height, "scale": 1 });
        let asked = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let answer = self.devtools("Page.captureScreenshot", asked).await?;
        let data = answer["data"].as_str().context("Chromium sent no picture")?;
        Ok(STANDARD.decode(data)?)
    }

    /// Console and CSP errors, and requests to anybody but the page's own origin, since the last reading.
    async fn read_logs(&self, page: &Url) -> anyhow::Result<Vec<String>> {
        let console = self.driver.get_log("browser").await?;
        let mut problems: Vec<_> = console.into_iter().map(|entry| format!("console: {}", entry.message)).collect();
        for entry in self.driver.get_log("performance").await? {
            let event: Value = serde_json::from_str(&entry.message)?;
            problems.extend(outside_request(&event["message"], page));
        }
        Ok(problems)
    }

    async fn devtools(&self, method: &'static str, parameters: Value) -> anyhow::Result<Value> {
        let answer = self.driver.cmd(DevTools { method, parameters }).await;
        let answer = answer.with_context(|| format!("{method} failed"))?;
        Ok(answer.value_json()?)
    }
}

/// What Chromium was about to ask of somebody else; whether it was let makes no difference.
fn outside_request(event: &Value, page: &Url) -> Option<String> {
    if event["method"] != "Network.requestWillBeSent" {
        return None;
    }
    let text = event["params"]["request"]["url"].as_str()?;
    let url = Url::parse(text).ok()?;
    let ours = url.scheme() == "data" || url.origin() == page.origin();
    (!ours).then(|| format!("asks for {text}"))
}

/// A command of Chromium's own protocol, by way of chromedriver.
#[derive(Debug)]
struct DevTools {
    method: &'static str,
    parameters: Value,
}

impl FormatRequestData for DevTools {
    fn format_request(&self, session_id: &SessionId) -> RequestData {
        let path = format!("/session/{session_id}/goog/cdp/execute");
        let body = json!({ "cmd": self.method, "params": self.parameters });
        RequestData::new(Method::POST, path).add_body(body)
    }
}

async fn chromedriver() -> anyhow::Result<(Child, u16)> {
    let mut child = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("chromedriver is missing: scripts/install chromium")?;
    let output = child.stdout.take().context("chromedriver has no output")?;
    let port = tokio::time::timeout(DEADLINE, port_of(output)).await;
    Ok((child, port.context("chromedriver does not start")??))
}

/// Chromedriver says "… was started successfully on port 12345."
async fn port_of(output: impl tokio::io::AsyncRead + Unpin) -> anyhow::Result<u16> {
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some((_, port)) = line.split_once("successfully on port ") {
            return Ok(port.trim_end_matches('.').parse()?);
        }
    }
    bail!("chromedriver ended before it said its port")
}

fn capabilities(profile: &TempDir) -> anyhow::Result<thirtyfour::ChromeCapabilities> {
    let mut capabilities = DesiredCapabilities::chrome();
    for argument in ARGUMENTS {
        capabilities.add_arg(argument)?;
    }
    capabilities.add_arg(&format!("--user-data-dir={}", profile.path().display()))?;
    capabilities.set_logging_prefs("browser", LoggingPrefsLogLevel::All)?;
    capabilities.set_logging_prefs("performance", LoggingPrefsLogLevel::All)?;
    Ok(capabilities)
}

/// No sandbox, because continuous integration runs as root; nothing but loopback can be reached.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const INSPECT: &str = include_str!("inspect.js");
