//! Pure. Who the upstream is told about: an allowed session, as response headers that nginx passes on.
//!
//! Invariant: every configured header is always sent, empty when there is nothing to say, so that a client's own copy
//! never survives. Encoding: printable ASCII but `%` stands as it is; every other byte of the UTF-8 text is
//! percent-encoded (RFC 3986 section 2.1). In lists, members are separated by commas, and commas within them encoded.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::{
    oidc::claims::{self, ClaimPath},
    secret::Secret,
    session::{Authenticated, Opened, Told, User},
    verify::{Allow, proven::Proven},
};

/// Which headers there are beside the fixed ones.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Headers that carry a claim.
    pub claims: Vec<ClaimHeader>,
    /// Whether the access token goes to the upstream.
    pub access_token: bool,
}

/// A header that carries a claim.
#[derive(Clone, Debug)]
pub struct ClaimHeader {
    /// The header's name.
    pub name: HeaderName,
    /// Where the claim is.
    pub path: ClaimPath,
}

/// What upstreams are told: names that are the same for everybody, and how to make the values.
#[derive(Debug)]
pub struct Identity {
    names: Box<[HeaderName]>,
    claims: Vec<ClaimHeader>,
    access_token: bool,
    /// The number by which values are known to be made by this one.
    number: u64,
}

/// The headers that tell the upstream who it is, each once.
#[derive(Clone, Debug)]
pub struct Headers {
    names: Arc<Identity>,
    values: Values,
}

/// Where the values lie. A session's are made once and stay beside it.
#[derive(Clone, Debug)]
enum Values {
    Kept(Arc<Opened>),
    Own(Box<[HeaderValue]>),
}

impl Identity {
    /// What the settings ask for.
    pub fn new(config: Config) -> Self {
        let Config { claims, access_token } = config;
        let names = FIXED.into_iter().chain(claims.iter().map(|header| header.name.clone()));
        let names = names.chain(access_token.then_some(ACCESS_TOKEN)).collect();
        Self { names, claims, access_token, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The names of the headers that carry a claim.
    pub fn claim_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.claims.iter().map(|header| &header.name)
    }

    /// Whether the access token goes to the upstream.
    pub const fn asks_for_access_token(&self) -> bool {
        self.access_token
    }

    /// The headers for somebody who may pass.
    pub fn headers(self: &Arc<Self>, allow: &Allow, access_token: Option<&Secret>) -> Headers {
        let who = allow.who();
        let kept = who.authenticated().filter(|_| !self.access_token).map(Authenticated::opened);
        let values = kept.filter(|opened| opened.told(|| self.told(who)).by == self.number);
        let values =
            values.map_or_else(|| Values::Own(self.values(who, access_token)), |kept| Values::Kept(Arc::clone(kept)));
        Headers { names: Arc::clone(self), values }
    }

    fn told(&self, who: &Proven) -> Told {
        Told { by: self.number, values: self.values(who, None) }
    }

    fn values(&self, who: &Proven, access_token: Option<&Secret>) -> Box<[HeaderValue]> {
        let user = who.user();
        let mut values = Vec::with_capacity(self.names.len());
        values.extend([
            value(&user.id),
            value(&user.email),
            value(&user.preferred_username),
            value(&user.name),
            HeaderValue::from_static(who.method().label()),
            list(&user.groups),
        ]);
        push_claims(&mut values, &self.claims, user);
        if self.access_token {
            let mut token = value(access_token.map_or("", Secret::reveal));
            token.set_sensitive(true);
            values.push(token);
        }
        values.into_boxed_slice()
    }
}

impl Headers {
    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let values = match &self.values {
            Values::Kept(opened) => opened.was_told(),
            Values::Own(values) => values,
        };
        self.names.names.iter().zip(values)
    }
}

fn push_claims(values: &mut Vec<HeaderValue>, wanted: &[ClaimHeader], user: &User) {
    if wanted.is_empty() {
        return;
    }
    let claims: Map<String, Value> = serde_json::from_str(&user.claims).unwrap_or_default();
    for header in wanted {
        let members = claims::lookup(&claims, &header.path).map(claims::as_strings).unwrap_or_default();
        values.push(list(&members));
    }
}

fn list<T: AsRef<str>>(members: &[T]) -> HeaderValue {
    if let [only] = members
        && only.as_ref().bytes().all(|byte| is_plain(byte, true))
    {
        return finished(only.as_ref());
    }
    let mut text = String::new();
    for (position, member) in members.iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        encode(&mut text, member.as_ref().as_bytes(), true);
    }
    finished(&text)
}

/// Most values stand as they are and are copied once.
fn value(text: &str) -> HeaderValue {
    if text.bytes().all(|byte| is_plain(byte, false)) {
        return finished(text);
    }
    let mut encoded = String::with_capacity(text.len());
    encode(&mut encoded, text.as_bytes(), false);
    finished(&encoded)
}

/// An empty value if it is longer than [`HEADER_VALUE_BYTES`]: a cut list of groups would be another list.
fn finished(text: &str) -> HeaderValue {
    let fits = text.len() <= HEADER_VALUE_BYTES;
    HeaderValue::from_str(if fits { text } else { "" }).unwrap_or(HeaderValue::from_static(""))
}

fn encode(text: &mut String, bytes: &[u8], in_list: bool) {
    for byte in bytes {
        if is_plain(*byte, in_list) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

const fn is_plain(byte: u8, in_list: bool) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'%' && !(in_list && byte == b',')
}

/// The longest value of one identity header.
pub const HEADER_VALUE_BYTES: usize = 4 * 1024;
/// Those that are always sent, in the order of their values.
const FIXED: [HeaderName; 6] = [USER, EMAIL, PREFERRED_USERNAME, NAME, METHOD, GROUPS];
/// Settings are numbered as they are taken.
static NEXT: AtomicU64 = AtomicU64::new(0);
const USER: HeaderName = HeaderName::from_static("x-auth-request-user");
const EMAIL: HeaderName = HeaderName::from_static("x-auth-request-email");
const PREFERRED_USERNAME: HeaderName = HeaderName::from_static("x-auth-request-preferred-username");
const NAME: HeaderName = HeaderName::from_static("x-auth-request-name");
const METHOD: HeaderName = HeaderName::from_static("x-auth-request-method");
const GROUPS: HeaderName = HeaderName::from_static("x-auth-request-groups");
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-auth-request-access-token");

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock::Timestamp,
        session::tests::{browser, facts, lifetimes, opened},
        verify::{
            decide,
            policy::tests::{CLIENT, policies},
        },
    };

    const START: Timestamp = Timestamp::from_seconds(1_000_000);

    fn allowed(facts: crate::session::Facts) -> Allow {
        let session = opened(facts).authenticate(&browser(), &lifetimes(), START).unwrap();
        decide(session, &policies(), "staff", CLIENT, START).unwrap()
    }

    fn headers(config: &Config, allow: &Allow, access_token: Option<&Secret>) -> HeaderMap {
        let headers = Arc::new(Identity::new(config.clone())).headers(allow, access_token);
        headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn roles() -> Config {
        let path = ClaimPath::parse("https://example.com/roles").unwrap();
        let name = HeaderName::from_static("x-auth-request-roles");
        Config { claims: vec![ClaimHeader { name, path }], access_token: false }
    }

    #[test]
    fn every_header_is_sent_even_with_nothing_to_say() {
        let mut nobody = facts();
        nobody.user.claims = "{}".into();
        nobody.user.email.clear();
        let headers = headers(&Config { access_token: true, ..roles() }, &allowed(nobody), None);
        for name in ["user", "email", "preferred-username", "name", "groups", "method", "roles", "access-token"] {
            assert!(headers.contains_key(format!("x-auth-request-{name}")), "{name}");
        }
        assert_eq!(headers["x-auth-request-email"], "");
    }

    #[test]
    fn claims_and_groups_arrive() {
        let headers = headers(&roles(), &allowed(facts()), None);
        assert_eq!(headers["x-auth-request-groups"], "staff");
        assert_eq!(headers["x-auth-request-roles"], "editor");
        assert_eq!(headers["x-auth-request-method"], "oidc");
        assert!(!headers.contains_key("x-auth-request-access-token"));
    }

    #[test]
    fn values_are_encoded_by_one_rule() {
        let check = |given: &str, expected: &str| {
            let mut facts = facts();
            facts.user.name = given.into();
            assert_eq!(headers(&Config::default(), &allowed(facts), None)["x-auth-request-name"], expected);
        };
        check("Alice Liddell", "Alice Liddell");
        check("Zoë, 100%", "Zo%C3%AB, 100%25");
        check("a\r\nSet-Cookie: x=1", "a%0D%0ASet-Cookie: x=1");
        check("\0\u{7f}", "%00%7F");
        check(&"x".repeat(HEADER_VALUE_BYTES + 1), "");
    }

    #[test]
    fn a_comma_within_a_group_is_not_a_separator() {
        let mut facts = facts();
        facts.user.groups = vec!["staff".into(), "a,b".into(), "c".into()];
        assert_eq!(headers(&Config::default(), &allowed(facts), None)["x-auth-request-groups"], "staff,a%2Cb,c");
    }

    proptest! {
        #[test]
        fn any_name_makes_a_header_of_plain_ascii(name in any::<String>()) {
            let mut facts = facts();
            facts.user.name = name.into();
            let headers = headers(&Config::default(), &allowed(facts), None);
            prop_assert!(headers["x-auth-request-name"].as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')));
        }
    }
}
