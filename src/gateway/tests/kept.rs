//! What is kept of a session never makes a difference: a gateway with its cache and one without say the same, to the last
//! header, whatever is asked in whatever order while sessions change and end.

use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};

use super::*;
use crate::{
    origin::Site,
    session::{Facts, binding::Binding, keeper::Edit},
};

const SETTINGS: &str = r#"
[site.other]
public_url = "https://other.example.com"

[session]
bind_address = "strict"

[identity]
claims = { "X-Auth-Request-Level" = "level" }

[policy.admins]
rules = [{ allow = true, groups = ["admins"] }]

[policy.office]
rules = [
    { allow = false, emails = ["bob@example.com"] },
    { allow = true, groups = ["staff"], client_networks = ["192.0.2.0/24"], max_sign_in_age = "1h" },
    { allow = true, claims = [{ path = "level", values = ["7"] }] },
]

[matching]
rules = [
    { methods = ["POST"], paths = ["/"], policy = "admins" },
    { paths = ["/office"], policy = "office" },
    { hosts = ["app.example.com"], paths = ["/"], policy = "staff" },
]
"#;

/// One thing that happens to both gateways.
#[derive(Clone, Debug)]
enum Step {
    SignIn { user: User, site: &'static str },
    Ask { session: Index, request: Asking },
    Touch(Index),
    Regroup(Index, Vec<&'static str>),
    End(Index),
    Later(u64),
}

#[derive(Clone, Debug)]
struct User {
    email: &'static str,
    groups: Vec<&'static str>,
    level: u8,
}

#[derive(Clone, Debug)]
struct Asking {
    policy: Option<&'static str>,
    host: &'static str,
    method: &'static str,
    uri: &'static str,
    address: &'static str,
    agent: &'static str,
}

fn groups() -> impl Strategy<Value = Vec<&'static str>> {
    vec(select(vec!["staff", "admins", "a,b"]), 0..3)
}

/// Half of them what a browser asks all day.
fn asking() -> impl Strategy<Value = Asking> {
    let policy = select(vec![None, Some("staff"), Some("office")]);
    let ordinary = policy.prop_map(|policy| Asking {
        policy,
        host: "app.example.com",
        method: "GET",
        uri: "/",
        address: "192.0.2.7",
        agent: "Browser/1",
    });
    prop_oneof![ordinary, any_asking()]
}

fn any_asking() -> impl Strategy<Value = Asking> {
    (
        select(vec![None, None, Some("staff"), Some("admins"), Some("office"), Some("nobody")]),
        select(vec![
            "app.example.com",
            "app.example.com",
            "other.example.com",
            "APP.example.com.",
            "elsewhere.example",
        ]),
        select(vec!["GET", "POST"]),
        select(vec!["/", "/office", "/office/../x", "/%2e%2e/office"]),
        select(vec!["192.0.2.7", "192.0.2.7", "192.0.2.99", "198.51.100.1"]),
        select(vec!["Browser/1", "Browser/1", "Browser/1", "Browser/2"]),
    )
        .prop_map(|(policy, host, method, uri, address, agent)| Asking {
            policy,
            host,
            method,
            uri,
            address,
            agent,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let user = (select(vec!["alice@example.com", "bob@example.com"]), groups(), 6..8_u8)
        .prop_map(|(email, groups, level)| User { email, groups, level });
    prop_oneof![
        2 => (user, select(vec!["main", "other"])).prop_map(|(user, site)| Step::SignIn { user, site }),
        16 => (any::<Index>(), asking()).prop_map(|(session, request)| Step::Ask { session, request }),
        1 => any::<Index>().prop_map(Step::Touch),
        1 => (any::<Index>(), groups()).prop_map(|(session, groups)| Step::Regroup(session, groups)),
        1 => any::<Index>().prop_map(Step::End),
        2 => select(vec![1, 1, 1, 170, 600, 1_790, 1_800, 3_600]).prop_map(Step::Later),
    ]
}

/// Both gateways on one clock, and the cookies of all sessions, which are the same in both.
struct Pair {
    kept: Scene,
    plain: Scene,
    clock: Clock,
    cookies: Vec<(String, cookie::Handle)>,
}

impl Pair {
    fn new() -> Self {
        let clock = Clock::manual(NOW);
        let scene = |more: &str| Scene::with(Settings::valid().with(SETTINGS).with(more), &clock);
        let plain = scene("[session]\ncache_entries = 0");
        Self { kept: scene(""), plain, clock, cookies: Vec::new() }
    }

    fn both(&self, act: impl Fn(&Scene)) {
        act(&self.kept);
        act(&self.plain);
    }

    fn site(&self, name: &str) -> &Site {
        self.kept.gateway.sites.named(name).unwrap()
    }

    fn sign_in(&mut self, user: &User, site: &'static str) {
        let ring = self.kept.gateway.keeper.ring();
        let (value, handle) = cookie::mint(ring, site, &random::bytes().unwrap());
        let at = self.clock.now();
        let mut facts = session::tests::facts();
        facts.site = site.into();
        facts.user.email = user.email.into();
        facts.user.groups = user.groups.iter().map(|group| (*group).into()).collect();
        facts.user.claims = format!(r#"{{"level":"{}"}}"#, user.level);
        facts.binding = Binding::of("192.0.2.7".parse().unwrap(), b"Browser/1");
        (facts.signed_in_at, facts.last_seen) = (at, at);
        facts.expires_at = at.plus(std::time::Duration::from_secs(4 * 3_600));
        facts.tokens.refreshable = false;
        self.both(|scene| {
            let nonce = random::bytes().unwrap();
            scene.store(*handle.name(), facts.seal(handle.key(), handle.name(), Version::FIRST, nonce).unwrap());
        });
        self.cookies.push((value.reveal().to_owned(), handle));
    }

    fn ask(&self, session: Index, request: &Asking) -> Result<(), TestCaseError> {
        let Some((cookie, _)) = self.chosen(session) else {
            return Ok(());
        };
        let mut headers = stated(&format!("__Host-portcullis={cookie}"));
        let said = [
            ("x-portcullis-host", request.host),
            ("x-portcullis-method", request.method),
            ("x-portcullis-uri", request.uri),
            ("x-portcullis-client-address", request.address),
            ("user-agent", request.agent),
        ];
        for (name, value) in said {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let query = request.policy.map_or_else(String::new, |policy| format!("?policy={policy}"));
        let [kept, plain] = [&self.kept, &self.plain].map(|scene| scene.answer(&query, headers.clone()));
        prop_assert_eq!(parts(kept), parts(plain), "{:?}", request);
        Ok(())
    }

    fn chosen(&self, session: Index) -> Option<&(String, cookie::Handle)> {
        (!self.cookies.is_empty()).then(|| session.get(&self.cookies))
    }

    fn edit(&self, session: Index, edit: impl Fn(&mut Facts) -> Edit) {
        if let Some((_, handle)) = self.chosen(session) {
            self.both(|scene| {
                let _ = scene.runtime.block_on(scene.gateway.keeper.update(handle, &edit));
            });
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::SignIn { user, site } => {
                assert_eq!(self.site(site).name(), *site);
                self.sign_in(user, site);
            }
            Step::Ask { session, request } => self.ask(*session, request)?,
            Step::Touch(session) => {
                let at = self.clock.now();
                self.edit(*session, |facts| {
                    facts.last_seen = at;
                    Edit::Facts
                });
            }
            Step::Regroup(session, groups) => self.edit(*session, |facts| {
                facts.user.groups = groups.iter().map(|group| (*group).into()).collect();
                Edit::Facts
            }),
            Step::End(session) => {
                if let Some((_, handle)) = self.chosen(*session) {
                    let until = self.clock.now().plus(std::time::Duration::from_secs(4 * 3_600));
                    let cause = crate::telemetry::EndCause::Logout;
                    self.both(|scene| {
                        scene.runtime.block_on(scene.gateway.keeper.end(handle, until, cause));
                    });
                }
            }
            Step::Later(seconds) => self.clock.advance(std::time::Duration::from_secs(*seconds)),
        }
        Ok(())
    }
}

fn parts(answer: Response<Full<Bytes>>) -> (StatusCode, HeaderMap, Bytes) {
    let (head, body) = answer.into_parts();
    let runtime = Builder::new_current_thread().build().unwrap();
    (head.status, head.headers, runtime.block_on(body.collect()).unwrap().to_bytes())
}

#[test]
fn a_cached_answer_is_the_answer_of_the_store() {
    let (mut hits, mut allowed) = (0, 0);
    let steps = vec(step(), 1..60);
    let mut runner = TestRunner::new(ProptestConfig { cases: 200, ..ProptestConfig::default() });
    let counted = std::cell::RefCell::new((&mut hits, &mut allowed));
    let taken = |steps: Vec<Step>| {
        let mut pair = Pair::new();
        let everybody = User { email: "alice@example.com", groups: vec!["staff"], level: 7 };
        pair.sign_in(&everybody, "main");
        for step in &steps {
            pair.take(step)?;
        }
        let text = pair.kept.gateway.telemetry.metrics().text().unwrap();
        let plain = pair.plain.gateway.telemetry.metrics().text().unwrap();
        prop_assert_eq!(series(&plain, "portcullis_session_lookups_total{result=\"hit\"}"), 0);
        let (hits, allowed) = &mut *counted.borrow_mut();
        **hits += series(&text, "portcullis_session_lookups_total{result=\"hit\"}");
        **allowed += series(&text, "portcullis_verify_total{decision=\"allow\"");
        Ok(())
    };
    runner.run(&steps, taken).unwrap();
    assert!(hits > 100 && allowed > 100, "{hits} hits, {allowed} allowed: the cache was hardly asked");
}

/// The sum of all series that begin so.
fn series(text: &str, begins: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(begins));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}
