//! Which certificates lead to the root, and through whom.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use super::*;
use crate::fallback::fixture::{
    ANYBODY, Authorities, CLIENTS, CRL_SIGN, DAY, DIGITAL_SIGNATURE, KEY_CERT_SIGN, Made, NOW, SERVERS, Template,
    constraints, extension, key_usage, pem, purposes,
};

fn names(path: &Path) -> Vec<(String, String)> {
    path.links().iter().map(|link| (link.issuer.subject().to_owned(), link.serial.hex())).collect()
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(subject, serial)| ((*subject).to_owned(), (*serial).to_owned())).collect()
}

#[test]
fn a_path_says_who_could_have_revoked_what() {
    let made = Authorities::new();
    let ca = made.ca();
    let leaf = Template::leaf("alice").signed_by(&made.middle).leaf();
    let path = ca.verify(&leaf, NOW).unwrap();
    assert_eq!(names(&path), named(&[("CN=Test Intermediate", "51"), ("CN=Test Root", "0b")]));
    let direct = Template::leaf("alice").signed_by(&made.root).leaf();
    assert_eq!(names(&ca.verify(&direct, NOW).unwrap()), named(&[("CN=Test Root", "51")]));
    assert_eq!(ca.authorities().count(), 2);
}

#[test]
fn a_longer_path_is_in_order() {
    let made = Authorities::new();
    let lower = Template::authority("Lower").serial(&[0x0c]).signed_by(&made.middle);
    let between = format!("{}{}", lower.pem(), made.middle.pem());
    let ca = AdminCa::new(made.root.pem().as_bytes(), Some(between.as_bytes())).unwrap();
    let path = ca.verify(&Template::leaf("alice").signed_by(&lower).leaf(), NOW).unwrap();
    assert_eq!(names(&path), named(&[("CN=Lower", "51"), ("CN=Test Intermediate", "0c"), ("CN=Test Root", "0b")]));
}

#[test]
fn whoever_is_not_under_the_root_is_untrusted() {
    let (made, others) = (Authorities::new(), Authorities::new());
    let ca = made.ca();
    let refused = |leaf: &Made| ca.verify(&leaf.leaf(), NOW).unwrap_err();
    // The same names, other keys.
    refused(&Template::leaf("alice").signed_by(&others.middle));
    refused(&Template::leaf("alice").signed_by(&others.root));
    refused(&Template::leaf("alice").self_signed());
    let without = AdminCa::new(made.root.pem().as_bytes(), None).unwrap();
    assert!(without.verify(&Template::leaf("alice").signed_by(&made.middle).leaf(), NOW).is_err());
    let mut spoilt = Template::leaf("alice").signed_by(&made.middle);
    *spoilt.der.last_mut().unwrap() ^= 1;
    refused(&spoilt);
    assert!(matches!(
        refused(&Template::leaf("alice").signed_by(&Template::leaf("mallory").signed_by(&made.root))),
        Untrusted::Path(_)
    ));
}

#[test]
fn only_a_clients_certificate_is_trusted() {
    let made = Authorities::new();
    let check = |extensions: Vec<Vec<u8>>, expected: Result<(), &str>| {
        let leaf = Template::leaf("alice").extensions(extensions).signed_by(&made.middle).leaf();
        let verified = made.ca().verify(&leaf, NOW).map(|_| ()).map_err(|untrusted| untrusted.to_string());
        assert_eq!(verified.as_ref().copied().map_err(String::as_str), expected);
    };
    let purpose = "it does not name clientAuth as its purpose";
    check(vec![purposes(&[CLIENTS])], Ok(()));
    check(vec![purposes(&[CLIENTS, SERVERS]), constraints(false), key_usage(DIGITAL_SIGNATURE)], Ok(()));
    check(vec![purposes(&[SERVERS])], Err(purpose));
    check(vec![purposes(&[ANYBODY])], Err(purpose));
    check(Vec::new(), Err(purpose));
    check(vec![purposes(&[CLIENTS]), constraints(true)], Err("it is an authority's"));
    check(vec![purposes(&[CLIENTS]), extension(99, false, b"x")], Ok(()));
    check(vec![purposes(&[CLIENTS]), extension(99, true, b"x")], Err("UnsupportedCriticalExtension"));
}

#[test]
fn every_certificate_of_the_path_is_in_time() {
    let check = |root: Template, middle: Template, expected: bool| {
        let root = root.self_signed();
        let middle = middle.signed_by(&root);
        let made = Authorities { root, middle };
        let leaf = Template::leaf("alice").signed_by(&made.middle).leaf();
        assert_eq!(made.ca().verify(&leaf, NOW).is_ok(), expected);
    };
    let (root, middle) = (|| Template::authority("Test Root"), || Template::authority("Test Intermediate"));
    let over = |template: Template| template.times(NOW.minus(9 * DAY), NOW.minus(DAY));
    let early = |template: Template| template.times(NOW.plus(DAY), NOW.plus(9 * DAY));
    let just = |template: Template| template.times(NOW, NOW);
    check(root(), middle(), true);
    check(just(root()), just(middle()), true);
    check(root(), over(middle()), false);
    check(root(), early(middle()), false);
    check(over(root()), middle(), false);
    check(early(root()), middle(), false);
}

#[test]
fn an_issuer_for_servers_alone_has_no_clients() {
    let root = Template::authority("Test Root").self_signed();
    let extensions = vec![constraints(true), key_usage(KEY_CERT_SIGN | CRL_SIGN), purposes(&[SERVERS])];
    let middle = Template::authority("Test Intermediate").extensions(extensions).signed_by(&root);
    let made = Authorities { root, middle };
    assert!(made.ca().verify(&Template::leaf("alice").signed_by(&made.middle).leaf(), NOW).is_err());
}

#[test]
fn of_two_issuers_of_one_name_the_one_that_signed_is_on_the_path() {
    let made = Authorities::new();
    let twin = Template::authority("Test Intermediate").serial(&[0x0c]).signed_by(&made.root);
    for between in [format!("{}{}", made.middle.pem(), twin.pem()), format!("{}{}", twin.pem(), made.middle.pem())] {
        let ca = AdminCa::new(made.root.pem().as_bytes(), Some(between.as_bytes())).unwrap();
        let path = ca.verify(&Template::leaf("alice").signed_by(&twin).leaf(), NOW).unwrap();
        assert_eq!(names(&path), named(&[("CN=Test Intermediate", "51"), ("CN=Test Root", "0c")]));
        let ids: Vec<AuthorityId> = ca.authorities().skip(1).map(Authority::id).collect();
        assert!(ids[0] != ids[1] && ids.contains(&path.links()[0].issuer.id()));
    }
}

#[test]
fn files_hold_authorities_and_nothing_less() {
    let made = Authorities::new();
    let check = |roots: &str, between: Option<&str>, expected: CaError| {
        assert_eq!(AdminCa::new(roots.as_bytes(), between.map(str::as_bytes)).unwrap_err(), expected);
    };
    let (root, leaf) = (made.root.pem(), Template::leaf("alice").self_signed().pem());
    check("", None, CaError::Empty(File::Roots));
    check("text", None, CaError::Empty(File::Roots));
    check(&root, Some(""), CaError::Empty(File::Intermediates));
    check(&leaf, None, CaError::NotAnAuthority(File::Roots, 1));
    check(&root, Some(&format!("{root}{leaf}")), CaError::NotAnAuthority(File::Intermediates, 2));
    check(&format!("{root}{}", pem("CERTIFICATE", b"x")), None, CaError::Unreadable(File::Roots, 2));
    check(&root.repeat(MOST_AUTHORITIES + 1), None, CaError::TooMany(File::Roots));
    let no_usage = Template::authority("a").extensions(vec![constraints(true), key_usage(CRL_SIGN)]).self_signed();
    check(&no_usage.pem(), None, CaError::NotAnAuthority(File::Roots, 1));
    assert_eq!(CaError::Empty(File::Roots).file(), File::Roots);
    assert!(AdminCa::new(format!("text before\n{root}text after\n").as_bytes(), None).is_ok());
}
