//! How to reach Redis: what the settings say, and whom to ask for connections then. Reads the files of TLS, and asks the
//! network nothing.

use std::{
    fmt,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use deadpool_redis::redis::{
    Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{
    cluster::Cluster,
    connections::Connections,
    servers::Servers,
    source::{Endpoint, Sentinel, Source},
};
use crate::secret::Secret;

/// Where Redis is and how to speak to it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub address: Address,
    /// The ACL user; without one, Redis takes the password for its user `default`.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database number.
    pub database: u32,
    /// What all keys begin with: 1 to 64 letters, digits, `_`, `-`, `.` and `:`.
    pub prefix: String,
    /// How long an operation may take, everything included.
    pub deadline: Duration,
    /// How many connections all requests share.
    pub connections: NonZeroUsize,
}

impl Config {
    /// The defaults for a Redis at that address, without a password.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            username: None,
            password: None,
            database: 0,
            prefix: DEFAULT_PREFIX.to_owned(),
            deadline: DEFAULT_DEADLINE,
            connections: DEFAULT_CONNECTIONS,
        }
    }
}

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// Plain TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// TLS over TCP; the server's certificate must be valid for `host`.
    Tls {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Whom to trust, and what to show.
        tls: Tls,
    },
    /// The server that sentinels name.
    Sentinel(Box<Sentinels>),
    /// A cluster.
    Cluster {
        /// Nodes to ask for all others.
        nodes: Vec<Host>,
        /// If all of it is over TLS.
        tls: Option<Tls>,
    },
}

/// One of several servers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// Name or address.
    pub name: String,
    /// Port.
    pub port: u16,
}

/// Sentinels, and how to speak to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they listen.
    pub hosts: Vec<Host>,
    /// What they call the server that takes writes.
    pub master: String,
    /// Their own ACL user.
    pub username: Option<String>,
    /// Their own password.
    pub password: Option<Secret>,
    /// If they, and the servers that they name, are spoken to over TLS.
    pub tls: Option<Tls>,
}

/// Whom to trust over TLS, and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file of authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What to show a server that asks who we are.
    pub client: Option<ClientCertificate>,
}

/// PEM files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those between it and the authority.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            return write!(formatter, "[{}]:{}", self.name, self.port);
        }
        write!(formatter, "{}:{}", self.name, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => {
                write!(formatter, "{host}:{port}")
            }
            Self::Sentinel(sentinels) => {
                write!(formatter, "{}, by the sentinels {}", sentinels.master, listed(&sentinels.hosts))
            }
            Self::Cluster { nodes, .. } => write!(formatter, "the cluster of {}", listed(nodes)),
        }
    }
}

fn listed(hosts: &[Host]) -> String {
    hosts.iter().map(Host::to_string).collect::<Vec<_>>().join(", ")
}

/// Why the Redis store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file of certificates holds none, or something else too.
    #[error("{path} is not a PEM file of certificates")]
    NoCertificates {
        /// Which file.
        path: PathBuf,
    },
    /// A key's file holds none.
    #[error("{path} is not a PEM file of a private key")]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The prefix would spoil the keys.
    #[error("a key prefix is 1 to 64 letters, digits, `_`, `-`, `.` and `:`")]
    Prefix,
    /// A cluster has one database.
    #[error("a cluster has database 0 only")]
    Database,
    /// Nobody to ask.
    #[error("there is no server to ask")]
    NoServers,
    /// The client library does not take these settings.
    #[error("the Redis client does not take these settings: {0}")]
    Client(String),
}

/// Whom to ask for connections.
pub(super) fn servers(config: &Config) -> Result<Servers, SetupError> {
    let login = || login(config.username.as_deref(), config.password.as_ref(), config.database);
    let endpoint = match &config.address {
        Address::Unix(path) => Endpoint::new(ConnectionAddr::Unix(path.clone()), login())?,
        Address::Tcp { host, port } => Endpoint::new(ConnectionAddr::Tcp(host.clone(), *port), login())?,
        Address::Tls { host, port, tls } => {
            let host = Host { name: host.clone(), port: *port };
            Endpoint::new(address(&host, Some(tls))?, login())?
        }
        Address::Sentinel(sentinels) => {
            let source = Source::Sentinel(Box::new(watched(sentinels, login(), config.deadline)?));
            return Ok(Servers::One(Connections::new(source, config.connections.get(), Arc::default())?));
        }
        Address::Cluster { .. } if config.database != 0 => return Err(SetupError::Database),
        Address::Cluster { nodes, tls } => {
            let seeds = endpoints(nodes, tls.as_ref(), &login())?;
            let cluster = Cluster::new(seeds, config.connections.get(), config.deadline)?;
            return Ok(Servers::Cluster(Box::new(cluster)));
        }
    };
    let connections =
        Connections::new(Source::Standalone(Box::new(endpoint)), config.connections.get(), Arc::default())?;
    Ok(Servers::One(connections))
}

fn watched(
    sentinels: &Sentinels,
    login_there: RedisConnectionInfo,
    deadline: Duration,
) -> Result<Sentinel, SetupError> {
    let tls = sentinels.tls.as_ref();
    let login = login(sentinels.username.as_deref(), sentinels.password.as_ref(), 0);
    let all: Vec<_> = endpoints(&sentinels.hosts, tls, &login)?.into_iter().map(|(_, endpoint)| endpoint).collect();
    let first = sentinels.hosts.first().ok_or(SetupError::NoServers)?;
    // The host is whatever a sentinel says.
    let master = Endpoint::new(address(first, tls)?, login_there)?;
    Ok(Sentinel::new(all, master, sentinels.master.clone(), deadline))
}

fn endpoints(
    hosts: &[Host],
    tls: Option<&Tls>,
    login: &RedisConnectionInfo,
) -> Result<Vec<(Host, Endpoint)>, SetupError> {
    let one = |host: &Host| Ok((host.clone(), Endpoint::new(address(host, tls)?, login.clone())?));
    hosts.iter().map(one).collect()
}

fn login(username: Option<&str>, password: Option<&Secret>, database: u32) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default()
        .set_db(i64::from(database))
        .set_lib_name("portcullis", env!("CARGO_PKG_VERSION"));
    if let Some(username) = username {
        login = login.set_username(username);
    }
    if let Some(password) = password {
        login = login.set_password(password.reveal());
    }
    login
}

fn address(host: &Host, tls: Option<&Tls>) -> Result<ConnectionAddr, SetupError> {
    let Host { name, port } = host.clone();
    let Some(tls) = tls else {
        return Ok(ConnectionAddr::Tcp(name, port));
    };
    let plain = ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None };
    let root_cert = tls.ca_file.as_deref().map(certificates).transpose()?;
    let client_tls = tls.client.as_ref().map(client_certificate).transpose()?;
    if root_cert.is_none() && client_tls.is_none() {
        return Ok(plain);
    }
    let refused = |error: RedisError| SetupError::Client(error.category().to_owned());
    let info = plain.into_connection_info().map_err(refused)?;
    let client = Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(refused)?;
    Ok(client.get_connection_info().addr().clone())
}

fn client_certificate(files: &ClientCertificate) -> Result<ClientTlsConfig, SetupError> {
    let client_cert = certificates(&files.certificate_file)?;
    let client_key = read(&files.key_file)?;
    PrivateKeyDer::from_pem_slice(&client_key).map_err(|_| SetupError::NoKey { path: files.key_file.clone() })?;
    Ok(ClientTlsConfig { client_cert, client_key })
}

/// Reads a PEM file that holds at least one certificate.
fn certificates(path: &Path) -> Result<Vec<u8>, SetupError> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        _ => Err(SetupError::NoCertificates { path: path.to_owned() }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    std::fs::read(path).map_err(|cause| SetupError::Unreadable { path: path.to_owned(), cause })
}

/// How long an operation may take unless the settings say otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_millis(800);

/// How many connections are shared unless the settings say otherwise.
pub const DEFAULT_CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN;

/// What keys begin with unless the settings say otherwise.
pub const DEFAULT_PREFIX: &str = "portcullis";
