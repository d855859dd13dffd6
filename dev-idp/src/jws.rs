//! Compact JWS (RFC 7515): signs claims, rightly or in one of the wrong ways.

use aws_lc_rs::{digest, error::Unspecified, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::{
    keys::{KeySet, Listing},
    settings::Algorithm,
    switch::{Switch, Switches},
};

/// Who signs, and how.
pub(crate) struct Signer<'a> {
    pub(crate) keys: &'a KeySet,
    pub(crate) listing: Listing,
    pub(crate) algorithm: Algorithm,
    pub(crate) switches: &'a Switches,
    /// What HS256 is keyed with.
    pub(crate) shared_secret: &'a str,
}

impl<'a> Signer<'a> {
    /// Chooses the algorithm: the client's own one, unless a switch demands another.
    pub(crate) fn new(keys: &'a KeySet, registered: Algorithm, switches: &'a Switches, shared_secret: &'a str) -> Self {
        let algorithm = algorithm(registered, switches);
        Self { keys, listing: listing(switches), algorithm, switches, shared_secret }
    }

    /// # Errors
    ///
    /// When the library refuses to sign.
    pub(crate) fn sign(&self, claims: &Map<String, Value>) -> Result<String, Unspecified> {
        let payload = URL_SAFE_NO_PAD.encode(Value::Object(claims.clone()).to_string());
        let input = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(self.header().to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.signature(input.as_bytes())?);
        Ok(format!("{input}.{signature}"))
    }

    /// The left half of a hash, as in `at_hash` (OpenID Connect Core 3.1.3.6).
    pub(crate) fn half_hash(&self, text: &str) -> String {
        let hash = digest::digest(hash_of(self.algorithm), text.as_bytes());
        let (left, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
        URL_SAFE_NO_PAD.encode(left)
    }

    fn header(&self) -> Value {
        if self.switches.on(Switch::SignatureNone) {
            return json!({"alg": "none"});
        }
        if self.switches.on(Switch::SignatureHs256) {
            return json!({"alg": "HS256", "typ": "JWT"});
        }
        let mut header = json!({"alg": self.algorithm.name(), "typ": "JWT"});
        if self.switches.on(Switch::SignatureUnknownKey) {
            header["kid"] = json!("in-no-key-set");
        } else if self.listing == Listing::Honest {
            header["kid"] = json!(self.keys.id(self.algorithm, self.listing.signer()));
        }
        header
    }

    fn signature(&self, input: &[u8]) -> Result<Vec<u8>, Unspecified> {
        if self.switches.on(Switch::SignatureNone) {
            return Ok(Vec::new());
        }
        if self.switches.on(Switch::SignatureHs256) {
            let key = hmac::Key::new(hmac::HMAC_SHA256, self.shared_secret.as_bytes());
            return Ok(hmac::sign(&key, input).as_ref().to_vec());
        }
        let mut signature = self.keys.sign(self.algorithm, self.listing.signer(), input)?;
        if self.switches.on(Switch::SignatureBrokenRs256) || self.switches.on(Switch::SignatureBrokenEs256) {
            for byte in &mut signature {
                *byte ^= 0x5a;
            }
        }
        Ok(signature)
    }
}

/// How the key set is shown under these switches.
pub(crate) fn listing(switches: &Switches) -> Listing {
    if switches.on(Switch::KeyIdAbsentSingleKeys) {
        Listing::OneOfEach
    } else if switches.on(Switch::KeyIdAbsentManyKeys) {
        Listing::ThreeOfEach
    } else {
        Listing::Honest
    }
}

fn algorithm(registered: Algorithm, switches: &Switches) -> Algorithm {
    if switches.on(Switch::DiscoveryRs256Only) || switches.on(Switch::SignatureBrokenRs256) {
        return Algorithm::Rs256;
    }
    if switches.on(Switch::SignatureBrokenEs256) {
        return Algorithm::Es256;
    }
    if !switches.on(Switch::SignatureOtherAlgorithm) {
        return registered;
    }
    match registered {
        Algorithm::Rs256 | Algorithm::Ps256 => Algorithm::Es256,
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => Algorithm::Rs256,
    }
}

fn hash_of(algorithm: Algorithm) -> &'static digest::Algorithm {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => &digest::SHA256,
        Algorithm::Es384 => &digest::SHA384,
        Algorithm::EdDsa => &digest::SHA512,
    }
}
