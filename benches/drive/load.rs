//! What is asked, by many connections: by wrk as fast as it is answered, or at a constant rate by ourselves.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, ensure};

use crate::{connection, pace, row::header, stage::Stage, visitor};

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Where.
    pub(crate) url: String,
    /// With which headers.
    pub(crate) headers: Vec<(String, String)>,
    /// Whether every answer must be a 200, or every one a refusal.
    pub(crate) answers: Answers,
    /// A file with cookies, a line each; every request takes the next one.
    pub(crate) cookies: Option<PathBuf>,
    /// How fast.
    pub(crate) pace: Pace,
}

/// How fast requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as they are answered.
    Full,
    /// So many a second, whoever is slow.
    Fixed(u32),
}

/// What every answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// 200.
    Allowed,
    /// 401.
    Refused,
}

/// What was seen of the answers.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Answers.
    pub(crate) requests: f64,
    /// Answers in a second.
    pub(crate) requests_per_second: f64,
    /// The time that half of them took at most.
    pub(crate) p50_us: f64,
    /// The time that 99 of 100 took at most.
    pub(crate) p99_us: f64,
}

impl Load {
    /// The same request again and again, as fast as it is answered.
    pub(crate) fn new(url: impl Into<String>, headers: Vec<(String, String)>, answers: Answers) -> Self {
        Self { url: url.into(), headers, answers, cookies: None, pace: Pace::Full }
    }

    /// Asks for a while.
    pub(crate) fn run(&self, stage: &Stage, time: Duration) -> anyhow::Result<Seen> {
        match self.pace {
            Pace::Full => self.run_wrk(stage, time),
            Pace::Fixed(per_second) => {
                let url = self.url.parse()?;
                pace::run(&url, &connection::request("GET", &url, &self.headers), per_second, time)
            }
        }
    }

    fn run_wrk(&self, stage: &Stage, time: Duration) -> anyhow::Result<Seen> {
        let script = stage.path("load.lua");
        fs::write(&script, self.script()?)?;
        let output = stage.run(
            "wrk",
            Command::new("wrk")
                .args(["--threads=1", "--latency"])
                .arg(format!("--connections={CONNECTIONS}"))
                .arg(format!("--duration={}s", time.as_secs()))
                .arg("--script")
                .arg(&script)
                .arg(&self.url),
        )?;
        self.read(&output).with_context(|| format!("{}: {output}", self.url))
    }

    /// Asks once, and fails if that is not answered as it must be. To wrk a redirect to a provider is an answer too.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let mut headers = self.headers.clone();
        if let Some(cookies) = &self.cookies {
            let cookies = fs::read_to_string(cookies)?;
            headers.push(header("Cookie", cookies.lines().next().context("no cookies")?));
        }
        let status = visitor::get(&self.url.parse()?, &headers)?.status;
        let expected = match self.answers {
            Answers::Allowed => 200..=299,
            Answers::Refused => 401..=401,
        };
        ensure!(expected.contains(&status), "{} is answered with {status}", self.url);
        Ok(())
    }

    fn script(&self) -> anyhow::Result<String> {
        let plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b']');
        let line = |(name, value): &(String, String)| {
            ensure!(plain(name) && plain(value), "the header {name} does not fit into a script");
            Ok(format!("wrk.headers[ [[{name}]] ] = [[{value}]]\n"))
        };
        let lines: Vec<_> = self.headers.iter().map(line).collect::<Result<_, _>>()?;
        let walk = match &self.cookies {
            Some(cookies) => {
                let path = cookies.display().to_string();
                ensure!(plain(&path), "the path {path} does not fit into a script");
                WALK.replace("COOKIES", &path)
            }
            None => String::new(),
        };
        Ok(lines.concat() + &walk + SUMMARY)
    }

    fn read(&self, output: &str) -> anyhow::Result<Seen> {
        let line = output.lines().find_map(|line| line.strip_prefix("seen ")).context("wrk said nothing")?;
        let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let &[requests, micros, p50_us, p99_us, refused, broken] = numbers.as_slice() else {
            anyhow::bail!("wrk said something else");
        };
        ensure!(requests > 0.0 && broken == 0.0, "{broken} of {requests} requests had no answer");
        let expected = if self.answers == Answers::Refused { requests } else { 0.0 };
        ensure!((refused - expected).abs() < 0.5, "{refused} of {requests} requests were refused");
        Ok(Seen { requests, requests_per_second: requests / micros * 1e6, p50_us, p99_us })
    }
}

/// As many as nginx keeps to its upstream.
pub(crate) const CONNECTIONS: u32 = 32;
/// The request is put together once; only the cookie in the middle differs.
const WALK: &str = "local cookies, at, before, after = {}, 0, nil, nil
for cookie in io.lines([[COOKIES]]) do cookies[#cookies + 1] = cookie end
init = function()
    wrk.headers['Cookie'] = '@'
    before, after = wrk.format():match('^(.*Cookie: )@(.*)$')
end
request = function()
    at = at % #cookies + 1
    return before .. cookies[at] .. after
end
";
const SUMMARY: &str = "done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format('seen %d %d %d %d %d %d\\n', summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), errors.status,
        errors.connect + errors.read + errors.write + errors.timeout))
end
";
