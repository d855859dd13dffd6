//! Pure. The session record: what is kept of a signed-in user, and whether it still counts.
//!
//! Invariants: [`Authenticated`] exists only for a session that passed [`Opened::authenticate`]; the absolute lifetime
//! is fixed at sign-in; facts and tokens are sealed apart, each under a key that needs the cookie's secret, with the
//! record's name and version as associated data, so nothing swapped, copied or rolled back opens.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use compact_str::CompactString;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    origin::Site,
    reason::Reason,
    seal::{NONCE_BYTES, SealingKey, Unsealable},
    secret::Secret,
    session::binding::{Binding, BindingRules},
    store::{Name, Version},
};

pub mod binding;
pub mod cache;
pub mod cookie;
pub mod ending;
pub mod hearing;
pub mod index;
pub mod keeper;
pub mod lease;
pub mod refresher;
pub mod turns;

/// How long sessions live and what they are bound to.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    /// From sign-in to the end, whatever happens.
    pub absolute: Duration,
    /// From the last use to the end.
    pub idle: Duration,
    /// What happens when another client shows the cookie.
    pub binding: BindingRules,
}

impl Lifetimes {
    /// How old the stored time of last use may get before it is written again.
    pub fn idle_write_after(&self) -> Duration {
        self.idle / IDLE_WRITES_PER_TIMEOUT
    }
}

/// The facts that verify needs. Its short texts stand in place, because every verify reads them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The site it was made on.
    pub site: CompactString,
    /// The provider's name in the settings.
    pub provider: CompactString,
    /// The provider's issuer.
    pub issuer: CompactString,
    /// The user's `sub`.
    pub subject: CompactString,
    /// The provider's session id, if it gave one.
    pub sid: Option<CompactString>,
    /// Who the user is, for upstreams and rules.
    pub user: User,
    /// How the user signed in.
    pub method: Method,
    /// When the user signed in.
    pub signed_in_at: Timestamp,
    /// When the session ends at the latest.
    pub expires_at: Timestamp,
    /// When it was last used, as far as it was written down.
    pub last_seen: Timestamp,
    /// The client that signed in.
    pub binding: Binding,
    /// What the tokens need.
    pub tokens: TokenState,
}

/// Who the user is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name by which upstreams know the user.
    pub id: CompactString,
    /// `email`, or empty.
    pub email: CompactString,
    /// Whether the provider vouches for the address.
    pub email_verified: bool,
    /// `preferred_username`, or empty.
    pub preferred_username: CompactString,
    /// `name`, or empty.
    pub name: CompactString,
    /// The groups, as the provider's groups claim has them.
    pub groups: Vec<CompactString>,
    /// All claims, as a JSON object; read only by rules and headers that ask for one.
    pub claims: String,
}

impl User {
    /// How the user is named to themselves: e-mail address, else user name, else full name, else id.
    pub fn shown_name(&self) -> String {
        let names = [&self.email, &self.preferred_username, &self.name];
        names.into_iter().find(|name| !name.is_empty()).unwrap_or(&self.id).to_string()
    }
}

/// How somebody proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Method {
    /// OpenID Connect sign-in.
    Oidc,
    /// A client certificate, shown with each request while the provider is down.
    ClientCertificate,
}

impl Method {
    /// The value of `X-Auth-Request-Method` and of metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Oidc => "oidc",
            Self::ClientCertificate => "client-certificate",
        }
    }
}

/// What is known of the tokens without opening them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenState {
    /// Counts the sets of tokens; in the associated data of the sealed tokens.
    pub revision: u64,
    /// When the access token was issued.
    pub issued_at: Timestamp,
    /// When the access token expires, if the provider said so.
    pub access_expires_at: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub refreshable: bool,
    /// Whether a refresh was begun of which nobody knows what came: the token may be used up.
    pub in_doubt: bool,
    /// No refresh begins by itself before this.
    pub retry_at: Timestamp,
}

impl TokenState {
    /// Whether it is time to refresh: less than a minute left, or less than a third of the token's life.
    pub fn refresh_due(&self, now: Timestamp) -> bool {
        let Some(expires_at) = self.access_expires_at.filter(|_| self.refreshable) else {
            return false;
        };
        let life = expires_at.since(self.issued_at);
        let due_at = expires_at.minus(REFRESH_AHEAD.min(life / 3));
        now >= due_at && now >= self.retry_at
    }
}

/// The tokens themselves, sealed apart from the facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// The access token.
    pub access: Secret,
    /// The refresh token, if the provider gave one.
    pub refresh: Option<Secret>,
    /// The ID token, for `id_token_hint`.
    pub id: Secret,
}

/// What a request shows of the client behind it.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The site that it asks for.
    pub site: &'a Site,
    /// Who asks.
    pub client: Client<'a>,
}

/// Who shows a session cookie.
#[derive(Clone, Copy, Debug)]
pub enum Client<'a> {
    /// A browser, seen by nginx.
    Browser {
        /// Its address.
        address: IpAddr,
        /// Its `User-Agent`.
        user_agent: &'a [u8],
    },
    /// The upstream's server side, with the visitor's cookie: binding does not apply.
    Application,
}

/// Proof of a live session: not ended, not expired, not idle, of this site, shown by the client it is bound to.
///
/// ```compile_fail
/// // The fields are private: facts alone are no proof.
/// fn forge(facts: portcullis::session::Facts) -> portcullis::session::Authenticated {
///     portcullis::session::Authenticated { opened: facts.into(), drift: None }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Authenticated {
    opened: Arc<Opened>,
    drift: Option<Reason>,
}

impl Authenticated {
    /// Who it is, and how long for.
    pub fn facts(&self) -> &Facts {
        &self.opened.facts
    }

    /// The session as it was opened, for what is kept beside it.
    pub const fn opened(&self) -> &Arc<Opened> {
        &self.opened
    }

    /// A binding that does not match but is only to be logged.
    pub const fn drift(&self) -> Option<Reason> {
        self.drift
    }
}

/// A session that was opened, whether or not it counts; and what was made of it once, to be used again.
#[derive(Debug)]
pub struct Opened {
    facts: Facts,
    depth: Depth,
    told: OnceLock<Told>,
    agent: OnceLock<u64>,
}

/// How much of a session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// All but the claims, which are the largest part, and which few rules and headers ask for.
    WithoutClaims,
    /// All of it.
    Whole,
}

/// Values of headers, a line each, and the number of the settings that they were made by.
#[derive(Debug)]
pub struct Told {
    by: u64,
    lines: Bytes,
}

impl Told {
    /// Those values, made by the settings of that number. They are plain ASCII, and have no lines of their own.
    pub fn new(by: u64, values: &[HeaderValue]) -> Self {
        let bytes = values.iter().map(|value| value.len() + 1).sum();
        let mut lines = Vec::with_capacity(bytes);
        for value in values {
            lines.extend_from_slice(value.as_bytes());
            lines.push(b'\n');
        }
        Self { by, lines: lines.into() }
    }

    /// Whether the settings of that number made them.
    pub const fn is_by(&self, number: u64) -> bool {
        self.by == number
    }

    /// The values, without a copy of their text.
    pub fn values(&self) -> impl Iterator<Item = HeaderValue> {
        let ends = self.lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(end, _)| end);
        let mut start = 0;
        ends.map(move |end| {
            let value = self.lines.slice(start..end);
            start = end + 1;
            HeaderValue::from_maybe_shared(value).unwrap_or(const { HeaderValue::from_static("") })
        })
    }
}

impl Opened {
    /// Opens that much of a session.
    pub fn new(mut facts: Facts, depth: Depth) -> Arc<Self> {
        if depth == Depth::WithoutClaims {
            facts.user.claims = String::new();
        }
        Arc::new(Self { facts, depth, told: OnceLock::new(), agent: OnceLock::new() })
    }

    /// How much of it is opened.
    pub const fn depth(&self) -> Depth {
        self.depth
    }

    /// What upstreams are told of it; made now if it was not made before.
    pub fn told(&self, make: impl FnOnce() -> Told) -> &Told {
        self.told.get_or_init(make)
    }

    /// What they were told, if it was made.
    pub fn was_told(&self) -> Option<&Told> {
        self.told.get()
    }

    /// About how many bytes it takes, and always the same: what upstreams are told of it is made of its texts, whether that
    /// was made yet or not.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * self.facts.heap_bytes() + TOLD_BYTES
    }

    /// Whether the session is bound to that `User-Agent`. Having matched once, a text is known by a quicker hash.
    fn is_agent(&self, user_agent: &[u8]) -> bool {
        let quick = QUICK.hash_one(user_agent);
        if self.agent.get() == Some(&quick) {
            return true;
        }
        let same = self.facts.binding.is_agent(user_agent);
        if same {
            let _ = self.agent.set(quick);
        }
        same
    }

    /// The one place that says a session counts.
    ///
    /// # Errors
    /// The reason why it does not.
    pub fn authenticate(
        self: &Arc<Self>,
        presented: &Presented<'_>,
        lifetimes: &Lifetimes,
        now: Timestamp,
    ) -> Result<Authenticated, Reason> {
        let facts = &self.facts;
        if facts.site != presented.site.name() {
            return Err(Reason::SessionWrongSite);
        }
        if !presented.site.providers().iter().any(|name| *name == facts.provider) {
            return Err(Reason::SessionWrongProvider);
        }
        if now >= facts.expires_at || now >= facts.signed_in_at.plus(lifetimes.absolute) {
            return Err(Reason::SessionExpired);
        }
        if now >= facts.last_seen.plus(lifetimes.idle) {
            return Err(Reason::SessionIdle);
        }
        let drift = match presented.client {
            Client::Browser { address, user_agent } => {
                facts.binding.compare(&lifetimes.binding, address, || self.is_agent(user_agent))?
            }
            Client::Application => None,
        };
        Ok(Authenticated { opened: Arc::clone(self), drift })
    }
}

impl Facts {
    /// The bytes of its texts that do not stand in place.
    fn heap_bytes(&self) -> usize {
        let User { id, email, email_verified: _, preferred_username, name, groups, claims } = &self.user;
        let texts = [&self.site, &self.provider, &self.issuer, &self.subject, id, email, preferred_username, name];
        let texts = texts.into_iter().chain(&self.sid).chain(groups);
        let apart = texts.filter(|text| text.is_heap_allocated()).map(CompactString::capacity);
        apart.sum::<usize>() + groups.capacity() * size_of::<CompactString>() + claims.capacity()
    }

    /// When it ends if nobody uses it any more.
    pub fn idle_at(&self, lifetimes: &Lifetimes) -> Timestamp {
        self.last_seen.plus(lifetimes.idle).min(self.expires_at)
    }

    /// Seals the facts for one version of one record.
    ///
    /// # Errors
    /// [`Unsealable`] if they are larger than [`FACTS_BYTES`].
    pub fn seal(
        &self,
        key: &SealingKey,
        name: &Name,
        version: Version,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, Unsealable> {
        let plain = encoded(self, FACTS_BYTES)?;
        key.seal(nonce, &associated(FACTS_PART, name, version.0), &plain)
    }

    /// Opens the facts of one version of one record.
    ///
    /// # Errors
    /// [`Unsealable`] for anything that was not sealed for exactly this.
    pub fn open(key: &SealingKey, name: &Name, version: Version, mut sealed: Vec<u8>) -> Result<Self, Unsealable> {
        let plain = key.open_in_place(&associated(FACTS_PART, name, version.0), &mut sealed)?;
        postcard::from_bytes(plain).map_err(|_| Unsealable)
    }
}

impl Tokens {
    /// Seals the tokens for one revision of one record.
    ///
    /// # Errors
    /// [`Unsealable`] if they are larger than [`TOKENS_BYTES`].
    pub fn seal(
        &self,
        key: &SealingKey,
        name: &Name,
        revision: u64,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, Unsealable> {
        let plain = encoded(self, TOKENS_BYTES)?;
        key.seal(nonce, &associated(TOKENS_PART, name, revision), &plain)
    }

    /// Opens the tokens of one revision of one record.
    ///
    /// # Errors
    /// [`Unsealable`] for anything that was not sealed for exactly this.
    pub fn open(key: &SealingKey, name: &Name, revision: u64, sealed: &[u8]) -> Result<Self, Unsealable> {
        let plain = key.open(&associated(TOKENS_PART, name, revision), sealed)?;
        postcard::from_bytes(&plain).map_err(|_| Unsealable)
    }
}

fn encoded<T: Serialize>(value: &T, limit: usize) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
    let plain = postcard::to_stdvec(value).map(Zeroizing::new).map_err(|_| Unsealable)?;
    if plain.len() > limit { Err(Unsealable) } else { Ok(plain) }
}

fn associated(part: u8, name: &Name, number: u64) -> [u8; 41] {
    let mut data = [part; 41];
    data[1..33].copy_from_slice(name.as_bytes());
    data[33..].copy_from_slice(&number.to_le_bytes());
    data
}

/// Most bytes of a session's facts, claims included.
pub const FACTS_BYTES: usize = 32 * 1024;
/// Most bytes of a session's tokens.
pub const TOKENS_BYTES: usize = 64 * 1024;
/// How much of the access token's life is left when it is refreshed.
pub const REFRESH_AHEAD: Duration = Duration::from_secs(60);
/// How long after a refresh was begun the next may begin, if nothing came of it.
pub const REFRESH_RETRY_AFTER: Duration = Duration::from_secs(15);
/// What the values of a session's headers take beside their texts.
const TOLD_BYTES: usize = 200;
/// A hash that is keyed anew in each process, so that nobody can look for two texts that it takes for one.
static QUICK: LazyLock<RandomState> = LazyLock::new(RandomState::new);
/// The time of last use is written at most this often per idle time-out.
const IDLE_WRITES_PER_TIMEOUT: u32 = 10;
const FACTS_PART: u8 = 1;
const TOKENS_PART: u8 = 2;

#[cfg(test)]
pub(crate) mod tests;
