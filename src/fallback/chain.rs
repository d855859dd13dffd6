//! Pure. Whether a certificate leads to the administrators' authority, and by whom each step could have been revoked.
//!
//! Invariant: a [`Path`] was verified by rustls-webpki (RFC 5280 section 6) for TLS clients, at one moment, from a
//! certificate that says by name that it is a client's. It goes through authorities of the settings alone: nothing that a
//! client sends becomes one. Revocation is not looked at here.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, x509::X509Version};

use crate::{
    clock::Timestamp,
    fallback::certificate::{Leaf, Serial, moment},
};

/// The authorities that issue administrators' certificates.
#[derive(Clone, Debug)]
pub struct AdminCa {
    roots: Vec<Arc<Authority>>,
    intermediates: Vec<Arc<Authority>>,
    anchors: Vec<TrustAnchor<'static>>,
    between: Vec<CertificateDer<'static>>,
}

/// One certificate of an authority.
#[derive(Debug)]
pub struct Authority {
    id: AuthorityId,
    der: CertificateDer<'static>,
    name: Vec<u8>,
    subject: String,
    serial: Serial,
    not_before: Timestamp,
    not_after: Timestamp,
    signs_lists: bool,
}

/// Who an authority is: its name and its key. Two of the same name are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AuthorityId([u8; 32]);

/// The way from a certificate to the root: every issuer, and the number under which it could have revoked the one below.
#[derive(Clone, Debug)]
pub struct Path(Vec<Link>);

/// One step of it.
#[derive(Clone, Debug)]
pub struct Link {
    /// Who issued the certificate.
    pub issuer: Arc<Authority>,
    /// The certificate's number.
    pub serial: Serial,
}

impl AdminCa {
    /// Reads the authorities out of the settings' PEM files; what else is in them is passed over.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn new(roots_pem: &[u8], intermediates_pem: Option<&[u8]>) -> Result<Self, CaError> {
        let roots = authorities(roots_pem, File::Roots)?;
        let intermediates = intermediates_pem.map_or(Ok(Vec::new()), |pem| authorities(pem, File::Intermediates))?;
        let anchors = roots.iter().zip(1..).map(|(root, number)| {
            let anchor = anchor_from_trusted_cert(&root.der).map(|anchor| anchor.to_owned());
            anchor.map_err(|_| CaError::Unreadable(File::Roots, number))
        });
        let anchors = anchors.collect::<Result<_, _>>()?;
        let between = intermediates.iter().map(|authority| authority.der.clone()).collect();
        Ok(Self { roots, intermediates, anchors, between })
    }

    /// All of them, roots first.
    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        self.roots.iter().chain(&self.intermediates).map(AsRef::as_ref)
    }

    /// Whether one of them is that authority.
    pub fn has(&self, id: AuthorityId) -> bool {
        self.authorities().any(|authority| authority.id == id)
    }

    /// Whether both are of the very same certificates.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same = |ours: &[Arc<Authority>], theirs: &[Arc<Authority>]| {
            ours.iter().map(|authority| &authority.der).eq(theirs.iter().map(|authority| &authority.der))
        };
        same(&self.roots, &other.roots) && same(&self.intermediates, &other.intermediates)
    }

    /// The way from that certificate to a root.
    ///
    /// # Errors
    /// [`Untrusted`].
    pub fn verify(&self, leaf: &Leaf, now: Timestamp) -> Result<Path, Untrusted> {
        if leaf.is_authority() {
            return Err(Untrusted::Authority);
        }
        // RFC 5280 lets a certificate without purposes serve every purpose, and webpki goes by that.
        if !leaf.is_for_clients() {
            return Err(Untrusted::NotForClients);
        }
        let certificate = EndEntityCert::try_from(leaf.der()).map_err(Untrusted::Path)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now.seconds()));
        let usage = KeyUsage::client_auth();
        let path = certificate
            .verify_for_usage(ALL_VERIFICATION_ALGS, &self.anchors, &self.between, time, usage, None, None)
            .map_err(Untrusted::Path)?;
        let issuers = self.issuers(&path, now).ok_or(Untrusted::Root)?;
        Ok(Path::of(leaf, issuers))
    }

    /// The issuers on a verified path, from the certificate's own to the root. A root's dates, which webpki takes no notice
    /// of, count as well.
    fn issuers(&self, path: &VerifiedPath<'_>, now: Timestamp) -> Option<Vec<Arc<Authority>>> {
        let mut issuers = Vec::new();
        for certificate in path.intermediate_certificates() {
            let known = self.intermediates.iter().find(|authority| authority.der == certificate.der());
            issuers.push(Arc::clone(known?));
        }
        let roots = self.roots.iter().zip(&self.anchors).filter(|(_, anchor)| *anchor == path.anchor());
        let root = roots.map(|(root, _)| root).find(|root| root.is_in_time(now))?;
        issuers.push(Arc::clone(root));
        Some(issuers)
    }
}

impl Authority {
    /// Who it is.
    pub const fn id(&self) -> AuthorityId {
        self.id
    }

    /// Its certificate.
    pub const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Its name in DER.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its name for the log.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether its certificate lets it sign revocation lists.
    pub const fn signs_lists(&self) -> bool {
        self.signs_lists
    }

    const fn is_in_time(&self, now: Timestamp) -> bool {
        self.not_before.seconds() <= now.seconds() && now.seconds() <= self.not_after.seconds()
    }

    fn read(der: &CertificateDer<'static>) -> Result<Self, Flaw> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| Flaw::Unreadable)?;
        if !rest.is_empty() || certificate.version() != X509Version::V3 {
            return Err(Flaw::Unreadable);
        }
        let constraints = certificate.basic_constraints().map_err(|_| Flaw::Unreadable)?;
        let usage = certificate.key_usage().map_err(|_| Flaw::Unreadable)?;
        let signs_certificates = usage.as_ref().is_none_or(|usage| usage.value.key_cert_sign());
        if !(constraints.is_some_and(|constraints| constraints.value.ca) && signs_certificates) {
            return Err(Flaw::NotAnAuthority);
        }
        let name = certificate.subject().as_raw().to_vec();
        Ok(Self {
            id: AuthorityId::of(&name, certificate.public_key().raw),
            subject: certificate.subject().to_string().escape_default().take(SUBJECT_CHARS).collect(),
            serial: Serial::read(certificate.raw_serial()).ok_or(Flaw::Unreadable)?,
            not_before: moment(certificate.validity().not_before).ok_or(Flaw::Unreadable)?,
            not_after: moment(certificate.validity().not_after).ok_or(Flaw::Unreadable)?,
            signs_lists: usage.is_none_or(|usage| usage.value.crl_sign()),
            name,
            der: der.clone(),
        })
    }
}

impl AuthorityId {
    /// Both parts are DER, which says where it ends.
    fn of(name: &[u8], key: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(name);
        context.update(key);
        let mut id = [0; 32];
        id.copy_from_slice(context.finish().as_ref());
        Self(id)
    }
}

impl Path {
    fn of(leaf: &Leaf, issuers: Vec<Arc<Authority>>) -> Self {
        let below: Vec<Serial> = issuers.iter().map(|issuer| issuer.serial.clone()).collect();
        let serials = std::iter::once(leaf.serial().clone()).chain(below);
        Self(issuers.into_iter().zip(serials).map(|(issuer, serial)| Link { issuer, serial }).collect())
    }

    /// Every step, the certificate's own first; the last one's issuer is the root.
    pub fn links(&self) -> &[Link] {
        &self.0
    }
}

/// A file of the settings with authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// Those that are trusted.
    Roots,
    /// Those between them and the certificates.
    Intermediates,
}

/// Why a file does not make authorities. Certificates are counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// There is no certificate in it.
    #[error("has no PEM certificate")]
    Empty(File),
    /// One of its certificates cannot be read.
    #[error("certificate {1} cannot be read")]
    Unreadable(File, usize),
    /// One of its certificates is not an authority's.
    #[error("certificate {1} is not an authority's: it may not sign certificates")]
    NotAnAuthority(File, usize),
    /// There are too many.
    #[error("has more than {MOST_AUTHORITIES} certificates")]
    TooMany(File),
}

impl CaError {
    /// Which file it is about.
    pub const fn file(self) -> File {
        match self {
            Self::Empty(file) | Self::Unreadable(file, _) | Self::NotAnAuthority(file, _) | Self::TooMany(file) => file,
        }
    }
}

/// Why no path leads from a certificate to a root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It is an authority's itself.
    #[error("it is an authority's")]
    Authority,
    /// It does not say that it is for TLS clients.
    #[error("it does not name clientAuth as its purpose")]
    NotForClients,
    /// The root's time has not begun, or is over.
    #[error("its root is out of time")]
    Root,
    /// What rustls-webpki says.
    #[error("{0}")]
    Path(webpki::Error),
}

enum Flaw {
    Unreadable,
    NotAnAuthority,
}

fn authorities(pem: &[u8], file: File) -> Result<Vec<Arc<Authority>>, CaError> {
    let mut found = Vec::new();
    for (certificate, number) in CertificateDer::pem_slice_iter(pem).zip(1..) {
        if number > MOST_AUTHORITIES {
            return Err(CaError::TooMany(file));
        }
        let authority = certificate.map_err(|_| Flaw::Unreadable).and_then(|der| Authority::read(&der));
        found.push(Arc::new(authority.map_err(|flaw| match flaw {
            Flaw::Unreadable => CaError::Unreadable(file, number),
            Flaw::NotAnAuthority => CaError::NotAnAuthority(file, number),
        })?));
    }
    if found.is_empty() { Err(CaError::Empty(file)) } else { Ok(found) }
}

/// Certificates in each of the two files.
pub const MOST_AUTHORITIES: usize = 32;
const SUBJECT_CHARS: usize = 256;

#[cfg(test)]
mod tests;
