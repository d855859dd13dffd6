//! The value of a session cookie. Input: the value itself, and at the same time a plan to spoil a real one.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::{
    reason::Reason,
    seal::KeyRing,
    session::cookie::{mint, read},
};
use portcullis_fuzz::{edited, idle_ring, ring};

static RING: LazyLock<KeyRing> = LazyLock::new(ring);
static IDLE_RING: LazyLock<KeyRing> = LazyLock::new(idle_ring);

fuzz_target!(|data: &[u8]| {
    let (minted, handle) = mint(&RING, "main", &[7; 32]);
    if let Ok(made_up) = str::from_utf8(data) {
        assert_eq!(read(&IDLE_RING, "main", made_up).err(), Some(Reason::SessionMalformed));
    }
    let spoilt = edited(minted.reveal().as_bytes(), data);
    let Ok(spoilt) = str::from_utf8(&spoilt) else { return };
    assert_eq!(read(&RING, "other", spoilt).err(), Some(Reason::SessionMalformed));
    match read(&RING, "main", spoilt) {
        Ok(read) => assert!(spoilt == minted.reveal() && read.name() == handle.name()),
        Err(reason) => assert!(spoilt != minted.reveal() && reason == Reason::SessionMalformed),
    }
});
