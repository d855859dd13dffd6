//! A provider's key set. Input: the document.

#![no_main]

use std::{sync::LazyLock, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use portcullis::{
    oidc::{
        id_token::{Expected, Occasion, verify},
        jwk::{Algorithm, KeySet, MAX_CANDIDATES},
    },
    secret::Secret,
};
use portcullis_fuzz::{
    NOW,
    provider::{ISSUER, Provider},
};
use serde_json::{Value, json};

/// A token by each of the provider's keys, and one of each algorithm whose signature nobody made.
struct Shown {
    signed: [(String, Vec<u8>); 2],
    forged: Vec<String>,
}

static SHOWN: LazyLock<Shown> = LazyLock::new(|| {
    let provider = Provider::new(7);
    let payload =
        json!({"iss": ISSUER, "aud": "portcullis", "sub": "alice", "exp": 1_700_000_600, "iat": 1_700_000_000});
    let sign = |name: &str| provider.sign(json!({"alg": name}).to_string().as_bytes(), payload.to_string().as_bytes());
    let forged = Algorithm::ALL.into_iter().flat_map(|algorithm| {
        let signed = sign(algorithm.name());
        let text = signed.rsplit_once('.').expect("a token").0.to_owned();
        [64, 96, 256].map(|length| format!("{text}.{}", URL_SAFE_NO_PAD.encode(vec![1; length])))
    });
    let x = |coordinates: &[u8]| coordinates[..32].to_vec();
    Shown {
        forged: forged.collect(),
        signed: [(sign("EdDSA"), x(&provider.edwards_x)), (sign("ES256"), x(&provider.elliptic_xy))],
    }
});

fuzz_target!(|data: &[u8]| {
    let Ok(keys) = KeySet::parse(data) else { return };
    let document: Value = serde_json::from_slice(data).expect("it was read");
    let written = document["keys"].as_array().expect("it was read");
    for algorithm in Algorithm::ALL {
        let count = keys.candidates(algorithm, None, ISSUER).count();
        assert!(count <= MAX_CANDIDATES && count <= written.len());
        assert!(keys.candidates(algorithm, Some("ed"), ISSUER).count() <= MAX_CANDIDATES);
    }
    for (token, x) in &SHOWN.signed {
        if is_believed(token, &keys) {
            assert!(written.iter().any(|key| coordinate(key).as_ref() == Some(x)), "no such key is in it");
        }
    }
    assert!(!SHOWN.forged.iter().any(|token| is_believed(token, &keys)), "nobody signed it");
});

fn coordinate(key: &Value) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(key.get("x")?.as_str()?.trim_end_matches('=')).ok()
}

fn is_believed(token: &str, keys: &KeySet) -> bool {
    let expected = Expected {
        issuer: ISSUER,
        client_id: "portcullis",
        algorithms: &Algorithm::ALL,
        access_token: &Secret::new("access"),
        clock_skew: Duration::ZERO,
        occasion: Occasion::Refresh { subject: "alice", nonce: None },
    };
    verify(token, keys, &expected, NOW).is_ok()
}
