//! A provider's signing keys, for tests: makes keys of every allowed algorithm, and signs whatever it is given.

#![expect(clippy::unwrap_used, reason = "a test's own keys")]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use super::jwk::Algorithm;

/// A private key, and the name it goes by.
pub(super) struct SigningKey {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<&'static str>,
    key: EncodingKey,
    public: Value,
}

impl SigningKey {
    pub(super) fn generate(algorithm: Algorithm, kid: Option<&'static str>) -> Self {
        let pair = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Algorithm::Es256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Algorithm::Es384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Algorithm::EdDsa => KeyPair::generate_for(&PKCS_ED25519),
        };
        let pair = pair.unwrap();
        let pem = pair.serialize_pem();
        let key = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::Es256 | Algorithm::Es384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        let key = key.unwrap();
        let mut public = if algorithm == Algorithm::EdDsa {
            let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
            json!({"kty": "OKP", "crv": "Ed25519", "x": x})
        } else {
            let jwk = Jwk::from_encoding_key(&key, algorithm.implementation()).unwrap();
            serde_json::to_value(jwk).unwrap()
        };
        if let Some(kid) = kid {
            public["kid"] = json!(kid);
        }
        Self { algorithm, kid, key, public }
    }

    /// The public key as it stands in a key set.
    pub(super) fn jwk(&self) -> Value {
        self.public.clone()
    }

    /// A token with the header that this key calls for.
    pub(super) fn token(&self, claims: &Value) -> String {
        let mut header = json!({"alg": self.algorithm.name(), "typ": "JWT"});
        if let Some(kid) = self.kid {
            header["kid"] = json!(kid);
        }
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token with exactly that header and that payload.
    pub(super) fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let algorithm = self.algorithm.implementation();
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, algorithm);
        format!("{signed}.{}", signature.unwrap())
    }
}

/// A key set document of those keys.
pub(super) fn key_set(keys: &[&SigningKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}
