//! A record of the fallback's switches, from the store, a file or a command. Input: a line, a plan to spoil a real one, and
//! at the same time what stands inside a seal that is whole.

#![no_main]

use std::{sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use portcullis::{
    fallback::switch::{
        Base, By, Record,
        agreement::{Agreement, Arming, Said, Source},
        from_text, to_text,
    },
    seal::KeyRing,
};
use portcullis_fuzz::{NOW, edited, ring};

static RING: LazyLock<KeyRing> = LazyLock::new(ring);
static BY: LazyLock<By> = LazyLock::new(|| By::new("alice", "why").expect("they are plain"));
static LINE: LazyLock<Vec<u8>> = LazyLock::new(|| line(&killed()).into_bytes());

fuzz_target!(|data: &[u8]| {
    as_a_line(data);
    spoilt(data);
    inside_a_whole_seal(data);
});

/// Whatever is read is written the same, and nobody without the key has made a record.
fn as_a_line(data: &[u8]) {
    if let Ok(stored) = from_text(data) {
        assert_eq!(from_text(to_text(&stored).as_bytes()).as_ref(), Ok(&stored));
        let is_the_real_one = Ok(&stored) == from_text(&LINE).as_ref();
        assert_eq!(Record::open(&RING, &stored).is_ok(), is_the_real_one);
    }
}

/// A line that is not exactly as it was written opens nothing: the door of who has believed it is closed.
fn spoilt(plan: &[u8]) {
    let said = Said::of_text(&RING, &edited(&LINE, plan));
    if let Said::Record(kept) = &said {
        assert_eq!(kept.record, killed());
    }
    let mut agreement = Agreement::default();
    agreement.meet(&Said::Absent, false, Duration::ZERO);
    agreement.hear(vec![(Source::Stored, said)], 0);
    assert!(!agreement.standing(NOW, arming(false)).armed);
}

fn arming(required: bool) -> Arming {
    Arming { required, longest: Duration::from_secs(86_400) }
}

/// Whatever a record says, it can be judged, it keeps what it closes, and what follows it is above it.
fn inside_a_whole_seal(plain: &[u8]) {
    let Ok(record) = postcard::from_bytes::<Record>(plain) else { return };
    let stored = record.seal(&RING, [4; 12]).expect("it was read");
    let said = Said::of_stored(&RING, Some(stored));
    let mut agreement = Agreement::default();
    agreement.meet(&said, false, Duration::ZERO);
    agreement.hear(vec![(Source::Stored, said)], 0);
    let standing = agreement.standing(NOW, arming(true));
    assert!(!standing.armed || !(record.killed || record.auto_closed));
    if let Ok(Some(next)) = agreement.base().disable(&BY, NOW) {
        assert!(next.killed && next.epoch > record.epoch);
    }
    if let Ok(next) = agreement.base().arm(Duration::from_secs(1), Duration::from_secs(1), &BY, NOW) {
        assert!(!record.killed && next.epoch > record.epoch);
    }
}

fn killed() -> Record {
    let record = Base::Nothing.disable(&BY, NOW).expect("there are epochs");
    record.expect("nobody has killed it before")
}

fn line(record: &Record) -> String {
    to_text(&record.seal(&RING, [1; 12]).expect("it is small"))
}
