//! A provider with two keys, one of Ed25519 and one of P-256, which signs whatever it is given.

#![expect(clippy::unwrap_used, reason = "every secret used is a key")]

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Its name.
pub const ISSUER: &str = "https://op.example/tenant";

/// The provider.
pub struct Provider {
    edwards: Ed25519KeyPair,
    elliptic: EcdsaKeyPair,
    /// The public Ed25519 key.
    pub edwards_x: Vec<u8>,
    /// The public P-256 key's coordinates, one after the other.
    pub elliptic_xy: Vec<u8>,
}

impl Provider {
    /// The one with these keys.
    pub fn new(secret: u8) -> Self {
        let scalar = [secret; 32];
        let edwards = Ed25519KeyPair::from_seed_unchecked(&scalar).unwrap();
        let point = PrivateKey::from_private_key(&ECDH_P256, &scalar).unwrap().compute_public_key().unwrap();
        let elliptic =
            EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &scalar, point.as_ref());
        Self {
            edwards_x: edwards.public_key().as_ref().to_vec(),
            elliptic_xy: point.as_ref()[1..].to_vec(),
            edwards,
            elliptic: elliptic.unwrap(),
        }
    }

    /// Its key set document.
    pub fn key_set(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = self.elliptic_xy.split_at(32);
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": text(&self.edwards_x)},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": text(x), "y": text(y)},
        ]})
    }

    /// A token of exactly that header and payload, by the key that the header's `alg` calls for.
    pub fn sign(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let elliptic = serde_json::from_slice::<Value>(header).is_ok_and(|header| header["alg"] == "ES256");
        let signature = if elliptic {
            let made = self.elliptic.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            URL_SAFE_NO_PAD.encode(made)
        } else {
            URL_SAFE_NO_PAD.encode(self.edwards.sign(signed.as_bytes()))
        };
        format!("{signed}.{signature}")
    }
}
