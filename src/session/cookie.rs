//! Pure. The session cookie: key id, 256 random bits, and a short check value.
//!
//! Invariant: a value that this gateway did not make is refused here, without asking the store. The cookie's secret
//! names the record (keyed hash) and opens it (key derivation); the store never sees it. The check value is how the
//! name begins: who knows the name still lacks the secret, and who makes a secret up lacks the name.

use std::{fmt, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cookie::{Cookie, SameSite, time};
use zeroize::Zeroizing;

use crate::{
    origin::Site,
    reason::Reason,
    seal::{KEY_ID_BYTES, Key, KeyId, KeyRing, SealingKey},
    store::Name,
};

/// How the session cookie looks.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name without its prefix.
    pub name: String,
    /// `SameSite=Strict` instead of `Lax`.
    pub strict: bool,
    /// Development mode over plain http: no prefix, no `Secure`.
    pub plain: bool,
}

impl Config {
    /// The name that browsers see on a site: `__Host-`, or `__Secure-` where the cookie is for a domain.
    fn name_on(&self, site: &Site) -> String {
        format!("{}{}", self.prefix_on(site), self.name)
    }

    /// Whether that is the name on a site.
    pub fn is_name_on(&self, site: &Site, name: &str) -> bool {
        name.strip_prefix(self.prefix_on(site)) == Some(self.name.as_str())
    }

    fn prefix_on(&self, site: &Site) -> &'static str {
        match (self.plain, site.cookie_domain()) {
            (true, _) => "",
            (false, None) => "__Host-",
            (false, Some(_)) => "__Secure-",
        }
    }

    /// The `Set-Cookie` that starts a session.
    pub fn issue(&self, site: &Site, value: &CookieValue, lifetime: Duration) -> Cookie<'static> {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.cookie(site, value.0.as_str().to_owned(), time::Duration::seconds(seconds))
    }

    /// The `Set-Cookie` that takes the cookie away.
    pub fn clear(&self, site: &Site) -> Cookie<'static> {
        self.cookie(site, String::new(), time::Duration::ZERO)
    }

    fn cookie(&self, site: &Site, value: String, max_age: time::Duration) -> Cookie<'static> {
        let mut cookie = Cookie::build((self.name_on(site), value))
            .path("/")
            .http_only(true)
            .secure(!self.plain)
            .same_site(if self.strict { SameSite::Strict } else { SameSite::Lax })
            .max_age(max_age)
            .build();
        if let Some(domain) = site.cookie_domain() {
            cookie.set_domain(domain.to_owned());
        }
        cookie
    }
}

/// What a session cookie of ours shows: the record's name, and what the key that opens it is made from.
pub struct Shown {
    name: Name,
    key_id: KeyId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Shown {
    /// The record's name in the store.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The key that opens the record; nothing if its master key has gone from the ring in the meantime.
    pub fn handle(&self, ring: &KeyRing) -> Option<Handle> {
        ring.by_id(self.key_id).map(|key| Handle::of(key, self.name, &self.secret))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shown").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What opens a session: the record's name, and its key.
#[derive(Debug)]
pub struct Handle {
    name: Name,
    key_id: KeyId,
    key: SealingKey,
}

impl Handle {
    /// The record's name in the store.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Which master key the record is under.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The key that seals and opens the record.
    pub const fn key(&self) -> &SealingKey {
        &self.key
    }

    fn of(key: &Key, name: Name, secret: &[u8; SECRET_BYTES]) -> Self {
        Self { name, key_id: key.id(), key: key.session_seal(secret) }
    }
}

/// The text of a session cookie. Whoever has it is the user.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieValue(Zeroizing<String>);

impl CookieValue {
    /// The text, for the one `Set-Cookie` that carries it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CookieValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Makes a new cookie from 32 random bytes, under the sealing key.
pub fn mint(ring: &KeyRing, site: &str, secret: &[u8; SECRET_BYTES]) -> (CookieValue, Handle) {
    let key = ring.sealing();
    let name = name_of(key, site, secret);
    let mut bytes = Zeroizing::new(Vec::with_capacity(VALUE_BYTES));
    bytes.extend_from_slice(&key.id().0);
    bytes.extend_from_slice(secret);
    bytes.extend_from_slice(&name[..CHECK_BYTES]);
    let value = CookieValue(Zeroizing::new(URL_SAFE_NO_PAD.encode(&*bytes)));
    (value, Handle::of(key, Name::new(name), secret))
}

/// Reads a cookie that was shown on a site.
///
/// # Errors
/// [`Reason::SessionMalformed`] if we did not make it for this site, under a key we still have.
pub fn read(ring: &KeyRing, site: &str, value: &str) -> Result<Shown, Reason> {
    read_value(ring, site, value).ok_or(Reason::SessionMalformed)
}

fn read_value(ring: &KeyRing, site: &str, value: &str) -> Option<Shown> {
    let mut bytes = Zeroizing::new([0; VALUE_BYTES]);
    if value.len() != VALUE_CHARACTERS {
        return None;
    }
    let length = URL_SAFE_NO_PAD.decode_slice(value, &mut *bytes).ok()?;
    let (id, rest) = bytes.get(..length)?.split_first_chunk::<KEY_ID_BYTES>()?;
    let (secret, check) = rest.split_first_chunk::<SECRET_BYTES>()?;
    let key = ring.by_id(KeyId(*id))?;
    let name = name_of(key, site, secret);
    verify_slices_are_equal(check, &name[..CHECK_BYTES]).ok()?;
    Some(Shown { name: Name::new(name), key_id: key.id(), secret: Zeroizing::new(*secret) })
}

/// The record's name; how it begins shows that the cookie is ours.
fn name_of(key: &Key, site: &str, secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
    key.session_name(&[site.as_bytes(), secret])
}

/// Bytes in a cookie's secret.
pub const SECRET_BYTES: usize = 32;
/// Bytes in a cookie's check value: enough that guessing one costs more requests than a session lives.
const CHECK_BYTES: usize = 9;
const VALUE_BYTES: usize = KEY_ID_BYTES + SECRET_BYTES + CHECK_BYTES;
const VALUE_CHARACTERS: usize = VALUE_BYTES.div_ceil(3) * 4;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use proptest::prelude::*;

    use super::*;
    use crate::{
        origin::{PublicUrl, SiteParts},
        seal::MasterKey,
    };

    fn ring(sealing: u8, accepted: &[u8]) -> KeyRing {
        let accepted: Vec<_> = accepted.iter().map(|byte| MasterKey::from_bytes([*byte; 32])).collect();
        KeyRing::new(&MasterKey::from_bytes([sealing; 32]), &accepted)
    }

    fn site(cookie_domain: Option<&str>) -> Site {
        Site::new(SiteParts {
            cookie_domain: cookie_domain.map(str::to_owned),
            ..SiteParts::new("main", PublicUrl::parse("https://app.example.com").unwrap())
        })
        .unwrap()
    }

    #[test]
    fn what_was_minted_is_read_on_its_site_alone() {
        let ring = ring(1, &[]);
        let (value, minted) = mint(&ring, "main", &[7; 32]);
        assert_eq!(value.reveal().len(), VALUE_CHARACTERS);
        assert_eq!(format!("{value:?}"), "[redacted]");
        assert_eq!(read(&ring, "main", value.reveal()).unwrap().name(), minted.name());
        assert_eq!(read(&ring, "other", value.reveal()).err(), Some(Reason::SessionMalformed));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let ring = ring(1, &[]);
        let (value, _) = mint(&ring, "main", &[7; 32]);
        for at in 0..value.reveal().len() {
            let mut forged = value.reveal().to_owned().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(read(&ring, "main", &forged).is_err(), "{at}");
        }
    }

    #[test]
    fn rotation_in_two_steps_signs_nobody_out() {
        let (value, handle) = mint(&ring(1, &[]), "main", &[7; 32]);
        for later in [ring(1, &[2]), ring(2, &[1])] {
            assert_eq!(read(&later, "main", value.reveal()).unwrap().name(), handle.name());
        }
        assert!(read(&ring(2, &[]), "main", value.reveal()).is_err());
    }

    #[test]
    fn the_name_says_how_far_the_cookie_reaches() {
        let config = Config { name: "portcullis".into(), strict: false, plain: false };
        assert_eq!(config.name_on(&site(None)), "__Host-portcullis");
        assert_eq!(config.name_on(&site(Some("example.com"))), "__Secure-portcullis");
        assert!(config.is_name_on(&site(None), "__Host-portcullis"));
        for other in ["portcullis", "__Secure-portcullis", "__Host-portcullis2", "__Host-", ""] {
            assert!(!config.is_name_on(&site(None), other), "{other}");
        }
        assert_eq!(Config { plain: true, ..config }.name_on(&site(None)), "portcullis");
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let config = Config { name: "portcullis".into(), strict: false, plain: false };
        let (value, _) = mint(&ring(1, &[]), "main", &[7; 32]);
        let set = config.issue(&site(None), &value, Duration::from_secs(60)).to_string();
        let attributes = set.split_once("; ").unwrap().1;
        assert_eq!(attributes, "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        assert!(config.clear(&site(None)).to_string().starts_with("__Host-portcullis=; "));
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_nobody(value in "\\PC{0,80}") {
            prop_assert!(read(&ring(1, &[2]), "main", &value).is_err());
        }
    }
}
