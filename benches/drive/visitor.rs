//! Somebody who signs in as a browser does, and asks once.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

use anyhow::{Context, bail};
use url::Url;

use crate::{
    connection::{address, connect},
    stage::Stage,
};

/// What came back.
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The headers, in order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The head as it came, but for the line with the date.
    pub(crate) undated: String,
    /// What came after the head.
    pub(crate) body: String,
}

impl Reply {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Signs in as soon as everybody on the way is ready for it.
pub(crate) fn signed_in(stage: &Stage, page: &Url) -> anyhow::Result<String> {
    let mut trouble = String::new();
    let cookie =
        stage.wait_until("a sign-in", || sign_in(page).inspect_err(|error| trouble = format!("{error:#}")).ok());
    cookie.with_context(|| trouble)
}

/// Opens a page, signs in at the provider on the way, and gives the cookie that opens it from now on.
fn sign_in(page: &Url) -> anyhow::Result<String> {
    let mut jars: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut url = page.clone();
    for _ in 0..REDIRECTS {
        let jar = jars.entry(url.authority().to_owned()).or_default();
        let reply =
            get(&url, &[("Cookie", cookies(jar).as_str()), ("User-Agent", USER_AGENT), ("Accept", "text/html")])?;
        keep_cookies(jar, &reply);
        match (reply.status, reply.header("location")) {
            (301..=308, Some(location)) => url = hinted(url.join(location)?),
            (200, _) if url == *page => return Ok(cookies(jar)),
            (status, _) => bail!("signing in ended at {url} with {status}"),
        }
    }
    bail!("signing in ended after {REDIRECTS} redirects")
}

fn hinted(mut url: Url) -> Url {
    if url.path().ends_with("/authorize") {
        url.query_pairs_mut().append_pair("login_hint", PERSON);
    }
    url
}

fn cookies(jar: &BTreeMap<String, String>) -> String {
    jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

fn keep_cookies(jar: &mut BTreeMap<String, String>, reply: &Reply) {
    let set = reply.headers.iter().filter(|(name, _)| name == "set-cookie");
    for (name, value) in set.filter_map(|(_, cookie)| cookie.split(';').next()?.split_once('=')) {
        if value.is_empty() {
            jar.remove(name);
        } else {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Asks once, and hangs up.
pub(crate) fn get<T: AsRef<str>>(url: &Url, headers: &[(T, T)]) -> anyhow::Result<Reply> {
    let mut stream = connect(address(url)?)?;
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut lines = vec![format!("GET {target} HTTP/1.1"), format!("Host: {}", url.authority())];
    lines.extend(headers.iter().map(|(name, value)| format!("{}: {}", name.as_ref(), value.as_ref())));
    lines.push("Connection: close\r\n\r\n".to_owned());
    stream.write_all(lines.join("\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    read(&String::from_utf8_lossy(&answer))
}

fn read(answer: &str) -> anyhow::Result<Reply> {
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let (line, fields) = head.split_once("\r\n").context("no headers")?;
    let status = line.split(' ').nth(1).context("no status")?.parse()?;
    let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let undated: Vec<_> = head.lines().filter(|line| !line.to_lowercase().starts_with("date:")).collect();
    let headers = fields.lines().filter_map(field).collect();
    Ok(Reply { status, headers, undated: undated.join("\n"), body: body.to_owned() })
}

/// What stands behind a name, and its labels if it has some, in a gateway's metrics.
pub(crate) fn metric(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
}

/// What it calls itself; the session is bound to it.
pub(crate) const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const PERSON: &str = "alice";
const REDIRECTS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_stands_among_others() {
        let text = "# TYPE sessions gauge\nsessions{method=\"oidc\"} 1200\nbytes 3.5\n";
        assert_eq!(metric(text, "sessions{method=\"oidc\"} "), Some(1200.0));
        assert_eq!(metric(text, "bytes "), Some(3.5));
        assert_eq!(metric(text, "sessions "), None);
    }
}
