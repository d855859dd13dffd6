//! Settings for tests: valid ones, and ways to spoil them.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use toml::{Table, Value};

use super::{
    Config, Problems,
    environment::Environment,
    load::{from_table, read_named},
};

/// Settings with nothing wrong in them, and little else.
pub(crate) struct Settings {
    table: Table,
    environment: Environment,
}

impl Settings {
    /// The least that a gateway needs.
    pub(crate) fn valid() -> Self {
        Self { table: VALID.parse().unwrap(), environment: Environment::default() }
    }

    /// Settings of exactly that text.
    pub(crate) fn of(text: &str) -> Self {
        Self { table: text.parse().unwrap(), environment: Environment::default() }
    }

    /// Puts these keys over those that there are.
    pub(crate) fn with(mut self, text: &str) -> Self {
        merge(&mut self.table, text.parse().unwrap());
        self
    }

    /// Takes a key or a whole table away.
    pub(crate) fn without(mut self, path: &str) -> Self {
        let (sections, key) = path.rsplit_once('.').unwrap_or(("", path));
        let sections = sections.split('.').filter(|section| !section.is_empty());
        let table = sections.fold(&mut self.table, |table, section| table[section].as_table_mut().unwrap());
        table.remove(key).unwrap();
        self
    }

    /// Adds an environment variable.
    pub(crate) fn env(mut self, name: &str, text: &str) -> Self {
        self.environment.add(name.into(), Some(text.into()));
        self
    }

    /// All that is wrong, one problem a line.
    pub(crate) fn problems(self) -> String {
        from_table(self.table, &self.environment, &read_named, Problems::default())
            .map_or_else(|all| all.to_string(), |_| String::new())
    }

    /// What comes of them.
    pub(crate) fn config(self) -> Config {
        from_table(self.table, &self.environment, &read_named, Problems::default()).unwrap()
    }
}

fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(over)) => merge(below, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// 32 random bytes that protect nothing.
pub(crate) const KEY: &str = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";
/// Others.
pub(crate) const OTHER_KEY: &str = "yv66vgABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";

const VALID: &str = r#"
[listener.nginx]
kind = "nginx"
address = "unix:/run/portcullis/nginx.sock"

[listener.ops]
kind = "ops"
address = "127.0.0.1:4182"

[site.main]
public_url = "https://app.example.com"

[provider.main]
issuer = "https://op.example.com"
client_id = "portcullis"
client_secret = "a client secret"

[session]
key = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs="

[policy.staff]
rules = [{ allow = true, groups = ["staff"] }]
"#;
