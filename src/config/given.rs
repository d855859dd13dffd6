//! Pure. The settings as they were given, key by key, to tell what other settings would change.
//!
//! Invariant: whatever is not listed here as changeable takes a restart, so that a new key does until somebody has thought
//! about it. Values are compared by their hashes; none is kept.

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::digest::{SHA256, digest};
use toml::{Table, Value};
use zeroize::Zeroizing;

use super::{
    problem::{Path, Problems},
    raw::Raw,
};

/// Every key that was given, and what it was given as.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Given(BTreeMap<String, Leaf>);

#[derive(Clone, PartialEq, Eq)]
struct Leaf {
    path: Path,
    may: May,
    value: Hash,
    /// Of the file that the value names.
    contents: Option<Hash>,
}

/// What a running gateway can take over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    Change,
    /// What is in the file that it names, and not which file it is.
    ChangeContents,
    NotChange,
}

type Hash = [u8; 32];

impl Given {
    /// What stands in a table.
    pub(super) fn of(table: &Table) -> Self {
        let mut given = Self::default();
        given.walk(table, &mut Vec::new(), &Path::root());
        given
    }

    fn walk<'a>(&mut self, table: &'a Table, way: &mut Vec<&'a str>, path: &Path) {
        for (key, value) in table {
            let path = path.key(key);
            way.push(key);
            match value {
                Value::Table(table) => self.walk(table, way, &path),
                value => {
                    let text = Zeroizing::new(value.to_string());
                    let leaf = Leaf { may: May::of(way), value: hash(text.as_bytes()), contents: None, path };
                    self.0.insert(leaf.path.to_string(), leaf);
                }
            }
            way.pop();
        }
    }

    /// Adds what is in the files that the settings name.
    pub(super) fn read_files(&mut self, raw: &mut Raw) {
        for field in raw.files() {
            let leaf = self.0.get_mut(&field.path.to_string());
            if let (Some(leaf), Some(file)) = (leaf, field.given()) {
                leaf.contents = Some(hash(&file.contents));
            }
        }
    }

    /// Adds a key that was not given, where what it then means depends on others.
    pub(super) fn imply(&mut self, path: Path, value: &str) {
        let leaf = Leaf { path, may: May::NotChange, value: hash(value.as_bytes()), contents: None };
        self.0.entry(leaf.path.to_string()).or_insert(leaf);
    }

    /// What of other settings would take a restart.
    ///
    /// # Errors
    /// Each key that cannot change while the gateway runs, and does.
    pub fn admits(&self, other: &Self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let gone = self.0.iter().filter(|(key, _)| !other.0.contains_key(*key)).map(|(_, leaf)| (leaf, None));
        let there = other.0.iter().map(|(key, leaf)| (leaf, self.0.get(key)));
        for (leaf, counterpart) in gone.chain(there) {
            if !leaf.may.be_instead_of(leaf, counterpart) {
                problems.add(&leaf.path, NEEDS_RESTART);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Given").field(&self.0.keys()).finish()
    }
}

impl May {
    fn of(way: &[&str]) -> Self {
        match way {
            ["session", "cache_entries" | "cache_bytes"] => Self::NotChange,
            [
                "access" | "session" | "sign_in" | "limits" | "policy" | "matching" | "identity" | "pages" | "site",
                ..,
            ]
            | ["provider", _, "access", ..]
            | ["provider", _, "user_claim" | "groups_claim"] => Self::Change,
            ["fallback", key, ..] if !BOUND_OF_FALLBACK.contains(key) => Self::Change,
            ["listener", _, "tls_certificate_file" | "tls_key_file" | "client_ca_file"] => Self::ChangeContents,
            _ => Self::NotChange,
        }
    }

    fn be_instead_of(self, leaf: &Leaf, other: Option<&Leaf>) -> bool {
        match self {
            Self::Change => true,
            Self::ChangeContents => other.is_some_and(|other| other.value == leaf.value),
            Self::NotChange => other == Some(leaf),
        }
    }
}

fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// What of the fallback its switches were begun with.
const BOUND_OF_FALLBACK: [&str; 4] = ["enabled", "state_file", "require_arming", "longest_arming"];
/// What is said of a key that cannot change while the gateway runs.
pub(super) const NEEDS_RESTART: &str = "has changed, and takes a restart";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Settings;

    fn check(change: &str, expected: &str) {
        let (before, after) = (Settings::valid().config().given, Settings::valid().with(change).config().given);
        let said = |said: Result<(), Problems>| said.map_or_else(|problems| problems.to_string(), |()| String::new());
        assert_eq!(said(before.admits(&after)), expected, "{change}");
        assert_eq!(said(after.admits(&before)), expected, "back from {change}");
        assert_eq!(said(after.admits(&after)), "", "{change}");
    }

    #[test]
    fn what_is_about_people_can_change() {
        check("[access]\ngroups = ['staff']", "");
        check("[policy.other]\nrules = [{ allow = true, everyone = true }]", "");
        check("[session]\nidle_timeout = '10m'", "");
        check("[site.main]\ncors_origins = ['https://other.example.com']", "");
        check("[provider.main.access]\nemails = ['alice@example.com']", "");
        check("[identity]\naccess_token = true", "");
        check("[limits]\nlogin = 'off'", "");
    }

    #[test]
    fn what_is_bound_to_the_process_takes_a_restart() {
        check("[listener.nginx]\nsocket_mode = '0600'", "listener.nginx.socket_mode: has changed, and takes a restart");
        check("[provider.main]\nclient_id = 'other'", "provider.main.client_id: has changed, and takes a restart");
        check(
            "[log]\nfilter = 'debug'\n[server]\ndrain_timeout = '3s'",
            "log.filter: has changed, and takes a restart\nserver.drain_timeout: has changed, and takes a restart",
        );
        check("[health]\nfailures = 5", "health.failures: has changed, and takes a restart");
    }

    #[test]
    fn an_applications_site_stays_the_same_though_it_is_not_named() {
        let with = "[listener.app]\nkind = 'application'\naddress = 'unix:/run/portcullis/app.sock'";
        let before = Settings::valid().with(with).config().given;
        let renamed =
            Settings::valid().with(with).without("site").with("[site.other]\npublic_url = 'https://app.example.com'");
        let said = before.admits(&renamed.config().given).map_err(|problems| problems.to_string());
        assert_eq!(said, Err("listener.app.site: has changed, and takes a restart".to_owned()));
    }

    #[test]
    fn no_value_is_shown() {
        let given = Settings::valid().config().given;
        assert!(format!("{given:?}").contains("session.key"));
        assert!(!format!("{given:?}").contains(crate::config::fixture::KEY));
    }
}
