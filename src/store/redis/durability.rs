//! Pure. What a server says of itself, and what of it should worry whoever keeps sessions there.
//!
//! An ended session stays ended as long as its tombstone does. A server that forgets what it has said, throws keys away, or is
//! alone, is a way for ended sessions to live again.

use std::fmt;

/// What was seen of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Which it is, in words.
    pub server: String,
    /// What is to be said of it.
    pub findings: Vec<Finding>,
}

/// Something to be said of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It does not work like this.
    Wrong(String),
    /// It works, and may lose what was promised.
    Warning(&'static str),
    /// It could not be seen.
    Unseen(&'static str),
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(text) => formatter.write_str(text),
            Self::Warning(text) | Self::Unseen(text) => formatter.write_str(text),
        }
    }
}

/// Answers of a server; nothing where it refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) info: Option<String>,
    pub(super) appendfsync: Option<String>,
    pub(super) min_replicas: Option<String>,
}

/// Whether another server stands by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standby {
    /// It is alone, as the settings say.
    None,
    /// There should be one.
    Meant,
}

/// What there is to say.
pub(super) fn inspected(place: &str, answers: &Answers, standby: Standby) -> Inspected {
    let Some(info) = &answers.info else {
        let findings = vec![Finding::Unseen("INFO is forbidden: version, persistence and memory could not be seen")];
        return Inspected { server: format!("a server at {place}"), findings };
    };
    let said = |key: &str| said(info, key);
    let mut findings = Vec::new();
    findings.extend(old(info));
    findings.extend(log(info, answers.appendfsync.as_deref()));
    match said("maxmemory_policy") {
        Some("noeviction") => {}
        Some(_) => findings.push(Finding::Warning(EVICTS)),
        None => findings.push(Finding::Unseen("maxmemory-policy could not be seen")),
    }
    if standby == Standby::Meant {
        findings.extend(copies(info, answers.min_replicas.as_deref()));
    }
    Inspected { server: format!("{} at {place}", product(info)), findings }
}

fn log(info: &str, appendfsync: Option<&str>) -> Vec<Finding> {
    match said(info, "aof_enabled") {
        Some("1") => {}
        Some(_) => return vec![Finding::Warning(NO_LOG)],
        None => return vec![Finding::Unseen("appendonly could not be seen")],
    }
    let mut findings = Vec::new();
    if said(info, "aof_last_write_status").is_some_and(|status| status != "ok") {
        findings.push(Finding::Warning("its last write to the log on its disk failed"));
    }
    match appendfsync {
        Some("always") => {}
        Some("everysec") => findings.push(Finding::Warning(EVERY_SECOND)),
        Some(_) => findings.push(Finding::Warning(NO_SYNC)),
        None => findings.push(Finding::Unseen("CONFIG GET is forbidden: appendfsync could not be seen")),
    }
    findings
}

fn copies(info: &str, min_replicas: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if said(info, "connected_slaves").is_none_or(|count| count == "0") {
        findings.push(Finding::Warning("no replica is connected: nobody can take over"));
    }
    match min_replicas {
        Some("0") => findings.push(Finding::Warning(NO_MINIMUM)),
        Some(_) => {}
        None => findings.push(Finding::Unseen("CONFIG GET is forbidden: min-replicas-to-write could not be seen")),
    }
    findings
}

fn old(info: &str) -> Option<Finding> {
    if said(info, "valkey_version").is_some() {
        return None;
    }
    let version = said(info, "redis_version")?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    ((major, minor) < OLDEST).then(|| {
        Finding::Wrong(format!("it is too old: Redis {}.{} or Valkey is the oldest that works", OLDEST.0, OLDEST.1))
    })
}

fn product(info: &str) -> String {
    let plain =
        |version: &str| version.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '.').collect();
    let version = |key: &str| said(info, key).map(plain).map(|version: String| version);
    match (version("valkey_version"), version("redis_version")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "a server that does not tell its version".to_owned(),
    }
}

fn said<'a>(info: &'a str, key: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
}

/// The oldest Redis that works: `SET … PXAT`.
const OLDEST: (u32, u32) = (6, 2);

const EVICTS: &str =
    "maxmemory-policy is not noeviction: when it is full it throws away sessions, or the marks of ended ones";
const NO_LOG: &str = "appendonly is off: after a restart nobody is signed in, or sessions live that have ended";
const EVERY_SECOND: &str = "appendfsync is everysec: after a power failure the last second's sign-outs may be undone";
const NO_SYNC: &str = "appendfsync is not always: after a power failure the last sign-outs may be undone";
const NO_MINIMUM: &str =
    "min-replicas-to-write is 0: a server that is cut off takes sign-outs that nobody will remember";

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.2.4\r\naof_enabled:1\r\naof_last_write_status:ok\r\nmaxmemory_policy:noeviction\r\nconnected_slaves:1\r\n";

    fn check(info: &str, appendfsync: Option<&str>, min_replicas: Option<&str>, expected: &[Finding]) {
        let answers = Answers {
            info: Some(info.to_owned()),
            appendfsync: appendfsync.map(str::to_owned),
            min_replicas: min_replicas.map(str::to_owned),
        };
        assert_eq!(inspected("here:1", &answers, Standby::Meant).findings, expected, "{info}");
    }

    #[test]
    fn a_server_that_keeps_its_word_has_nothing_said_of_it() {
        check(GOOD, Some("always"), Some("1"), &[]);
        let answers =
            Answers { info: Some(GOOD.to_owned()), appendfsync: Some("always".to_owned()), min_replicas: None };
        let alone = inspected("here:1", &answers, Standby::None);
        assert_eq!((alone.server.as_str(), alone.findings), ("Redis 7.2.4 at here:1", vec![]));
    }

    #[test]
    fn each_way_to_forget_is_told() {
        let always = (Some("always"), Some("1"));
        let no_log = GOOD.replace("aof_enabled:1", "aof_enabled:0");
        check(&no_log, always.0, always.1, &[Finding::Warning(NO_LOG)]);
        let evicts = GOOD.replace("noeviction", "allkeys-lru");
        check(&evicts, always.0, always.1, &[Finding::Warning(EVICTS)]);
        let failed = GOOD.replace("status:ok", "status:err");
        check(&failed, always.0, always.1, &[Finding::Warning("its last write to the log on its disk failed")]);
        let lonely = GOOD.replace("connected_slaves:1", "connected_slaves:0");
        check(&lonely, always.0, always.1, &[Finding::Warning("no replica is connected: nobody can take over")]);
        check(GOOD, Some("everysec"), Some("1"), &[Finding::Warning(EVERY_SECOND)]);
        check(GOOD, Some("no"), Some("1"), &[Finding::Warning(NO_SYNC)]);
        check(GOOD, Some("always"), Some("0"), &[Finding::Warning(NO_MINIMUM)]);
    }

    #[test]
    fn what_is_forbidden_is_not_taken_for_good() {
        let unseen = [
            Finding::Unseen("CONFIG GET is forbidden: appendfsync could not be seen"),
            Finding::Unseen("CONFIG GET is forbidden: min-replicas-to-write could not be seen"),
        ];
        check(GOOD, None, None, &unseen);
        let nothing = inspected("here:1", &Answers::default(), Standby::None);
        assert!(matches!(nothing.findings.as_slice(), [Finding::Unseen(_)]));
    }

    #[test]
    fn versions_are_compared_as_numbers_and_valkey_is_new_enough() {
        let says = |version: &str| GOOD.replace("redis_version:7.2.4", version);
        for good in ["redis_version:6.2.0", "redis_version:10.0.1", "redis_version:7.2.4\r\nvalkey_version:8.0.1"] {
            check(&says(good), Some("always"), Some("1"), &[]);
        }
        for old in ["redis_version:6.0.16", "redis_version:5.0.7", "redis_version:marker"] {
            let answers = Answers { info: Some(says(old)), ..Answers::default() };
            let findings = inspected("here:1", &answers, Standby::None).findings;
            assert!(matches!(findings.first(), Some(Finding::Wrong(_))), "{old}");
        }
    }
}
