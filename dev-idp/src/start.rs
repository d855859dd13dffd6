//! Starts a provider and holds it: the handle that tests script it with.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::{
    endpoint::Endpoint,
    keys::KeySet,
    ledger::Issued,
    log::Record,
    provider::Provider,
    server::Server,
    settings::{Client, Issuer, Person, Settings, Tls},
    switch::Switch,
    trouble::Trouble,
};

/// A running provider. Every method takes effect at once; dropping it ends the server.
pub struct DevIdp {
    provider: Arc<Provider>,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    server: Mutex<Option<Server>>,
}

impl std::fmt::Debug for DevIdp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DevIdp").field("issuer", &self.provider.issuer).finish_non_exhaustive()
    }
}

/// Starts a provider on the caller's tokio runtime.
///
/// # Errors
///
/// When the address is not loopback or taken, the certificate or the issuer is no good, or no keys can be made.
pub async fn start(settings: Settings) -> Result<DevIdp, StartError> {
    let acceptor = settings.tls.as_ref().map(acceptor).transpose()?;
    let listener = listener(settings.listen).await?;
    let listen = settings.listen;
    let address = listener.local_addr().map_err(|source| StartError::Listen { address: listen, source })?;
    let (issuer, base) = issuer(&settings, address)?;
    made_keys().await?;
    let provider = Arc::new(Provider::new(settings, issuer, base, address.port()));
    let server = Server::start(listener, acceptor.clone(), Arc::clone(&provider));
    Ok(DevIdp { provider, address, acceptor, server: Mutex::new(Some(server)) })
}

impl DevIdp {
    /// The issuer, exactly as tokens and discovery name it.
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// Where it really listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of an endpoint.
    pub fn url(&self, endpoint: Endpoint) -> String {
        self.provider.url(endpoint)
    }

    /// Begins to misbehave so.
    pub fn set(&self, switch: Switch) {
        self.provider.switches().set(switch);
    }

    /// Stops misbehaving so.
    pub fn clear(&self, switch: Switch) {
        self.provider.switches().clear(switch);
    }

    /// Ends every misbehaviour and every trouble.
    pub fn honest(&self) {
        self.provider.honest();
    }

    /// Makes an endpoint slow, unavailable or hanging, in the place of any trouble it had.
    pub fn trouble(&self, endpoint: Endpoint, trouble: Trouble) {
        self.provider.troubles().set(endpoint, trouble);
    }

    /// Ends the trouble of an endpoint. A request that hangs already goes on hanging.
    pub fn relieve(&self, endpoint: Endpoint) {
        self.provider.troubles().clear(endpoint);
    }

    /// The requests so far, oldest first; at most the last 10,000.
    pub fn log(&self) -> Vec<Record> {
        self.provider.log.records()
    }

    /// The requests to one endpoint so far.
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<Record> {
        self.log().into_iter().filter(|record| record.endpoint == endpoint).collect()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.provider.log.clear();
    }

    /// The tokens issued so far, so that a test can look for them where they must not be.
    pub fn issued(&self) -> Issued {
        self.provider.ledger().issued()
    }

    /// Replaces all keys, with new `kid`s. After eight rotations the first keys come back.
    pub fn rotate_keys(&self) {
        self.provider.rotate_keys();
    }

    /// Moves the provider's clock forward.
    pub fn advance(&self, by: Duration) {
        self.provider.clock.advance(by);
    }

    /// The provider's time, in seconds since 1970.
    pub fn now(&self) -> u64 {
        self.provider.clock.now()
    }

    /// Adds a client, in the place of one with the same id.
    pub fn register(&self, client: Client) {
        self.provider.register(client);
    }

    /// Adds a person, in the place of one with the same login. Tokens issued later and userinfo show the change.
    pub fn enrol(&self, person: Person) {
        self.provider.enrol(person);
    }

    /// Forgets who is signed in at the provider, so that everybody sees the login page again.
    pub fn forget_sign_ons(&self) {
        self.provider.ledger().forget_sign_ons();
    }

    /// Revokes every grant: all refresh tokens, access tokens and codes.
    pub fn revoke_all(&self) {
        self.provider.ledger().revoke_all();
    }

    /// Closes the port and every connection; what the provider knows stays. Does nothing when it is stopped.
    pub async fn stop(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.stop().await;
        }
    }

    /// Serves again, on the same port. Does nothing when it is serving.
    ///
    /// # Errors
    ///
    /// When somebody else took the port meanwhile.
    pub async fn restart(&self) -> Result<(), StartError> {
        if self.is_serving() {
            return Ok(());
        }
        let listener = listener(self.address).await?;
        let server = Server::start(listener, self.acceptor.clone(), Arc::clone(&self.provider));
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }

    fn is_serving(&self) -> bool {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Why a provider does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It would be reachable from other machines.
    #[error("{0} is not a loopback address, and this provider is for this machine alone")]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The PEM text holds no certificate or no key.
    #[error("the certificate or its key is not readable PEM")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// Certificate and key do not make a server.
    #[error("the certificate and its key are not usable")]
    Certificate(#[from] rustls::Error),
    /// The issuer is not a URL.
    #[error("the issuer {0:?} is not an http or https URL")]
    Issuer(String),
    /// The system gave no randomness.
    #[error("no keys could be made")]
    Keys,
}

async fn listener(address: SocketAddr) -> Result<TcpListener, StartError> {
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// Makes the first keys of the process away from the runtime's own threads; later starts find them made.
async fn made_keys() -> Result<(), StartError> {
    let made = tokio::task::spawn_blocking(|| KeySet::pooled(0).map(drop)).await;
    made.ok().and_then(Result::ok).ok_or(StartError::Keys)
}

/// The issuer, and its path without a slash at the end.
fn issuer(settings: &Settings, address: SocketAddr) -> Result<(String, String), StartError> {
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let issuer = match &settings.issuer {
        Issuer::Address => format!("{scheme}://{address}"),
        Issuer::Url(url) => url.clone(),
        Issuer::Host(name) => {
            let (host, path) = name.find('/').map_or((name.as_str(), ""), |slash| name.split_at(slash));
            format!("{scheme}://{host}:{}{path}", address.port())
        }
    };
    let url = Url::parse(&issuer).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| StartError::Issuer(issuer.clone()))?;
    let base = url.path().trim_end_matches('/').to_owned();
    Ok((issuer, base))
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    let certificates =
        CertificateDer::pem_slice_iter(tls.certificates_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(tls.key_pem.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_follows_the_settings() {
        let check = |setting: Issuer, expected: Option<(&str, &str)>| {
            let settings = Settings { issuer: setting, ..Settings::default() };
            let found = issuer(&settings, SocketAddr::from(([127, 0, 0, 1], 99))).ok();
            let expected = expected.map(|(issuer, base)| (issuer.to_owned(), base.to_owned()));
            assert_eq!(found, expected);
        };
        check(Issuer::Address, Some(("http://127.0.0.1:99", "")));
        check(Issuer::Host("op.test".to_owned()), Some(("http://op.test:99", "")));
        check(Issuer::Host("op.test/a/".to_owned()), Some(("http://op.test:99/a/", "/a")));
        check(Issuer::Url("https://op.test/".to_owned()), Some(("https://op.test/", "")));
        check(Issuer::Url("ftp://op.test".to_owned()), None);
        check(Issuer::Url("op.test".to_owned()), None);
    }
}
