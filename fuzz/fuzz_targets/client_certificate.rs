//! A client certificate as nginx passes it on. Input: the escaped text itself, and at the same time a plan to spoil a
//! real certificate.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use portcullis::fallback::{
    administrators::{Administrators, Entry, Identifier},
    certificate::{Leaf, MAX_ESCAPED_BYTES, MAX_SERIAL_BYTES},
    chain::AdminCa,
};
use portcullis_fuzz::{
    NOW,
    authority::{AUTHORITY, CERTIFICATE, der, pem},
    edited,
};

static CA: LazyLock<AdminCa> =
    LazyLock::new(|| AdminCa::new(AUTHORITY.as_bytes(), None).expect("the authority is this one"));
static REAL: LazyLock<Leaf> = LazyLock::new(|| Leaf::parse_pem(CERTIFICATE.as_bytes()).expect("it is a certificate"));
static LISTED: LazyLock<Administrators> = LazyLock::new(|| {
    let entry = |id: Identifier| Entry { name: "alice".into(), id, user: "alice".into(), groups: Vec::new() };
    Administrators::new(vec![
        entry(Identifier::CommonName("Alice Admin".into())),
        entry(Identifier::Uri("spiffe://example.com/bob".into())),
    ])
});

fuzz_target!(|data: &[u8]| {
    if let Ok(escaped) = str::from_utf8(data) {
        look_at(escaped);
    }
    let spoilt = pem("CERTIFICATE", &edited(REAL.der(), data));
    look_at(&utf8_percent_encode(&spoilt, NON_ALPHANUMERIC).to_string());
});

fn look_at(escaped: &str) {
    let Ok(leaf) = Leaf::read(escaped) else { return };
    let text: Vec<u8> = percent_decode_str(escaped).collect();
    let text = String::from_utf8(text).expect("only PEM is taken");
    assert!(escaped.len() <= MAX_ESCAPED_BYTES && text.matches("-----BEGIN").count() == 1);
    assert_eq!(der(&text), leaf.der().as_ref(), "something else than what stands there was read");
    assert!(leaf.subject().is_ascii() && leaf.serial().bytes().len() <= MAX_SERIAL_BYTES);
    let common_name = leaf.common_name();
    assert!(common_name.is_none_or(|name| !name.contains(char::is_control) && holds(&leaf, name)));
    assert!(leaf.emails().iter().chain(leaf.uris()).all(|name| name.is_ascii() && holds(&leaf, name)));
    let found = LISTED.find(&leaf).map(Entry::label);
    assert!(found.is_none_or(|_| common_name.is_some()), "nobody has no name");
    assert!(found != Some("Alice Admin") || common_name == found);
    if CA.verify(&leaf, NOW).is_ok() {
        // A signature has a twin that is as good; what is signed has none.
        let same = leaf.subject() == REAL.subject() && leaf.serial() == REAL.serial();
        assert!(same && leaf.not_after() == REAL.not_after(), "nobody signed this");
    }
}

fn holds(leaf: &Leaf, name: &str) -> bool {
    name.is_empty() || leaf.der().windows(name.len()).any(|part| part == name.as_bytes())
}
