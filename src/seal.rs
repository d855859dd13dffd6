//! Pure. The key ring and the one way we encrypt: AES-256-GCM under keys derived per purpose (RFC 5116, RFC 5869).
//!
//! Invariant: a text sealed for one purpose, key name or version opens for no other, because all three are in the
//! derived key or in the associated data. This file knows neither sessions nor cookies.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    constant_time::verify_slices_are_equal,
    hmac,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use zeroize::Zeroizing;

/// Bytes in a master key.
pub const MASTER_KEY_BYTES: usize = 32;
/// Bytes in the random nonce that opens every sealed text.
pub const NONCE_BYTES: usize = 12;
/// Bytes in the name by which a sealed text says which master key it is under.
pub const KEY_ID_BYTES: usize = 4;

/// 32 bytes that everything else is derived from.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; MASTER_KEY_BYTES]>);

impl MasterKey {
    /// Reads base64 in either alphabet, padded or not.
    ///
    /// # Errors
    /// [`KeyError::NotBase64`] or [`KeyError::Length`]; neither shows what was given.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let standard = text.trim().trim_end_matches('=').replace('-', "+").replace('_', "/");
        let standard = Zeroizing::new(standard);
        let bytes = STANDARD_NO_PAD.decode(standard.as_bytes()).map(Zeroizing::new).map_err(|_| KeyError::NotBase64)?;
        let length = bytes.len();
        <[u8; MASTER_KEY_BYTES]>::try_from(bytes.as_slice())
            .map(|key| Self(Zeroizing::new(key)))
            .map_err(|_| KeyError::Length(length))
    }

    /// Takes bytes just drawn.
    pub fn from_bytes(bytes: [u8; MASTER_KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The form that the settings take: standard base64.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(*self.0))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Why a text is not a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64 in either alphabet.
    #[error("is not base64")]
    NotBase64,
    /// Base64 of something else than 32 bytes.
    #[error("must decode to exactly {MASTER_KEY_BYTES} bytes, not {0}")]
    Length(usize),
}

/// Which master key something is under. Derived from the key; says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; KEY_ID_BYTES]);

/// A key's word that it opens nothing any more. Only who has the key can give it, and only who has it can tell: so nobody
/// else retires a key. It stays true: a key that was given up must not be taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// Which key.
    pub key: KeyId,
    /// A keyed hash under it.
    pub proof: [u8; FAREWELL_BYTES],
}

/// Bytes of what proves a farewell.
pub const FAREWELL_BYTES: usize = 16;

impl fmt::Display for KeyId {
    /// As logs name it: eight hexadecimal digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The sealing key, and those that still or already open.
#[derive(Debug)]
pub struct KeyRing {
    sealing: Key,
    accepted: Vec<Accepted>,
}

/// A key that opens and does not seal, until it is retired.
#[derive(Debug)]
struct Accepted {
    key: Key,
    is_old: bool,
    retired: AtomicBool,
}

impl Accepted {
    fn new(master: &MasterKey, is_old: bool) -> Self {
        Self { key: Key::derive(master), is_old, retired: AtomicBool::new(false) }
    }

    fn opens(&self) -> bool {
        !self.retired.load(Ordering::Acquire)
    }
}

impl KeyRing {
    /// `sealing` makes new things; `accepted` are keys that are about to follow it, in any order.
    pub fn new(sealing: &MasterKey, accepted: &[MasterKey]) -> Self {
        let accepted = accepted.iter().map(|key| Accepted::new(key, false)).collect();
        Self { sealing: Key::derive(sealing), accepted }
    }

    /// Accepts the key that went before, too.
    #[must_use]
    pub fn after(mut self, old: &MasterKey) -> Self {
        self.accepted.push(Accepted::new(old, true));
        self
    }

    /// The key that new things are made under.
    pub fn sealing(&self) -> &Key {
        &self.sealing
    }

    /// The key of that name, if it is on the ring.
    pub fn by_id(&self, id: KeyId) -> Option<&Key> {
        self.all().find(|key| key.id == id)
    }

    /// Every key on the ring, the sealing one first.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.sealing).chain(self.accepted.iter().filter(|one| one.opens()).map(|one| &one.key))
    }

    /// Whether that is the key that went before: what is under it, and is to stay, must be sealed anew.
    pub fn is_old(&self, id: KeyId) -> bool {
        self.accepted.iter().any(|one| one.is_old && one.key.id == id)
    }

    /// Lets an accepted key open nothing any more; false if there is none of that name. The sealing key stays, whoever
    /// asks: a process that could not open what it makes itself would be of no use.
    pub fn retire(&self, id: KeyId) -> bool {
        let known = self.accepted.iter().find(|one| one.key.id == id);
        known.is_some_and(|one| !one.retired.swap(true, Ordering::AcqRel))
    }

    /// Takes over what was retired before: new settings that still name such a key do not bring it back.
    fn retire_as(&self, before: &Self) {
        for one in before.accepted.iter().filter(|one| !one.opens()) {
            self.retire(one.key.id);
        }
    }
}

/// The ring in force, for what outlives a change of it. Clones share it.
#[derive(Clone, Debug)]
pub struct RingInForce(Arc<ArcSwap<KeyRing>>);

impl RingInForce {
    /// Begins with that ring.
    pub fn new(ring: Arc<KeyRing>) -> Self {
        Self(Arc::new(ArcSwap::new(ring)))
    }

    /// The ring.
    pub fn load(&self) -> Arc<KeyRing> {
        self.0.load_full()
    }

    /// Puts another ring in force, and tells which keys open nothing from now on.
    pub fn replace(&self, ring: &Arc<KeyRing>) -> Vec<Farewell> {
        ring.retire_as(&self.load());
        let before = self.0.swap(Arc::clone(ring));
        // What was retired in between counts too.
        ring.retire_as(&before);
        before.all().filter(|key| ring.by_id(key.id()).is_none()).map(Key::farewell).collect()
    }

    /// Lets an accepted key open nothing any more; false if there is none, if it is the sealing one, or if it is not its own
    /// word.
    pub fn retire(&self, farewell: &Farewell) -> bool {
        let ring = self.load();
        let is_its_own = ring.by_id(farewell.key).is_some_and(|key| key.says(farewell));
        is_its_own && ring.retire(farewell.key)
    }
}

/// One master key, taken apart by purpose.
pub struct Key {
    id: KeyId,
    session: hmac::Key,
    session_seal: hmac::Key,
    name: hmac::Key,
    root: hmac::Key,
}

impl Key {
    fn derive(master: &MasterKey) -> Self {
        let extract = hmac::Key::new(hmac::HMAC_SHA256, b"portcullis master key");
        let root = hmac_key(&keyed_hash(&extract, &[&*master.0]));
        let id = keyed_hash(&root, &[b"key id"]);
        Self {
            id: KeyId([id[0], id[1], id[2], id[3]]),
            session: hmac_key(&keyed_hash(&root, &[b"session name"])),
            session_seal: hmac_key(&keyed_hash(&root, &[b"seal with secret", b"session"])),
            name: hmac_key(&keyed_hash(&root, &[b"store name"])),
            root,
        }
    }

    /// What it says when it is given up.
    pub fn farewell(&self) -> Farewell {
        let mut proof = [0; FAREWELL_BYTES];
        proof.copy_from_slice(&keyed_hash(&self.root, &[b"farewell"])[..FAREWELL_BYTES]);
        Farewell { key: self.id, proof }
    }

    /// Whether that is its word.
    pub fn says(&self, farewell: &Farewell) -> bool {
        farewell.key == self.id && verify_slices_are_equal(&self.farewell().proof, &farewell.proof).is_ok()
    }

    /// This key's name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// A keyed hash over `parts` under a key of its own: the name of a session in the store. Its first bytes serve as
    /// the check value of the session's cookie, so that a made-up one is refused before anything else is done.
    pub fn session_name(&self, parts: &[&[u8]]) -> [u8; 32] {
        *keyed_hash(&self.session, parts)
    }

    /// A keyed hash over `parts`: the name of something in the store that does not give `parts` away.
    pub fn name(&self, parts: &[&[u8]]) -> [u8; 32] {
        *keyed_hash(&self.name, parts)
    }

    /// The sealing key of one purpose, for things the gateway itself may open.
    pub fn purpose(&self, purpose: Purpose) -> SealingKey {
        SealingKey::from_bytes(&keyed_hash(&self.root, &[b"seal", purpose.label()]))
    }

    /// The sealing key of the session with that secret: neither key nor secret alone opens it.
    pub fn session_seal(&self, secret: &[u8; 32]) -> SealingKey {
        SealingKey::from_bytes(&keyed_hash(&self.session_seal, &[secret]))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// What a sealed text is for. Each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A session's index entry.
    Index,
    /// A login transaction's cookie.
    Transaction,
    /// A record of the fallback's switches.
    Switches,
    /// A revocation list that is kept on disk.
    RevocationList,
    /// What the command line asks of a running process.
    Command,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Index => b"index",
            Self::Transaction => b"transaction",
            Self::Switches => b"switches",
            Self::RevocationList => b"revocation list",
            Self::Command => b"command",
        }
    }
}

/// An AEAD key of one purpose.
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    #[expect(clippy::expect_used, reason = "the array's type fixes the one length that AES-256 takes")]
    fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are an AES-256 key")))
    }

    /// Encrypts `plain`: nonce, ciphertext, tag. `nonce` must be freshly drawn for every call.
    ///
    /// # Errors
    /// [`Unsealable`] if `plain` is longer than AES-GCM takes.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let mut text = Zeroizing::new(plain.to_vec());
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), text.as_mut_slice())
            .map_err(|_| Unsealable)?;
        Ok([nonce.as_slice(), &text, tag.as_ref()].concat())
    }

    /// Decrypts what [`SealingKey::seal`] made with the same key and associated data.
    ///
    /// # Errors
    /// [`Unsealable`] for anything else, without saying what was wrong.
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(Unsealable)?;
        let mut text = Zeroizing::new(rest.to_vec());
        let length = self.open_text(*nonce, associated, text.as_mut_slice())?.len();
        text.truncate(length);
        Ok(text)
    }

    /// The same where it stands, for a text that is kept in the open once it is read: nothing is wiped.
    ///
    /// # Errors
    /// As [`SealingKey::open`].
    pub fn open_in_place<'a>(&self, associated: &[u8], sealed: &'a mut [u8]) -> Result<&'a [u8], Unsealable> {
        let (nonce, text) = sealed.split_first_chunk_mut::<NONCE_BYTES>().ok_or(Unsealable)?;
        self.open_text(*nonce, associated, text)
    }

    fn open_text<'a>(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated: &[u8],
        text: &'a mut [u8],
    ) -> Result<&'a [u8], Unsealable> {
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), text);
        opened.map(|plain| &*plain).map_err(|_| Unsealable)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// A sealed text that this key, purpose and associated data do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed text does not open")]
pub struct Unsealable;

fn hmac_key(bytes: &[u8; 32]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

/// HMAC-SHA256 over `parts`, each preceded by its length, so that no two lists of parts read alike.
fn keyed_hash(key: &hmac::Key, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let bytes = parts.iter().map(|part| size_of::<u64>() + part.len()).sum();
    let mut text = Zeroizing::new(Vec::with_capacity(bytes));
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    }
    let mut hash = Zeroizing::new([0; 32]);
    hash.copy_from_slice(hmac::sign(key, &text).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;

    fn ring() -> KeyRing {
        KeyRing::new(&MasterKey::from_bytes([1; 32]), &[MasterKey::from_bytes([2; 32])])
    }

    #[test]
    fn a_text_opens_only_with_its_own_purpose_secret_and_associated_data() {
        let ring = ring();
        let key = ring.sealing();
        let sealed = key.session_seal(&[7; 32]).seal([0; 12], b"here", b"text").unwrap();
        let open = |key: SealingKey, associated: &[u8]| key.open(associated, &sealed).ok();
        let right = open(key.session_seal(&[7; 32]), b"here");
        assert_eq!(right.unwrap().as_slice(), b"text");
        assert!(open(key.session_seal(&[7; 32]), b"there").is_none());
        assert!(open(key.session_seal(&[8; 32]), b"here").is_none());
        assert!(open(key.purpose(Purpose::Index), b"here").is_none());
        assert!(open(key.purpose(Purpose::Transaction), b"here").is_none());
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let key = ring().sealing().purpose(Purpose::Transaction);
        let sealed = key.seal([9; 12], b"", b"text").unwrap();
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert_eq!(key.open(b"", &broken).err(), Some(Unsealable));
            assert_eq!(key.open(b"", &sealed[..at]).err(), Some(Unsealable));
        }
    }

    #[test]
    fn the_same_text_sealed_twice_differs() {
        let key = ring().sealing().purpose(Purpose::Index);
        let seal = |nonce| key.seal(nonce, b"", b"text").unwrap();
        assert_ne!(seal([1; 12]), seal([2; 12]));
    }

    #[test]
    fn a_ring_finds_each_of_its_keys_by_name() {
        let ring = ring();
        for key in ring.all() {
            assert_eq!(ring.by_id(key.id()).unwrap().id(), key.id());
        }
        assert!(ring.by_id(KeyId([0; 4])).is_none());
    }

    fn of(sealing: u8, new: Option<u8>, old: Option<u8>) -> Arc<KeyRing> {
        let key = |byte| MasterKey::from_bytes([byte; 32]);
        let ring = KeyRing::new(&key(sealing), &new.map(key).into_iter().collect::<Vec<_>>());
        Arc::new(match old {
            Some(old) => ring.after(&key(old)),
            None => ring,
        })
    }

    fn id(byte: u8) -> KeyId {
        Key::derive(&MasterKey::from_bytes([byte; 32])).id()
    }

    fn farewell(byte: u8) -> Farewell {
        Key::derive(&MasterKey::from_bytes([byte; 32])).farewell()
    }

    #[test]
    fn a_retired_key_opens_nothing_and_the_sealing_key_is_never_retired() {
        let ring = of(1, Some(2), Some(3));
        assert!(!ring.retire(id(1)) && !ring.retire(id(4)));
        assert!(ring.retire(id(3)));
        assert!(!ring.retire(id(3)), "once");
        assert!(ring.by_id(id(3)).is_none() && ring.all().count() == 2);
        assert!(ring.by_id(id(1)).is_some() && ring.by_id(id(2)).is_some());
    }

    #[test]
    fn a_ring_tells_what_it_takes_away_and_keeps_what_was_retired() {
        let force = RingInForce::new(of(1, None, None));
        assert_eq!(force.replace(&of(1, Some(2), None)), []);
        assert_eq!(force.replace(&of(2, None, Some(1))), []);
        assert!(force.load().is_old(id(1)) && !force.load().is_old(id(2)));
        let forged = Farewell { key: id(1), ..farewell(4) };
        assert!(!force.retire(&forged) && !force.retire(&farewell(4)) && !force.retire(&farewell(2)));
        assert!(force.retire(&farewell(1)));
        assert!(!force.retire(&farewell(1)), "once");
        assert_eq!(force.replace(&of(2, Some(3), Some(1))), [], "it opened nothing before either");
        assert!(force.load().by_id(id(1)).is_none(), "the settings name it still");
        assert_eq!(force.replace(&of(3, None, Some(2))), []);
        assert_eq!(force.replace(&of(3, None, None)), [farewell(2)]);
        force.replace(&of(3, None, Some(1)));
        assert!(force.load().by_id(id(1)).is_some(), "settings that did not name it, and now do, mean it");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let ring = ring();
        let key = ring.sealing();
        assert_ne!(key.name(&[b"ab", b"c"]), key.name(&[b"a", b"bc"]));
        assert_ne!(key.name(&[b"a"]), key.session_name(&[b"a"]));
    }

    #[test]
    fn master_keys_are_exactly_32_bytes_in_either_alphabet() {
        let check = |text: &str, expected: Result<(), KeyError>| {
            assert_eq!(MasterKey::parse(text).map(|_| ()), expected, "{text}");
        };
        check(&STANDARD.encode([255; 32]), Ok(()));
        check(&STANDARD_NO_PAD.encode([255; 32]), Ok(()));
        check(&STANDARD.encode([255; 32]).replace('/', "_"), Ok(()));
        check(&STANDARD.encode([0; 31]), Err(KeyError::Length(31)));
        check(&STANDARD.encode([0; 33]), Err(KeyError::Length(33)));
        check("", Err(KeyError::Length(0)));
        check("not base64!", Err(KeyError::NotBase64));
    }

    #[test]
    fn keys_are_never_shown() {
        assert_eq!(format!("{:?}", MasterKey::from_bytes([1; 32])), "[redacted]");
        let shown =
            "KeyRing { sealing: [redacted], accepted: [Accepted { key: [redacted], is_old: false, retired: false }] }";
        assert_eq!(format!("{:?}", ring()), shown);
        assert_eq!(format!("{:?}", ring().sealing().purpose(Purpose::Index)), "[redacted]");
    }
}
