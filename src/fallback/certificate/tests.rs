//! What is one certificate, and what is not.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;

use super::*;
use crate::fallback::fixture::{
    ANYBODY, CLIENTS, DAY, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, NOW, SERVERS, Template, attribute, common_name,
    constraints, escaped, extension, key_usage, name, pem, purposes, relative_name, tlv,
};

#[test]
fn a_certificate_says_who_when_and_what_for() {
    let template = Template {
        subject: name(&[relative_name(&[attribute(10, 0x13, b"Example, Inc.")]), common_name("Alice Admin")]),
        ..Template::leaf("-")
    };
    let made = template.serial(&[0, 0, 0xc0, 1]).email("alice@example.com").uri("urn:x").dns("y").self_signed();
    let leaf = Leaf::read(&made.escaped()).unwrap();
    assert_eq!(leaf.der().as_ref(), made.der);
    assert_eq!(leaf.subject(), "O=Example\\, Inc.,CN=Alice Admin");
    assert_eq!(leaf.common_name(), Some("Alice Admin"));
    assert_eq!((leaf.emails(), leaf.uris()), (&["alice@example.com".to_owned()][..], &["urn:x".to_owned()][..]));
    assert_eq!((leaf.serial().bytes(), leaf.serial_hex()), (&[0xc0, 1][..], "c001"));
    assert_eq!((leaf.not_before(), leaf.not_after()), (NOW.minus(DAY), NOW.plus(6 * DAY)));
    assert!(leaf.is_for_clients() && !leaf.is_authority());
    assert_eq!(leaf.fingerprint().hex(), hexadecimal(digest(&SHA256, &made.der).as_ref()));
    assert_eq!(leaf.fingerprint().hex(), hexadecimal(leaf.fingerprint().bytes()));
    assert_eq!(Leaf::parse_pem(made.pem().as_bytes()).unwrap().fingerprint(), leaf.fingerprint());
}

#[test]
fn a_purpose_must_be_named_and_the_key_may_sign() {
    let check = |extensions: Vec<Vec<u8>>, expected: bool| {
        assert_eq!(Template::leaf("a").extensions(extensions).self_signed().leaf().is_for_clients(), expected);
    };
    check(vec![purposes(&[CLIENTS])], true);
    check(vec![purposes(&[SERVERS, CLIENTS])], true);
    check(vec![purposes(&[CLIENTS]), key_usage(DIGITAL_SIGNATURE)], true);
    check(vec![purposes(&[CLIENTS]), key_usage(KEY_ENCIPHERMENT)], false);
    check(vec![purposes(&[SERVERS])], false);
    check(vec![purposes(&[ANYBODY])], false);
    check(Vec::new(), false);
    assert!(Template::authority("a").self_signed().leaf().is_authority());
    assert!(!Template::leaf("a").extensions(vec![constraints(false)]).self_signed().leaf().is_authority());
}

#[test]
fn what_is_not_exactly_one_escaped_certificate_is_malformed() {
    let made = Template::leaf("Alice Admin").self_signed();
    let (text, whole) = (made.pem(), made.escaped());
    let check =
        |escaped: &str, expected: Malformed| assert_eq!(Leaf::read(escaped).unwrap_err(), expected, "{escaped}");
    check("", Malformed::Pem);
    check("garbage", Malformed::Pem);
    check(&"A".repeat(64 * 1024), Malformed::TooLong);
    check(&"A".repeat(MAX_ESCAPED_BYTES + 1), Malformed::TooLong);
    check(&"A".repeat(MAX_ESCAPED_BYTES), Malformed::Pem);
    check(&text, Malformed::Escaping);
    check(&format!("{whole}%"), Malformed::Escaping);
    check(&format!("{whole}%0"), Malformed::Escaping);
    check(&format!("{whole}%0g"), Malformed::Escaping);
    check(&format!("{whole}%00"), Malformed::Escaping);
    check(&format!("{whole}%ff"), Malformed::Escaping);
    check(&format!("{whole}%09"), Malformed::Escaping);
    check(&format!("{whole} "), Malformed::Escaping);
    check(&escaped(&whole), Malformed::Escaping);
    check(&whole.replace("%20", "+"), Malformed::Pem);
    check(&format!("%0A{whole}"), Malformed::Pem);
    check(&format!("{whole}%0A"), Malformed::Pem);
    check(&format!("{whole}x"), Malformed::Pem);
    check(&format!("{whole}{whole}"), Malformed::Pem);
    check(&whole.replace("CERTIFICATE", "TRUSTED%20CERTIFICATE"), Malformed::Pem);
    check(&whole.replacen("%2D", "", 1), Malformed::Pem);
    check(&escaped(&text.replace('\n', "")), Malformed::Pem);
    check(&escaped(&text.replacen('\n', "\n\n", 1)), Malformed::Pem);
    check(&escaped("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), Malformed::Pem);
    check(&escaped(&pem("CERTIFICATE", b"no DER")), Malformed::Certificate);
    check(&escaped(&pem("CERTIFICATE", &made.der[..made.der.len() - 1])), Malformed::Certificate);
    let trailing = [made.der.as_slice(), &[0]].concat();
    check(&escaped(&pem("CERTIFICATE", &trailing)), Malformed::Certificate);
}

#[test]
fn a_literal_plus_stays_one_and_the_last_line_end_may_be_missing() {
    let made = Template::leaf("Alice Admin").self_signed();
    let readable = made.escaped().replace("%2B", "+").replace("%2F", "/").replace("%3D", "=").replace("%2D", "-");
    assert_eq!(Leaf::read(&readable).unwrap().der().as_ref(), made.der);
    assert!(Leaf::read(made.escaped().strip_suffix("%0A").unwrap()).is_ok());
    assert!(Leaf::parse_pem(made.pem().replace('\n', "\r\n").as_bytes()).is_ok());
}

#[test]
fn a_certificate_that_can_be_read_in_two_ways_is_malformed() {
    let check = |template: Template| {
        assert_eq!(Leaf::read(&template.self_signed().escaped()).unwrap_err(), Malformed::Certificate);
    };
    let of_name = |subject: Vec<u8>| Template { subject, ..Template::leaf("-") };
    check(Template { version: 0, extensions: Vec::new(), ..Template::leaf("a") });
    check(Template { version: 1, ..Template::leaf("a") });
    check(Template::leaf("a").serial(&[1; 21]));
    check(Template::leaf("a").extensions(vec![purposes(&[CLIENTS]), purposes(&[CLIENTS])]));
    check(Template::leaf("a").extensions(vec![key_usage(DIGITAL_SIGNATURE), key_usage(KEY_ENCIPHERMENT)]));
    let other_name = || extension(17, false, &tlv(0x30, &tlv(0x81, b"bob@example.com")));
    check(Template::leaf("a").extensions(vec![other_name(), other_name()]));
    check(Template::leaf("a").extensions(vec![extension(17, false, b"no list")]));
    // A lenient reader stops before what it does not understand, and would see one name in these.
    let half = [attribute(3, 0x0c, b"Alice"), tlv(0x30, &tlv(0x06, &[0x55, 0x04, 3]))];
    check(of_name(name(&[relative_name(&half)])));
    let three = tlv(0x30, &[tlv(0x06, &[0x55, 0x04, 3]), tlv(0x0c, b"Alice"), tlv(0x0c, b"Bob")].concat());
    check(of_name(name(&[relative_name(&[three])])));
    check(of_name(name(&[common_name("Alice"), tlv(0x30, b"")])));
    check(of_name(name(&[common_name("Alice"), vec![0x31]])));
}

#[test]
fn the_log_sees_look_alikes_and_no_more_than_a_part() {
    let subject = |text: &str| Template::leaf(text).self_signed().leaf().subject().to_owned();
    assert_eq!(subject("\u{410}lice"), "CN=\\u{410}lice");
    assert_eq!(subject("a\nb\0c,CN=d"), "CN=a\\nb\\u{0}c\\,CN\\=d");
    assert_eq!(subject(&"\u{410}".repeat(500)).len(), SUBJECT_BYTES);
    let two = relative_name(&[attribute(3, 0x0c, b"a"), attribute(42, 0x0c, b"\xff")]);
    let template = Template { subject: name(&[two]), ..Template::leaf("-") };
    assert_eq!(template.self_signed().leaf().subject(), "CN=a+2.5.4.42=?");
}

#[test]
fn a_serial_number_is_the_same_however_it_is_padded() {
    let read = |bytes: &[u8]| Serial::read(bytes).unwrap();
    assert_eq!(read(&[0, 0x80]), read(&[0x80]));
    assert_ne!(read(&[1, 0]), read(&[1]));
    assert_eq!((read(&[]).hex(), read(&[0]).hex()), ("00".into(), "00".into()));
    assert!(Serial::read(&[&[0][..], &[1; 20]].concat()).is_some());
    assert!(Serial::read(&[1; 21]).is_none());
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Leaf::read(&text).is_err());
        let _ = Leaf::read(&escaped(&pem("CERTIFICATE", &bytes)));
        prop_assert!(Leaf::parse_pem(&bytes).is_err());
    }

    #[test]
    fn a_broken_escape_anywhere_is_never_a_certificate(
        at in any::<prop::sample::Index>(),
        wrong in prop::sample::select(vec!["%", "%4", "%g0", "%00", " ", "\n", "%C3%A9", "\u{e9}"]),
    ) {
        let mut text = Template::leaf("Alice Admin").self_signed().escaped();
        let at = at.index(text.len());
        let place = (0..=at).rev().find(|at| *at == 0 || text.as_bytes()[*at] == b'%').unwrap_or_default();
        text.insert_str(place, wrong);
        prop_assert!(Leaf::read(&text).is_err());
    }

    #[test]
    fn a_spoilt_certificate_never_panics_and_never_keeps_its_fingerprint(
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let made = Template::leaf("Alice Admin").email("alice@example.com").self_signed();
        let mut spoilt = made.der.clone();
        let at = at.index(spoilt.len());
        spoilt[at] ^= 1 << bit;
        if let Ok(leaf) = Leaf::read(&escaped(&pem("CERTIFICATE", &spoilt))) {
            let whole = made.leaf();
            prop_assert_ne!(leaf.fingerprint(), whole.fingerprint());
        }
    }
}
