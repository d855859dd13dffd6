//! The one bounded HTTP client: whatever the gateway itself asks of others leaves through here.
//!
//! It follows no redirect, obeys no proxy from the environment, reads no more of an answer than its limit, and gives
//! up in time. It says whether a request can have arrived: every request has a connection of its own, because one
//! that was kept may be closed under a refresh, and then nobody knows whether the token was used. It knows nothing of
//! OpenID Connect, and never logs.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use reqwest::{
    Certificate, Client,
    dns::{Addrs, Name, Resolve, Resolving},
};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::{sync::OnceCell, task::spawn_blocking};
use url::Url;

use self::destination::{PlainHttp, Reachable, is_loopback_name};

pub mod destination;

/// The client; clones share it.
#[derive(Clone, Debug)]
pub struct Outbound {
    config: Arc<Config>,
    client: Arc<OnceCell<Client>>,
}

/// What the client is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// PEM certificates that are trusted as well as the system's own.
    pub extra_roots: Option<Vec<u8>>,
    /// Whether http is ever spoken.
    pub plain_http: PlainHttp,
    /// How long name look-up, TCP and TLS may take together.
    pub connect_timeout: Duration,
    /// How long everything may take, the answer's last byte included. Longer than `connect_timeout`.
    pub whole_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            extra_roots: None,
            plain_http: PlainHttp::Refused,
            connect_timeout: CONNECT_TIMEOUT,
            whole_timeout: WHOLE_TIMEOUT,
        }
    }
}

impl Outbound {
    /// Takes the settings. The system's roots are read when something is asked for the first time: that takes longer than all
    /// the rest of a start.
    ///
    /// # Errors
    /// [`OutboundError::Malformed`] when the extra roots are no PEM certificates.
    pub fn new(config: &Config) -> Result<Self, OutboundError> {
        extra_roots(config)?;
        Ok(Self { config: Arc::new(config.clone()), client: Arc::default() })
    }

    async fn client(&self) -> Result<&Client, OutboundError> {
        let made = self.client.get_or_try_init(|| async {
            let config = Arc::clone(&self.config);
            let made = spawn_blocking(move || client(&config)).await;
            made.map_err(|error| OutboundError::Malformed(error.to_string()))?
        });
        made.await
    }

    /// Whether http is ever spoken.
    pub fn plain_http(&self) -> PlainHttp {
        self.config.plain_http
    }

    /// Sends one request to one of those origins and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// [`OutboundError`]; [`OutboundError::may_have_arrived`] says what the other side can know of it.
    pub async fn call(
        &self,
        request: Request<Vec<u8>>,
        reachable: &Reachable,
    ) -> Result<Response<Vec<u8>>, OutboundError> {
        let request = reqwest::Request::try_from(request)
            .map_err(|error| OutboundError::Malformed(chain(&error.without_url())))?;
        self.permitted(request.url(), reachable)?;
        let answer = self.client().await?.execute(request).await.map_err(sending_failed)?;
        read_whole(answer).await
    }

    fn permitted(&self, url: &Url, reachable: &Reachable) -> Result<(), OutboundError> {
        if self.config.plain_http.permits(url) && reachable.contains(url) {
            return Ok(());
        }
        Err(OutboundError::NotPermitted(url.origin().ascii_serialization()))
    }
}

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The settings or the request are not usable; nothing was sent.
    #[error("not usable: {0}")]
    Malformed(String),
    /// The destination is not listed, or not over TLS; nothing was sent.
    #[error("{0} is no permitted destination")]
    NotPermitted(String),
    /// No connection came about; nothing was sent.
    #[error("could not connect: {0}")]
    NotConnected(String),
    /// The request went out, and no whole answer came back in time.
    #[error("no whole answer: {0}")]
    NoWholeAnswer(String),
    /// The answer's body is longer than the limit.
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
}

impl OutboundError {
    /// Whether the other side can have seen the request and acted upon it.
    pub const fn may_have_arrived(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::NotPermitted(_) | Self::NotConnected(_) => false,
            Self::NoWholeAnswer(_) | Self::TooLarge => true,
        }
    }
}

/// Reads the system's roots, and nothing from the network.
fn client(config: &Config) -> Result<Client, OutboundError> {
    Client::builder()
        .tls_certs_merge(extra_roots(config)?)
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .https_only(config.plain_http == PlainHttp::Refused)
        .pool_max_idle_per_host(0)
        .connect_timeout(config.connect_timeout)
        .timeout(config.whole_timeout)
        .dns_resolver(Resolver)
        .build()
        .map_err(|error| OutboundError::Malformed(chain(&error)))
}

fn extra_roots(config: &Config) -> Result<Vec<Certificate>, OutboundError> {
    let Some(pem) = &config.extra_roots else {
        return Ok(Vec::new());
    };
    match Certificate::from_pem_bundle(pem) {
        Ok(roots) if !roots.is_empty() => are_roots(pem).map(|()| roots),
        Ok(_) => Err(OutboundError::Malformed("no certificate among the extra roots".to_owned())),
        Err(error) => Err(OutboundError::Malformed(chain(&error))),
    }
}

/// The client says so only once it is made.
fn are_roots(pem: &[u8]) -> Result<(), OutboundError> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        let root = root.map_err(|error| OutboundError::Malformed(error.to_string()))?;
        store.add(root).map_err(|error| OutboundError::Malformed(error.to_string()))?;
    }
    Ok(())
}

fn sending_failed(error: reqwest::Error) -> OutboundError {
    let error = error.without_url();
    if error.is_builder() {
        OutboundError::Malformed(chain(&error))
    } else if error.is_connect() {
        OutboundError::NotConnected(chain(&error))
    } else {
        OutboundError::NoWholeAnswer(chain(&error))
    }
}

async fn read_whole(mut answer: reqwest::Response) -> Result<Response<Vec<u8>>, OutboundError> {
    let mut body = Vec::new();
    while let Some(piece) =
        answer.chunk().await.map_err(|error| OutboundError::NoWholeAnswer(chain(&error.without_url())))?
    {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(OutboundError::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    let mut whole = Response::new(body);
    *whole.status_mut() = answer.status();
    *whole.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(whole)
}

/// The error and what caused it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.chars().take(MAX_CAUSE_CHARS).collect()
}

/// Asks the system, but for names that mean this machine: those no name server may send elsewhere.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            if is_loopback_name(name.as_str()) {
                let addresses = ["127.0.0.1:0", "[::1]:0"].map(str::parse::<SocketAddr>);
                return Ok(Box::new(addresses.into_iter().flatten()) as Addrs);
            }
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// The most of an answer's body that is read.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WHOLE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CAUSE_CHARS: usize = 512;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own set-up")]

    use std::io::{Read, Write};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    fn development() -> Outbound {
        Outbound::new(&Config {
            plain_http: PlainHttp::Loopback,
            connect_timeout: Duration::from_millis(500),
            whole_timeout: Duration::from_secs(1),
            ..Config::default()
        })
        .unwrap()
    }

    async fn get(url: &str) -> Result<Response<Vec<u8>>, OutboundError> {
        let request = Request::get(url).body(Vec::new()).unwrap();
        let reachable = Reachable::of([&Url::parse(url).unwrap()]);
        development().call(request, &reachable).await
    }

    /// Answers one connection with those bytes, then keeps it open until the client goes.
    async fn answering(bytes: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?secret=marker", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            drop(stream.write_all(&bytes).await);
            drop(stream.read(&mut request).await);
        });
        url
    }

    #[tokio::test]
    async fn a_whole_answer_comes_back_with_status_and_body() {
        let url = answering(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nhi".to_vec()).await;
        let answer = get(&url).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_slice()), (404, &b"hi"[..]));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let url =
            answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec())
                .await;
        assert_eq!(get(&url).await.unwrap().status(), 302);
    }

    #[tokio::test]
    async fn a_name_under_localhost_is_this_machine() {
        let url = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
        let url = url.replace("127.0.0.1", "op.localhost");
        assert_eq!(get(&url).await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn a_closed_port_was_surely_not_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?secret=marker", listener.local_addr().unwrap());
        drop(listener);
        let error = get(&url).await.unwrap_err();
        assert!(matches!(error, OutboundError::NotConnected(_)), "{error}");
        assert!(!error.may_have_arrived() && !error.to_string().contains("marker"));
    }

    #[tokio::test]
    async fn silence_half_an_answer_and_a_broken_line_may_have_arrived() {
        for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b"not http at all\r\n\r\n"] {
            let url = answering(bytes.to_vec()).await;
            let error = get(&url).await.unwrap_err();
            assert!(matches!(error, OutboundError::NoWholeAnswer(_)), "{error}");
            assert!(error.may_have_arrived() && !error.to_string().contains("marker"));
        }
    }

    #[tokio::test]
    async fn an_answer_over_the_limit_is_cut_off() {
        let mut bytes = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + MAX_ANSWER_BYTES + 1, b'x');
        let url = answering(bytes).await;
        assert_eq!(get(&url).await.unwrap_err(), OutboundError::TooLarge);
    }

    #[tokio::test]
    async fn an_unlisted_origin_is_refused_before_any_connection() {
        let request = Request::get("http://127.0.0.1:1/").body(Vec::new()).unwrap();
        let listed = Reachable::of([&Url::parse("http://127.0.0.1:2/").unwrap()]);
        let error = development().call(request, &listed).await.unwrap_err();
        assert_eq!(error, OutboundError::NotPermitted("http://127.0.0.1:1".to_owned()));
    }

    /// Answers one TLS connection under a certificate of its own for `localhost`, and says what was asked.
    fn answering_over_tls() -> (String, String, std::thread::JoinHandle<String>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let serving = std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (url, made.cert.pem(), serving)
    }

    #[tokio::test]
    async fn a_certificate_is_believed_only_under_a_root_that_is_trusted() {
        for trusted in [true, false] {
            let (url, pem, serving) = answering_over_tls();
            let extra_roots = trusted.then(|| pem.into_bytes());
            let client = Outbound::new(&Config { extra_roots, ..Config::default() }).unwrap();
            let reachable = Reachable::of([&Url::parse(&url).unwrap()]);
            let request = Request::get(&url).body(Vec::new()).unwrap();
            let answer = client.call(request, &reachable).await;
            let asked = serving.join().unwrap();
            if trusted {
                assert_eq!(answer.unwrap().status(), 200);
                assert!(asked.contains(concat!("user-agent: portcullis/", env!("CARGO_PKG_VERSION"))), "{asked}");
            } else {
                let error = answer.unwrap_err();
                assert!(matches!(error, OutboundError::NotConnected(_)), "{error}");
                assert_eq!(asked, "");
            }
        }
    }

    #[test]
    fn roots_that_are_no_certificates_are_refused() {
        for pem in [&b""[..], b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let config = Config { extra_roots: Some(pem.to_vec()), ..Config::default() };
            assert!(matches!(Outbound::new(&config), Err(OutboundError::Malformed(_))));
        }
    }
}
