//! Pure. Where sessions live.

use std::num::NonZeroUsize;

use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use url::Url;

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
        redis::{self, Address, ClientCertificate, Host, Sentinels, Tls},
    },
};

/// Checks the store; the other one's settings are checked too, and not used.
pub(super) fn store(table: &StoreTable, problems: &mut Problems) -> Checked<Config> {
    let servers = [
        (&table.redis.url.path, table.redis.url.is_present() || table.redis.url_file.is_present()),
        (&table.redis.sentinels.path, table.redis.sentinels.is_present()),
        (&table.redis.cluster.path, table.redis.cluster.is_present()),
    ];
    let meant = servers.into_iter().find(|(_, present)| *present);
    if let Some((path, _)) = meant.filter(|_| !table.kind.is_present()) {
        let message = format!("is missing, and {path} is given: say which store it is");
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

/// None where no server is given.
fn redis(table: &RedisTable, problems: &mut Problems) -> Checked<Option<redis::Config>> {
    let url = secret(&table.url, &table.url_file, problems);
    let prefix = prefix(&table.prefix, problems);
    let deadline = duration(&table.deadline, redis::DEFAULT_DEADLINE, SECOND / 100..=SECOND * 10, problems);
    let connections = count(&table.connections, redis::DEFAULT_CONNECTIONS.get(), 1..=1_000, problems);
    let password = secret(&table.password, &table.password_file, problems);
    let tls = tls(table, problems);
    let several = several(table, problems);
    let target = match (url?, several) {
        (None, Ok(None)) => return Ok(None),
        (None, Ok(Some((_, several)))) => several.target(table, tls?, problems),
        (None, Err(noted)) => Err(noted),
        (Some(url), Ok(None)) => target(table, &url, tls?, problems),
        (Some(_), Ok(Some((path, _)))) => Err(problems.add(path, ONE_OF)),
        (Some(url), Err(noted)) => target(table, &url, tls?, problems).and(Err(noted)),
    }?;
    let username = once(target.username, table.username.optional()?, &table.username.path, problems);
    let password = once(target.password, password?, &table.password.path, problems);
    let database = database(target.database, &table.database, problems);
    if matches!(target.address, Address::Cluster { .. }) && database.is_ok_and(|number| number != 0) {
        return Err(problems.add(&table.database.path, "must be 0: a cluster has no other"));
    }
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

/// What the settings say of where Redis is and how to log in there.
struct Target {
    address: Address,
    username: Option<String>,
    password: Option<Secret>,
    database: Option<u32>,
}

fn target(table: &RedisTable, url: &Secret, tls: Option<Tls>, problems: &mut Problems) -> Checked<Target> {
    let in_file = table.url_file.is_present();
    let (path, lead) = if in_file { (&table.url_file.path, "names a URL that ") } else { (&table.url.path, "") };
    let over_tls = tls.is_some();
    let target = read_url(url.reveal(), tls).map_err(|message| problems.add(path, format!("{lead}{message}")))?;
    let is_tls = matches!(target.address, Address::Tls { .. });
    if over_tls && !is_tls {
        let present = tls_keys(table).into_iter().filter(|(_, present)| *present);
        present.for_each(|(path, _)| {
            problems.add(path, "is only for rediss://, which is Redis over TLS");
        });
    }
    Ok(target)
}

/// Several servers in place of a URL.
enum Several {
    Sentinels(Vec<Host>),
    Cluster(Vec<Host>),
}

fn several<'a>(table: &'a RedisTable, problems: &mut Problems) -> Checked<Option<(&'a Path, Several)>> {
    let (sentinels, cluster) = (table.sentinels.optional()?, table.cluster.optional()?);
    if sentinels.is_none() {
        alone_with_sentinels(table, problems)?;
    }
    let (path, nobody, several) = match (sentinels, cluster) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(problems.add(&table.cluster.path, ONE_OF)),
        (Some(hosts), None) => (&table.sentinels.path, hosts.is_empty(), Several::Sentinels(hosts)),
        (None, Some(hosts)) => (&table.cluster.path, hosts.is_empty(), Several::Cluster(hosts)),
    };
    if nobody {
        return Err(problems.add(path, "must name at least one"));
    }
    Ok(Some((path, several)))
}

impl Several {
    fn target(self, table: &RedisTable, tls: Option<Tls>, problems: &mut Problems) -> Checked<Target> {
        let address = match self {
            Self::Cluster(nodes) => Address::Cluster { nodes, tls },
            Self::Sentinels(hosts) => {
                let missing = "is missing: what do the sentinels call the server?";
                let master =
                    table.master_name.optional()?.ok_or_else(|| problems.add(&table.master_name.path, missing));
                let password = secret(&table.sentinel_password, &table.sentinel_password_file, problems);
                let username = table.sentinel_username.optional()?;
                Address::Sentinel(Box::new(Sentinels { hosts, master: master?, username, password: password?, tls }))
            }
        };
        Ok(Target { address, username: None, password: None, database: None })
    }
}

fn alone_with_sentinels(table: &RedisTable, problems: &mut Problems) -> Checked<()> {
    let keys = [
        (&table.master_name.path, table.master_name.is_present()),
        (&table.sentinel_username.path, table.sentinel_username.is_present()),
        (&table.sentinel_password.path, table.sentinel_password.is_present()),
        (&table.sentinel_password_file.path, table.sentinel_password_file.is_present()),
    ];
    let present = keys.into_iter().filter(|(_, present)| *present);
    let noted = present.map(|(path, _)| problems.add(path, "is only for sentinels")).last();
    noted.map_or(Ok(()), Err)
}

/// What holds for all servers over TLS; nothing where it is neither asked for nor meant.
fn tls(table: &RedisTable, problems: &mut Problems) -> Checked<Option<Tls>> {
    let authorities = table.ca_file.given().map(|file| super::certificates(&table.ca_file.path, file, problems));
    let client = client_certificate(table, problems);
    authorities.transpose()?;
    let (wanted, client) = (table.tls.optional()?, client?);
    let ca_file = table.ca_file.optional()?.map(|file| file.path);
    if wanted == Some(false) && (ca_file.is_some() || client.is_some()) {
        return Err(problems.add(&table.tls.path, "must be true, or the files of TLS have no use"));
    }
    let is_meant = wanted == Some(true) || ca_file.is_some() || client.is_some();
    Ok(is_meant.then_some(Tls { ca_file, client }))
}

fn client_certificate(table: &RedisTable, problems: &mut Problems) -> Checked<Option<ClientCertificate>> {
    let (certificate, key) = (&table.client_certificate_file, &table.client_key_file);
    let (certificate_given, key_given) = (certificate.optional()?, key.optional()?);
    let (certificate_file, key_file) = match (certificate_given, key_given) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(problems.add(&key.path, TOGETHER)),
        (None, Some(_)) => return Err(problems.add(&certificate.path, TOGETHER)),
        (Some(certificate), Some(key)) => (certificate, key),
    };
    super::certificates(&certificate.path, &certificate_file, problems)?;
    if PrivateKeyDer::from_pem_slice(&key_file.contents).is_err() {
        return Err(problems.add(&key.path, "names a file that has no PEM key"));
    }
    Ok(Some(ClientCertificate { certificate_file: certificate_file.path, key_file: key_file.path }))
}

fn tls_keys(table: &RedisTable) -> [(&Path, bool); 4] {
    [
        (&table.tls.path, table.tls.is_present()),
        (&table.ca_file.path, table.ca_file.is_present()),
        (&table.client_certificate_file.path, table.client_certificate_file.is_present()),
        (&table.client_key_file.path, table.client_key_file.is_present()),
    ]
}

fn read_url(text: &str, tls: Option<Tls>) -> Result<Target, String> {
    let url = Url::parse(text).map_err(|_| MALFORMED)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("takes no parameters: each has a key of its own".into());
    }
    let address = match url.scheme() {
        "unix" | "redis+unix" => return unix(&url),
        "redis" => Address::Tcp { host: host(&url)?, port: url.port().unwrap_or(PORT) },
        "rediss" => Address::Tls { host: host(&url)?, port: url.port().unwrap_or(PORT), tls: tls.unwrap_or_default() },
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
        Some(url::Host::Ipv6(address)) => Ok(address.to_string()),
        Some(url::Host::Domain("")) | None => Err(MALFORMED.into()),
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
const ONE_OF: &str = "is given beside another: a URL, or sentinels, or a cluster";
const TOGETHER: &str = "is missing: a client certificate and its key go together";
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
        assert_eq!(tls.address, Address::Tls { host: "cache".into(), port: 6380, tls: Tls::default() });
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
    fn sentinels_and_clusters_stand_in_place_of_a_url() {
        let host = |name: &str, port| Host { name: name.into(), port };
        let found = config(
            "sentinels = ['a:26379', '[::1]:26380']\nmaster_name = 'main'\nsentinel_username = 'watch'\nsentinel_password = 's'\npassword = 'p'\ntls = true",
        );
        let Address::Sentinel(sentinels) = &found.address else {
            panic!("{:?}", found.address);
        };
        assert_eq!(sentinels.hosts, [host("a", 26_379), host("::1", 26_380)]);
        assert_eq!((sentinels.master.as_str(), sentinels.username.as_deref()), ("main", Some("watch")));
        assert_eq!((&sentinels.password, &sentinels.tls), (&Some(Secret::new("s")), &Some(Tls::default())));
        assert_eq!(found.password, Some(Secret::new("p")));
        let cluster = config("cluster = ['a:7000', 'b:7000']").address;
        assert_eq!(cluster, Address::Cluster { nodes: vec![host("a", 7_000), host("b", 7_000)], tls: None });
        assert_eq!(cluster.to_string(), "the cluster of a:7000, b:7000");
    }

    #[test]
    fn servers_are_given_in_one_way_only() {
        check("url = 'redis://a'\ncluster = ['a:1']", &format!("store.redis.cluster: {ONE_OF}"));
        check("sentinels = ['a:1']\nmaster_name = 'm'\ncluster = ['a:1']", &format!("store.redis.cluster: {ONE_OF}"));
        check("url = 'redis://a'\nsentinels = ['a:1']\nmaster_name = 'm'", &format!("store.redis.sentinels: {ONE_OF}"));
        check("sentinels = ['a:1']", "store.redis.master_name: is missing: what do the sentinels call the server?");
        check("url = 'redis://a'\nmaster_name = 'm'", "store.redis.master_name: is only for sentinels");
        check("cluster = ['a:1']\nsentinel_username = 'm'", "store.redis.sentinel_username: is only for sentinels");
        check("cluster = []", "store.redis.cluster: must name at least one");
        check("cluster = ['a:1']\ndatabase = 1", "store.redis.database: must be 0: a cluster has no other");
        let form = "must be a host and a port, such as \"redis-1.internal:6379\"";
        for host in ["a", "a:0", ":1", "a:70000", "redis://a:1", "a b:1"] {
            check(&format!("cluster = ['{host}']"), &format!("store.redis.cluster[0]: {form}"));
        }
        let settings = Settings::valid().with("[store.redis]\ncluster = ['a:1']");
        assert_eq!(
            settings.problems(),
            "store.kind: is missing, and store.redis.cluster is given: say which store it is"
        );
    }

    #[test]
    fn files_of_tls_are_whole_and_have_a_use() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let broken = "names a file that has no PEM certificates, or broken ones";
        check(&format!("url = 'rediss://a'\nca_file = '{here}'"), &format!("store.redis.ca_file: {broken}"));
        check(
            &format!("url = 'rediss://a'\nclient_key_file = '{here}'"),
            &format!("store.redis.client_certificate_file: {TOGETHER}"),
        );
        check(
            &format!("url = 'rediss://a'\nclient_certificate_file = '{here}'"),
            &format!("store.redis.client_key_file: {TOGETHER}"),
        );
        check(
            &format!("url = 'rediss://a'\nclient_certificate_file = '{here}'\nclient_key_file = '{here}'"),
            &format!("store.redis.client_certificate_file: {broken}"),
        );
        check("url = 'redis://a'\ntls = true", "store.redis.tls: is only for rediss://, which is Redis over TLS");
    }

    #[test]
    fn the_rest_of_redis_has_limits() {
        check(
            "url = 'redis://cache'\nprefix = 'a b'\ndeadline = '1m'\nconnections = 0",
            "store.redis.connections: must be between 1 and 1000\nstore.redis.deadline: must be between 10ms and 10s\nstore.redis.prefix: must be at most 64 letters, digits and _ - . :",
        );
    }
}
