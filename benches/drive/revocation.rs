//! How long a session that ended at one gateway is still good at another.

use std::{
    sync::mpsc::{Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use url::Url;

use crate::{
    connection::{self, Connection},
    figures::percentile,
    row::{Header, header},
    scene,
};

/// What the delays came to.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    /// How many sessions were ended.
    pub(crate) revocations: usize,
    /// Half of them were refused within so many milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 of 100.
    pub(crate) p99_ms: f64,
}

impl Delays {
    /// Of delays in milliseconds.
    fn of(mut delays: Vec<f64>) -> Self {
        delays.sort_by(f64::total_cmp);
        let of = |share| percentile(&delays, share);
        Self { revocations: delays.len(), p50_ms: of(0.50), p99_ms: of(0.99) }
    }
}

/// Ends each session at one gateway, and asks the other for it without a pause; they take turns.
pub(crate) fn measure(verify: [&Url; 2], cookies: &[String]) -> anyhow::Result<Delays> {
    let mut delays = Vec::new();
    for (number, cookie) in cookies.iter().enumerate() {
        let (here, there) = if number % 2 == 0 { (verify[0], verify[1]) } else { (verify[1], verify[0]) };
        let delay = delay(here, there, cookie, number)?;
        delays.push(delay.as_secs_f64() * 1e3);
        // A session that nobody ends takes long to wait for, and one of them says it all.
        if delay >= PATIENCE {
            break;
        }
    }
    Ok(Delays::of(delays))
}

/// From the answer to the sign-out to the last answer that let the session in.
fn delay(here: &Url, there: &Url, cookie: &str, number: usize) -> anyhow::Result<Duration> {
    let verify = connection::request("GET", there, &scene::facts(Some(cookie)));
    let mut beside = Connection::open(here)?;
    for _ in 0..WARM_UP {
        let status = beside.ask(&connection::request("GET", here, &scene::facts(Some(cookie))))?;
        ensure!(status == 200, "a session that lives is answered with {status}");
    }
    let (warm, when_warm) = channel();
    let asking = thread::spawn({
        let there = there.clone();
        move || ask_until_refused(&there, &verify, &warm)
    });
    // If it fails before, it says so when it is joined.
    let _ = when_warm.recv();
    let logout = here.join("/auth/logout")?;
    let status = beside.ask(&connection::request("POST", &logout, &signing_out(cookie, number)))?;
    let ended = Instant::now();
    ensure!(matches!(status, 200 | 303), "signing out is answered with {status}");
    let last = asking.join().ok().context("a thread is lost")??;
    Ok(last.saturating_duration_since(ended))
}

/// When the last answer came that let the session in.
fn ask_until_refused(url: &Url, verify: &[u8], warm: &Sender<()>) -> anyhow::Result<Instant> {
    let mut connection = Connection::open(url)?;
    let (began, mut last) = (Instant::now(), None);
    for turn in 0_u64.. {
        match (connection.ask(verify)?, last) {
            (200, _) => last = Some(Instant::now()),
            (401, Some(last)) => return Ok(last),
            (status, _) => bail!("a session that lives is answered with {status}"),
        }
        if turn == WARM_UP {
            warm.send(())?;
        }
        if began.elapsed() > PATIENCE * 2 {
            break;
        }
    }
    last.context("nobody was let in")
}

/// What a page's script sends. Whoever signs out counts by address, so each comes from another.
fn signing_out(cookie: &str, number: usize) -> Vec<Header> {
    let stated = |name: &str| !matches!(name, "X-Portcullis-Exposure" | "X-Portcullis-Method" | "X-Portcullis-Uri");
    let mut headers = scene::facts(Some(cookie));
    headers.retain(|(name, _)| stated(name) && name != "X-Portcullis-Client-Address");
    headers.extend([
        header("X-Portcullis-Exposure", "public"),
        header("X-Portcullis-Method", "POST"),
        header("X-Portcullis-Uri", "/auth/logout"),
        header("X-Portcullis-Client-Address", &format!("10.0.{}.{}", number / 250 % 250, number % 250)),
        header("Sec-Fetch-Site", "same-origin"),
        header("Sec-Fetch-Mode", "cors"),
        header("Content-Length", "0"),
    ]);
    headers
}

/// How many sessions are ended.
pub(crate) const REVOCATIONS: usize = 250;
const WARM_UP: u64 = 3;
/// After so long it counts as not ended at all.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_told_by_their_middle_and_their_end() {
        let delays = Delays::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((delays.revocations, delays.p50_ms, delays.p99_ms), (200, 100.0, 198.0));
    }

    #[test]
    fn signing_out_states_each_fact_once() {
        let headers = signing_out("a=b", 300);
        let address = headers.iter().filter(|(name, _)| name == "X-Portcullis-Client-Address");
        assert_eq!(address.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["10.0.1.50"]);
        assert_eq!(headers.iter().filter(|(name, _)| name == "X-Portcullis-Method").count(), 1);
    }
}
