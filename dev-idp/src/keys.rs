//! The provider's keys: what signs, and what the key set shows. RSA keys are slow to make, so sets come from one small
//! pool per process, made on demand; a rotation takes the next set of the pool.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{
    error::Unspecified,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{random, settings::Algorithm};

/// One generation of keys. Position 0 signs; position 2 of RSA and P-256 are the encryption keys of the honest set.
pub(crate) struct KeySet {
    label: String,
    rsa: [rsa::KeyPair; 3],
    p256: [EcdsaKeyPair; 3],
    secp256k1: [EcdsaKeyPair; 3],
    ed25519: [Ed25519KeyPair; 3],
    p384: EcdsaKeyPair,
}

/// Which of the keys the key set shows, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Two RSA, two P-256, one secp256k1 and one Ed25519 for signatures, two for encryption; each with its `kid`.
    Honest,
    /// One of each type, without `kid`.
    OneOfEach,
    /// Three of each type, without `kid`.
    ThreeOfEach,
}

impl Listing {
    /// The position of the key that signs under this listing.
    pub(crate) const fn signer(self) -> usize {
        match self {
            Self::Honest | Self::OneOfEach => 0,
            Self::ThreeOfEach => 2,
        }
    }
}

impl KeySet {
    /// The set at this place of the process-wide pool, made now if nobody asked for it before.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub(crate) fn pooled(generation: usize) -> Result<Arc<Self>, Unspecified> {
        let place = generation % POOL_SIZE;
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        while pool.len() <= place {
            pool.push(Arc::new(Self::generate()?));
        }
        pool.get(place).cloned().ok_or(Unspecified)
    }

    fn generate() -> Result<Self, Unspecified> {
        let new_rsa = || rsa::KeyPair::generate(rsa::KeySize::Rsa2048);
        let rsa = std::thread::scope(|scope| {
            let (first, second) = (scope.spawn(new_rsa), scope.spawn(new_rsa));
            let third = new_rsa()?;
            Ok::<_, Unspecified>([joined(first)?, joined(second)?, third])
        })?;
        Ok(Self {
            label: random::token()?.chars().filter(char::is_ascii_alphanumeric).take(8).collect(),
            rsa,
            p256: three(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING))?,
            secp256k1: three(|| EcdsaKeyPair::generate(&ECDSA_P256K1_SHA256_FIXED_SIGNING))?,
            ed25519: three(Ed25519KeyPair::generate)?,
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?,
        })
    }

    /// The `kid` of the key at this position.
    pub(crate) fn id(&self, algorithm: Algorithm, position: usize) -> String {
        let family = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => RSA,
            Algorithm::Es256 => P256,
            Algorithm::Es384 => P384,
            Algorithm::EdDsa => ED25519,
        };
        self.id_in(family, position)
    }

    fn id_in(&self, family: &str, position: usize) -> String {
        format!("{}-{family}-{position}", self.label)
    }

    /// Signs with the key at this position.
    ///
    /// # Errors
    ///
    /// When there is no such position, or the library refuses.
    pub(crate) fn sign(&self, algorithm: Algorithm, position: usize, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match algorithm {
            Algorithm::Rs256 => rsa_signature(self.rsa.get(position), &RSA_PKCS1_SHA256, message),
            Algorithm::Ps256 => rsa_signature(self.rsa.get(position), &RSA_PSS_SHA256, message),
            Algorithm::Es256 => ec_signature(self.p256.get(position), message),
            Algorithm::Es384 => ec_signature(Some(&self.p384), message),
            Algorithm::EdDsa => Ok(self.ed25519.get(position).ok_or(Unspecified)?.sign(message).as_ref().to_vec()),
        }
    }

    /// The members of `keys` in the key set document. The P-384 key is shown only where `with_p384` says it is used.
    pub(crate) fn listed(&self, listing: Listing, with_p384: bool) -> Vec<Value> {
        let mut keys = Vec::new();
        for (family, count) in shown(listing) {
            keys.extend((0..count).filter_map(|position| self.public_key(family, position)));
        }
        if with_p384 {
            keys.extend(self.public_key(P384, 0));
        }
        match listing {
            Listing::Honest => keys.extend(self.encryption_keys()),
            Listing::OneOfEach | Listing::ThreeOfEach => keys.iter_mut().for_each(forget_id),
        }
        keys
    }

    fn encryption_keys(&self) -> Vec<Value> {
        let mut keys = Vec::new();
        for (family, algorithm) in [(RSA, "RSA-OAEP"), (P256, "ECDH-ES")] {
            keys.extend(self.public_key(family, 2).map(|mut key| {
                key["use"] = json!("enc");
                key["alg"] = json!(algorithm);
                key
            }));
        }
        keys
    }

    fn public_key(&self, family: &'static str, position: usize) -> Option<Value> {
        let mut key = match family {
            RSA => rsa_members(self.rsa.get(position)?.public_key().as_ref())?,
            P256 => ec_members("P-256", self.p256.get(position)?),
            P384 => ec_members("P-384", &self.p384),
            SECP256K1 => ec_members("secp256k1", self.secp256k1.get(position)?),
            _ => {
                let point = URL_SAFE_NO_PAD.encode(self.ed25519.get(position)?.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "x": point})
            }
        };
        key["use"] = json!("sig");
        key["kid"] = json!(self.id_in(family, position));
        Some(key)
    }
}

/// Keys that no client can read, to be shown before the good ones.
pub(crate) fn broken() -> Vec<Value> {
    vec![
        json!({"kty": "RSA", "use": "sig", "kid": "broken-rsa", "n": "%%%", "e": "AQAB"}),
        json!({"kty": "EC", "use": "sig", "kid": "broken-ec", "crv": "P-256", "x": "AA"}),
        json!({"kty": "KRYPTON", "use": "sig", "kid": "broken-type"}),
        json!({}),
    ]
}

fn shown(listing: Listing) -> [(&'static str, usize); 4] {
    match listing {
        Listing::Honest => [(RSA, 2), (P256, 2), (SECP256K1, 1), (ED25519, 1)],
        Listing::OneOfEach => [(RSA, 1), (P256, 1), (SECP256K1, 1), (ED25519, 1)],
        Listing::ThreeOfEach => [(RSA, 3), (P256, 3), (SECP256K1, 3), (ED25519, 3)],
    }
}

fn forget_id(key: &mut Value) {
    if let Some(members) = key.as_object_mut() {
        members.remove("kid");
    }
}

fn joined(
    thread: std::thread::ScopedJoinHandle<'_, Result<rsa::KeyPair, Unspecified>>,
) -> Result<rsa::KeyPair, Unspecified> {
    thread.join().map_err(|_| Unspecified)?
}

fn three<K>(make: impl Fn() -> Result<K, Unspecified>) -> Result<[K; 3], Unspecified> {
    Ok([make()?, make()?, make()?])
}

fn rsa_signature(
    key: Option<&rsa::KeyPair>,
    padding: &'static dyn RsaEncoding,
    message: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let key = key.ok_or(Unspecified)?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(padding, &SystemRandom::new(), message, &mut signature)?;
    Ok(signature)
}

fn ec_signature(key: Option<&EcdsaKeyPair>, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
    Ok(key.ok_or(Unspecified)?.sign(&SystemRandom::new(), message)?.as_ref().to_vec())
}

/// The two halves of an uncompressed point.
fn ec_members(curve: &str, key: &EcdsaKeyPair) -> Value {
    let point = key.public_key().as_ref().get(1..).unwrap_or_default();
    let (x, y) = point.split_at(point.len() / 2);
    json!({"kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}

/// Reads modulus and exponent out of an `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn rsa_members(der: &[u8]) -> Option<Value> {
    let (sequence, _) = der_value(0x30, der)?;
    let (modulus, rest) = der_value(0x02, sequence)?;
    let (exponent, _) = der_value(0x02, rest)?;
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes.strip_prefix(&[0]).unwrap_or(bytes));
    Some(json!({"kty": "RSA", "n": number(modulus), "e": number(exponent)}))
}

/// Splits DER of this tag into its value and what follows.
fn der_value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = der.split_first_chunk::<2>()?;
    let [found, length] = *header;
    if found != tag {
        return None;
    }
    if length < 0x80 {
        return rest.split_at_checked(usize::from(length));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    let length =
        digits.iter().try_fold(0_usize, |sum, digit| sum.checked_mul(256)?.checked_add(usize::from(*digit)))?;
    rest.split_at_checked(length)
}

const RSA: &str = "rsa";
const P256: &str = "p256";
const P384: &str = "p384";
const SECP256K1: &str = "secp256k1";
const ED25519: &str = "ed25519";

/// So many sets are ever made in one process; the next rotation begins again with the first.
const POOL_SIZE: usize = 8;

static POOL: Mutex<Vec<Arc<KeySet>>> = Mutex::new(Vec::new());
