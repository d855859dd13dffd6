//! Properties of the whole way from request to verdict: 2xx comes of a living session and an allowing rule, and of
//! nothing else that a client, a proxy or the store may say.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    clock::Timestamp,
    config::fixture::Settings,
    session::{self, cookie},
    store::{Name, NewSession, Version},
};

mod kept;
mod reload;

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

/// The facts that nginx states about a request that may pass, beside the cookie.
const STATED: [(&str, &str); 8] = [
    ("x-portcullis-exposure", "internal"),
    ("x-portcullis-method", "GET"),
    ("x-portcullis-scheme", "https"),
    ("x-portcullis-host", "app.example.com"),
    ("x-portcullis-uri", "/"),
    ("x-portcullis-client-address", "192.0.2.7"),
    ("x-portcullis-request-id", "0123456789abcdef0123456789abcdef"),
    ("user-agent", "Browser/1"),
];

struct Scene {
    gateway: Gateway,
    runtime: Runtime,
}

/// A new session: its cookie, and what opens its record.
struct Minted {
    cookie: String,
    handle: cookie::Handle,
}

impl Scene {
    fn new() -> Self {
        Self::with(Settings::valid(), &Clock::manual(NOW))
    }

    fn with(settings: Settings, clock: &Clock) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let config = settings.config().gateway;
        let gateway = {
            let _guard = runtime.enter();
            Gateway::new(config, clock, Telemetry::new(false), Drain::default()).unwrap()
        };
        Self { gateway, runtime }
    }

    fn mint(&self) -> Minted {
        let (value, handle) = cookie::mint(self.gateway.keeper.ring(), "main", &random::bytes().unwrap());
        Minted { cookie: format!("__Host-portcullis={}", value.reveal()), handle }
    }

    /// Stores these bytes as a session's facts.
    fn store(&self, name: Name, facts: Vec<u8>) {
        let until = NOW.plus(std::time::Duration::from_secs(3_600));
        let session = NewSession { name, facts, tokens: Vec::new(), index: Vec::new(), groups: Vec::new(), until };
        self.runtime.block_on(self.gateway.lasting.store.create(&session)).unwrap();
    }

    /// Verify's status for a policy and headers.
    fn asked(&self, policy: &str, headers: HeaderMap) -> StatusCode {
        self.answer(&format!("?policy={policy}"), headers).status()
    }

    /// Verify's answer to a query and headers.
    fn answer(&self, query: &str, headers: HeaderMap) -> Response<Full<Bytes>> {
        let mut request = Request::get(format!("/auth/verify{query}")).body(()).unwrap();
        *request.headers_mut() = headers;
        let origin = Origin {
            listener: Listener::Nginx,
            trust: &Trust::new(Vec::new()),
            peer: Peer::Unix,
            site: None,
            certificates: false,
        };
        self.runtime.block_on(self.gateway.handle(request, Ok(Bytes::new()), &origin))
    }

    fn shown(&self, cookie: &str) -> StatusCode {
        self.asked("staff", stated(cookie))
    }
}

fn stated(cookie: &str) -> HeaderMap {
    let mut headers: HeaderMap =
        STATED.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).into_iter().collect();
    headers.insert("cookie", cookie.parse().unwrap());
    headers
}

fn sealed(minted: &Minted, name: &Name, version: Version) -> Vec<u8> {
    let facts = session::tests::facts();
    facts.seal(minted.handle.key(), name, version, random::bytes().unwrap()).unwrap()
}

/// What a store may have made of a record.
#[derive(Clone, Debug)]
enum Lie {
    Bytes(Vec<u8>),
    CutAt(Index),
    Longer(Vec<u8>),
    Flipped(Index, u8),
    OfVersion(u64),
    OfAnotherSession,
    UnderAnotherName,
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..600).prop_map(Lie::Bytes),
        2 => any::<Index>().prop_map(Lie::CutAt),
        1 => vec(any::<u8>(), 1..40).prop_map(Lie::Longer),
        4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Lie::Flipped(at, bit)),
        1 => any::<u64>().prop_filter("the right one", |version| *version != 1).prop_map(Lie::OfVersion),
        1 => Just(Lie::OfAnotherSession),
        1 => Just(Lie::UnderAnotherName),
    ]
}

impl Lie {
    fn told(&self, scene: &Scene, minted: &Minted) -> Vec<u8> {
        let name = minted.handle.name();
        let mut record = sealed(minted, name, Version::FIRST);
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::CutAt(at) => record[..at.index(record.len())].to_vec(),
            Self::Longer(more) => [record, more.clone()].concat(),
            Self::Flipped(at, bit) => {
                let at = at.index(record.len());
                record[at] ^= 1 << bit;
                record
            }
            Self::OfVersion(version) => sealed(minted, name, Version(*version)),
            Self::OfAnotherSession => {
                let other = scene.mint();
                sealed(&other, other.handle.name(), Version::FIRST)
            }
            Self::UnderAnotherName => sealed(minted, scene.mint().handle.name(), Version::FIRST),
        }
    }
}

#[test]
fn whatever_the_store_answers_nobody_passes_but_by_the_record_that_was_written() {
    let scene = Scene::new();
    let minted = scene.mint();
    scene.store(*minted.handle.name(), sealed(&minted, minted.handle.name(), Version::FIRST));
    assert_eq!(scene.shown(&minted.cookie), StatusCode::OK, "the true record opens");
    let told = |lie: Lie| {
        let minted = scene.mint();
        scene.store(*minted.handle.name(), lie.told(&scene, &minted));
        prop_assert_eq!(scene.shown(&minted.cookie), StatusCode::UNAUTHORIZED, "{:?}", lie);
        Ok(())
    };
    TestRunner::default().run(&lie(), told).unwrap();
}

#[test]
fn whatever_a_client_shows_nobody_passes_without_the_cookie_that_was_given() {
    let scene = Scene::new();
    let minted = scene.mint();
    scene.store(*minted.handle.name(), sealed(&minted, minted.handle.name(), Version::FIRST));
    let (_, value) = minted.cookie.split_once('=').unwrap();
    let pieces = (any::<Index>(), any::<Index>(), "[A-Za-z0-9_=;, -]{0,60}");
    let cookies = prop_oneof![
        "[ -~]{0,200}",
        "[A-Za-z0-9_-]{20,90}".prop_map(|value| format!("__Host-portcullis={value}")),
        pieces.prop_map(|(from, to, more)| {
            let (from, to) = (from.index(value.len()), to.index(value.len()));
            format!("__Host-portcullis={}{more}{}", &value[..from], &value[to..])
        }),
        "[a-zA-Z_-]{1,30}".prop_map(|name| format!("{name}={value}")),
    ];
    let own = |cookie: &str| cookie.split(';').any(|pair| pair.trim() == minted.cookie);
    let shown = |cookie: String| {
        prop_assume!(!own(&cookie));
        prop_assert_eq!(scene.shown(&cookie), StatusCode::UNAUTHORIZED, "{}", cookie);
        Ok(())
    };
    TestRunner::default().run(&cookies, shown).unwrap();
}

#[test]
fn whatever_else_a_request_says_a_session_passes_by_an_allowing_policy_alone() {
    let scene = Scene::new();
    let minted = scene.mint();
    scene.store(*minted.handle.name(), sealed(&minted, minted.handle.name(), Version::FIRST));
    let names = STATED.map(|(name, _)| name.to_owned()).to_vec();
    let name = prop_oneof![
        3 => proptest::sample::select(names),
        1 => "x[-_](auth[-_]request|portcullis)[-_][a-z]{1,12}",
        1 => "[a-z][a-z0-9-]{0,20}",
    ];
    let value =
        prop_oneof!["[ -~]{0,60}", proptest::sample::select(STATED.to_vec()).prop_map(|pair| pair.1.to_owned())];
    let policy = prop_oneof![2 => Just("staff".to_owned()), 1 => "[a-z&=%+.]{0,12}"];
    let request = (policy, any::<bool>(), vec((name, value), 0..4));
    let said = |(policy, with_cookie, more): (String, bool, Vec<(String, String)>)| {
        let mut headers = stated(if with_cookie { &minted.cookie } else { "a=b" });
        for (name, value) in &more {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        let may = with_cookie && policy == "staff";
        prop_assert!(may || !scene.asked(&policy, headers).is_success(), "{} {:?}", policy, more);
        Ok(())
    };
    TestRunner::default().run(&request, said).unwrap();
    assert_eq!(scene.asked("staff", stated(&minted.cookie)), StatusCode::OK, "and by that it does");
}
