//! Pure. What the environment adds to the settings: `${NAME}` in texts, `PORTCULLIS_SECTION__KEY` over keys, and the
//! few names that everybody uses, where the settings are silent.
//!
//! Invariant: what a variable holds is taken as it stands; nothing in it is substituted again.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{
    problem::{Path, Problems},
    raw::node::{ANY_NAME, Kind, KnownKey},
};

/// The environment's variables.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, Variable>);

#[derive(Clone, Debug)]
enum Variable {
    Text(String),
    NotUnicode,
}

impl Environment {
    /// Adds a variable; none as its text means that it is not Unicode.
    pub fn add(&mut self, name: String, text: Option<String>) {
        self.0.insert(name, text.map_or(Variable::NotUnicode, Variable::Text));
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        match self.0.get(name) {
            Some(Variable::Text(text)) => Ok(text),
            Some(Variable::NotUnicode) => Err(format!("the environment variable {name} is not Unicode")),
            None => Err(format!("the environment has no variable {name}")),
        }
    }

    /// Replaces `${NAME}` in every text of the settings; `$${` stands for `${` itself.
    pub(super) fn substitute(&self, table: &mut Table, problems: &mut Problems) {
        self.substitute_in_table(table, &Path::root(), problems);
    }

    fn substitute_in_table(&self, table: &mut Table, path: &Path, problems: &mut Problems) {
        for (key, value) in table.iter_mut() {
            self.substitute_in(value, &path.key(key), problems);
        }
    }

    fn substitute_in(&self, value: &mut Value, path: &Path, problems: &mut Problems) {
        match value {
            Value::String(text) => match self.substituted(text) {
                Ok(whole) => *text = whole,
                Err(message) => {
                    problems.add(path, message);
                    text.clear();
                }
            },
            Value::Array(members) => {
                for (index, member) in members.iter_mut().enumerate() {
                    self.substitute_in(member, &path.index(index), problems);
                }
            }
            Value::Table(table) => self.substitute_in_table(table, path, problems),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }

    fn substituted(&self, text: &str) -> Result<String, String> {
        let mut whole = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(literal) = before.strip_suffix('$') {
                whole.push_str(literal);
                whole.push_str("${");
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}').ok_or("has a ${ without its }; $${ stands for ${ itself")?;
            if !is_variable_name(name) {
                return Err("has a ${…} that names no variable; $${ stands for ${ itself".into());
            }
            whole.push_str(before);
            whole.push_str(self.text(name)?);
            rest = after;
        }
        whole.push_str(rest);
        Ok(whole)
    }

    /// Puts every `PORTCULLIS_SECTION__KEY` over the settings; gives back which variable set which key.
    pub(super) fn apply_overrides(
        &self,
        table: &mut Table,
        known: &[KnownKey],
        problems: &mut Problems,
    ) -> Vec<Origin> {
        let mut origins = Vec::new();
        for name in self.0.keys().filter(|name| is_override(name)) {
            match self.apply_override(name, table, known) {
                Ok(path) => origins.push(Origin { path, variable: name.clone() }),
                Err(message) => {
                    problems.about(shown_name(name), message);
                }
            }
        }
        origins
    }

    fn apply_override(&self, name: &str, table: &mut Table, known: &[KnownKey]) -> Result<Path, String> {
        let text = self.text(name)?;
        let segments: Vec<&str> = name.trim_start_matches(OVERRIDE).split("__").collect();
        let (last, sections) = segments.split_last().ok_or("names no setting")?;
        if segments.iter().any(|segment| segment.is_empty()) {
            return Err("names no setting: an empty name stands between its underscores".into());
        }
        let mut keys = Vec::with_capacity(segments.len());
        let mut at = table;
        for section in sections {
            let key = meant(at, section)?;
            keys.push(key.clone());
            let below = at.entry(key).or_insert_with(|| Value::Table(Table::new()));
            at = below.as_table_mut().ok_or("reaches into something that is no table; set the whole of it")?;
        }
        let key = meant(at, last)?;
        keys.push(key.clone());
        at.insert(key, value_of(text, kind_of(&keys, known)));
        Ok(keys.iter().fold(Path::root(), |path, key| path.key(key)))
    }

    /// Puts the names that everybody uses into the settings, where these say nothing themselves.
    pub(super) fn apply_usual_names(&self, table: &mut Table) -> Vec<Origin> {
        let keys = ["key", "key_new", "key_old"].into_iter().zip(["", "_NEW", "_OLD"]);
        let mut origins: Vec<Origin> = keys
            .flat_map(|(key, suffix)| self.usual(&format!("SESSION_ENCRYPTION_KEY{suffix}"), table, &["session"], key))
            .collect();
        let kind = table.get("store").and_then(|store| store.get("kind"));
        if kind.is_none_or(|kind| kind.as_str() == Some("redis")) {
            let found = self.usual("REDIS_URL", table, &["store", "redis"], "url");
            if !found.is_empty() {
                insert(table, &["store"], "kind", "redis".into());
            }
            origins.extend(found);
        }
        origins.extend(self.usual_value("CSP_REPORT_ONLY", table, &["pages"], "csp_report_only"));
        origins.extend(self.usual_value("ENABLE_MTLS_FALLBACK", table, &["fallback"], "enabled"));
        origins
    }

    /// For keys that hold no text, and so have no twin that names a file.
    fn usual_value(&self, variable: &str, table: &mut Table, sections: &[&str], key: &str) -> Option<Origin> {
        let text = self.text(variable).ok().filter(|text| !has(table, sections, key) && !text.is_empty())?;
        let inserted = insert(table, sections, key, value_of(text, Kind::Value));
        let path = sections.iter().chain([&key]).fold(Path::root(), |path, key| path.key(key));
        inserted.then(|| Origin { path, variable: variable.to_owned() })
    }

    fn usual(&self, variable: &str, table: &mut Table, sections: &[&str], key: &str) -> Vec<Origin> {
        let twin = format!("{key}_file");
        let silent = !has(table, sections, key) && !has(table, sections, &twin);
        let both = [(variable.to_owned(), key), (format!("{variable}_FILE"), twin.as_str())];
        let set = both.into_iter().filter_map(|(variable, key)| {
            let text = self.text(&variable).ok().filter(|text| silent && !text.is_empty())?;
            let inserted = insert(table, sections, key, text.into());
            let path = sections.iter().chain([&key]).fold(Path::root(), |path, key| path.key(key));
            inserted.then_some(Origin { path, variable })
        });
        set.collect()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let mut environment = Self::default();
        for (name, text) in variables {
            environment.add(name, Some(text));
        }
        environment
    }
}

/// Which variable set a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) path: Path,
    pub(super) variable: String,
}

/// The key of a table that a part of a variable's name means: it has no lower case and no hyphen.
fn meant(table: &Table, segment: &str) -> Result<String, String> {
    let folded = |key: &str| key.to_ascii_lowercase().replace('-', "_");
    let lower = segment.to_ascii_lowercase();
    if table.contains_key(&lower) {
        return Ok(lower);
    }
    let mut fitting = table.keys().filter(|key| folded(key) == folded(segment));
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key.clone()),
        (Some(_), Some(_)) => Err("names no setting: two names of the settings fit it".into()),
        (None, _) => Ok(lower),
    }
}

fn kind_of(keys: &[String], known: &[KnownKey]) -> Kind {
    let fits = |known: &&KnownKey| {
        let pairs = || known.path.iter().zip(keys);
        known.path.len() == keys.len() && pairs().all(|(pattern, key)| *pattern == ANY_NAME || pattern == key)
    };
    known.iter().find(fits).map_or(Kind::Value, |known| known.kind)
}

fn value_of(text: &str, kind: Kind) -> Value {
    let parsed = text.parse::<Value>();
    match (kind, parsed) {
        (Kind::Secret, _) | (Kind::Text | Kind::Value, Err(_)) => text.into(),
        (Kind::Text, Ok(value)) if !value.is_str() => text.into(),
        (Kind::Text | Kind::Value, Ok(value)) => value,
    }
}

fn has(table: &Table, sections: &[&str], key: &str) -> bool {
    let section = sections.iter().try_fold(table, |table, section| table.get(*section)?.as_table());
    section.is_some_and(|section| section.contains_key(key))
}

/// False where something that is no table is in the way; reading the settings notes that.
fn insert(table: &mut Table, sections: &[&str], key: &str, value: Value) -> bool {
    let mut at = table;
    for section in sections {
        let below = at.entry(*section).or_insert_with(|| Value::Table(Table::new()));
        let Some(table) = below.as_table_mut() else {
            return false;
        };
        at = table;
    }
    at.insert(key.to_owned(), value);
    true
}

fn is_override(name: &str) -> bool {
    name.strip_prefix(OVERRIDE).is_some_and(|rest| name != SETTINGS_FILE && !is_service_link(rest))
}

/// Kubernetes gives every container variables for every service: `PORTCULLIS_SERVICE_HOST`,
/// `PORTCULLIS_PORT_80_TCP_ADDR` where a service is called `portcullis`.
fn is_service_link(rest: &str) -> bool {
    let marks = ["SERVICE_HOST", "SERVICE_PORT", "PORT"];
    let names_port = |tail: &str| tail.starts_with(|digit: char| digit.is_ascii_digit());
    let link = marks.iter().any(|mark| rest == *mark || rest.ends_with(&format!("_{mark}")));
    let port = rest.split_once("PORT_").is_some_and(|(before, tail)| {
        (before.is_empty() || before.ends_with('_')) && (names_port(tail) || before.ends_with("SERVICE_"))
    });
    !rest.contains("__") && (link || port)
}

fn is_variable_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(plain) && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn shown_name(name: &str) -> String {
    Path::root().key(name).to_string()
}

/// What the names of overriding variables begin with.
const OVERRIDE: &str = "PORTCULLIS_";
/// The variable that names the settings file.
pub const SETTINGS_FILE: &str = "PORTCULLIS_CONFIG";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::config::{
        fixture::{KEY, OTHER_KEY, Settings},
        raw::{Raw, node::MEMBER},
    };

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn variables_are_put_into_texts() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let environment = environment(&[("A", "one"), ("B_2", "${A}")]);
            let substituted = environment.substituted(text);
            assert_eq!(substituted.as_deref().map_err(String::as_str), expected, "{text}");
        };
        let broken = Err("has a ${ without its }; $${ stands for ${ itself");
        let nameless = Err("has a ${…} that names no variable; $${ stands for ${ itself");
        check("plain $A {A} $", Ok("plain $A {A} $"));
        check("<${A}|${A}>", Ok("<one|one>"));
        check("${B_2}", Ok("${A}"));
        check("$${A}", Ok("${A}"));
        check("$$${A}", Ok("$${A}"));
        check("${C}", Err("the environment has no variable C"));
        check("${A", broken);
        check("a${", broken);
        check("${}", nameless);
        check("${a b}", nameless);
        check("${1}", nameless);
    }

    #[test]
    fn a_missing_variable_is_told_under_its_key_alone() {
        let settings = Settings::valid()
            .with("[provider.main]\nclient_secret = '${NONE}'\nscopes = ['openid', '${NONE}']")
            .with("[session]\nidle_timeout = '${NONE}'");
        assert_eq!(
            settings.problems(),
            "provider.main.client_secret: the environment has no variable NONE\n\
             provider.main.scopes[1]: the environment has no variable NONE\n\
             session.idle_timeout: the environment has no variable NONE"
        );
    }

    #[test]
    fn variables_that_are_not_unicode_are_told_only_where_they_are_needed() {
        let mut odd = Environment::default();
        odd.add("ODD".into(), None);
        assert_eq!(odd.substituted("x"), Ok("x".into()));
        assert_eq!(odd.substituted("${ODD}"), Err("the environment variable ODD is not Unicode".into()));
    }

    #[test]
    fn every_key_can_be_set_from_the_environment() {
        let keys = Raw::keys();
        for key in keys.iter().filter(|key| !key.path.contains(&MEMBER)) {
            let path = key.path.join("__").replace(ANY_NAME, "MAIN").to_uppercase();
            let (text, expected) = match key.kind {
                Kind::Secret => (r#""s""#, Value::from(r#""s""#)),
                Kind::Text => ("12", Value::from("12")),
                Kind::Value => ("[12]", Value::from(vec![12])),
            };
            let mut table = Table::new();
            let mut problems = Problems::default();
            let environment = environment(&[(&format!("PORTCULLIS_{path}"), text)]);
            let origins = environment.apply_overrides(&mut table, &keys, &mut problems);
            let found = key
                .path
                .iter()
                .try_fold(&Value::from(table), |at, step| at.get(step.replace(ANY_NAME, "main")))
                .cloned();
            assert_eq!(found, Some(expected), "{path}");
            assert_eq!(origins[0].path.to_string(), key.path.join(".").replace(ANY_NAME, "main"));
            assert!(problems.is_empty(), "{problems}");
        }
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let settings = Settings::valid()
            .env("PORTCULLIS_SESSION__IDLE_TIMEOUT", "15m")
            .env("PORTCULLIS_SITE__MAIN__HOSTS", r#"["app.example.com"]"#)
            .env("PORTCULLIS_SERVER", "{ prefix = '/oauth2' }")
            .env("PORTCULLIS_SERVER__BODY_BYTES", "2048")
            .env("PORTCULLIS_POLICY__STAFF__RULES", "[{ allow = true, everyone = true }]");
        let config = settings.config();
        assert_eq!(config.gateway.session.lifetimes.idle.as_secs(), 900);
        assert_eq!(config.gateway.sign_in.prefix.path("/x"), "/oauth2/x");
        assert_eq!(config.server.limits.body_bytes, 2048);
    }

    #[test]
    fn names_with_hyphens_and_capitals_are_reached() {
        let mut table: Table = "[policy.Not-Alice]\n[identity.claims]\nX-A = 'a'".parse().unwrap();
        let variables =
            environment(&[("PORTCULLIS_POLICY__NOT_ALICE__RULES", "[]"), ("PORTCULLIS_IDENTITY__CLAIMS__X_A", "b")]);
        variables.apply_overrides(&mut table, &Raw::keys(), &mut Problems::default());
        assert_eq!(table, "[policy.Not-Alice]\nrules = []\n[identity.claims]\nX-A = 'b'".parse().unwrap());
    }

    #[test]
    fn variables_that_name_no_setting_are_told() {
        let check = |name: &str, text: &str, expected: &str| {
            assert_eq!(Settings::valid().env(name, text).problems(), expected, "{name}");
        };
        check("PORTCULLIS_MOED", "x", "moed: is not a setting; did you mean mode? (set by PORTCULLIS_MOED)");
        check(
            "PORTCULLIS_SESSION__KEYS",
            "x",
            "session.keys: is not a setting; did you mean key? (set by PORTCULLIS_SESSION__KEYS)",
        );
        check(
            "PORTCULLIS_SESSION__IDLE_TIMEOUT",
            "x",
            "session.idle_timeout: must be a duration with its unit, such as \"90s\", \"30m\" or \"1h 30m\" (set by PORTCULLIS_SESSION__IDLE_TIMEOUT)",
        );
        check(
            "PORTCULLIS___MODE",
            "x",
            "PORTCULLIS___MODE: names no setting: an empty name stands between its underscores",
        );
        check(
            "PORTCULLIS_POLICY__STAFF__RULES__0",
            "x",
            "PORTCULLIS_POLICY__STAFF__RULES__0: reaches into something that is no table; set the whole of it",
        );
    }

    #[test]
    fn what_kubernetes_sets_is_let_be() {
        let check = |name: &str, ours: bool| assert_eq!(is_override(name), ours, "{name}");
        check("PORTCULLIS_SERVICE_HOST", false);
        check("PORTCULLIS_SERVICE_PORT", false);
        check("PORTCULLIS_SERVICE_PORT_HTTP", false);
        check("PORTCULLIS_PORT", false);
        check("PORTCULLIS_PORT_80_TCP_ADDR", false);
        check("PORTCULLIS_GATEWAY_PORT_4180_TCP", false);
        check("PORTCULLIS_CONFIG", false);
        check("PORTCULLIS_MODE", true);
        check("PORTCULLIS_IMPORT", true);
        check("PORTCULLIS_SESSION__KEY", true);
        check("OTHER_MODE", false);
    }

    #[test]
    fn usual_names_fill_what_the_settings_leave_open() {
        let bare = || Settings::valid().without("session.key");
        assert_eq!(bare().env("SESSION_ENCRYPTION_KEY", KEY).problems(), "");
        assert_eq!(
            bare().env("SESSION_ENCRYPTION_KEY", "x").problems(),
            "session.key: is not base64 (set by SESSION_ENCRYPTION_KEY)"
        );
        assert_eq!(Settings::valid().env("SESSION_ENCRYPTION_KEY", "x").problems(), "");
        assert_eq!(Settings::valid().env("SESSION_ENCRYPTION_KEY_OLD", "").problems(), "");
        let all = Settings::valid().env("SESSION_ENCRYPTION_KEY_OLD", OTHER_KEY).config();
        assert_eq!(all.gateway.session.keys.all().count(), 2);
        assert_eq!(
            bare().env("SESSION_ENCRYPTION_KEY_FILE", "/nonexistent").problems(),
            "session.key_file: names a file that cannot be read: No such file or directory (os error 2) (set by SESSION_ENCRYPTION_KEY_FILE)"
        );
    }

    #[test]
    fn the_usual_name_of_report_only_is_a_value() {
        let reports_only = |settings: Settings| settings.config().gateway.csp_report_only;
        let with = |text: &str| Settings::valid().env("CSP_REPORT_ONLY", text);
        assert!(!reports_only(Settings::valid()));
        assert!(reports_only(with("true")));
        assert!(!reports_only(with("false")));
        assert!(!reports_only(with("")));
        assert!(!reports_only(with("true").with("[pages]\ncsp_report_only = false")));
        assert_eq!(
            with("yes").problems(),
            "pages.csp_report_only: must be true or false, without quotes (set by CSP_REPORT_ONLY)"
        );
    }

    #[test]
    fn a_redis_url_in_the_environment_chooses_the_store_where_the_settings_do_not() {
        use crate::store;
        let redis = |settings: Settings| {
            matches!(settings.env("REDIS_URL", "redis://cache").config().gateway.store, store::Config::Redis(_))
        };
        assert!(redis(Settings::valid()));
        assert!(redis(Settings::valid().with("[store]\nkind = 'redis'")));
        assert!(redis(Settings::valid().with("[store.redis]\nprefix = 'x'")));
        assert!(!redis(Settings::valid().with("[store]\nkind = 'memory'")));
        let own = Settings::valid()
            .with("[store]\nkind = 'redis'\n[store.redis]\nurl = 'redis://other'")
            .env("REDIS_URL", "nonsense");
        assert_eq!(own.problems(), "");
    }
}
