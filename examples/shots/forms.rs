//! Sends the sign-out form as a person does. Our logout answers it with a redirect to the provider, which Chromium
//! follows only where the page's policy names the provider's origin.

use std::time::Duration;

use anyhow::bail;
use http::HeaderMap;
use thirtyfour::prelude::*;
use tokio::time::{Instant, interval};

use crate::browser::{Browser, DEADLINE};
use crate::gallery::{CONFIRM, CONFIRM_UNNAMED};
use crate::server::{Exhibit, Server};

/// Where the form ends.
pub(crate) fn provider_page() -> Exhibit {
    Exhibit {
        name: "signed-out-there",
        html: "<!doctype html><html lang=\"en\"><title>Signed out</title><h1>Signed out</h1>".to_owned(),
        policy: None,
    }
}

/// What is wrong with the forms. The one whose policy does not name the provider must be stopped: else the other proves
/// nothing.
pub(crate) async fn problems(browser: &Browser, site: &Server, provider: &Server) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for (name, expected) in [(CONFIRM, End::Arrived), (CONFIRM_UNNAMED, End::Stopped)] {
        browser.driver.goto(site.page(name)?.as_str()).await?;
        browser.driver.get_log("browser").await?;
        let button = browser.driver.find(By::Css("form button")).await?;
        button.click().await?;
        let end = end_of(browser, provider).await?;
        if end != expected {
            problems.push(format!("{name}: the form was to be {expected:?}, and is {end:?}"));
        }
        for headers in site.take_posts() {
            problems.extend(proof_problems(name, &headers, site));
        }
    }
    Ok(problems)
}

/// How sending a form ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// At the provider.
    Arrived,
    /// By the policy.
    Stopped,
}

async fn end_of(browser: &Browser, provider: &Server) -> anyhow::Result<End> {
    let deadline = Instant::now() + DEADLINE;
    let mut ticks = interval(Duration::from_millis(50));
    while Instant::now() < deadline {
        ticks.tick().await;
        if browser.driver.current_url().await?.origin() == provider.url().origin() {
            return Ok(End::Arrived);
        }
        let console = browser.driver.get_log("browser").await?;
        if console.iter().any(|entry| entry.message.contains("form-action")) {
            return Ok(End::Stopped);
        }
    }
    bail!("the form neither arrived nor was stopped")
}

/// A form must say where it comes from, or the same-origin proof turns it away.
fn proof_problems(name: &str, headers: &HeaderMap, site: &Server) -> Vec<String> {
    let own = site.url().origin().ascii_serialization();
    let expected = [("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    let mut problems = Vec::new();
    for (header, value) in expected {
        let sent = headers.get(header).and_then(|sent| sent.to_str().ok());
        if sent != Some(value) {
            problems.push(format!("{name}: the form came with {header} {sent:?}"));
        }
    }
    problems
}
