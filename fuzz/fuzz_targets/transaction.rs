//! The cookies of sign-ins that a browser shows. Input: `name=value` lines, and at the same time a plan to spoil a real
//! one, and what stands inside one that is whole.

#![no_main]

use std::{sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use portcullis::{
    clock::Timestamp,
    oidc::transaction::{Config, Cookies, DROPPED_AT_ONCE, LIVING, RETURN_TO_BYTES, TOGETHER_BYTES, Transaction},
    origin::Site,
    reason::Reason,
    seal::KeyRing,
    secret::Secret,
};
use portcullis_fuzz::{NOW, edited, idle_ring, is_at_home, ring, site};

static RING: LazyLock<KeyRing> = LazyLock::new(ring);
static IDLE_RING: LazyLock<KeyRing> = LazyLock::new(idle_ring);
static SITE: LazyLock<Site> = LazyLock::new(site);
static CONFIG: Config = Config { lifetime: Duration::from_secs(600), plain: false };

fuzz_target!(|data: &[u8]| {
    let cookies = Cookies { config: &CONFIG, ring: &RING };
    let state = Secret::new("state");
    if let Ok(lines) = str::from_utf8(data) {
        let shown: Vec<_> = lines.lines().filter_map(|line| line.split_once('=')).collect();
        let idle = Cookies { config: &CONFIG, ring: &IDLE_RING };
        assert!(idle.open(shown.iter().copied(), &state, NOW).is_err(), "nobody made it");
        makes_room(&cookies, &shown);
    }
    spoilt(&cookies, &state, data);
    if let Ok(transaction) = postcard::from_bytes::<Transaction>(data) {
        inside_a_whole_seal(&cookies, &state, &transaction);
    }
});

/// A cookie that is not exactly as it was made opens nothing, and opens for its own `state` alone.
fn spoilt(cookies: &Cookies<'_>, state: &Secret, plan: &[u8]) {
    let transaction = Transaction {
        provider: "main".into(),
        site: "main".into(),
        nonce: Secret::new("nonce"),
        verifier: Secret::new("verifier"),
        return_to: "/a".into(),
        started_at: NOW,
    };
    let made = cookies.issue(&transaction, state, [1; 12]).expect("it is small");
    let spoilt = edited(made.value().as_bytes(), plan);
    let Ok(spoilt) = str::from_utf8(&spoilt) else { return };
    let shown = || std::iter::once((made.name(), spoilt));
    let expected = if spoilt == made.value() {
        Ok((transaction, made.name().to_owned()))
    } else {
        Err(Reason::TransactionUnreadable)
    };
    assert_eq!(cookies.open(shown(), state, NOW), expected);
    assert_eq!(cookies.open(shown(), &Secret::new("other"), NOW).err(), Some(Reason::TransactionMissing));
}

/// What is kept beside a new cookie is little, and the latest.
fn makes_room(cookies: &Cookies<'_>, shown: &[(&str, &str)]) {
    let dropped = cookies.to_drop(shown.iter().copied(), 300);
    assert!(dropped.len() <= DROPPED_AT_ONCE && dropped.len() <= shown.len());
    assert!(dropped.iter().all(|name| shown.iter().any(|(own, _)| own == name)));
    if dropped.len() == DROPPED_AT_ONCE {
        return;
    }
    let kept: Vec<_> = shown.iter().filter(|(name, _)| !dropped.iter().any(|gone| gone == name)).collect();
    assert!(kept.len() < LIVING);
    assert!(kept.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + 300 <= TOGETHER_BYTES);
}

/// Whatever it holds is given back as it was, and leads nowhere else.
fn inside_a_whole_seal(cookies: &Cookies<'_>, state: &Secret, transaction: &Transaction) {
    let made = cookies.issue(transaction, state, [2; 12]).expect("it was read");
    let shown = std::iter::once((made.name(), made.value()));
    let opened = cookies.open(shown, state, transaction.started_at);
    if transaction.started_at < Timestamp::from_millis(u64::MAX) {
        assert_eq!(opened.as_ref().map(|(own, _)| own), Ok(transaction));
    }
    let target = SITE.return_target(Some(&transaction.return_to));
    assert!(is_at_home(target.url().as_str()), "{}", target.url());
    assert!(Transaction::kept(&target, &SITE).len() <= RETURN_TO_BYTES);
}
