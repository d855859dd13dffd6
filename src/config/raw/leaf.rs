//! Pure. Single values of the settings: from what TOML has to a type that cannot hold the bad case.
//!
//! Invariant: no message shows the value it is about.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use http::Method;
use ipnet::IpNet;
use toml::Value;
use zeroize::Zeroizing;

use super::node::Kind;
use crate::{
    config::{
        Mode,
        problem::{Checked, Path, Problems},
    },
    inbound::Listener,
    oidc::{claims::ClaimPath, jwk::Algorithm},
    origin::{HostName, PublicUrl},
    route::Prefix,
    rules::{Email, EmailDomain},
    secret::Secret,
    server::peer_certificate::PeerName,
    session::{Method as SignInMethod, binding::Strictness},
    store::{
        redis::Host,
        window::{MOST_COUNTED, Rate},
    },
    telemetry::Format,
    verify::{
        matching::{METHODS, PathPattern},
        policy::PolicyName,
    },
};

/// A single value that can be read.
pub(in crate::config) trait Leaf: Sized {
    /// How an environment variable's text becomes such a value.
    const KIND: Kind;

    /// Reads it.
    fn read(value: Value, path: &Path, problems: &mut Problems) -> Checked<Self>;
}

/// A value that the settings write as a text.
trait FromText: Sized {
    fn from_text(text: String) -> Result<Self, String>;
}

impl<T: FromText> Leaf for T {
    const KIND: Kind = Kind::Text;

    fn read(value: Value, path: &Path, problems: &mut Problems) -> Checked<Self> {
        let Value::String(text) = value else {
            return Err(problems.add(path, "must be a text in quotes"));
        };
        T::from_text(text).map_err(|message| problems.add(path, message))
    }
}

impl Leaf for Secret {
    const KIND: Kind = Kind::Secret;

    fn read(value: Value, path: &Path, problems: &mut Problems) -> Checked<Self> {
        String::read(value, path, problems).map(Self::new)
    }
}

impl Leaf for bool {
    const KIND: Kind = Kind::Value;

    fn read(value: Value, path: &Path, problems: &mut Problems) -> Checked<Self> {
        value.as_bool().ok_or_else(|| problems.add(path, "must be true or false, without quotes"))
    }
}

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Count(pub(in crate::config) u64);

impl Leaf for Count {
    const KIND: Kind = Kind::Value;

    fn read(value: Value, path: &Path, problems: &mut Problems) -> Checked<Self> {
        let read = value.as_integer().and_then(|number| u64::try_from(number).ok());
        read.map(Self).ok_or_else(|| problems.add(path, "must be a whole number, without quotes"))
    }
}

impl Leaf for ClaimPath {
    const KIND: Kind = Kind::Value;

    fn read(value: Value, path: &Path, problems: &mut Problems) -> Checked<Self> {
        let read = match value {
            Value::String(_) | Value::Array(_) => value.try_into().ok(),
            _ => None,
        };
        let shapes = r#"must be a claim: "groups", "realm_access.roles", ["roles", "my.app"]"#;
        read.ok_or_else(|| problems.add(path, shapes))
    }
}

impl<T: Leaf> Leaf for Vec<T> {
    const KIND: Kind = Kind::Value;

    fn read(value: Value, path: &Path, problems: &mut Problems) -> Checked<Self> {
        let Value::Array(values) = value else {
            return Err(problems.add(path, r#"must be a list, such as ["a", "b"]"#));
        };
        let members = values.into_iter().enumerate();
        let read: Vec<_> = members.map(|(index, value)| T::read(value, &path.index(index), problems)).collect();
        read.into_iter().collect()
    }
}

impl FromText for String {
    fn from_text(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".into());
        }
        Ok(text)
    }
}

impl FromText for Prefix {
    fn from_text(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| r#"must be a plain path, such as "/auth" or "/""#.into())
    }
}

impl FromText for SignInMethod {
    fn from_text(text: String) -> Result<Self, String> {
        let all = [Self::Oidc, Self::ClientCertificate];
        let named = all.into_iter().find(|method| method.label() == text);
        named.ok_or_else(|| r#"must be "oidc" or "client-certificate""#.into())
    }
}

impl FromText for PathBuf {
    fn from_text(text: String) -> Result<Self, String> {
        String::from_text(text).map(Self::from)
    }
}

impl FromText for Duration {
    fn from_text(text: String) -> Result<Self, String> {
        let duration = humantime::parse_duration(&text);
        duration.map_err(|_| r#"must be a duration with its unit, such as "90s", "30m" or "1h 30m""#.into())
    }
}

impl FromText for PublicUrl {
    fn from_text(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|error| error.to_string())
    }
}

impl FromText for HostName {
    fn from_text(text: String) -> Result<Self, String> {
        let host = Self::parse(&text).filter(|_| !text.contains('*'));
        host.ok_or_else(|| "must be one host name, without scheme, port or wild card".into())
    }
}

impl FromText for Email {
    fn from_text(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "is not an e-mail address".into())
    }
}

impl FromText for EmailDomain {
    fn from_text(text: String) -> Result<Self, String> {
        let domain = Self::parse(&text);
        domain.ok_or_else(|| r#"must be a domain such as "example.com", without "@" or wild card"#.into())
    }
}

impl FromText for PathPattern {
    fn from_text(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|error| error.to_string())
    }
}

impl FromText for Method {
    fn from_text(text: String) -> Result<Self, String> {
        let method = METHODS.contains(&text.as_str()).then(|| text.parse().ok()).flatten();
        method.ok_or_else(|| one_of(&METHODS))
    }
}

impl FromText for PolicyName {
    fn from_text(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "must be the name of a policy".into())
    }
}

impl FromText for IpNet {
    fn from_text(text: String) -> Result<Self, String> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(Self::from));
        network.map_err(|_| r#"must be an address or a network, such as "10.0.0.7" or "10.0.0.0/24""#.into())
    }
}

impl FromText for PeerName {
    fn from_text(text: String) -> Result<Self, String> {
        let forms = r#"must be a DNS name such as "nginx.internal", or "IP:10.0.0.7", or "URI:spiffe://example.com/nginx", without wild card"#;
        Self::parse(&text).ok_or_else(|| forms.into())
    }
}

impl FromText for Algorithm {
    fn from_text(text: String) -> Result<Self, String> {
        Self::from_name(&text).ok_or_else(|| one_of(&Self::ALL.map(Self::name)))
    }
}

/// So many in so long, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Allowance(pub(in crate::config) Option<Rate>);

impl FromText for Allowance {
    fn from_text(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        Rate::from_text(text).map(|rate| Self(Some(rate))).map_err(|message| format!("{message}, or \"off\""))
    }
}

impl FromText for Rate {
    fn from_text(text: String) -> Result<Self, String> {
        let (most, per) = text.split_once('/').unwrap_or_default();
        let most = most.trim().parse().ok().filter(|_| most.trim().bytes().all(|digit| digit.is_ascii_digit()));
        let rate = most.zip(humantime::parse_duration(per.trim()).ok()).and_then(|(most, per)| Self::new(most, per));
        rate.ok_or_else(|| {
            format!("must be how many in how long, such as \"30/1m\": 1 to {MOST_COUNTED} in at most a day")
        })
    }
}

impl FromText for Host {
    fn from_text(text: String) -> Result<Self, String> {
        let (name, port) = text.rsplit_once(':').unwrap_or_default();
        let name = match url::Host::parse(name) {
            Ok(url::Host::Ipv6(address)) => Some(address.to_string()),
            Ok(host) => Some(host.to_string()),
            Err(_) => None,
        };
        let port = port.parse().ok().filter(|port| *port > 0);
        let host = name.zip(port).map(|(name, port)| Self { name, port });
        host.ok_or_else(|| r#"must be a host and a port, such as "redis-1.internal:6379""#.into())
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromText for ListenAddress {
    fn from_text(text: String) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        let address = text.parse().map(Self::Tcp);
        address.map_err(|_| r#"must be an address and a port, such as "127.0.0.1:4180", or "unix:/path""#.into())
    }
}

/// The path of a Unix socket.
pub(in crate::config) fn socket_path(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err("must have an absolute path for its Unix socket".into());
    }
    if path.len() > SOCKET_PATH_BYTES {
        return Err(format!("must not have a path longer than {SOCKET_PATH_BYTES} bytes for its Unix socket"));
    }
    Ok(path.into())
}

/// The permissions of a socket's file, as in `chmod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct SocketMode(pub(in crate::config) u32);

impl FromText for SocketMode {
    fn from_text(text: String) -> Result<Self, String> {
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| octal && *mode <= 0o777);
        mode.map(Self).ok_or_else(|| r#"must be permissions as in chmod, such as "0660""#.into())
    }
}

/// A file that the settings name.
#[derive(Clone)]
pub(in crate::config) struct File {
    /// Where it is.
    pub(in crate::config) path: PathBuf,
    /// What is in it; nothing before it was read.
    pub(in crate::config) contents: Zeroizing<Vec<u8>>,
}

impl FromText for File {
    fn from_text(text: String) -> Result<Self, String> {
        PathBuf::from_text(text).map(|path| Self { path, contents: Zeroizing::default() })
    }
}

impl fmt::Debug for File {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A choice between a few words.
macro_rules! words {
    ($($choice:ty { $($word:literal => $value:expr,)+ })+) => {$(
        impl FromText for $choice {
            fn from_text(text: String) -> Result<Self, String> {
                match text.as_str() {
                    $($word => Ok($value),)+
                    _ => Err(one_of(&[$($word),+])),
                }
            }
        }
    )+};
}

words! {
    Mode { "production" => Mode::Production, "development" => Mode::Development, }
    Listener { "nginx" => Listener::Nginx, "application" => Listener::Application, "ops" => Listener::Ops, }
    SameSite { "lax" => SameSite::Lax, "strict" => SameSite::Strict, }
    Strictness { "off" => Strictness::Off, "log" => Strictness::Log, "strict" => Strictness::Strict, }
    StoreKind { "memory" => StoreKind::Memory, "redis" => StoreKind::Redis, }
    Format { "json" => Format::Json, "text" => Format::Text, }
    Authentication {
        "client_secret_basic" => Authentication::Basic,
        "client_secret_post" => Authentication::Post,
        "none" => Authentication::None,
        "private_key_jwt" => Authentication::PrivateKeyJwt,
    }
    LogoutKind { "rp_initiated" => LogoutKind::RpInitiated, "off" => LogoutKind::Off, }
    ResponseMode { "query" => ResponseMode::Query, "form_post" => ResponseMode::FormPost, }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("must be one of {}", quoted.join(", "))
}

/// `SameSite` of the session cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum SameSite {
    Lax,
    Strict,
}

/// Which store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum StoreKind {
    Memory,
    Redis,
}

/// How the gateway proves itself to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Authentication {
    Basic,
    Post,
    None,
    PrivateKeyJwt,
}

/// How the provider's answer comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum ResponseMode {
    Query,
    FormPost,
}

/// What a sign-out does at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum LogoutKind {
    RpInitiated,
    Off,
}

/// What `sun_path` holds beside its final zero byte.
const SOCKET_PATH_BYTES: usize = 107;
