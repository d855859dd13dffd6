//! Certificates and revocation lists for tests, written byte by byte so that each can be wrong in one thing.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use x509_parser::time::ASN1Time;

use crate::{
    clock::Timestamp,
    fallback::{certificate::Leaf, chain::AdminCa},
};

/// When all of it happens.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// What a certificate is made of.
#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) version: u8,
    pub(crate) serial: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) extensions: Vec<Vec<u8>>,
    pub(crate) names: Vec<Vec<u8>>,
}

impl Template {
    /// A client's, for a week from a day ago.
    pub(crate) fn leaf(common_name: &str) -> Self {
        Self {
            version: 2,
            serial: vec![0x51],
            subject: name(&[self::common_name(common_name)]),
            not_before: NOW.minus(DAY),
            not_after: NOW.plus(6 * DAY),
            extensions: vec![purposes(&[CLIENTS])],
            names: Vec::new(),
        }
    }

    /// An authority's, for ten years.
    pub(crate) fn authority(common_name: &str) -> Self {
        Self {
            serial: vec![0x0a],
            not_before: NOW.minus(365 * DAY),
            not_after: NOW.plus(3_650 * DAY),
            extensions: vec![constraints(true), key_usage(KEY_CERT_SIGN | CRL_SIGN)],
            ..Self::leaf(common_name)
        }
    }

    pub(crate) fn serial(self, serial: &[u8]) -> Self {
        Self { serial: serial.to_vec(), ..self }
    }

    pub(crate) fn extensions(self, extensions: Vec<Vec<u8>>) -> Self {
        Self { extensions, ..self }
    }

    pub(crate) fn times(self, not_before: Timestamp, not_after: Timestamp) -> Self {
        Self { not_before, not_after, ..self }
    }

    pub(crate) fn email(self, text: &str) -> Self {
        self.alternative(1, text)
    }

    pub(crate) fn dns(self, text: &str) -> Self {
        self.alternative(2, text)
    }

    pub(crate) fn uri(self, text: &str) -> Self {
        self.alternative(6, text)
    }

    fn alternative(mut self, kind: u8, text: &str) -> Self {
        self.names.push(tlv(0x80 | kind, text.as_bytes()));
        self
    }

    /// Signed by its own key.
    pub(crate) fn self_signed(self) -> Made {
        let key = KeyPair::generate().unwrap();
        let der = self.der(&key, &self.subject, &key);
        Made { key, subject: self.subject, der }
    }

    /// Signed by an authority.
    pub(crate) fn signed_by(self, issuer: &Made) -> Made {
        let key = KeyPair::generate().unwrap();
        let der = self.der(&key, &issuer.subject, &issuer.key);
        Made { key, subject: self.subject, der }
    }

    fn der(&self, key: &KeyPair, issuer: &[u8], signing: &KeyPair) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        if !self.names.is_empty() {
            extensions.push(extension(17, false, &tlv(0x30, &self.names.concat())));
        }
        let mut parts = vec![
            tlv(0xa0, &tlv(0x02, &[self.version])),
            tlv(0x02, &self.serial),
            algorithm(),
            issuer.to_vec(),
            tlv(0x30, &[time(self.not_before), time(self.not_after)].concat()),
            self.subject.clone(),
            key.subject_public_key_info(),
        ];
        if !extensions.is_empty() {
            parts.push(tlv(0xa3, &tlv(0x30, &extensions.concat())));
        }
        signed(&tlv(0x30, &parts.concat()), signing)
    }
}

/// A certificate, and its key.
pub(crate) struct Made {
    pub(crate) key: KeyPair,
    pub(crate) subject: Vec<u8>,
    pub(crate) der: Vec<u8>,
}

impl Made {
    pub(crate) fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// As nginx passes it on.
    pub(crate) fn escaped(&self) -> String {
        escaped(&self.pem())
    }

    pub(crate) fn leaf(&self) -> Leaf {
        Leaf::read(&self.escaped()).unwrap()
    }
}

/// What a revocation list is made of.
#[derive(Clone)]
pub(crate) struct ListTemplate {
    pub(crate) version: Option<u8>,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Option<Timestamp>,
    pub(crate) revoked: Vec<Vec<u8>>,
    pub(crate) extensions: Vec<Vec<u8>>,
}

impl ListTemplate {
    /// Made a minute ago, for a day.
    pub(crate) fn number(number: u8) -> Self {
        Self {
            version: Some(1),
            this_update: NOW.minus(Duration::from_secs(60)),
            next_update: Some(NOW.plus(DAY)),
            revoked: Vec::new(),
            extensions: vec![crl_number(&[number])],
        }
    }

    pub(crate) fn times(self, this_update: Timestamp, next_update: Timestamp) -> Self {
        Self { this_update, next_update: Some(next_update), ..self }
    }

    pub(crate) fn revoking(mut self, serial: &[u8]) -> Self {
        self.revoked.push(revoked(serial, &[]));
        self
    }

    pub(crate) fn and(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(crate) fn signed_by(&self, issuer: &Made) -> Vec<u8> {
        self.named_and_signed_by(&issuer.subject, &issuer.key)
    }

    pub(crate) fn named_and_signed_by(&self, issuer: &[u8], key: &KeyPair) -> Vec<u8> {
        let mut parts = Vec::new();
        parts.extend(self.version.map(|version| tlv(0x02, &[version])));
        parts.extend([algorithm(), issuer.to_vec(), time(self.this_update)]);
        parts.extend(self.next_update.map(time));
        if !self.revoked.is_empty() {
            parts.push(tlv(0x30, &self.revoked.concat()));
        }
        if !self.extensions.is_empty() {
            parts.push(tlv(0xa0, &tlv(0x30, &self.extensions.concat())));
        }
        signed(&tlv(0x30, &parts.concat()), key)
    }
}

/// A root, an authority under it, and nobody else.
pub(crate) struct Authorities {
    pub(crate) root: Made,
    pub(crate) middle: Made,
}

impl Authorities {
    pub(crate) fn new() -> Self {
        let root = Template::authority("Test Root").self_signed();
        let middle = Template::authority("Test Intermediate").serial(&[0x0b]).signed_by(&root);
        Self { root, middle }
    }

    pub(crate) fn ca(&self) -> AdminCa {
        AdminCa::new(self.root.pem().as_bytes(), Some(self.middle.pem().as_bytes())).unwrap()
    }
}

/// An entry of a revocation list, with extensions of its own.
pub(crate) fn revoked(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut parts = vec![tlv(0x02, serial), time(NOW.minus(DAY))];
    if !extensions.is_empty() {
        parts.push(tlv(0x30, &extensions.concat()));
    }
    tlv(0x30, &parts.concat())
}

pub(crate) fn crl_number(number: &[u8]) -> Vec<u8> {
    extension(20, false, &tlv(0x02, number))
}

pub(crate) fn constraints(authority: bool) -> Vec<u8> {
    let flag = if authority { tlv(0x01, &[0xff]) } else { Vec::new() };
    extension(19, true, &tlv(0x30, &flag))
}

/// `bits` as the extension's one byte has them.
pub(crate) fn key_usage(bits: u8) -> Vec<u8> {
    let unused = u8::try_from(bits.trailing_zeros()).unwrap();
    extension(15, true, &tlv(0x03, &[unused, bits]))
}

pub(crate) fn purposes(purposes: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = purposes.iter().flat_map(|purpose| tlv(0x06, purpose)).collect();
    extension(37, false, &tlv(0x30, &list))
}

/// An extension of those that are numbered under 2.5.29.
pub(crate) fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(0x01, &[0xff]) } else { Vec::new() };
    tlv(0x30, &[tlv(0x06, &[0x55, 0x1d, number]), critical, tlv(0x04, value)].concat())
}

pub(crate) fn name(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn common_name(text: &str) -> Vec<u8> {
    relative_name(&[attribute(3, 0x0c, text.as_bytes())])
}

pub(crate) fn relative_name(attributes: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &attributes.concat())
}

/// An attribute of those that are numbered under 2.5.4; 3 is the common name.
pub(crate) fn attribute(kind: u8, tag: u8, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[tlv(0x06, &[0x55, 0x04, kind]), tlv(tag, value)].concat())
}

/// Tag, length, value.
pub(crate) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut der = vec![tag];
    if value.len() >= 0x80 {
        der.push(0x80 | u8::try_from(significant.len()).unwrap());
    }
    der.extend_from_slice(significant);
    der.extend_from_slice(value);
    der
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub(crate) fn escaped(pem: &str) -> String {
    utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
}

fn signed(text: &[u8], key: &KeyPair) -> Vec<u8> {
    let signature = key.sign(text).unwrap();
    tlv(0x30, &[text.to_vec(), algorithm(), tlv(0x03, &[&[0], signature.as_slice()].concat())].concat())
}

/// ECDSA with SHA-256.
fn algorithm() -> Vec<u8> {
    tlv(0x30, &tlv(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]))
}

fn time(moment: Timestamp) -> Vec<u8> {
    let time = ASN1Time::from_timestamp(i64::try_from(moment.seconds()).unwrap()).unwrap().to_datetime();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    tlv(0x18, text.as_bytes())
}

pub(crate) const CLIENTS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
pub(crate) const SERVERS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
pub(crate) const ANYBODY: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
pub(crate) const DIGITAL_SIGNATURE: u8 = 0x80;
pub(crate) const KEY_ENCIPHERMENT: u8 = 0x20;
pub(crate) const KEY_CERT_SIGN: u8 = 0x04;
pub(crate) const CRL_SIGN: u8 = 0x02;
