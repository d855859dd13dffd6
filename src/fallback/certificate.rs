//! Pure. A client certificate out of what nginx passes on, and what it says of its holder.
//!
//! Invariant: a [`Leaf`] is exactly one certificate, read without a doubt: one escaping, one PEM block (RFC 7468), DER
//! to its last byte, X.509 version 3 (RFC 5280 section 4.1), every attribute of its subject seen. Nothing is said about
//! whether it may be believed.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use x509_parser::{
    asn1_rs::{Any, FromDer as _, Oid, Tag},
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{
        OID_DOMAIN_COMPONENT, OID_PKCS9_EMAIL_ADDRESS, OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME,
        OID_X509_LOCALITY_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, OID_X509_SERIALNUMBER,
        OID_X509_STATE_OR_PROVINCE_NAME,
    },
    time::ASN1Time,
    x509::X509Version,
};

pub use crate::inbound::Shown;

use crate::clock::Timestamp;

/// A client certificate that was read, and not yet believed.
#[derive(Clone, Debug)]
pub struct Leaf {
    der: CertificateDer<'static>,
    fingerprint: Fingerprint,
    serial: Serial,
    serial_hex: String,
    subject: String,
    common_names: Vec<Option<String>>,
    emails: Vec<String>,
    uris: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    for_clients: bool,
    authority: bool,
}

impl Leaf {
    /// Reads `$ssl_client_escaped_cert`. A `+` is a `+`: this is RFC 3986, not a form.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(escaped: &str) -> Result<Self, Malformed> {
        if escaped.len() > MAX_ESCAPED_BYTES {
            return Err(Malformed::TooLong);
        }
        let pem = unescaped(escaped).ok_or(Malformed::Escaping)?;
        Self::parse_pem(&pem)
    }

    /// Reads the PEM text itself, as a file holds it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse_pem(pem: &[u8]) -> Result<Self, Malformed> {
        if pem.len() > MAX_ESCAPED_BYTES {
            return Err(Malformed::TooLong);
        }
        Self::parse_der(one_pem_block(pem, "CERTIFICATE").ok_or(Malformed::Pem)?)
    }

    fn parse_der(der: Vec<u8>) -> Result<Self, Malformed> {
        let (rest, certificate) = X509Certificate::from_der(&der).map_err(|_| Malformed::Certificate)?;
        if !rest.is_empty() || certificate.version() != X509Version::V3 {
            return Err(Malformed::Certificate);
        }
        let read = Self::of(&certificate, &der).ok_or(Malformed::Certificate)?;
        Ok(Self { der: CertificateDer::from(der), ..read })
    }

    fn of(certificate: &X509Certificate<'_>, der: &[u8]) -> Option<Self> {
        let attributes = attributes(certificate.subject().as_raw())?;
        let names = certificate.subject_alternative_name().ok()?;
        let names = names.map_or(&[][..], |extension| extension.value.general_names.as_slice());
        let usage = certificate.key_usage().ok()?.is_none_or(|usage| usage.value.digital_signature());
        let purpose = certificate.extended_key_usage().ok()?.is_some_and(|purposes| purposes.value.client_auth);
        let constraints = certificate.basic_constraints().ok()?;
        let serial = Serial::read(certificate.raw_serial())?;
        Some(Self {
            der: CertificateDer::from(Vec::new()),
            fingerprint: Fingerprint::of(der),
            serial_hex: serial.hex(),
            serial,
            subject: subject_text(&attributes),
            common_names: common_names(&attributes),
            emails: ascii(names.iter().filter_map(email)),
            uris: ascii(names.iter().filter_map(uri)),
            not_before: moment(certificate.validity().not_before)?,
            not_after: moment(certificate.validity().not_after)?,
            for_clients: usage && purpose,
            authority: constraints.is_some_and(|constraints| constraints.value.ca),
        })
    }

    /// What it says of itself, for people.
    pub fn describe(&self) -> String {
        format!("{}, serial {}, SHA-256 {}", self.subject, self.serial.hex(), self.fingerprint.hex())
    }

    /// The certificate itself.
    pub const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of the certificate.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Its number with its issuer.
    pub const fn serial(&self) -> &Serial {
        &self.serial
    }

    /// That number in hexadecimal digits.
    pub fn serial_hex(&self) -> &str {
        &self.serial_hex
    }

    /// Its subject for the log, in ASCII: a letter that only looks like another one shows.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The common name, if the whole subject has exactly one, whatever part of it that is in, and it is text of one
    /// unambiguous kind.
    pub fn common_name(&self) -> Option<&str> {
        match self.common_names.as_slice() {
            [Some(name)] => Some(name),
            _ => None,
        }
    }

    /// The e-mail addresses among its alternative names.
    pub fn emails(&self) -> &[String] {
        &self.emails
    }

    /// The URIs among its alternative names.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// Its first moment.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Its last second.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it says of itself that it is for TLS clients: `clientAuth` by name, and a key that may sign.
    pub const fn is_for_clients(&self) -> bool {
        self.for_clients
    }

    /// Whether it says of itself that it issues others.
    pub const fn is_authority(&self) -> bool {
        self.authority
    }
}

/// SHA-256 of something in DER.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    bytes: [u8; 32],
    text: String,
}

impl Fingerprint {
    fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, der).as_ref());
        Self { bytes, text: hexadecimal(&bytes) }
    }

    /// The hash.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The hash in hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.text
    }
}

/// A certificate's number with its issuer, without leading zeros: however it is padded, it is the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Takes the contents of an INTEGER; nothing if it is longer than a serial number may be.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = without_leading_zeros(bytes);
        (bytes.len() <= MAX_SERIAL_BYTES).then(|| Self(bytes.to_vec()))
    }

    /// The number, big end first.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number in hexadecimal digits.
    pub fn hex(&self) -> String {
        if self.0.is_empty() { "00".into() } else { hexadecimal(&self.0) }
    }
}

/// Why something is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than it may be.
    #[error("is longer than {MAX_ESCAPED_BYTES} bytes")]
    TooLong,
    /// Not percent-encoded, or something else than text.
    #[error("is not percent-encoded text")]
    Escaping,
    /// Not exactly one PEM block of a certificate.
    #[error("is not exactly one PEM certificate")]
    Pem,
    /// Not one whole X.509 certificate of version 3.
    #[error("is not one X.509 certificate")]
    Certificate,
}

/// The bytes, if every `%` is followed by two digits and nothing stands in the open that would have been escaped.
fn unescaped(escaped: &str) -> Option<Vec<u8>> {
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        let fits = match byte {
            b'%' => [rest.next(), rest.next()].iter().flatten().filter(|digit| digit.is_ascii_hexdigit()).count() == 2,
            byte => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'='),
        };
        if !fits {
            return None;
        }
    }
    let bytes: Vec<u8> = percent_decode_str(escaped).collect();
    let of_pem = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'/' | b'=' | b' ' | b'\n');
    bytes.iter().all(of_pem).then_some(bytes)
}

/// The contents of a text that is one PEM block of that label and nothing else, in the strict form of RFC 7468 section
/// 3: lines of 64 letters but for the last, and canonical base64.
pub(super) fn one_pem_block(pem: &[u8], label: &str) -> Option<Vec<u8>> {
    let text = str::from_utf8(pem).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let is_boundary = |line: &str, word: &str| line == format!("-----{word} {label}-----");
    (is_boundary(lines.next()?, "BEGIN") && is_boundary(lines.next_back()?, "END")).then_some(())?;
    let lines: Vec<&str> = lines.collect();
    let (last, others) = lines.split_last()?;
    let whole = others.iter().all(|line| line.len() == PEM_LINE) && (1..=PEM_LINE).contains(&last.len());
    whole.then(|| STANDARD.decode(lines.concat()).ok())?
}

/// One attribute of a subject: what kind it is, and whether it begins a new part of the name.
struct Attribute<'a> {
    kind: Oid<'a>,
    value: Any<'a>,
    begins: bool,
}

/// All attributes of a name (RFC 5280 section 4.1.2.4); nothing if any byte of it is left over. What parses leniently
/// may leave out a second common name that this finds.
fn attributes(name: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let mut found = Vec::new();
    for part in elements(only(name, Tag::Sequence)?) {
        let part = part?;
        let mut begins = true;
        for attribute in elements(contents(&part, Tag::Set)?) {
            let mut fields = elements(contents(&attribute?, Tag::Sequence)?);
            let (kind, value) = (fields.next()??, fields.next()??);
            let kind = (kind.tag() == Tag::Oid).then(|| Oid::new(kind.data.into()))?;
            fields.next().is_none().then(|| found.push(Attribute { kind, value, begins }))?;
            begins = false;
        }
    }
    Some(found)
}

/// The elements that those bytes are; the last one is nothing if bytes are left over.
fn elements(bytes: &[u8]) -> impl Iterator<Item = Option<Any<'_>>> {
    let mut rest = Some(bytes).filter(|bytes| !bytes.is_empty());
    std::iter::from_fn(move || {
        let bytes = rest.take()?;
        let read = Any::from_der(bytes).ok();
        rest = read.as_ref().map(|(after, _)| *after).filter(|after| !after.is_empty());
        Some(read.map(|(_, element)| element))
    })
}

fn only(bytes: &[u8], tag: Tag) -> Option<&[u8]> {
    let (rest, element) = Any::from_der(bytes).ok()?;
    rest.is_empty().then(|| contents(&element, tag))?
}

fn contents<'a>(element: &Any<'a>, tag: Tag) -> Option<&'a [u8]> {
    (element.tag() == tag && element.header.is_constructed() && element.header.is_universal()).then_some(element.data)
}

/// Every common name; nothing in place of one that is not text of a kind that can be read in one way only.
fn common_names(attributes: &[Attribute<'_>]) -> Vec<Option<String>> {
    attributes.iter().filter(|attribute| attribute.kind == OID_X509_COMMON_NAME).map(readable).collect()
}

fn readable(attribute: &Attribute<'_>) -> Option<String> {
    let text = str::from_utf8(attribute.value.data).ok()?;
    let kind = attribute.value.header.is_universal() && attribute.value.header.is_primitive();
    let kind = kind
        && match attribute.value.tag() {
            Tag::Utf8String => true,
            Tag::PrintableString => text.is_ascii(),
            _ => false,
        };
    (kind && !text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// The subject as RFC 4514 writes it, in its own order, with everything escaped that is not plain ASCII.
fn subject_text(attributes: &[Attribute<'_>]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        let separator = match (text.is_empty(), attribute.begins) {
            (true, _) => "",
            (false, true) => ",",
            (false, false) => "+",
        };
        let _ = write!(text, "{separator}{}=", kind_text(&attribute.kind));
        match str::from_utf8(attribute.value.data) {
            Ok(value) => value.chars().for_each(|letter| escape(letter, &mut text)),
            Err(_) => text.push('?'),
        }
        if text.len() > SUBJECT_BYTES {
            break;
        }
    }
    // Only ASCII was written.
    text.truncate(SUBJECT_BYTES);
    text
}

fn escape(letter: char, text: &mut String) {
    if matches!(letter, ',' | '+' | ';' | '<' | '>' | '=') {
        text.push('\\');
        text.push(letter);
    } else {
        text.extend(letter.escape_default());
    }
}

fn kind_text(kind: &Oid<'_>) -> String {
    let known = KINDS.into_iter().find(|(oid, _)| oid == kind);
    known.map_or_else(|| kind.to_id_string(), |(_, name)| name.to_owned())
}

fn email<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::RFC822Name(text) = name { Some(text) } else { None }
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(text) = name { Some(text) } else { None }
}

/// Both kinds are IA5 strings (RFC 5280 section 4.2.1.6): what is not ASCII is no name.
fn ascii<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic())).map(str::to_owned).collect()
}

/// A date; nothing if it is before the epoch.
pub(super) fn moment(time: ASN1Time) -> Option<Timestamp> {
    u64::try_from(time.timestamp()).ok().map(Timestamp::from_seconds)
}

pub(super) fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    &bytes[first..]
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The longest `$ssl_client_escaped_cert` that is looked at; also the longest PEM text.
pub const MAX_ESCAPED_BYTES: usize = 16 * 1024;
/// The longest serial number (RFC 5280 section 4.1.2.2).
pub const MAX_SERIAL_BYTES: usize = 20;
/// What the log is told of a subject.
const SUBJECT_BYTES: usize = 256;
const PEM_LINE: usize = 64;
const KINDS: [(Oid<'static>, &str); 9] = [
    (OID_X509_COMMON_NAME, "CN"),
    (OID_X509_ORGANIZATION_NAME, "O"),
    (OID_X509_ORGANIZATIONAL_UNIT, "OU"),
    (OID_X509_COUNTRY_NAME, "C"),
    (OID_X509_STATE_OR_PROVINCE_NAME, "ST"),
    (OID_X509_LOCALITY_NAME, "L"),
    (OID_X509_SERIALNUMBER, "serialNumber"),
    (OID_PKCS9_EMAIL_ADDRESS, "emailAddress"),
    (OID_DOMAIN_COMPONENT, "DC"),
];

#[cfg(test)]
mod tests;
