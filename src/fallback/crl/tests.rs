//! Which lists are believed, and why each of the others is not.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;

use super::*;
use crate::fallback::fixture::{
    Authorities, CRL_SIGN, DAY, HOUR, KEY_CERT_SIGN, ListTemplate, Made, NOW, Template, constraints, crl_number,
    extension, key_usage, pem, revoked as entry, tlv,
};

fn read(made: &Authorities, bytes: &[u8]) -> Result<RevocationList, Unusable> {
    RevocationList::read(bytes, &made.ca(), DAY, NOW)
}

#[track_caller]
fn check(change: impl FnOnce(ListTemplate) -> ListTemplate, expected: Result<(), Reason>) {
    let made = Authorities::new();
    let der = change(ListTemplate::number(1)).signed_by(&made.middle);
    let read = read(&made, &der);
    assert_eq!(read.as_ref().map(|_| ()).map_err(Unusable::reason), expected, "{read:?}");
}

#[test]
fn a_list_says_whose_it_is_and_whom_it_is_about() {
    let made = Authorities::new();
    let template = ListTemplate::number(7).revoking(&[0x51]).revoking(&[0, 0x80]);
    let der = template.signed_by(&made.middle);
    for bytes in [der.clone(), pem("X509 CRL", &der).into_bytes()] {
        let list = read(&made, &bytes).unwrap();
        assert_eq!(list.issuer(), made.ca().authorities().nth(1).unwrap().id());
        assert_eq!(list.number(), CrlNumber::of(&[7]));
        assert_eq!((list.this_update(), list.next_update()), (template.this_update, NOW.plus(DAY)));
        assert!(list.has_revoked(&Serial::read(&[0x51]).unwrap()) && list.has_revoked(&Serial::read(&[0x80]).unwrap()));
        assert!(!list.has_revoked(&Serial::read(&[0x52]).unwrap()));
        assert_eq!((list.stale_at(DAY), list.stale_at(2 * DAY)), (template.this_update.plus(DAY), NOW.plus(DAY)));
    }
    let roots = read(&made, &ListTemplate::number(1).signed_by(&made.root)).unwrap();
    assert_eq!(roots.issuer(), made.ca().authorities().next().unwrap().id());
}

#[test]
fn a_list_that_is_not_its_issuers_is_invalid() {
    let (made, others) = (Authorities::new(), Authorities::new());
    let refused = |der: Vec<u8>| read(&made, &der).unwrap_err();
    let list = ListTemplate::number(1);
    assert_eq!(refused(list.signed_by(&Template::authority("Other").self_signed())), Unusable::Issuer);
    assert_eq!(refused(list.signed_by(&others.middle)), Unusable::Signature);
    assert_eq!(refused(list.named_and_signed_by(&made.middle.subject, &made.root.key)), Unusable::Signature);
    assert_eq!(refused(list.named_and_signed_by(&made.root.subject, &made.middle.key)), Unusable::Signature);
    let mut spoilt = list.signed_by(&made.middle);
    *spoilt.last_mut().unwrap() ^= 1;
    assert_eq!(refused(spoilt), Unusable::Signature);
    for unusable in [Unusable::Issuer, Unusable::Signature, Unusable::Usage, Unusable::Future, Unusable::TooLong] {
        assert_eq!(unusable.reason(), Reason::CrlInvalid);
    }
}

#[test]
fn an_authority_that_may_not_sign_lists_has_none() {
    let root = Template::authority("Test Root").self_signed();
    let check = |usage: Vec<Vec<u8>>, expected: Option<Unusable>| {
        let template = Template::authority("Test Intermediate").extensions([vec![constraints(true)], usage].concat());
        let middle = template.signed_by(&root);
        let ca = AdminCa::new(root.pem().as_bytes(), Some(middle.pem().as_bytes())).unwrap();
        let der = ListTemplate::number(1).signed_by(&middle);
        assert_eq!(RevocationList::read(&der, &ca, DAY, NOW).err(), expected);
    };
    check(vec![key_usage(KEY_CERT_SIGN)], Some(Unusable::Usage));
    check(vec![key_usage(KEY_CERT_SIGN | CRL_SIGN)], None);
    check(Vec::new(), None);
}

#[test]
fn of_two_authorities_of_one_name_the_one_that_signed_is_the_issuer() {
    let made = Authorities::new();
    let twin = Template::authority("Test Intermediate").serial(&[0x0c]).signed_by(&made.root);
    let between = format!("{}{}", made.middle.pem(), twin.pem());
    let ca = AdminCa::new(made.root.pem().as_bytes(), Some(between.as_bytes())).unwrap();
    let of = |issuer: &Made| {
        RevocationList::read(&ListTemplate::number(1).signed_by(issuer), &ca, DAY, NOW).unwrap().issuer()
    };
    let ids: Vec<AuthorityId> = ca.authorities().map(Authority::id).collect();
    assert_eq!([of(&made.root), of(&made.middle), of(&twin)], ids[..]);
}

#[test]
fn lists_of_another_kind_are_refused_whole() {
    let invalid = Err(Reason::CrlInvalid);
    check(|list| list, Ok(()));
    check(|list| list.and(extension(35, false, &tlv(0x30, b""))), Ok(()));
    check(|list| list.and(extension(46, false, &tlv(0x30, b""))), Ok(()));
    check(|list| list.and(extension(99, false, b"x")), Ok(()));
    check(|list| list.and(extension(99, true, b"x")), invalid);
    check(|list| list.and(extension(27, true, &tlv(0x02, &[1]))), invalid);
    check(|list| list.and(extension(27, false, &tlv(0x02, &[1]))), invalid);
    let point = |fields: &[u8]| extension(28, true, &tlv(0x30, fields));
    check(|list| list.and(point(&tlv(0x84, &[0xff]))), invalid);
    check(|list| list.and(point(&tlv(0x81, &[0xff]))), invalid);
    let full_name = tlv(0xa0, &tlv(0xa0, &tlv(0x86, b"http://crl.example.com/")));
    check(|list| list.and(point(&full_name)), invalid);
    check(|list| list.and(extension(28, false, &tlv(0x30, &full_name))), invalid);
    check(|list| ListTemplate { version: Some(0), ..list }, invalid);
    check(|list| ListTemplate { version: None, ..list }, invalid);
}

#[test]
fn entries_that_are_not_understood_refuse_the_whole_list() {
    let with = |extensions: &[Vec<u8>]| {
        let revoked = vec![entry(&[0x51], extensions), entry(&[0x52], &[])];
        move |list: ListTemplate| ListTemplate { revoked, ..list }
    };
    let why = |code: u8| extension(21, false, &tlv(0x0a, &[code]));
    check(with(&[]), Ok(()));
    check(with(&[why(1)]), Ok(()));
    check(with(&[why(6)]), Ok(()));
    check(with(&[why(8)]), Err(Reason::CrlInvalid));
    check(with(&[extension(99, true, b"x")]), Err(Reason::CrlInvalid));
    check(with(&[extension(99, false, b"x")]), Ok(()));
    check(with(&[extension(29, true, &tlv(0x30, b""))]), Err(Reason::CrlInvalid));
    check(with(&[extension(29, false, &tlv(0x30, b""))]), Err(Reason::CrlInvalid));
    check(|list| ListTemplate { revoked: vec![entry(&[1; 21], &[])], ..list }, Err(Reason::CrlInvalid));
    // A lenient reader would take these for a list without entries.
    check(|list| ListTemplate { revoked: vec![tlv(0x30, b"x")], ..list }, Err(Reason::CrlInvalid));
    check(|list| ListTemplate { revoked: vec![tlv(0x04, b"x")], ..list }, Err(Reason::CrlInvalid));
}

#[test]
fn a_list_has_exactly_one_number() {
    let numbered = |extensions: Vec<Vec<u8>>| move |list: ListTemplate| ListTemplate { extensions, ..list };
    check(numbered(vec![]), Err(Reason::CrlInvalid));
    check(numbered(vec![extension(35, false, &tlv(0x30, b""))]), Err(Reason::CrlInvalid));
    check(numbered(vec![crl_number(&[1]), crl_number(&[2])]), Err(Reason::CrlInvalid));
    check(numbered(vec![crl_number(&[0x80])]), Err(Reason::CrlInvalid));
    check(numbered(vec![extension(20, false, b"x")]), Err(Reason::CrlInvalid));
    check(numbered(vec![crl_number(&[1; 20])]), Ok(()));
    check(numbered(vec![crl_number(&[1; 21])]), Err(Reason::CrlInvalid));
}

#[test]
fn numbers_are_compared_as_numbers() {
    let number = CrlNumber::of;
    assert!(number(&[1, 0]) > number(&[0xff]) && number(&[0, 0, 2]) > number(&[1]) && number(&[0]) < number(&[1]));
    assert_eq!(number(&[0, 1]), number(&[1]));
    assert!(number(&[0xff; 20]) > number(&[0xff; 19]));
}

#[test]
fn a_list_counts_in_its_time_alone() {
    let second = Duration::from_secs(1);
    let (invalid, stale) = (Err(Reason::CrlInvalid), Err(Reason::CrlStale));
    check(|list| ListTemplate { next_update: None, ..list }, invalid);
    check(|list| list.times(NOW, NOW), invalid);
    check(|list| list.times(NOW.minus(HOUR), NOW.minus(2 * HOUR)), invalid);
    check(|list| list.times(NOW.plus(60 * second), NOW.plus(DAY)), Ok(()));
    check(|list| list.times(NOW.plus(61 * second), NOW.plus(DAY)), invalid);
    check(|list| list.times(NOW.minus(HOUR), NOW.plus(second)), Ok(()));
    check(|list| list.times(NOW.minus(HOUR), NOW), stale);
    check(|list| list.times(NOW.minus(HOUR), NOW.minus(second)), stale);
    check(|list| list.times(NOW.minus(DAY).plus(second), NOW.plus(DAY)), Ok(()));
    check(|list| list.times(NOW.minus(DAY), NOW.plus(DAY)), stale);
    let made = Authorities::new();
    let old = ListTemplate::number(1).times(NOW.minus(9 * DAY), NOW.minus(DAY));
    assert_eq!(read(&made, &old.signed_by(&made.middle)).unwrap_err(), Unusable::Over);
    assert!(RevocationList::read_of_any_age(&old.signed_by(&made.middle), &made.ca(), NOW).is_ok());
    // What is wrong with it comes first: nobody signed this one.
    let forged = old.signed_by(&Authorities::new().middle);
    assert_eq!(read(&made, &forged).unwrap_err().reason(), Reason::CrlInvalid);
}

#[test]
fn what_is_not_exactly_one_list_is_invalid() {
    let made = Authorities::new();
    let der = ListTemplate::number(1).signed_by(&made.middle);
    let text = pem("X509 CRL", &der);
    let check = |bytes: &[u8], expected: Unusable| assert_eq!(read(&made, bytes).unwrap_err(), expected);
    check(b"", Unusable::Malformed);
    check(b"<html>404</html>", Unusable::Malformed);
    check(&[der.as_slice(), &[0]].concat(), Unusable::Malformed);
    check(&[der.as_slice(), der.as_slice()].concat(), Unusable::Malformed);
    check(&der[..der.len() - 1], Unusable::Malformed);
    check(text.repeat(2).as_bytes(), Unusable::Malformed);
    check(format!("{text}x").as_bytes(), Unusable::Malformed);
    check(pem("CERTIFICATE", &der).as_bytes(), Unusable::Malformed);
    check(&made.middle.der, Unusable::Malformed);
    check(&vec![b'x'; MAX_CRL_BYTES + 1], Unusable::TooLong);
    let many: Vec<Vec<u8>> =
        (0..20_000_u16).map(|number| entry(&[&[1][..], &number.to_be_bytes()].concat(), &[])).collect();
    let list = ListTemplate { revoked: many, ..ListTemplate::number(1) }.signed_by(&made.middle);
    assert!(
        list.len() < MAX_CRL_BYTES && read(&made, &list).unwrap().has_revoked(&Serial::read(&[1, 0x4e, 0x1f]).unwrap())
    );
}

#[test]
fn the_network_brings_no_list_that_is_too_long() {
    assert_eq!(MAX_CRL_BYTES, crate::outbound::MAX_ANSWER_BYTES);
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic_or_a_list(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let made = Authorities::new();
        prop_assert!(read(&made, &bytes).is_err());
        prop_assert!(read(&made, pem("X509 CRL", &bytes).as_bytes()).is_err());
    }

    #[test]
    fn a_spoilt_list_is_never_read(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let made = Authorities::new();
        let mut der = ListTemplate::number(1).revoking(&[0x51]).signed_by(&made.middle);
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        prop_assert!(read(&made, &der).is_err());
    }
}
