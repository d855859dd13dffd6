//! Pure. The provider's public keys (RFC 7517), and which of them may speak for a token.
//!
//! A key that is unknown, broken or meant for something else is left out; it does not take the others with it. Only
//! public-key signature algorithms can be named at all, so neither `none` nor HS* is ever a question.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

/// A signature algorithm that an ID token may use (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm that can be allowed.
    pub const ALL: [Self; 5] = [Self::Rs256, Self::Es256, Self::Ps256, Self::Es384, Self::EdDsa];

    /// Its `alg` value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that `alg` value, which is case-sensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(super) const fn implementation(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    const fn family(self) -> Family {
        match self {
            Self::Rs256 | Self::Ps256 => Family::Rsa,
            Self::Es256 => Family::P256,
            Self::Es384 => Family::P384,
            Self::EdDsa => Family::Ed25519,
        }
    }
}

/// The keys of one provider that can verify signatures.
#[derive(Clone, Debug)]
pub struct KeySet(Vec<Jwk>);

impl KeySet {
    /// Reads a key set document; takes at most [`MAX_KEYS`] usable keys.
    ///
    /// # Errors
    /// [`KeySetError`] when it is no key set, or has no usable key.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let document: Value = serde_json::from_slice(document).map_err(|_| KeySetError::NotAKeySet)?;
        let Some(Value::Array(keys)) = document.get("keys") else {
            return Err(KeySetError::NotAKeySet);
        };
        let usable: Vec<Jwk> = keys.iter().filter_map(Value::as_object).filter_map(Jwk::parse).take(MAX_KEYS).collect();
        if usable.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self(usable))
    }

    /// The keys that may have signed a token of that issuer, at most [`MAX_CANDIDATES`].
    ///
    /// With a `kid`, those of exactly that name; without, every one that fits.
    pub fn candidates<'a>(
        &'a self,
        algorithm: Algorithm,
        kid: Option<&'a str>,
        issuer: &'a str,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        self.0
            .iter()
            .filter(move |key| kid.is_none() || key.id.as_deref() == kid)
            .filter(move |key| key.fits(algorithm) && key.speaks_for(issuer))
            .map(|key| &key.key)
            .take(MAX_CANDIDATES)
    }
}

/// Why a document is not usable as a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is not JSON with an array of keys.
    #[error("the key set is not a JSON object with an array `keys`")]
    NotAKeySet,
    /// No key in it can verify a signature.
    #[error("the key set has no key that can verify a signature")]
    NoUsableKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

#[derive(Clone, Debug)]
struct Jwk {
    id: Option<String>,
    algorithm: Option<String>,
    family: Family,
    issuer: Option<String>,
    key: DecodingKey,
}

impl Jwk {
    fn parse(members: &Map<String, Value>) -> Option<Self> {
        if !may_verify(members) {
            return None;
        }
        let (family, key) = public_key(members)?;
        Some(Self {
            id: text(members, "kid").ok()?,
            algorithm: text(members, "alg").ok()?,
            family,
            issuer: text(members, "issuer").ok()?,
            key,
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let named = match self.algorithm.as_deref() {
            None => true,
            // RFC 9864 renames EdDSA on this curve.
            Some("Ed25519") => algorithm == Algorithm::EdDsa,
            Some(name) => name == algorithm.name(),
        };
        named && self.family == algorithm.family()
    }

    /// A key that names its issuer speaks for no other: one set can hold the keys of many tenants.
    fn speaks_for(&self, issuer: &str) -> bool {
        let Some(own) = self.issuer.as_deref() else {
            return true;
        };
        match own.split_once(TENANT_PLACEHOLDER) {
            None => own == issuer,
            Some((before, after)) => {
                issuer.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).is_some_and(is_guid)
            }
        }
    }
}

/// Whether `use` and `key_ops` leave verifying to this key (RFC 7517 sections 4.2 and 4.3).
fn may_verify(members: &Map<String, Value>) -> bool {
    let purpose = match members.get("use") {
        None => true,
        Some(purpose) => purpose == "sig",
    };
    let operations = match members.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => false,
    };
    purpose && operations
}

fn public_key(members: &Map<String, Value>) -> Option<(Family, DecodingKey)> {
    let curve = members.get("crv").and_then(Value::as_str);
    match (members.get("kty")?.as_str()?, curve) {
        ("RSA", _) => {
            let (n, e) = (bytes(members, "n")?, bytes(members, "e")?);
            Some((Family::Rsa, DecodingKey::from_rsa_raw_components(&n, &e)))
        }
        ("EC", Some("P-256")) => Some((Family::P256, point(members, 32)?)),
        ("EC", Some("P-384")) => Some((Family::P384, point(members, 48)?)),
        ("OKP", Some("Ed25519")) => {
            let x = sized(members, "x", 32)?;
            Some((Family::Ed25519, DecodingKey::from_ed_der(&x)))
        }
        _ => None,
    }
}

fn point(members: &Map<String, Value>, length: usize) -> Option<DecodingKey> {
    let mut point = vec![UNCOMPRESSED_POINT];
    point.extend(sized(members, "x", length)?);
    point.extend(sized(members, "y", length)?);
    Some(DecodingKey::from_ec_der(&point))
}

fn sized(members: &Map<String, Value>, name: &str, length: usize) -> Option<Vec<u8>> {
    bytes(members, name).filter(|bytes| bytes.len() == length)
}

fn bytes(members: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let text = members.get(name)?.as_str()?;
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok().filter(|bytes| !bytes.is_empty())
}

/// The member's text, or nothing where it is absent.
fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, NotText> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(NotText),
    }
}

/// A key that says something unreadable of itself is a broken key.
struct NotText;

fn is_guid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The most keys of one set that are held.
pub const MAX_KEYS: usize = 100;
/// The most keys that one token's signature is tried against.
pub const MAX_CANDIDATES: usize = 16;
/// What Microsoft Entra ID writes in place of the tenant, in issuers and in its keys' issuers.
const TENANT_PLACEHOLDER: &str = "{tenantid}";
/// SEC 1 section 2.3.3.
const UNCOMPRESSED_POINT: u8 = 4;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own keys")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://op.example";

    fn rsa() -> Value {
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"})
    }

    fn elliptic(curve: &str, length: usize) -> Value {
        let coordinate = URL_SAFE_NO_PAD.encode(vec![1; length]);
        json!({"kty": "EC", "crv": curve, "x": coordinate, "y": coordinate})
    }

    fn ed25519() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 32])})
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn candidates(keys: &[Value], algorithm: Algorithm, kid: Option<&str>) -> usize {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
            .map_or(0, |set| set.candidates(algorithm, kid, ISSUER).count())
    }

    fn check(key: &Value, algorithm: Algorithm, expected: bool) {
        let found = candidates(std::slice::from_ref(key), algorithm, None);
        assert_eq!(found == 1, expected, "{key} for {}", algorithm.name());
    }

    #[test]
    fn a_key_fits_by_type_curve_algorithm_use_and_operations() {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
        for (key, fitting) in [
            (rsa(), vec![Rs256, Ps256]),
            (with(rsa(), "alg", json!("RS256")), vec![Rs256]),
            (with(rsa(), "alg", json!("PS256")), vec![Ps256]),
            (with(rsa(), "alg", json!("RSA-OAEP")), vec![]),
            (with(rsa(), "alg", json!("HS256")), vec![]),
            (with(rsa(), "alg", json!("none")), vec![]),
            (with(rsa(), "alg", json!(7)), vec![]),
            (with(rsa(), "use", json!("sig")), vec![Rs256, Ps256]),
            (with(rsa(), "use", json!("enc")), vec![]),
            (with(rsa(), "use", json!(["sig"])), vec![]),
            (with(rsa(), "key_ops", json!(["verify"])), vec![Rs256, Ps256]),
            (with(rsa(), "key_ops", json!(["encrypt"])), vec![]),
            (with(rsa(), "key_ops", json!("verify")), vec![]),
            (with(rsa(), "kty", json!("oct")), vec![]),
            (with(rsa(), "n", json!("")), vec![]),
            (with(rsa(), "n", json!("*")), vec![]),
            (with(rsa(), "e", json!(65537)), vec![]),
            (elliptic("P-256", 32), vec![Es256]),
            (elliptic("P-256", 31), vec![]),
            (elliptic("P-384", 48), vec![Es384]),
            (elliptic("P-521", 66), vec![]),
            (elliptic("secp256k1", 32), vec![]),
            (with(elliptic("P-256", 32), "kty", json!("RSA")), vec![]),
            (ed25519(), vec![EdDsa]),
            (with(ed25519(), "alg", json!("Ed25519")), vec![EdDsa]),
            (with(ed25519(), "alg", json!("ES256")), vec![]),
            (with(ed25519(), "crv", json!("X25519")), vec![]),
            (with(ed25519(), "x", json!("AQAB")), vec![]),
            (json!({"kty": "oct", "k": "c2VjcmV0"}), vec![]),
        ] {
            for algorithm in Algorithm::ALL {
                check(&key, algorithm, fitting.contains(&algorithm));
            }
        }
    }

    #[test]
    fn broken_and_unknown_keys_do_not_sink_the_set() {
        let keys = [
            json!(null),
            json!("key"),
            json!([]),
            json!({}),
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
            with(rsa(), "kid", json!(7)),
            with(rsa(), "n", json!("!")),
            rsa(),
        ];
        assert_eq!(candidates(&keys, Algorithm::Rs256, None), 1);
    }

    #[test]
    fn a_kid_picks_keys_of_exactly_that_name() {
        let keys = [
            with(rsa(), "kid", json!("a+/=")),
            with(rsa(), "kid", json!("b")),
            with(elliptic("P-256", 32), "kid", json!("b")),
            rsa(),
        ];
        for (kid, expected) in
            [(Some("a+/="), 1), (Some("b"), 1), (Some("B"), 0), (Some(""), 0), (Some("c"), 0), (None, 3)]
        {
            assert_eq!(candidates(&keys, Algorithm::Rs256, kid), expected, "{kid:?}");
        }
    }

    #[test]
    fn a_key_with_an_issuer_speaks_for_no_other() {
        let guid = "9188040d-6c67-4c5b-b112-36a304b66dad";
        for (own, issuer, expected) in [
            ("https://op.example", "https://op.example".to_owned(), true),
            ("https://op.example/", "https://op.example".to_owned(), false),
            ("https://other.example", "https://op.example".to_owned(), false),
            ("https://login/{tenantid}/v2.0", format!("https://login/{guid}/v2.0"), true),
            ("https://login/{tenantid}/v2.0", "https://login/x/v2.0".to_owned(), false),
            ("https://login/{tenantid}/v2.0", "https://login/9188040d-6c67/v2.0".to_owned(), false),
            ("https://login/{tenantid}/v2.0", format!("https://login/{}/v2.0", guid.replace('9', "g")), false),
            ("https://login/{tenantid}/v2.0", format!("https://login/{guid}/x/v2.0"), false),
            ("https://login/{tenantid}/v2.0", format!("https://login/{guid}/v1.0"), false),
            ("https://login/{tenantid}/v2.0", "https://login/".to_owned(), false),
        ] {
            let document = json!({"keys": [with(rsa(), "issuer", json!(own))]}).to_string();
            let set = KeySet::parse(document.as_bytes()).unwrap();
            let found = set.candidates(Algorithm::Rs256, None, &issuer).count();
            assert_eq!(found == 1, expected, "{own} for {issuer}");
        }
    }

    #[test]
    fn keys_and_candidates_are_bounded() {
        let keys = vec![rsa(); MAX_KEYS * 2];
        assert_eq!(candidates(&keys, Algorithm::Rs256, None), MAX_CANDIDATES);
        let set = KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap();
        assert_eq!(set.0.len(), MAX_KEYS);
    }

    #[test]
    fn a_document_without_usable_keys_is_refused() {
        for (document, expected) in [
            ("", KeySetError::NotAKeySet),
            ("[]", KeySetError::NotAKeySet),
            ("{\"keys\":{}}", KeySetError::NotAKeySet),
            ("<html>", KeySetError::NotAKeySet),
            ("{\"keys\":[]}", KeySetError::NoUsableKey),
            ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}", KeySetError::NoUsableKey),
        ] {
            assert_eq!(KeySet::parse(document.as_bytes()).unwrap_err(), expected, "{document}");
        }
    }

    #[test]
    fn algorithms_are_named_as_written_and_no_other_way() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for name in ["none", "NONE", "", "HS256", "HS512", "rs256", "RS1", "ES256K"] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            drop(KeySet::parse(&bytes));
        }
    }
}
