//! The provider itself: what it knows, and one function from a request to a reply. It waits for nothing; whoever serves
//! it does the waiting.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::error::Unspecified;
use http::{HeaderMap, Method, StatusCode};

use crate::{
    clock::Clock,
    endpoint::{Endpoint, authorize, dev, end_session, metadata, revoke, token, userinfo},
    keys::KeySet,
    ledger::Ledger,
    log::RequestLog,
    parameters::Parameters,
    random,
    reply::{Refusal, Reply},
    settings::{Algorithm, Client, Person, Settings},
    switch::{Switch, Switches},
    trouble::Troubles,
};

pub(crate) struct Provider {
    pub(crate) issuer: String,
    /// The path of the issuer without a slash at its end; the endpoints live below it.
    pub(crate) base: String,
    /// The name of the sign-on cookie. It holds the port, because browsers do not tell cookies apart by port.
    pub(crate) cookie: String,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) log: RequestLog,
    clients: Mutex<Vec<Client>>,
    people: Mutex<Vec<Person>>,
    switches: Mutex<Switches>,
    troubles: Mutex<Troubles>,
    ledger: Mutex<Ledger>,
    generation: AtomicUsize,
    /// The name of the key set where only discovery tells it.
    keys_name: String,
}

/// A request as the endpoints see it.
pub(crate) struct Incoming {
    pub(crate) endpoint: Endpoint,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Parameters,
    pub(crate) form: Parameters,
}

impl Provider {
    /// A provider that calls itself `issuer` and is reached at `base` on `port`.
    pub(crate) fn new(settings: Settings, issuer: String, base: String, port: u16) -> Self {
        Self {
            issuer,
            base,
            cookie: format!("dev_idp_{port}"),
            clock: Clock::default(),
            log: RequestLog::default(),
            clients: Mutex::new(settings.clients.clone()),
            people: Mutex::new(settings.people.clone()),
            switches: Mutex::default(),
            troubles: Mutex::default(),
            ledger: Mutex::default(),
            generation: AtomicUsize::new(0),
            keys_name: random::token().unwrap_or_default(),
            settings,
        }
    }

    /// Answers a request.
    pub(crate) fn reply(&self, incoming: &Incoming) -> Reply {
        if self.is_on(Switch::Outage) {
            return Reply::empty(StatusCode::SERVICE_UNAVAILABLE);
        }
        self.routed(incoming).unwrap_or_else(Refusal::reply)
    }

    fn routed(&self, incoming: &Incoming) -> Result<Reply, Refusal> {
        match incoming.endpoint {
            Endpoint::Discovery => Ok(metadata::discovery(self)),
            Endpoint::Jwks => metadata::key_set(self),
            Endpoint::Authorize => authorize::authorize(self, incoming),
            Endpoint::Login => authorize::login(self, incoming),
            Endpoint::Token => token::token(self, incoming),
            Endpoint::Userinfo => userinfo::userinfo(self, incoming),
            Endpoint::EndSession => end_session::end_session(self, incoming),
            Endpoint::Revoke => revoke::revoke(self, incoming),
            Endpoint::Unknown => Ok(dev::control(self, incoming)),
        }
    }

    pub(crate) fn endpoint_at(&self, path: &str) -> Endpoint {
        let Some(below) = path.strip_prefix(self.base.as_str()) else {
            return Endpoint::Unknown;
        };
        match below.strip_prefix(Endpoint::Jwks.path()) {
            Some(suffix) if suffix == self.keys_suffix() => Endpoint::Jwks,
            Some(_) => Endpoint::Unknown,
            None => Endpoint::at(below),
        }
    }

    /// What follows `/jwks` in the key set's path: nothing, unless only discovery may tell it.
    pub(crate) fn keys_suffix(&self) -> String {
        if self.is_on(Switch::DiscoveryKeysElsewhere) { format!("/{}", self.keys_name) } else { String::new() }
    }

    /// The URL of an endpoint.
    pub(crate) fn url(&self, endpoint: Endpoint) -> String {
        format!("{}{}", self.issuer.trim_end_matches('/'), endpoint.path())
    }

    pub(crate) fn is_on(&self, switch: Switch) -> bool {
        self.switches().on(switch)
    }

    pub(crate) fn switches(&self) -> MutexGuard<'_, Switches> {
        locked(&self.switches)
    }

    pub(crate) fn troubles(&self) -> MutexGuard<'_, Troubles> {
        locked(&self.troubles)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    pub(crate) fn people(&self) -> Vec<Person> {
        locked(&self.people).clone()
    }

    pub(crate) fn person(&self, login: &str) -> Option<Person> {
        locked(&self.people).iter().find(|person| person.login == login).cloned()
    }

    pub(crate) fn clients(&self) -> Vec<Client> {
        locked(&self.clients).clone()
    }

    pub(crate) fn client(&self, id: &str) -> Option<Client> {
        locked(&self.clients).iter().find(|client| client.id == id).cloned()
    }

    /// Adds a client, in the place of one with the same id. Beyond the limit nothing is added.
    pub(crate) fn register(&self, client: Client) {
        let mut clients = locked(&self.clients);
        clients.retain(|known| known.id != client.id);
        if clients.len() < LIMIT {
            clients.push(client);
        }
    }

    /// Adds a person, in the place of one with the same login. Beyond the limit nobody is added.
    pub(crate) fn enrol(&self, person: Person) {
        let mut people = locked(&self.people);
        if let Some(known) = people.iter_mut().find(|known| known.login == person.login) {
            *known = person;
        } else if people.len() < LIMIT {
            people.push(person);
        }
    }

    pub(crate) fn algorithm(&self, client: &Client) -> Algorithm {
        client.algorithm.unwrap_or(self.settings.algorithm)
    }

    /// Whether any client's ID tokens are signed with this algorithm.
    pub(crate) fn uses(&self, algorithm: Algorithm) -> bool {
        self.settings.algorithm == algorithm
            || locked(&self.clients).iter().any(|client| client.algorithm == Some(algorithm))
    }

    pub(crate) fn keys(&self) -> Result<Arc<KeySet>, Unspecified> {
        KeySet::pooled(self.generation.load(Ordering::Relaxed))
    }

    /// The keys of the last few rotations, the newest first.
    pub(crate) fn earlier_keys(&self) -> Result<Vec<Arc<KeySet>>, Unspecified> {
        let generation = self.generation.load(Ordering::Relaxed);
        (generation.saturating_sub(EARLIER_KEYS)..generation).rev().map(KeySet::pooled).collect()
    }

    pub(crate) fn rotate_keys(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn honest(&self) {
        self.switches().clear_all();
        self.troubles().clear_all();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many earlier sets are shown where earlier ones are shown at all.
const EARLIER_KEYS: usize = 3;
/// At most so many clients, and so many people.
const LIMIT: usize = 1000;
