//! Pure. One revocation list: whose it is, what it is about, and until when it counts.
//!
//! Invariant: a [`RevocationList`] is the whole list of one of the administrators' authorities, signed by that
//! authority's own key (RFC 5280 section 5). A list of another kind (a delta, an indirect one, one for a part of the
//! certificates, one with a critical extension that is not known) is refused and never half understood.
//!
//! It is read twice. webpki reads every byte strictly and refuses what it does not know, but keeps neither thisUpdate nor
//! the number; x509-parser knows those, but passes over what it cannot read.

use std::{collections::HashSet, time::Duration};

use rustls_pki_types::CertificateDer;
use webpki::{ALL_VERIFICATION_ALGS, BorrowedCertRevocationList, EndEntityCert, RevocationReason};
use x509_parser::{
    asn1_rs::{Any, FromDer as _, Tag},
    oid_registry::{
        OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_CRL_NUMBER, OID_X509_EXT_DELTA_CRL_INDICATOR,
        OID_X509_EXT_ISSUER_DISTRIBUTION_POINT,
    },
    revocation_list::CertificateRevocationList,
};

use crate::{
    clock::Timestamp,
    fallback::{
        certificate::{Serial, moment, one_pem_block, without_leading_zeros},
        chain::{AdminCa, Authority, AuthorityId},
    },
    reason::Reason,
};

/// A revocation list that its issuer signed. Whether it is still in force, its reader asks.
#[derive(Clone, Debug)]
pub struct RevocationList {
    issuer: AuthorityId,
    number: CrlNumber,
    this_update: Timestamp,
    next_update: Timestamp,
    revoked: HashSet<Serial>,
}

/// A list's number, which grows with every list of an issuer. Compared as the number that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlNumber([u8; MAX_NUMBER_BYTES]);

impl RevocationList {
    /// Reads a list of one of these authorities, in DER or PEM, and demands that it is in force.
    ///
    /// # Errors
    /// [`Unusable`]; what is wrong with the list itself comes before its age.
    pub fn read(bytes: &[u8], ca: &AdminCa, max_age: Duration, now: Timestamp) -> Result<Self, Unusable> {
        let list = Self::read_of_any_age(bytes, ca, now)?;
        if now >= list.next_update {
            return Err(Unusable::Over);
        }
        if now >= list.stale_at(max_age) {
            return Err(Unusable::Old);
        }
        Ok(list)
    }

    /// Reads a list that may be stale by now: one that was kept tells which numbers were seen.
    ///
    /// # Errors
    /// As [`RevocationList::read`], but for its age.
    pub fn read_of_any_age(bytes: &[u8], ca: &AdminCa, now: Timestamp) -> Result<Self, Unusable> {
        if bytes.len() > MAX_CRL_BYTES {
            return Err(Unusable::TooLong);
        }
        if bytes.starts_with(b"-----") {
            let der = one_pem_block(bytes, "X509 CRL").ok_or(Unusable::Malformed)?;
            return Self::of(&der, ca, now);
        }
        Self::of(bytes, ca, now)
    }

    fn of(der: &[u8], ca: &AdminCa, now: Timestamp) -> Result<Self, Unusable> {
        let strict = BorrowedCertRevocationList::from_der(der).map_err(refused)?;
        let (rest, lenient) = CertificateRevocationList::from_der(der).map_err(|_| Unusable::Malformed)?;
        if !rest.is_empty() {
            return Err(Unusable::Malformed);
        }
        supported(&lenient)?;
        let issuer = issuer(der, &lenient, ca)?;
        let list = Self {
            issuer: issuer.id(),
            number: lenient.crl_number().map(|number| CrlNumber::of(&number.to_bytes_be())).ok_or(Unusable::Number)?,
            this_update: moment(lenient.last_update()).ok_or(Unusable::Dates)?,
            next_update: lenient.next_update().and_then(moment).ok_or(Unusable::Dates)?,
            revoked: revoked(&strict)?,
        };
        if list.next_update <= list.this_update {
            return Err(Unusable::Dates);
        }
        if list.this_update > now.plus(CLOCK_SKEW) {
            return Err(Unusable::Future);
        }
        Ok(list)
    }

    /// Whose list it is.
    pub const fn issuer(&self) -> AuthorityId {
        self.issuer
    }

    /// Its number.
    pub const fn number(&self) -> CrlNumber {
        self.number
    }

    /// When it was made.
    pub const fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// When the next one comes at the latest.
    pub const fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// The first moment at which it is too old.
    pub fn stale_at(&self, max_age: Duration) -> Timestamp {
        self.next_update.min(self.this_update.plus(max_age))
    }

    /// Whether that certificate of its issuer was revoked.
    pub fn has_revoked(&self, serial: &Serial) -> bool {
        self.revoked.contains(serial)
    }
}

impl CrlNumber {
    /// A number of more than [`MAX_NUMBER_BYTES`] does not come here: webpki refuses it.
    fn of(bytes: &[u8]) -> Self {
        let bytes = without_leading_zeros(bytes);
        let mut number = [0; MAX_NUMBER_BYTES];
        let first = MAX_NUMBER_BYTES.saturating_sub(bytes.len());
        for (place, byte) in number[first..].iter_mut().zip(bytes) {
            *place = *byte;
        }
        Self(number)
    }
}

/// Why a revocation list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is longer than it may be.
    #[error("is longer than {MAX_CRL_BYTES} bytes")]
    TooLong,
    /// It is not exactly one list, in DER or PEM.
    #[error("is not exactly one revocation list")]
    Malformed,
    /// It has something that is not understood.
    #[error("is not a complete list of the one kind that is understood: {0}")]
    Unsupported(String),
    /// It names an issuer that is none of the administrators' authorities.
    #[error("is none of the administrators' authorities'")]
    Issuer,
    /// The authority's certificate does not let it sign lists.
    #[error("its issuer may not sign revocation lists")]
    Usage,
    /// It is not signed by the issuer that it names.
    #[error("its signature is wrong")]
    Signature,
    /// It has no number.
    #[error("has no number")]
    Number,
    /// Its dates are missing or make no sense.
    #[error("its dates are missing or make no sense")]
    Dates,
    /// It says that it was made in the future.
    #[error("was made in the future")]
    Future,
    /// The next one is overdue.
    #[error("is past its nextUpdate")]
    Over,
    /// It was made too long ago.
    #[error("was made too long ago")]
    Old,
}

impl Unusable {
    /// What a refusal for its sake is called.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Over | Self::Old => Reason::CrlStale,
            Self::TooLong
            | Self::Malformed
            | Self::Unsupported(_)
            | Self::Issuer
            | Self::Usage
            | Self::Signature
            | Self::Number
            | Self::Dates
            | Self::Future => Reason::CrlInvalid,
        }
    }
}

fn refused(error: webpki::Error) -> Unusable {
    match error {
        webpki::Error::BadDer | webpki::Error::TrailingData(_) => Unusable::Malformed,
        error => Unusable::Unsupported(error.to_string()),
    }
}

/// Whether every extension is one of those that say nothing about what the list covers.
fn supported(list: &CertificateRevocationList<'_>) -> Result<(), Unusable> {
    let extensions = list.tbs_cert_list.extensions_map().map_err(|_| Unusable::Malformed)?;
    for (kind, extension) in extensions {
        let known = kind == OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER || kind == OID_X509_EXT_CRL_NUMBER;
        let narrows = kind == OID_X509_EXT_DELTA_CRL_INDICATOR || kind == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
        if narrows || (extension.critical && !known) {
            return Err(Unusable::Unsupported(format!("extension {kind}")));
        }
    }
    Ok(())
}

/// The authority that the list names, if it has signed it. Several may have one name; the signature tells them apart.
fn issuer<'a>(der: &[u8], list: &CertificateRevocationList<'_>, ca: &'a AdminCa) -> Result<&'a Authority, Unusable> {
    let algorithm = signature_algorithm(der).ok_or(Unusable::Malformed)?;
    let named: Vec<_> = ca.authorities().filter(|authority| authority.name() == list.issuer().as_raw()).collect();
    if named.is_empty() {
        return Err(Unusable::Issuer);
    }
    let signed = named.into_iter().find(|authority| has_signed(authority.der(), algorithm, list));
    let issuer = signed.ok_or(Unusable::Signature)?;
    if issuer.signs_lists() { Ok(issuer) } else { Err(Unusable::Usage) }
}

/// webpki checks by the same algorithms by which it checks certificates: none with SHA-1.
fn has_signed(authority: &CertificateDer<'_>, algorithm: &[u8], list: &CertificateRevocationList<'_>) -> bool {
    let Ok(authority) = EndEntityCert::try_from(authority) else {
        return false;
    };
    let (text, signature) = (list.tbs_cert_list.as_ref(), &list.signature_value);
    let fitting = ALL_VERIFICATION_ALGS.iter().filter(|known| known.signature_alg_id().as_ref() == algorithm);
    signature.unused_bits == 0
        && fitting.into_iter().any(|known| authority.verify_signature(*known, text, &signature.data).is_ok())
}

/// What the list's second element holds: the algorithm's name and parameters. webpki has seen that the signed part names
/// the same ones.
fn signature_algorithm(der: &[u8]) -> Option<&[u8]> {
    let (_, list) = Any::from_der(der).ok()?;
    let (rest, _) = Any::from_der(list.data).ok()?;
    let (_, algorithm) = Any::from_der(rest).ok()?;
    (algorithm.tag() == Tag::Sequence).then_some(algorithm.data)
}

/// The numbers of those that were revoked. Only a delta takes one back.
fn revoked(list: &BorrowedCertRevocationList<'_>) -> Result<HashSet<Serial>, Unusable> {
    let mut serials = HashSet::new();
    for entry in list {
        let entry = entry.map_err(refused)?;
        if entry.reason_code == Some(RevocationReason::RemoveFromCrl) {
            return Err(Unusable::Unsupported("an entry that takes one back".into()));
        }
        serials.insert(Serial::read(entry.serial_number).ok_or(Unusable::Malformed)?);
    }
    Ok(serials)
}

/// The longest list that is read; no more of an answer is taken from the network either.
pub const MAX_CRL_BYTES: usize = 1024 * 1024;
/// The longest number (RFC 5280 section 5.2.3).
const MAX_NUMBER_BYTES: usize = 20;
/// How much further an authority's clock may be.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
