//! Pure. The index entry beside each session: enough to list and end sessions, never to open them.
//!
//! Sealed under the master key alone, with the record's name as associated data. Groups gather the sessions of one
//! user (issuer, sub) and of one session at the provider (issuer, sid); their names are keyed hashes.

use std::net::IpAddr;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    seal::{Key, NONCE_BYTES, Purpose, Unsealable},
    session::{Facts, Method, binding},
    store::Name,
};

/// What a list of sessions shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The site.
    pub site: CompactString,
    /// The provider's issuer.
    pub issuer: CompactString,
    /// The user's `sub`.
    pub subject: CompactString,
    /// The provider's session id.
    pub sid: Option<CompactString>,
    /// The name by which people know the user.
    pub user: CompactString,
    /// How the user signed in.
    pub method: Method,
    /// When the user signed in.
    pub signed_in_at: Timestamp,
    /// When the session ends at the latest.
    pub expires_at: Timestamp,
    /// The network (/24, /64) the user signed in from.
    pub network: IpAddr,
    /// The browser's family.
    pub browser: Browser,
}

/// Which family of browsers a `User-Agent` belongs to, as far as a list of one's own sessions needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Browser {
    /// Mozilla Firefox.
    Firefox,
    /// Microsoft Edge.
    Edge,
    /// Google Chrome, Chromium and what calls itself so.
    Chrome,
    /// Apple Safari.
    Safari,
    /// Anything else.
    Other,
}

impl Browser {
    /// Guesses from a `User-Agent`.
    pub fn of(user_agent: &[u8]) -> Self {
        let text = String::from_utf8_lossy(user_agent);
        [("Firefox/", Self::Firefox), ("Edg/", Self::Edge), ("Chrome/", Self::Chrome), ("Safari/", Self::Safari)]
            .into_iter()
            .find(|(mark, _)| text.contains(mark))
            .map_or(Self::Other, |(_, browser)| browser)
    }
}

impl Entry {
    /// The entry of a session that was just made.
    pub fn of(facts: &Facts, address: IpAddr, user_agent: &[u8]) -> Self {
        Self {
            site: facts.site.clone(),
            issuer: facts.issuer.clone(),
            subject: facts.subject.clone(),
            sid: facts.sid.clone(),
            user: facts.user.id.clone(),
            method: facts.method,
            signed_in_at: facts.signed_in_at,
            expires_at: facts.expires_at,
            network: binding::network(address),
            browser: Browser::of(user_agent),
        }
    }

    /// Seals the entry of one record.
    ///
    /// # Errors
    /// [`Unsealable`] if it cannot be encoded.
    pub fn seal(&self, key: &Key, name: &Name, nonce: [u8; NONCE_BYTES]) -> Result<Vec<u8>, Unsealable> {
        let plain = postcard::to_stdvec(self).map_err(|_| Unsealable)?;
        let sealed = key.purpose(Purpose::Index).seal(nonce, name.as_bytes(), &plain)?;
        Ok([key.id().0.as_slice(), &sealed].concat())
    }

    /// Opens the entry of one record, under whichever key of the ring sealed it.
    ///
    /// # Errors
    /// [`Unsealable`] for anything else.
    pub fn open(ring: &crate::seal::KeyRing, name: &Name, sealed: &[u8]) -> Result<Self, Unsealable> {
        let (id, rest) = sealed.split_first_chunk().ok_or(Unsealable)?;
        let key = ring.by_id(crate::seal::KeyId(*id)).ok_or(Unsealable)?;
        let plain = key.purpose(Purpose::Index).open(name.as_bytes(), rest)?;
        postcard::from_bytes(&plain).map_err(|_| Unsealable)
    }

    /// The groups that the session is a member of, under one key.
    pub fn groups(&self, key: &Key) -> Vec<Name> {
        let user = user_group(key, &self.issuer, &self.subject);
        let provider_session = self.sid.as_deref().map(|sid| provider_session_group(key, &self.issuer, sid));
        std::iter::once(user).chain(provider_session).collect()
    }
}

/// The group of all sessions of one user.
fn user_group(key: &Key, issuer: &str, subject: &str) -> Name {
    Name::new(key.name(&[b"user", issuer.as_bytes(), subject.as_bytes()]))
}

/// The group of all sessions that came from one session at the provider.
fn provider_session_group(key: &Key, issuer: &str, sid: &str) -> Name {
    Name::new(key.name(&[b"provider session", issuer.as_bytes(), sid.as_bytes()]))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::{
        seal::{KeyRing, MasterKey},
        session::tests::facts,
    };

    fn ring() -> KeyRing {
        KeyRing::new(&MasterKey::from_bytes([1; 32]), &[])
    }

    #[test]
    fn an_entry_opens_for_its_own_record_alone() {
        let ring = ring();
        let entry = Entry::of(&facts(), IpAddr::from([192, 0, 2, 7]), b"");
        let name = Name::new([5; 32]);
        let sealed = entry.seal(ring.sealing(), &name, [0; 12]).unwrap();
        assert_eq!(Entry::open(&ring, &name, &sealed).unwrap(), entry);
        assert!(Entry::open(&ring, &Name::new([6; 32]), &sealed).is_err());
        assert!(Entry::open(&ring, &name, &sealed[..3]).is_err());
    }

    #[test]
    fn users_and_provider_sessions_are_told_apart() {
        let ring = ring();
        let key = ring.sealing();
        assert_ne!(user_group(key, "https://a", "x"), provider_session_group(key, "https://a", "x"));
        assert_ne!(user_group(key, "https://a", "x"), user_group(key, "https://b", "x"));
        let entry = Entry { sid: Some("s".into()), ..Entry::of(&facts(), IpAddr::from([192, 0, 2, 7]), b"") };
        assert_eq!(entry.groups(key).len(), 2);
    }

    #[test]
    fn browsers_are_known_by_their_family() {
        let check = |agent: &[u8], expected| assert_eq!(Browser::of(agent), expected);
        check(b"Mozilla/5.0 (X11) Gecko/20100101 Firefox/140.0", Browser::Firefox);
        check(b"Mozilla/5.0 AppleWebKit/537.36 Chrome/130.0 Safari/537.36", Browser::Chrome);
        check(b"Mozilla/5.0 AppleWebKit/537.36 Chrome/130.0 Safari/537.36 Edg/130.0", Browser::Edge);
        check(b"Mozilla/5.0 AppleWebKit/605.1 Version/18 Safari/605.1", Browser::Safari);
        check(b"curl/8", Browser::Other);
    }
}
