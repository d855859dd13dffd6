//! How to reach Redis: what the settings say, and the client that comes of it. Reads the authorities' file, and asks the
//! network nothing.

use std::{fmt, num::NonZeroUsize, path::PathBuf, time::Duration};

use deadpool_redis::{
    Manager, Pool, Runtime,
    redis::{
        AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
        TlsCertificates,
    },
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

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

/// Where Redis listens.
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
        /// A PEM file of authorities to trust instead of the system's.
        ca_file: Option<PathBuf>,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => {
                write!(formatter, "{host}:{port}")
            }
        }
    }
}

/// Why the Redis store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The authorities' file cannot be read.
    #[error("{path} cannot be read: {cause}")]
    CaUnreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The authorities' file holds no certificate, or something else too.
    #[error("{path} is not a PEM file of certificates")]
    CaMalformed {
        /// Which file.
        path: PathBuf,
    },
    /// The prefix would spoil the keys.
    #[error("a key prefix is 1 to 64 letters, digits, `_`, `-`, `.` and `:`")]
    Prefix,
    /// The client library does not take these settings.
    #[error("the Redis client does not take these settings: {0}")]
    Client(String),
}

/// The client library's own pool, which makes connections and nothing else.
pub(super) fn pool(config: &Config) -> Result<Pool, SetupError> {
    let refused = |error: &dyn fmt::Display| SetupError::Client(error.to_string());
    // The one deadline of each operation covers connecting and waiting for answers.
    let timing = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let manager =
        Manager::new_with_config(connection_info(config)?, timing).map_err(|error| refused(&error.category()))?;
    Pool::builder(manager)
        .max_size(config.connections.get())
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| refused(&error))
}

/// A client for the one connection that listens.
pub(super) fn listening_client(config: &Config) -> Result<Client, SetupError> {
    Client::open(connection_info(config)?).map_err(|error| SetupError::Client(error.category().to_owned()))
}

fn connection_info(config: &Config) -> Result<ConnectionInfo, SetupError> {
    let mut login = RedisConnectionInfo::default()
        .set_db(i64::from(config.database))
        .set_lib_name("portcullis", env!("CARGO_PKG_VERSION"));
    if let Some(username) = &config.username {
        login = login.set_username(username);
    }
    if let Some(password) = &config.password {
        login = login.set_password(password.reveal());
    }
    let info = connection_address(&config.address)?;
    Ok(info.set_redis_settings(login))
}

fn connection_address(address: &Address) -> Result<ConnectionInfo, SetupError> {
    let refused = |error: deadpool_redis::redis::RedisError| SetupError::Client(error.category().to_owned());
    let (plain, root_cert) = match address {
        Address::Unix(path) => (ConnectionAddr::Unix(path.clone()), None),
        Address::Tcp { host, port } => (ConnectionAddr::Tcp(host.clone(), *port), None),
        Address::Tls { host, port, ca_file } => (
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
            ca_file.as_ref().map(authorities).transpose()?,
        ),
    };
    let info = plain.into_connection_info().map_err(refused)?;
    if root_cert.is_none() {
        return Ok(info);
    }
    let trust = TlsCertificates { client_tls: None, root_cert };
    let client = Client::build_with_tls(info, trust).map_err(refused)?;
    Ok(client.get_connection_info().clone())
}

/// Reads a PEM file that holds at least one certificate.
fn authorities(path: &PathBuf) -> Result<Vec<u8>, SetupError> {
    let pem = std::fs::read(path).map_err(|cause| SetupError::CaUnreadable { path: path.clone(), cause })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        _ => Err(SetupError::CaMalformed { path: path.clone() }),
    }
}

/// How long an operation may take unless the settings say otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_millis(800);

/// How many connections are shared unless the settings say otherwise.
pub const DEFAULT_CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN;

/// What keys begin with unless the settings say otherwise.
pub const DEFAULT_PREFIX: &str = "portcullis";

/// Most requests that wait to be written to one connection.
const QUEUE: usize = 256;
