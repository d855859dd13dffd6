//! What the store gives back: facts, tokens and index entries. Input: a plan to spoil real ones, and at the same time
//! what stands inside a seal that is whole (an older version of the program may have written it).

#![no_main]

use std::{net::IpAddr, sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use portcullis::{
    origin::Site,
    seal::{KeyRing, SealingKey},
    secret::Secret,
    session::{
        Client, Depth, FACTS_BYTES, Facts, Lifetimes, Method, Opened, Presented, TOKENS_BYTES, TokenState, Tokens,
        User,
        binding::{Binding, BindingRules, Strictness},
        index::Entry,
    },
    store::{Name, Version},
};
use portcullis_fuzz::{NOW, edited, ring, site};

static RING: LazyLock<KeyRing> = LazyLock::new(ring);
static SITE: LazyLock<Site> = LazyLock::new(site);
static KEY: LazyLock<SealingKey> = LazyLock::new(|| RING.sealing().session_seal(&[7; 32]));
static SEALED: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let (facts, tokens) = (facts(), tokens());
    let entry = Entry::of(&facts, ADDRESS, b"Firefox/140.0");
    [
        facts.seal(&KEY, &NAME, Version(3), [1; 12]).expect("they are small"),
        tokens.seal(&KEY, &NAME, 3, [2; 12]).expect("they are small"),
        entry.seal(RING.sealing(), &NAME, [3; 12]).expect("it is small"),
    ]
});

const NAME: Name = Name::new([5; 32]);
const OTHER_NAME: Name = Name::new([6; 32]);
const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fuzz_target!(|data: &[u8]| {
    spoilt(data);
    inside_a_whole_seal(data);
});

/// What is not exactly as it was sealed, for exactly this, does not open.
fn spoilt(plan: &[u8]) {
    let [sealed_facts, sealed_tokens, sealed_entry] = &*SEALED;
    let spoilt = edited(sealed_facts, plan);
    let whole = spoilt == *sealed_facts;
    assert_eq!(Facts::open(&KEY, &NAME, Version(3), spoilt.clone()).ok(), whole.then(facts));
    assert!(Facts::open(&KEY, &NAME, Version(2), spoilt.clone()).is_err());
    assert!(Facts::open(&KEY, &OTHER_NAME, Version(3), spoilt.clone()).is_err());
    assert!(Tokens::open(&KEY, &NAME, 3, &spoilt).is_err());
    let spoilt = edited(sealed_tokens, plan);
    assert_eq!(Tokens::open(&KEY, &NAME, 3, &spoilt).ok(), (spoilt == *sealed_tokens).then(tokens));
    assert!(Tokens::open(&KEY, &NAME, 4, &spoilt).is_err());
    assert!(Facts::open(&KEY, &NAME, Version(3), spoilt.clone()).is_err());
    let spoilt = edited(sealed_entry, plan);
    assert_eq!(Entry::open(&RING, &NAME, &spoilt).is_ok(), spoilt == *sealed_entry);
    assert!(Entry::open(&RING, &OTHER_NAME, &spoilt).is_err());
}

/// Whatever it holds is read or refused, seals and opens to the same, and can be judged.
fn inside_a_whole_seal(plain: &[u8]) {
    if let Ok(facts) = postcard::from_bytes::<Facts>(plain) {
        match facts.seal(&KEY, &NAME, Version::FIRST, [4; 12]) {
            Ok(sealed) => assert_eq!(Facts::open(&KEY, &NAME, Version::FIRST, sealed).as_ref(), Ok(&facts)),
            Err(_) => assert!(plain.len() > FACTS_BYTES / 2),
        }
        judge(facts);
    }
    if let Ok(tokens) = postcard::from_bytes::<Tokens>(plain) {
        match tokens.seal(&KEY, &NAME, 1, [4; 12]) {
            Ok(sealed) => assert_eq!(Tokens::open(&KEY, &NAME, 1, &sealed).as_ref(), Ok(&tokens)),
            Err(_) => assert!(plain.len() > TOKENS_BYTES / 2),
        }
    }
    if let Ok(entry) = postcard::from_bytes::<Entry>(plain) {
        let sealed = entry.seal(RING.sealing(), &NAME, [4; 12]).expect("it was read");
        assert_eq!(Entry::open(&RING, &NAME, &sealed).as_ref(), Ok(&entry));
    }
}

fn judge(facts: Facts) {
    let lifetimes = Lifetimes {
        absolute: Duration::from_secs(14_400),
        idle: Duration::from_secs(1_800),
        binding: BindingRules { address: Strictness::Strict, exact_address: false, user_agent: Strictness::Log },
    };
    let client = Client::Browser { address: ADDRESS, user_agent: b"Firefox/140.0" };
    let _ = (facts.idle_at(&lifetimes), facts.tokens.refresh_due(NOW), facts.user.shown_name());
    let presented = Presented { site: &SITE, client };
    if let Ok(authenticated) = Opened::new(facts, Depth::Whole).authenticate(&presented, &lifetimes, NOW) {
        let facts = authenticated.facts();
        assert!(facts.site == "main" && SITE.providers().iter().any(|name| *name == facts.provider));
        assert!(NOW < facts.expires_at && NOW < facts.last_seen.plus(lifetimes.idle));
    }
}

fn facts() -> Facts {
    Facts {
        site: "main".into(),
        provider: "main".into(),
        issuer: "https://op.example".into(),
        subject: "alice".into(),
        sid: Some("s".into()),
        user: User { id: "alice".into(), groups: vec!["staff".into()], claims: "{}".into(), ..User::default() },
        method: Method::Oidc,
        signed_in_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(14_400)),
        last_seen: NOW,
        binding: Binding::of(ADDRESS, b"Firefox/140.0"),
        tokens: TokenState {
            revision: 3,
            issued_at: NOW,
            access_expires_at: Some(NOW.plus(Duration::from_secs(600))),
            refreshable: true,
            in_doubt: false,
            retry_at: NOW,
        },
    }
}

fn tokens() -> Tokens {
    Tokens { access: Secret::new("access"), refresh: Some(Secret::new("refresh")), id: Secret::new("a.b.c") }
}
