//! Pure. From three PEM files to what TLS is served with, and when a change of the files counts.
//!
//! Invariant: what comes out of here always demands a client certificate that one of the given authorities issued, that
//! is in time and is meant for clients, and remembers no session: a resumed one would skip all of that, even after the
//! authority was replaced.

use std::{path::PathBuf, sync::Arc};

use aws_lc_rs::digest::{self, SHA256};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{self, CryptoProvider},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::Timestamp;

/// One of the three files that TLS needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Our own certificate, and those between it and its root.
    Certificate,
    /// Its private key.
    Key,
    /// Who issues the certificates of nginx.
    ClientCa,
}

/// Something for each of the three files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerFile<T> {
    /// For the certificate.
    pub certificate: T,
    /// For its key.
    pub key: T,
    /// For the authorities.
    pub client_ca: T,
}

impl<T> PerFile<T> {
    /// What is for that file.
    pub const fn of(&self, part: Part) -> &T {
        match part {
            Part::Certificate => &self.certificate,
            Part::Key => &self.key,
            Part::ClientCa => &self.client_ca,
        }
    }
}

/// What TLS is served with, until when, and what it was read from.
#[derive(Clone, Debug)]
pub struct Certificates {
    template: ServerConfig,
    not_after: Timestamp,
    fingerprint: Fingerprint,
}

impl Certificates {
    /// Reads the contents of the three files.
    ///
    /// # Errors
    /// Every [`Flaw`] there is.
    pub fn read(files: &PerFile<&[u8]>) -> Result<Self, Vec<Flaw>> {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let own = own(files, &provider);
        let verifier = verifier(files.client_ca, &provider).map_err(|flaw| vec![flaw]);
        let ((own, not_after), verifier) = match (own, verifier) {
            (Ok(own), Ok(verifier)) => (own, verifier),
            (own, verifier) => {
                return Err([own.err(), verifier.err()].into_iter().flatten().flatten().collect());
            }
        };
        let template = template(own, verifier, provider).map_err(|_| vec![Flaw::ClientCa])?;
        Ok(Self { template, not_after, fingerprint: Fingerprint::of(files) })
    }

    /// What serves handshakes that go by that clock.
    pub fn serving_by(&self, time: Arc<dyn TimeProvider>) -> Arc<ServerConfig> {
        let mut config = self.template.clone();
        config.time_provider = time;
        Arc::new(config)
    }

    /// The last moment of our own certificate.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// What it was read from.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

fn own(files: &PerFile<&[u8]>, provider: &CryptoProvider) -> Result<(CertifiedKey, Timestamp), Vec<Flaw>> {
    let chain = certificates(files.certificate).ok_or(Flaw::Certificate);
    let dated = chain.and_then(|chain| not_after(&chain).map(|moment| (chain, moment)).ok_or(Flaw::Certificate));
    let key = PrivateKeyDer::from_pem_slice(files.key).map_err(|_| Flaw::Key);
    let key = key.and_then(|key| provider.key_provider.load_private_key(key).map_err(|_| Flaw::Key));
    let ((chain, not_after), key) = match (dated, key) {
        (Ok(dated), Ok(key)) => (dated, key),
        (dated, key) => return Err([dated.err(), key.err()].into_iter().flatten().collect()),
    };
    let own = CertifiedKey::new(chain, key);
    own.keys_match().map_err(|_| vec![Flaw::AnotherKey])?;
    Ok((own, not_after))
}

fn verifier(pem: &[u8], provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Flaw> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).ok_or(Flaw::ClientCa)? {
        roots.add(certificate).map_err(|_| Flaw::ClientCa)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder.build().map_err(|_| Flaw::ClientCa)
}

fn template(
    own: CertifiedKey,
    verifier: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// All certificates of a file; none if there are none, or one is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|certificates| !certificates.is_empty())
}

fn not_after(chain: &[CertificateDer<'_>]) -> Option<Timestamp> {
    let (_, own) = X509Certificate::from_der(chain.first()?).ok()?;
    let seconds = u64::try_from(own.validity().not_after.timestamp());
    Some(Timestamp::from_seconds(seconds.unwrap_or_default()))
}

/// What is wrong with one of the files, to be read after "names a file that".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The certificate cannot be read.
    #[error("has no PEM certificates, or broken ones")]
    Certificate,
    /// The key cannot be read.
    #[error("has no PEM private key that can be used: PKCS#8, SEC1 or PKCS#1, not encrypted")]
    Key,
    /// The key is another's.
    #[error("holds another key than that of the first certificate in tls_certificate_file")]
    AnotherKey,
    /// The authorities cannot be read.
    #[error("has no PEM certificates of authorities, or broken ones")]
    ClientCa,
}

impl Flaw {
    /// The file that it is about.
    pub const fn part(self) -> Part {
        match self {
            Self::Certificate => Part::Certificate,
            Self::Key | Self::AnotherKey => Part::Key,
            Self::ClientCa => Part::ClientCa,
        }
    }
}

/// What the files held, told apart and not kept: one of them is a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of the contents.
    pub fn of(files: &PerFile<&[u8]>) -> Self {
        let mut context = digest::Context::new(&SHA256);
        for contents in [files.certificate, files.key, files.client_ca] {
            context.update(&contents.len().to_le_bytes());
            context.update(contents);
        }
        Self::from_digest(&context.finish())
    }

    /// Of the trouble that there is with reading them.
    pub fn of_trouble(text: &str) -> Self {
        Self::from_digest(&digest::digest(&SHA256, text.as_bytes()))
    }

    fn from_digest(digest: &digest::Digest) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

/// Where the files are.
pub type Paths = PerFile<PathBuf>;

/// What was seen of the files so far. A change counts, once, when two looks in a row saw it: whoever replaces three
/// files replaces them one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Sightings {
    settled: Fingerprint,
    last: Fingerprint,
}

impl Sightings {
    /// Begins with what is in use.
    pub const fn since(used: Fingerprint) -> Self {
        Self { settled: used, last: used }
    }

    /// Takes a look down; true if it is the second that saw a change.
    pub fn settled_on(&mut self, seen: Fingerprint) -> bool {
        let twice = self.last == seen;
        self.last = seen;
        let counts = twice && self.settled != seen;
        if counts {
            self.settled = seen;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    struct Made {
        certificate: String,
        key: String,
    }

    fn made(name: &str) -> Made {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Made { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    fn flaws(certificate: &str, key: &str, client_ca: &str) -> Vec<Flaw> {
        let files =
            PerFile { certificate: certificate.as_bytes(), key: key.as_bytes(), client_ca: client_ca.as_bytes() };
        Certificates::read(&files).err().unwrap_or_default()
    }

    #[test]
    fn every_flaw_is_told_at_once() {
        let (one, other) = (made("a.internal"), made("b.internal"));
        let ca = &other.certificate;
        assert_eq!(flaws(&one.certificate, &one.key, ca), []);
        assert_eq!(flaws("", "", ""), [Flaw::Certificate, Flaw::Key, Flaw::ClientCa]);
        assert_eq!(flaws(&one.certificate, &other.key, ca), [Flaw::AnotherKey]);
        assert_eq!(flaws(&one.certificate, &one.key, &one.key), [Flaw::ClientCa]);
        assert_eq!(flaws(&one.key, &one.certificate, ca), [Flaw::Certificate, Flaw::Key]);
        let half = &one.certificate[..one.certificate.len() / 2];
        assert_eq!(flaws(half, &one.key, ca), [Flaw::Certificate]);
        assert_eq!(flaws(&format!("{}{half}", one.certificate), &one.key, ca), [Flaw::Certificate]);
        assert_eq!(flaws(&one.certificate, &one.key[..60], ca), [Flaw::Key]);
        let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert_eq!(flaws(&one.certificate, &encrypted, ca), [Flaw::Key]);
    }

    #[test]
    fn certificate_and_key_may_stand_in_one_file() {
        let one = made("a.internal");
        let both = format!("{}{}", one.key, one.certificate);
        assert_eq!(flaws(&both, &both, &one.certificate), []);
    }

    #[test]
    fn a_session_is_never_resumed() {
        let one = made("a.internal");
        let files = PerFile {
            certificate: one.certificate.as_bytes(),
            key: one.key.as_bytes(),
            client_ca: one.certificate.as_bytes(),
        };
        let read = Certificates::read(&files).unwrap();
        assert!(!read.template.session_storage.can_cache());
        assert_eq!(read.template.send_tls13_tickets, 0);
        assert!(!read.template.ticketer.enabled());
        assert_eq!(read.fingerprint(), Fingerprint::of(&files));
    }

    #[test]
    fn a_change_counts_once_and_when_it_was_seen_twice() {
        let [used, half, new] = ["used", "half", "new"].map(Fingerprint::of_trouble);
        let mut sightings = Sightings::since(used);
        for (seen, counts) in [
            (used, false),
            (half, false),
            (new, false),
            (new, true),
            (new, false),
            (half, false),
            (half, true),
            (half, false),
            (used, false),
            (half, false),
            (used, false),
            (used, true),
        ] {
            assert_eq!(sightings.settled_on(seen), counts, "{seen:?}");
        }
    }
}
