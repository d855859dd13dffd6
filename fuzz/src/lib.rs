//! What the targets share: keys that protect nothing, one site, a moment, and a way to spoil bytes.
//!
//! A target reads its input as text where the parser does, so that seeds and artefacts can be read and mutated line by
//! line. Everything here is fixed: an artefact fails again tomorrow.

#![forbid(unsafe_code)]

use portcullis::{
    clock::Timestamp,
    origin::{HostName, PublicUrl, Site, SiteParts},
    seal::{KeyRing, MasterKey},
};

pub mod authority;
pub mod provider;

/// When all of it happens.
pub const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// The origins that a browser may be sent back to on [`site`].
pub const ORIGINS: [&str; 3] = ["https://app.example.com", "https://wiki.example.com", "https://docs.example.net:8443"];

/// A ring of two keys; the first one seals.
pub fn ring() -> KeyRing {
    KeyRing::new(&MasterKey::from_bytes([1; 32]), &[MasterKey::from_bytes([2; 32])])
}

/// A ring that nothing is ever made with, so that nothing made up can be right. libFuzzer sees what is compared, and
/// tries that.
pub fn idle_ring() -> KeyRing {
    KeyRing::new(&MasterKey::from_bytes([3; 32]), &[])
}

/// A site of two hosts and two providers, which lets browsers back to one more origin.
#[expect(clippy::unwrap_used, reason = "the parts are these and no others")]
pub fn site() -> Site {
    Site::new(SiteParts {
        providers: vec!["main".into(), "partners".into()],
        hosts: vec![HostName::parse("wiki.example.com").unwrap()],
        return_origins: vec![PublicUrl::parse(ORIGINS[2]).unwrap()],
        landing: "/home".into(),
        ..SiteParts::new("main", PublicUrl::parse(ORIGINS[0]).unwrap())
    })
    .unwrap()
}

/// The bytes, changed as `plan` says: every three of it are a place and what is done there: a byte is turned into
/// another, or all from there on is cut away, or one is put at the end.
pub fn edited(original: &[u8], plan: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for step in plan.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([step[0], step[1]])) % (bytes.len() + 1);
        match (bytes.get_mut(place), step[2]) {
            (Some(_), 0) => bytes.truncate(place),
            (Some(byte), mask) => *byte ^= mask,
            (None, last) => bytes.push(last),
        }
    }
    bytes
}

/// The part of the input before the first line end, and the part after it.
pub fn line_and_rest(input: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Whether a browser that is sent to `url` stays on an origin of [`site`], judged by its text alone.
pub fn is_at_home(url: &str) -> bool {
    ORIGINS.iter().any(|origin| url.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/')))
}
