//! Pure. The login transaction: one sign-in attempt, in a sealed cookie of its own.
//!
//! Invariant: an answer is taken only from the browser that asked, once, and in time. The cookie's name ends in a keyed
//! hash of `state`, and `state` is in the associated data: another state finds no cookie, or one that does not open.
//! Before the hash stands when it was begun, only so that the oldest can be told. Nothing is stored until the answer
//! comes, so a flood of sign-ins fills nothing (RFC 9700 section 4.7).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cookie::{Cookie, SameSite, time};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    origin::{ReturnTarget, Site},
    reason::Reason,
    seal::{KEY_ID_BYTES, KeyId, KeyRing, NONCE_BYTES, Purpose},
    secret::Secret,
    store::Name,
};

/// One sign-in attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The provider's name in the settings.
    pub provider: String,
    /// The site it was begun on.
    pub site: String,
    /// The nonce that the ID token must have.
    pub nonce: Secret,
    /// The PKCE verifier (RFC 7636).
    pub verifier: Secret,
    /// Where the browser wanted to go; empty for the landing page.
    pub return_to: String,
    /// When it was begun.
    pub started_at: Timestamp,
}

/// How transaction cookies look.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a sign-in may take.
    pub lifetime: Duration,
    /// Development mode over plain http: no prefix, no `Secure`.
    pub plain: bool,
}

/// What a browser's transaction cookies are called and how they are sealed.
#[derive(Clone, Copy, Debug)]
pub struct Cookies<'a> {
    /// How they look.
    pub config: &'a Config,
    /// The keys.
    pub ring: &'a KeyRing,
}

impl Transaction {
    /// What is kept of a return target: nothing if it is too long for a cookie that must stay small.
    pub fn kept(target: &ReturnTarget, site: &Site) -> String {
        let own = site.page("/").origin() == target.url().origin();
        let text = if own { target.path_and_rest() } else { target.url().as_str() };
        if text.len() > RETURN_TO_BYTES { String::new() } else { text.to_owned() }
    }
}

impl Cookies<'_> {
    /// What all names of transaction cookies start with.
    pub fn prefix(&self) -> &'static str {
        if self.config.plain { "portcullis-sign-in-" } else { "__Host-portcullis-sign-in-" }
    }

    /// The cookie of a new transaction.
    ///
    /// # Errors
    /// [`Reason::Internal`] if it cannot be sealed.
    pub fn issue(
        &self,
        transaction: &Transaction,
        state: &Secret,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Cookie<'static>, Reason> {
        let key = self.ring.sealing();
        let plain = postcard::to_stdvec(transaction).map_err(|_| Reason::Internal)?;
        let sealed = key
            .purpose(Purpose::Transaction)
            .seal(nonce, state.reveal().as_bytes(), &plain)
            .map_err(|_| Reason::Internal)?;
        let value = URL_SAFE_NO_PAD.encode([key.id().0.as_slice(), &sealed].concat());
        let seconds = i64::try_from(self.config.lifetime.as_secs()).unwrap_or(i64::MAX);
        Ok(self.cookie(self.name(transaction.started_at, key.id(), state), value, time::Duration::seconds(seconds)))
    }

    /// Finds and opens the transaction that a callback's `state` belongs to, and says what its cookie is called.
    ///
    /// # Errors
    /// [`Reason::TransactionMissing`], [`Reason::TransactionUnreadable`] or [`Reason::TransactionExpired`].
    pub fn open<'c>(
        &self,
        shown: impl Iterator<Item = (&'c str, &'c str)>,
        state: &Secret,
        now: Timestamp,
    ) -> Result<(Transaction, String), Reason> {
        let hashes: Vec<_> = self.ring.all().map(|key| self.hash(key.id(), state)).collect();
        let mut refusal = Reason::TransactionMissing;
        for (name, value) in shown.filter(|(name, _)| hashes.iter().any(|hash| name.ends_with(hash))) {
            match self.unseal(value, state) {
                Some(transaction) => return self.in_time(transaction, now).map(|found| (found, name.to_owned())),
                None => refusal = Reason::TransactionUnreadable,
            }
        }
        Err(refusal)
    }

    /// Which of a browser's transaction cookies must go so that a new one of `bytes` fits beside the rest: at most
    /// [`LIVING`] and at most [`TOGETHER_BYTES`] in all, the latest kept. Of very many, [`DROPPED_AT_ONCE`] go now and
    /// the others at the next sign-in, because nginx takes only so many headers of an answer.
    pub fn to_drop<'c>(&self, shown: impl Iterator<Item = (&'c str, &'c str)>, bytes: usize) -> Vec<String> {
        let mut cookies: Vec<_> = shown.map(|(name, value)| (name.to_owned(), name.len() + value.len())).collect();
        let mut room = TOGETHER_BYTES.saturating_sub(bytes);
        let mut kept = 1;
        cookies.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        cookies
            .into_iter()
            .filter_map(|(name, size)| {
                let fits = kept < LIVING && size <= room;
                kept += 1;
                room = if fits { room - size } else { 0 };
                (!fits).then_some(name)
            })
            .take(DROPPED_AT_ONCE)
            .collect()
    }

    /// The `Set-Cookie` that takes a transaction cookie away.
    pub fn clear(&self, name: String) -> Cookie<'static> {
        self.cookie(name, String::new(), time::Duration::ZERO)
    }

    fn in_time(&self, transaction: Transaction, now: Timestamp) -> Result<Transaction, Reason> {
        let ends_at = transaction.started_at.plus(self.config.lifetime);
        if now >= ends_at { Err(Reason::TransactionExpired) } else { Ok(transaction) }
    }

    fn unseal(&self, value: &str, state: &Secret) -> Option<Transaction> {
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (id, sealed) = bytes.split_first_chunk::<KEY_ID_BYTES>()?;
        let key = self.ring.by_id(KeyId(*id))?;
        let plain = key.purpose(Purpose::Transaction).open(state.reveal().as_bytes(), sealed).ok()?;
        postcard::from_bytes(&plain).ok()
    }

    fn name(&self, started_at: Timestamp, id: KeyId, state: &Secret) -> String {
        format!("{}{:012x}-{}", self.prefix(), started_at.millis(), self.hash(id, state))
    }

    fn hash(&self, id: KeyId, state: &Secret) -> String {
        let hash = self.ring.by_id(id).map(|key| key.name(&[b"transaction", state.reveal().as_bytes()]));
        URL_SAFE_NO_PAD.encode(&hash.unwrap_or_default()[..NAME_BYTES])
    }

    fn cookie(&self, name: String, value: String, max_age: time::Duration) -> Cookie<'static> {
        Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .secure(!self.config.plain)
            .same_site(SameSite::Lax)
            .max_age(max_age)
            .build()
    }
}

/// The name under which the store remembers that the transaction of that cookie was completed: under the key that the
/// cookie's name is under, so that gateways half-way through a key rotation mean the same.
pub fn mark(cookies: &Cookies<'_>, cookie: &str, state: &Secret) -> Name {
    let own = cookies.ring.all().find(|key| cookie.ends_with(&cookies.hash(key.id(), state)));
    let key = own.unwrap_or(cookies.ring.sealing());
    Name::new(key.name(&[b"transaction used", state.reveal().as_bytes()]))
}

/// Most transactions of one browser at once.
pub const LIVING: usize = 5;
/// Most bytes of all transaction cookies of one browser together; with the session cookie they stay under 4 KiB.
pub const TOGETHER_BYTES: usize = 3_900;
/// The longest return target that a transaction keeps.
pub const RETURN_TO_BYTES: usize = 512;
/// Most cookies that one answer takes away: some 130 bytes each, of the 16 KiB that nginx reads.
pub const DROPPED_AT_ONCE: usize = 50;
const NAME_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::{
        origin::{PublicUrl, SiteParts},
        seal::MasterKey,
    };

    const START: Timestamp = Timestamp::from_seconds(1_000_000);

    fn config() -> Config {
        Config { lifetime: Duration::from_secs(600), plain: false }
    }

    fn ring() -> KeyRing {
        KeyRing::new(&MasterKey::from_bytes([1; 32]), &[])
    }

    fn transaction(return_to: &str) -> Transaction {
        Transaction {
            provider: "main".into(),
            site: "main".into(),
            nonce: Secret::new("n".repeat(43)),
            verifier: Secret::new("v".repeat(43)),
            return_to: return_to.into(),
            started_at: START,
        }
    }

    fn issued(return_to: &str, state: &str) -> (String, String) {
        issued_at(START, return_to, state)
    }

    fn issued_at(started_at: Timestamp, return_to: &str, state: &str) -> (String, String) {
        let (config, ring) = (config(), ring());
        let cookies = Cookies { config: &config, ring: &ring };
        let transaction = Transaction { started_at, ..transaction(return_to) };
        let cookie = cookies.issue(&transaction, &Secret::new(state), [3; 12]).unwrap();
        (cookie.name().to_owned(), cookie.value().to_owned())
    }

    fn open(shown: &[(String, String)], state: &str, after: u64) -> Result<Transaction, Reason> {
        let (config, ring) = (config(), ring());
        let shown = shown.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Cookies { config: &config, ring: &ring }
            .open(shown, &Secret::new(state), START.plus(Duration::from_secs(after)))
            .map(|(transaction, _)| transaction)
    }

    #[test]
    fn only_its_own_state_finds_a_transaction() {
        let (a, b) = (issued("/a", "state-a"), issued("/b", "state-b"));
        let shown = [a.clone(), b.clone()];
        assert_eq!(open(&shown, "state-a", 0).unwrap().return_to, "/a");
        assert_eq!(open(&shown, "state-b", 0).unwrap().return_to, "/b");
        assert_eq!(open(&shown, "state-c", 0), Err(Reason::TransactionMissing));
        assert_eq!(open(&[], "state-a", 0), Err(Reason::TransactionMissing));
        let swapped = [(a.0, b.1)];
        assert_eq!(open(&swapped, "state-a", 0), Err(Reason::TransactionUnreadable));
    }

    #[test]
    fn a_transaction_has_one_mark_on_every_gateway_of_a_key_rotation() {
        let (config, state) = (config(), Secret::new("state"));
        let (name, _) = issued("/", "state");
        let keys = |sealing: u8, accepted: &[u8]| {
            let accepted: Vec<_> = accepted.iter().map(|byte| MasterKey::from_bytes([*byte; 32])).collect();
            KeyRing::new(&MasterKey::from_bytes([sealing; 32]), &accepted)
        };
        let mark_on = |ring: &KeyRing| mark(&Cookies { config: &config, ring }, &name, &state);
        let before = mark_on(&keys(1, &[]));
        assert_eq!(mark_on(&keys(1, &[2])), before);
        assert_eq!(mark_on(&keys(2, &[1])), before);
    }

    #[test]
    fn a_sign_in_must_be_finished_in_time() {
        let shown = [issued("/", "state")];
        assert!(open(&shown, "state", 599).is_ok());
        assert_eq!(open(&shown, "state", 600), Err(Reason::TransactionExpired));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (name, value) = issued("/", "state");
        for at in 0..value.len() {
            let mut broken = value.clone().into_bytes();
            broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
            let shown = [(name.clone(), String::from_utf8(broken).unwrap())];
            assert_eq!(open(&shown, "state", 0), Err(Reason::TransactionUnreadable), "{at}");
        }
    }

    #[test]
    fn cookies_of_abandoned_sign_ins_stay_few_and_small() {
        let (config, ring) = (config(), ring());
        let cookies = Cookies { config: &config, ring: &ring };
        let mut jar: Vec<(String, String)> = Vec::new();
        for tab in 0..40 {
            let target = if tab % 3 == 0 { format!("/{}", "x".repeat(RETURN_TO_BYTES - 1)) } else { "/short".into() };
            let new = issued_at(START.plus(Duration::from_secs(tab)), &target, &format!("state-{tab}"));
            let shown = jar.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let drop = cookies.to_drop(shown, new.0.len() + new.1.len());
            jar.retain(|(name, _)| !drop.contains(name));
            jar.insert(usize::try_from(tab).unwrap() % (jar.len() + 1), new);
            let bytes: usize = jar.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(jar.len() <= LIVING && bytes <= TOGETHER_BYTES, "{} {bytes}", jar.len());
            assert!(open(&jar, &format!("state-{tab}"), 50).is_ok());
            assert!(tab == 0 || open(&jar, &format!("state-{}", tab - 1), 50).is_ok());
        }
        assert!(jar.len() >= 3, "the latest tabs all work: {}", jar.len());
    }

    #[test]
    fn a_long_target_becomes_the_landing_page() {
        let site = Site::new(SiteParts {
            return_origins: vec![PublicUrl::parse("https://docs.example.net").unwrap()],
            ..SiteParts::new("main", PublicUrl::parse("https://app.example.com").unwrap())
        })
        .unwrap();
        let check = |wanted: &str, expected: &str| {
            assert_eq!(Transaction::kept(&site.return_target(Some(wanted)), &site), expected);
        };
        check("/a?b", "/a?b");
        check("https://docs.example.net/a", "https://docs.example.net/a");
        let longest = format!("/{}", "x".repeat(RETURN_TO_BYTES - 1));
        check(&longest, &longest);
        check(&format!("{longest}x"), "");
    }

    #[test]
    fn cookies_are_kept_while_there_is_room_for_them_together() {
        let (config, ring) = (config(), ring());
        let cookies = Cookies { config: &config, ring: &ring };
        let half = "x".repeat(TOGETHER_BYTES / 2 - 1);
        let dropped = |shown: &[&str], bytes| cookies.to_drop(shown.iter().map(|name| (*name, half.as_str())), bytes);
        assert!(dropped(&["1", "2"], 0).is_empty());
        assert_eq!(dropped(&["1", "2"], 1), ["1"]);
        assert_eq!(dropped(&["1", "3", "2"], 0), ["1"]);
    }

    #[test]
    fn a_cookie_is_for_its_host_alone_and_for_no_script() {
        let ring = ring();
        let check = |plain: bool, expected: &str| {
            let config = Config { plain, ..config() };
            let cookies = Cookies { config: &config, ring: &ring };
            let cookie = cookies.issue(&transaction("/"), &Secret::new("state"), [3; 12]).unwrap();
            assert!(cookie.name().starts_with(cookies.prefix()));
            let name = format!("{}x", cookies.prefix());
            assert_eq!(cookies.clear(name).to_string(), expected);
        };
        check(false, "__Host-portcullis-sign-in-x=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
        check(true, "portcullis-sign-in-x=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
    }
}
