//! A revocation list from the network. Input: the list itself, in DER or PEM, and at the same time a plan to spoil a real
//! one.

#![no_main]

use std::{sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use portcullis::{
    fallback::{
        certificate::Serial,
        chain::AdminCa,
        crl::{RevocationList, Unusable},
    },
    reason::Reason,
};
use portcullis_fuzz::{
    NOW,
    authority::{AUTHORITY, LIST, der, pem},
    edited,
};

static CA: LazyLock<AdminCa> =
    LazyLock::new(|| AdminCa::new(AUTHORITY.as_bytes(), None).expect("the authority is this one"));
static REAL: LazyLock<RevocationList> = LazyLock::new(|| read(LIST.as_bytes()).expect("it is a list"));
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fuzz_target!(|data: &[u8]| {
    look_at(data);
    let spoilt = edited(&der(LIST), data);
    look_at(&spoilt);
    look_at(pem("X509 CRL", &spoilt).as_bytes());
});

fn read(bytes: &[u8]) -> Result<RevocationList, Unusable> {
    RevocationList::read(bytes, &CA, DAY, NOW)
}

fn look_at(bytes: &[u8]) {
    match read(bytes) {
        Ok(list) => {
            let [named, other] = [0x52, 0x51].map(|number| Serial::read(&[number]).expect("it is short"));
            assert!(list.has_revoked(&named) && !list.has_revoked(&other), "nobody signed this");
            assert!(list.number() == REAL.number() && list.issuer() == REAL.issuer());
            assert!(list.this_update() == REAL.this_update() && list.next_update() == REAL.next_update());
        }
        Err(unusable) => assert_eq!(unusable.reason(), Reason::CrlInvalid, "{unusable}"),
    }
    if let Ok(list) = RevocationList::read_of_any_age(bytes, &CA, NOW) {
        assert_eq!(list.number(), REAL.number());
    }
}
