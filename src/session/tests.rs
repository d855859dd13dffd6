//! What a session's record promises; and sessions for the tests of others.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::sync::LazyLock;

use super::*;
use crate::{
    origin::{PublicUrl, SiteParts},
    seal::{KeyRing, MasterKey},
    session::binding::Strictness,
};

const START: Timestamp = Timestamp::from_seconds(1_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn lifetimes() -> Lifetimes {
    Lifetimes {
        absolute: 4 * HOUR,
        idle: 30 * MINUTE,
        binding: BindingRules { address: Strictness::Log, exact_address: false, user_agent: Strictness::Strict },
    }
}

pub(crate) fn facts() -> Facts {
    Facts {
        site: "main".into(),
        provider: "main".into(),
        issuer: "https://op.example.com".into(),
        subject: "alice-sub".into(),
        sid: None,
        user: User {
            id: "alice-sub".into(),
            email: "alice@example.com".into(),
            email_verified: true,
            groups: vec!["staff".into()],
            claims: r#"{"realm_access":{"roles":["ops"]},"https://example.com/roles":["editor"]}"#.into(),
            ..User::default()
        },
        method: Method::Oidc,
        signed_in_at: START,
        expires_at: START.plus(4 * HOUR),
        last_seen: START,
        binding: Binding::of("192.0.2.7".parse().unwrap(), b"Browser/1"),
        tokens: TokenState {
            revision: 1,
            issued_at: START,
            access_expires_at: Some(START.plus(10 * MINUTE)),
            refreshable: true,
            in_doubt: false,
            retry_at: START,
        },
    }
}

static MAIN: LazyLock<Site> = LazyLock::new(|| site("main", &["main", "partners"]));

fn site(name: &str, providers: &[&str]) -> Site {
    let providers = providers.iter().map(|name| (*name).to_owned()).collect();
    let public_url = PublicUrl::parse("https://app.example.com").unwrap();
    Site::new(SiteParts { providers, ..SiteParts::new(name, public_url) }).unwrap()
}

pub(crate) fn browser() -> Presented<'static> {
    Presented {
        site: &MAIN,
        client: Client::Browser { address: IpAddr::from([192, 0, 2, 7]), user_agent: b"Browser/1" },
    }
}

pub(crate) fn opened(facts: Facts) -> Arc<Opened> {
    facts.into()
}

pub(crate) fn authenticated() -> Authenticated {
    opened(facts()).authenticate(&browser(), &lifetimes(), START).unwrap()
}

#[test]
fn a_session_counts_only_within_both_lifetimes() {
    let check = |after: Duration, seen_after: Duration, expected: Option<Reason>| {
        let facts = Facts { last_seen: START.plus(seen_after), ..facts() };
        let result = opened(facts).authenticate(&browser(), &lifetimes(), START.plus(after));
        assert_eq!(result.err(), expected, "{after:?} {seen_after:?}");
    };
    let just_before = |end: Duration| end.saturating_sub(Duration::from_millis(1));
    check(Duration::ZERO, Duration::ZERO, None);
    check(just_before(30 * MINUTE), Duration::ZERO, None);
    check(30 * MINUTE, Duration::ZERO, Some(Reason::SessionIdle));
    check(just_before(4 * HOUR), 3 * HOUR + 59 * MINUTE, None);
    check(4 * HOUR, just_before(4 * HOUR), Some(Reason::SessionExpired));
}

#[test]
fn the_last_use_is_written_ten_times_an_idle_timeout() {
    assert_eq!(lifetimes().idle_write_after(), 3 * MINUTE);
}

#[test]
fn people_are_shown_the_name_that_they_know_best() {
    let check = |email: &str, preferred_username: &str, name: &str, expected: &str| {
        let (email, preferred_username, name) = (email.into(), preferred_username.into(), name.into());
        let user = User { id: "7".into(), email, preferred_username, name, ..User::default() };
        assert_eq!(user.shown_name(), expected);
    };
    check("alice@example.com", "alice", "Alice", "alice@example.com");
    check("", "alice", "Alice", "alice");
    check("", "", "Alice", "Alice");
    check("", "", "", "7");
}

#[test]
fn a_shorter_absolute_lifetime_in_the_settings_counts_at_once() {
    let shorter = Lifetimes { absolute: HOUR, ..lifetimes() };
    let facts = Facts { last_seen: START.plus(HOUR), ..facts() };
    assert_eq!(opened(facts).authenticate(&browser(), &shorter, START.plus(HOUR)).err(), Some(Reason::SessionExpired));
}

#[test]
fn a_session_is_of_one_site() {
    let other = site("other", &["main"]);
    let elsewhere = Presented { site: &other, ..browser() };
    assert_eq!(opened(facts()).authenticate(&elsewhere, &lifetimes(), START).err(), Some(Reason::SessionWrongSite));
}

#[test]
fn a_session_ends_with_its_sites_trust_in_the_provider() {
    let check = |providers: &[&str], expected: Option<Reason>| {
        let site = site("main", providers);
        let here = Presented { site: &site, ..browser() };
        assert_eq!(opened(facts()).authenticate(&here, &lifetimes(), START).err(), expected, "{providers:?}");
    };
    check(&["main"], None);
    check(&["partners", "main"], None);
    check(&["partners"], Some(Reason::SessionWrongProvider));
}

#[test]
fn the_application_is_not_bound_to_a_browser() {
    let application = Presented { site: &MAIN, client: Client::Application };
    assert!(opened(facts()).authenticate(&application, &lifetimes(), START).is_ok());
}

#[test]
fn tokens_are_due_a_minute_or_a_third_before_they_expire() {
    let check = |life: Duration, left: Duration, expected: bool| {
        let state = TokenState { access_expires_at: Some(START.plus(life)), ..facts().tokens };
        assert_eq!(state.refresh_due(START.plus(life).minus(left)), expected, "{life:?} {left:?}");
    };
    check(10 * MINUTE, Duration::from_secs(61), false);
    check(10 * MINUTE, Duration::from_secs(60), true);
    check(Duration::from_secs(30), Duration::from_secs(11), false);
    check(Duration::from_secs(30), Duration::from_secs(10), true);
}

#[test]
fn tokens_that_cannot_be_refreshed_are_never_due() {
    let late = START.plus(HOUR);
    assert!(!TokenState { refreshable: false, ..facts().tokens }.refresh_due(late));
    assert!(!TokenState { access_expires_at: None, ..facts().tokens }.refresh_due(late));
    assert!(!TokenState { retry_at: late.plus(MINUTE), ..facts().tokens }.refresh_due(late));
    assert!(TokenState { in_doubt: true, ..facts().tokens }.refresh_due(late));
}

#[test]
fn facts_open_only_for_their_own_record_version_and_secret() {
    let ring = KeyRing::new(&MasterKey::from_bytes([1; 32]), &[]);
    let key = |secret| ring.sealing().session_seal(&[secret; 32]);
    let (name, version) = (Name::new([5; 32]), Version(7));
    let sealed = facts().seal(&key(1), &name, version, [0; 12]).unwrap();
    assert_eq!(Facts::open(&key(1), &name, version, sealed.clone()).unwrap(), facts());
    assert!(Facts::open(&key(2), &name, version, sealed.clone()).is_err());
    assert!(Facts::open(&key(1), &Name::new([6; 32]), version, sealed.clone()).is_err());
    assert!(Facts::open(&key(1), &name, version.next(), sealed.clone()).is_err());
    assert!(Tokens::open(&key(1), &name, version.0, &sealed).is_err());
}

#[test]
fn tokens_open_only_for_their_own_record_revision_and_secret() {
    let ring = KeyRing::new(&MasterKey::from_bytes([1; 32]), &[]);
    let key = |secret| ring.sealing().session_seal(&[secret; 32]);
    let secret = |text: &str| Secret::new(text.to_owned());
    let tokens = Tokens { access: secret("access"), refresh: Some(secret("refresh")), id: secret("id") };
    let name = Name::new([5; 32]);
    let sealed = tokens.seal(&key(1), &name, 7, [0; 12]).unwrap();
    assert_eq!(Tokens::open(&key(1), &name, 7, &sealed).unwrap(), tokens);
    assert!(Tokens::open(&key(2), &name, 7, &sealed).is_err());
    assert!(Tokens::open(&key(1), &Name::new([6; 32]), 7, &sealed).is_err());
    assert!(Tokens::open(&key(1), &name, 8, &sealed).is_err());
    assert!(Facts::open(&key(1), &name, Version(7), sealed).is_err());
}

#[test]
fn another_client_is_noted_where_the_settings_only_log_it() {
    let elsewhere = |site| Presented {
        site,
        client: Client::Browser { address: IpAddr::from([198, 51, 100, 7]), user_agent: b"Browser/1" },
    };
    let session = opened(facts()).authenticate(&elsewhere(&MAIN), &lifetimes(), START).unwrap();
    assert_eq!(session.drift(), Some(Reason::BindingAddress));
    assert_eq!(authenticated().drift(), None);
}

#[test]
fn facts_of_every_size_open_again() {
    let ring = KeyRing::new(&MasterKey::from_bytes([1; 32]), &[]);
    let key = ring.sealing().session_seal(&[1; 32]);
    let name = Name::new([5; 32]);
    for size in
        [0, 1, 15, 16, 17, 127, 128, 129].into_iter().chain((1..=7).flat_map(|kib| kib * 4096 - 1..=kib * 4096 + 1))
    {
        let mut facts = facts();
        facts.user.claims = "x".repeat(size);
        let sealed = facts.seal(&key, &name, Version::FIRST, [0; 12]).unwrap();
        assert_eq!(Facts::open(&key, &name, Version::FIRST, sealed).unwrap(), facts, "{size}");
    }
}

#[test]
fn facts_over_the_limit_are_refused() {
    let ring = KeyRing::new(&MasterKey::from_bytes([1; 32]), &[]);
    let key = ring.sealing().session_seal(&[1; 32]);
    let sealed = |bytes: usize| {
        let mut large = facts();
        large.user.claims = "x".repeat(FACTS_BYTES / 2);
        let without = postcard::to_stdvec(&large).unwrap().len() - FACTS_BYTES / 2;
        large.user.claims = "x".repeat(bytes - without);
        large.seal(&key, &Name::new([5; 32]), Version::FIRST, [0; 12])
    };
    assert!(sealed(FACTS_BYTES).is_ok());
    assert!(sealed(FACTS_BYTES + 1).is_err());
}
