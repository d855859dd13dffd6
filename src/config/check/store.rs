//! Pure. Where sessions live.

use std::num::NonZeroUsize;

use url::{Host, Url};

use super::{SECOND, count, duration, secret};
use crate::{
    config::{
        problem::{Checked, Path, Problems},
        raw::{
            MemoryTable, RedisTable, StoreTable,
            leaf::{Count, StoreKind, socket_path},
            node::Field,
        },
    },
    origin,
    secret::Secret,
    store::{
        Config,
        memory::{self, DEFAULT_MAX_MARKS, DEFAULT_MAX_SESSIONS, DEFAULT_MAX_WINDOWS},
        redis::{self, Address},
    },
};

/// Checks the store; the other one's settings are checked too, and not used.
pub(super) fn store(table: &StoreTable, problems: &mut Problems) -> Checked<Config> {
    let redis_is_meant = table.redis.url.is_present() || table.redis.url_file.is_present();
    if !table.kind.is_present() && redis_is_meant {
        let message = format!("is missing, and {} is given: say which store it is", table.redis.url.path);
        problems.add(&table.kind.path, message);
    }
    let kind = table.kind.or(StoreKind::Memory);
    let memory = memory(&table.memory, problems);
    let redis = redis(&table.redis, problems);
    match kind? {
        StoreKind::Memory => memory.map(Config::Memory),
        StoreKind::Redis => {
            let missing = || problems.add(&table.redis.url.path, MISSING);
            redis?.map(Config::Redis).ok_or_else(missing)
        }
    }
}

fn memory(table: &MemoryTable, problems: &mut Problems) -> Checked<memory::Config> {
    let max_sessions = count(&table.max_sessions, DEFAULT_MAX_SESSIONS, 1..=100_000_000, problems);
    let max_marks = count(&table.max_marks, DEFAULT_MAX_MARKS, 1..=100_000_000, problems);
    let max_windows = count(&table.max_windows, DEFAULT_MAX_WINDOWS, 1..=100_000_000, problems);
    Ok(memory::Config { max_sessions: max_sessions?, max_marks: max_marks?, max_windows: max_windows? })
}

/// None where no URL is given.
fn redis(table: &RedisTable, problems: &mut Problems) -> Checked<Option<redis::Config>> {
    let url = secret(&table.url, &table.url_file, problems);
    let prefix = prefix(&table.prefix, problems);
    let deadline = duration(&table.deadline, redis::DEFAULT_DEADLINE, SECOND / 100..=SECOND * 10, problems);
    let connections = count(&table.connections, redis::DEFAULT_CONNECTIONS.get(), 1..=1_000, problems);
    let password = secret(&table.password, &table.password_file, problems);
    let Some(url) = url? else {
        return Ok(None);
    };
    let target = target(table, &url, problems)?;
    let username = once(target.username, table.username.optional()?, &table.username.path, problems);
    let password = once(target.password, password?, &table.password.path, problems);
    let database = database(target.database, &table.database, problems);
    let connections = NonZeroUsize::new(connections?);
    Ok(Some(redis::Config {
        address: target.address,
        username: username?,
        password: password?,
        database: database?,
        prefix: prefix?,
        deadline: deadline?,
        connections: connections.unwrap_or(redis::DEFAULT_CONNECTIONS),
    }))
}

/// What a Redis URL says.
struct Target {
    address: Address,
    username: Option<String>,
    password: Option<Secret>,
    database: Option<u32>,
}

fn target(table: &RedisTable, url: &Secret, problems: &mut Problems) -> Checked<Target> {
    let in_file = table.url_file.is_present();
    let (path, lead) = if in_file { (&table.url_file.path, "names a URL that ") } else { (&table.url.path, "") };
    let target = read_url(url.reveal(), table).map_err(|message| problems.add(path, format!("{lead}{message}")))?;
    let authorities = table.ca_file.given().map(|file| super::certificates(&table.ca_file.path, file, problems));
    authorities.transpose()?;
    if table.ca_file.is_present() && !matches!(target.address, Address::Tls { .. }) {
        problems.add(&table.ca_file.path, "is only for rediss://, which is Redis over TLS");
    }
    Ok(target)
}

fn read_url(text: &str, table: &RedisTable) -> Result<Target, String> {
    let url = Url::parse(text).map_err(|_| MALFORMED)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("takes no parameters: each has a key of its own".into());
    }
    let address = match url.scheme() {
        "unix" | "redis+unix" => return unix(&url),
        "redis" => Address::Tcp { host: host(&url)?, port: url.port().unwrap_or(PORT) },
        "rediss" => {
            let ca_file = table.ca_file.given().map(|file| file.path.clone());
            Address::Tls { host: host(&url)?, port: url.port().unwrap_or(PORT), ca_file }
        }
        _ => return Err(MALFORMED.into()),
    };
    let decoded = |text: &str| (!text.is_empty()).then(|| origin::percent_decoded(text));
    Ok(Target {
        address,
        username: decoded(url.username()),
        password: url.password().and_then(decoded).map(Secret::new),
        database: database_in(&url)?,
    })
}

fn unix(url: &Url) -> Result<Target, String> {
    if url.has_host() || !url.username().is_empty() {
        return Err("must have no host or user for a Unix socket: unix:/path".into());
    }
    let path = socket_path(&origin::percent_decoded(url.path()))?;
    Ok(Target { address: Address::Unix(path), username: None, password: None, database: None })
}

fn host(url: &Url) -> Result<String, String> {
    match url.host() {
        Some(Host::Ipv6(address)) => Ok(address.to_string()),
        Some(Host::Domain("")) | None => Err(MALFORMED.into()),
        Some(host) => Ok(host.to_string()),
    }
}

fn database_in(url: &Url) -> Result<Option<u32>, String> {
    match url.path().trim_start_matches('/') {
        "" => Ok(None),
        number => {
            number.parse().map(Some).map_err(|_| "must have a number for its database: redis://host:port/0".into())
        }
    }
}

fn database(in_url: Option<u32>, field: &Field<Count>, problems: &mut Problems) -> Checked<u32> {
    if in_url.is_some() && field.is_present() {
        return Err(problems.add(&field.path, TWICE));
    }
    match in_url {
        Some(number) => Ok(number),
        None => count(field, 0, 0..=MOST_DATABASES, problems).map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
    }
}

fn once<T>(in_url: Option<T>, own: Option<T>, path: &Path, problems: &mut Problems) -> Checked<Option<T>> {
    if in_url.is_some() && own.is_some() {
        return Err(problems.add(path, TWICE));
    }
    Ok(in_url.or(own))
}

fn prefix(field: &Field<String>, problems: &mut Problems) -> Checked<String> {
    let prefix = field.or(redis::DEFAULT_PREFIX.to_owned())?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    if prefix.len() > PREFIX_BYTES || !prefix.bytes().all(allowed) {
        let message = format!("must be at most {PREFIX_BYTES} letters, digits and _ - . :");
        return Err(problems.add(&field.path, message));
    }
    Ok(prefix)
}

const MALFORMED: &str = "must be redis://host:port, rediss://host:port for TLS, or unix:/path";
const MISSING: &str = "is missing: REDIS_URL may hold it";
const TWICE: &str = "is in the URL too: give it once";
const PORT: u16 = 6379;
const PREFIX_BYTES: usize = 64;
/// Redis takes as many databases as its own settings say, by default 16.
const MOST_DATABASES: usize = 65_535;

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a failed step is a failed test")]

    use super::*;
    use crate::config::fixture::Settings;

    fn check(redis: &str, expected: &str) {
        let settings = Settings::valid().with(&format!("[store]\nkind = 'redis'\n[store.redis]\n{redis}"));
        assert_eq!(settings.problems(), expected, "{redis}");
    }

    fn config(redis: &str) -> redis::Config {
        let settings = Settings::valid().with(&format!("[store]\nkind = 'redis'\n[store.redis]\n{redis}"));
        match settings.config().gateway.store {
            Config::Redis(config) => config,
            Config::Memory(_) => panic!("the store is Redis"),
        }
    }

    #[test]
    fn memory_is_the_default() {
        assert!(matches!(Settings::valid().config().gateway.store, Config::Memory(_)));
        let limits = Settings::valid().with("[store.memory]\nmax_sessions = 0\nmax_marks = -1");
        assert_eq!(
            limits.problems(),
            "store.memory.max_marks: must be a whole number, without quotes\nstore.memory.max_sessions: must be between 1 and 100000000"
        );
    }

    #[test]
    fn urls_name_host_port_user_and_database() {
        let tcp = |host: &str, port| Address::Tcp { host: host.into(), port };
        assert_eq!(config("url = 'redis://cache'").address, tcp("cache", 6379));
        assert_eq!(config("url = 'redis://[::1]:7000/3'").address, tcp("::1", 7000));
        assert_eq!(config("url = 'redis://cache/3'").database, 3);
        assert_eq!(config("url = 'redis://cache'\ndatabase = 4").database, 4);
        assert_eq!(config("url = 'unix:/run/redis.sock'").address, Address::Unix("/run/redis.sock".into()));
        let tls = config("url = 'rediss://app:p%40ss@cache:6380'");
        assert_eq!(tls.address, Address::Tls { host: "cache".into(), port: 6380, ca_file: None });
        assert_eq!(tls.username.as_deref(), Some("app"));
        assert_eq!(tls.password, Some(Secret::new("p@ss")));
    }

    #[test]
    fn urls_that_are_none_are_refused() {
        let check = |url: &str, expected: &str| {
            check(&format!("url = '{url}'"), &format!("store.redis.url: {expected}"));
        };
        check("cache:6379", MALFORMED);
        check("http://cache", MALFORMED);
        check("redis://", MALFORMED);
        check("redis://cache/x", "must have a number for its database: redis://host:port/0");
        check("redis://cache?timeout=1", "takes no parameters: each has a key of its own");
        check("unix://cache/run/x", "must have no host or user for a Unix socket: unix:/path");
    }

    #[test]
    fn nothing_is_said_twice() {
        check(
            "url = 'redis://a:b@cache/1'\nusername = 'c'\npassword = 'd'\ndatabase = 2",
            "store.redis.database: is in the URL too: give it once\nstore.redis.password: is in the URL too: give it once\nstore.redis.username: is in the URL too: give it once",
        );
    }

    #[test]
    fn a_url_and_a_kind_go_together() {
        check("", "store.redis.url: is missing: REDIS_URL may hold it");
        let settings = Settings::valid().with("[store.redis]\nurl = 'redis://cache'");
        assert_eq!(settings.problems(), "store.kind: is missing, and store.redis.url is given: say which store it is");
        let unused = Settings::valid().with("[store]\nkind = 'memory'\n[store.redis]\nurl = 'redis://cache'");
        assert!(matches!(unused.config().gateway.store, Config::Memory(_)));
    }

    #[test]
    fn the_rest_of_redis_has_limits() {
        check(
            "url = 'redis://cache'\nprefix = 'a b'\ndeadline = '1m'\nconnections = 0",
            "store.redis.connections: must be between 1 and 1000\nstore.redis.deadline: must be between 10ms and 10s\nstore.redis.prefix: must be at most 64 letters, digits and _ - . :",
        );
    }
}
