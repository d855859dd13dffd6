//! Pure. Which client certificates are nginx's: those that hold one of the listed names, letter for letter.
//!
//! Only subject alternative names count (RFC 5280 section 4.2.1.6), never the common name, and a wild card fits
//! nothing. That a certificate was issued by the right authority, is in time and is meant for clients is decided
//! before, in the handshake; a certificate is no longer than one is taken there.

use std::{fmt::Write as _, net::IpAddr};

use x509_parser::{extensions::GeneralName, prelude::FromDer, prelude::X509Certificate};

/// A name that a certificate must hold for its owner to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// A DNS name, in lower case.
    Dns(String),
    /// An address, written `IP:10.0.0.7`.
    Ip(IpAddr),
    /// A URI, written `URI:spiffe://example.com/nginx`.
    Uri(String),
}

impl PeerName {
    /// Reads a name as the settings have it.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix("IP:") {
            return address.parse().ok().map(Self::Ip);
        }
        if let Some(uri) = text.strip_prefix("URI:") {
            let printable = uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*');
            return (printable && uri.contains(':')).then(|| Self::Uri(uri.to_owned()));
        }
        is_dns_name(text).then(|| Self::Dns(text.to_ascii_lowercase()))
    }

    fn is(&self, name: &GeneralName<'_>) -> bool {
        match (self, name) {
            (Self::Dns(own), GeneralName::DNSName(name)) => own.eq_ignore_ascii_case(name),
            (Self::Ip(IpAddr::V4(own)), GeneralName::IPAddress(bytes)) => own.octets().as_slice() == *bytes,
            (Self::Ip(IpAddr::V6(own)), GeneralName::IPAddress(bytes)) => own.octets().as_slice() == *bytes,
            (Self::Uri(own), GeneralName::URI(name)) => own == name,
            (Self::Dns(_) | Self::Ip(_) | Self::Uri(_), _) => false,
        }
    }
}

/// The names of those who are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerNames(Vec<PeerName>);

impl PeerNames {
    /// Exactly these.
    pub const fn new(names: Vec<PeerName>) -> Self {
        Self(names)
    }

    /// Whether a certificate (DER) holds one of them; one that cannot be read holds none.
    pub fn include(&self, certificate: &[u8]) -> bool {
        let held = |names: &[GeneralName<'_>]| names.iter().any(|name| self.0.iter().any(|own| own.is(name)));
        alternative_names(certificate, held).unwrap_or(false)
    }
}

/// The names that a certificate holds, for the log: escaped, and cut.
pub fn shown(certificate: &[u8]) -> String {
    let text = alternative_names(certificate, |names| {
        let mut text = String::new();
        for name in names.iter().take(NAMES_SHOWN) {
            let separator = if text.is_empty() { "" } else { ", " };
            let _ = match name {
                GeneralName::DNSName(name) => write!(text, "{separator}{}", name.escape_debug()),
                GeneralName::URI(name) => write!(text, "{separator}URI:{}", name.escape_debug()),
                GeneralName::IPAddress(bytes) => write!(text, "{separator}IP:{}", address(bytes)),
                _ => write!(text, "{separator}another kind of name"),
            };
        }
        text
    });
    let text = text.unwrap_or_default();
    if text.is_empty() { "none".into() } else { text.chars().take(NAMES_CHARS).collect() }
}

/// What `look` finds among the names; nothing if the certificate or its extension cannot be read, or stands twice.
fn alternative_names<T>(certificate: &[u8], look: impl Fn(&[GeneralName<'_>]) -> T) -> Option<T> {
    let (rest, certificate) = X509Certificate::from_der(certificate).ok()?;
    let extension = certificate.subject_alternative_name().ok()??;
    rest.is_empty().then(|| look(&extension.value.general_names))
}

fn address(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.map_or_else(|_| "?".into(), |address| address.to_string())
}

/// A wild card would be a name of many; an address belongs behind `IP:`.
fn is_dns_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=LABEL_BYTES).contains(&label.len()) && label.bytes().all(letter);
    text.len() <= DNS_NAME_BYTES && text.split('.').all(label) && text.parse::<IpAddr>().is_err()
}

/// The longest DNS name, and the longest of its labels (RFC 1035 section 2.3.4).
const DNS_NAME_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;
/// What the log is told of a stranger's certificate.
const NAMES_SHOWN: usize = 8;
const NAMES_CHARS: usize = 256;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>, common_name: &str, more: Vec<CustomExtension>) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.custom_extensions = more;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn listed() -> PeerNames {
        let names = ["nginx.internal", "IP:10.0.0.7", "IP:fd00::7", "URI:spiffe://example.com/nginx"];
        PeerNames::new(names.map(|name| PeerName::parse(name).unwrap()).to_vec())
    }

    fn check(names: Vec<SanType>, expected: bool) {
        let shown = format!("{names:?}");
        assert_eq!(listed().include(&certificate(names, "nginx.internal", Vec::new())), expected, "{shown}");
    }

    #[test]
    fn a_certificate_that_holds_a_listed_name_is_nginxs() {
        check(vec![dns("nginx.internal")], true);
        check(vec![dns("NGINX.Internal")], true);
        check(vec![dns("other.internal"), dns("nginx.internal")], true);
        check(vec![SanType::IpAddress([10, 0, 0, 7].into())], true);
        check(vec![SanType::IpAddress("fd00::7".parse().unwrap())], true);
        check(vec![SanType::URI("spiffe://example.com/nginx".try_into().unwrap())], true);
    }

    #[test]
    fn any_other_name_is_a_strangers() {
        check(Vec::new(), false);
        for name in [
            "*.internal",
            "*",
            "internal",
            "nginx",
            "xnginx.internal",
            "nginx.internal.",
            "nginx.internal.evil.example",
        ] {
            check(vec![dns(name)], false);
        }
        check(vec![dns("10.0.0.7")], false);
        check(vec![dns("spiffe://example.com/nginx")], false);
        check(vec![SanType::IpAddress([10, 0, 0, 8].into())], false);
        check(vec![SanType::IpAddress("::ffff:10.0.0.7".parse().unwrap())], false);
        check(vec![SanType::URI("spiffe://example.com/Nginx".try_into().unwrap())], false);
        check(vec![SanType::URI("nginx.internal".try_into().unwrap())], false);
        check(vec![SanType::Rfc822Name("nginx.internal".try_into().unwrap())], false);
    }

    #[test]
    fn a_certificate_with_two_lists_of_names_holds_none() {
        let san = |name: &str| {
            let length = u8::try_from(name.len()).unwrap();
            let mut der = vec![0x30, length + 2, 0x82, length];
            der.extend_from_slice(name.as_bytes());
            CustomExtension::from_oid_content(&[2, 5, 29, 17], der)
        };
        let one = certificate(Vec::new(), "x", vec![san("nginx.internal")]);
        assert!(listed().include(&one));
        let two = certificate(Vec::new(), "x", vec![san("nginx.internal"), san("other.internal")]);
        assert!(!listed().include(&two));
    }

    #[test]
    fn names_in_the_settings_are_exact() {
        let check = |text: &str, expected: Option<PeerName>| assert_eq!(PeerName::parse(text), expected, "{text}");
        check("nginx.internal", Some(PeerName::Dns("nginx.internal".into())));
        check("Edge-1_a", Some(PeerName::Dns("edge-1_a".into())));
        check("IP:10.0.0.7", Some(PeerName::Ip([10, 0, 0, 7].into())));
        check("URI:urn:x", Some(PeerName::Uri("urn:x".into())));
        let long = format!("{}.internal", "x".repeat(64));
        for wrong in [
            "",
            "*",
            "*.internal",
            "a..b",
            ".a",
            "a.",
            "a b",
            "nginx.internal:443",
            "10.0.0.7",
            "IP:",
            "IP:10.0.0.0/8",
            "IP:nginx",
            "URI:",
            "URI:nginx",
            "URI:spiffe://*/x",
            "URI:a: b",
            "DNS:a",
            "münchen.example",
            &long,
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_log_is_told_a_bounded_part() {
        let names = certificate(vec![dns("a.internal"), SanType::IpAddress([10, 0, 0, 7].into())], "x", Vec::new());
        assert_eq!(shown(&names), "a.internal, IP:10.0.0.7");
        let odd = certificate(vec![dns("a\nb\u{1b}[0m")], "x", Vec::new());
        assert_eq!(shown(&odd), "a\\nb\\u{1b}[0m");
        let many = certificate(vec![dns(&"x".repeat(200)); 50], "x", Vec::new());
        assert_eq!(shown(&many).chars().count(), NAMES_CHARS);
        assert_eq!(shown(&certificate(Vec::new(), "x", Vec::new())), "none");
        assert_eq!(shown(b"no certificate"), "none");
    }

    proptest! {
        #[test]
        fn whatever_is_no_certificate_is_a_strangers(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            prop_assert!(!listed().include(&bytes));
            let _ = shown(&bytes);
            let mut broken = certificate(vec![dns("other.internal")], "nginx.internal", Vec::new());
            let at = at.index(broken.len());
            broken[at] ^= 1 << bit;
            prop_assert!(!listed().include(&broken));
            let _ = shown(&broken);
        }
    }
}
