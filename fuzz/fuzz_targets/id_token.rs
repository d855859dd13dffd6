//! ID tokens. Input: a header, a payload, and a plan to spoil the token that the provider signs of them; a line each.
//! The whole of it is also tried as a token that nobody signed.

#![no_main]

use std::{sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use portcullis::{
    oidc::{
        id_token::{Expected, IdToken, MAX_IDENTIFIER_CHARS, Occasion, claims_of_verified, verify},
        jwk::{Algorithm, KeySet},
    },
    secret::Secret,
};
use portcullis_fuzz::{
    NOW, edited, line_and_rest,
    provider::{ISSUER, Provider},
};
use serde_json::{Map, Value};

static PROVIDER: LazyLock<Provider> = LazyLock::new(|| Provider::new(7));
static KEYS: LazyLock<KeySet> = LazyLock::new(|| keys(&PROVIDER));
/// Of a provider that signs nothing. libFuzzer sees what is compared, and tries that.
static IDLE_KEYS: LazyLock<KeySet> = LazyLock::new(|| keys(&Provider::new(9)));
static ACCESS_TOKEN: LazyLock<Secret> = LazyLock::new(|| Secret::new("access"));
static NONCE: LazyLock<Secret> = LazyLock::new(|| Secret::new("nonce"));

const CLIENT: &str = "portcullis";
const SUBJECT: &str = "alice";
const SKEW: Duration = Duration::from_secs(60);
/// The gateway counts no smaller times.
const MILLISECOND: f64 = 0.001;
const NOW_SECONDS: f64 = 1_700_000_000.0;
const MAX_AGE: Duration = Duration::from_secs(3_600);

fuzz_target!(|data: &[u8]| {
    let (header, rest) = line_and_rest(data);
    let (payload, plan) = line_and_rest(rest);
    let signed = PROVIDER.sign(header, payload);
    if let Ok(made_up) = str::from_utf8(data) {
        let expected = expected(&Algorithm::ALL, Occasion::Refresh { subject: SUBJECT, nonce: None });
        assert!(verify(made_up, &IDLE_KEYS, &expected, NOW).is_err(), "nobody signed it");
    }
    let token = edited(signed.as_bytes(), plan);
    let Ok(token) = str::from_utf8(&token) else { return };
    let sign_in = |max_age| Occasion::SignIn { nonce: &NONCE, max_age };
    let refresh = |nonce| Occasion::Refresh { subject: SUBJECT, nonce };
    for occasion in [sign_in(None), sign_in(Some(MAX_AGE)), refresh(None), refresh(Some(NONCE.reveal()))] {
        for algorithms in [[Algorithm::EdDsa, Algorithm::Es256].as_slice(), &[Algorithm::Es256]] {
            let expected = expected(algorithms, occasion);
            if let Ok(believed) = verify(token, &KEYS, &expected, NOW) {
                was_signed(token, &signed, header, algorithms);
                says_so(&believed, payload, occasion);
                assert_eq!(claims_of_verified(&Secret::new(token)).as_ref(), Some(&believed.claims));
            }
        }
    }
});

fn keys(provider: &Provider) -> KeySet {
    KeySet::parse(provider.key_set().to_string().as_bytes()).expect("its own keys")
}

fn expected<'a>(algorithms: &'a [Algorithm], occasion: Occasion<'a>) -> Expected<'a> {
    Expected { issuer: ISSUER, client_id: CLIENT, algorithms, access_token: &ACCESS_TOKEN, clock_skew: SKEW, occasion }
}

/// Whoever knows an ECDSA signature knows a second one of the same text; of Ed25519 there is one alone.
fn was_signed(token: &str, signed: &str, header: &[u8], algorithms: &[Algorithm]) {
    let header: Value = serde_json::from_slice(header).expect("it was read");
    let algorithm = header["alg"].as_str().and_then(Algorithm::from_name).expect("it was allowed");
    assert!(algorithms.contains(&algorithm) && header.get("crit").is_none());
    let text = |token: &str| token.rsplit_once('.').map(|(text, _)| text.to_owned());
    assert!(token == signed || (algorithm == Algorithm::Es256 && text(token) == text(signed)), "{token}");
}

fn says_so(token: &IdToken, payload: &[u8], occasion: Occasion<'_>) {
    let claims: Map<String, Value> = serde_json::from_slice(payload).expect("it was read");
    assert_eq!(claims, token.claims);
    assert_eq!(claims["iss"], ISSUER);
    let audience = &claims["aud"];
    assert!(audience == CLIENT || audience.as_array().is_some_and(|all| all.iter().any(|one| one == CLIENT)));
    let alone = audience == CLIENT || audience.as_array().is_some_and(|all| all.iter().all(|one| one == CLIENT));
    assert!(claims.get("azp").map_or(alone, |party| party == CLIENT));
    let date = |name: &str| claims.get(name).and_then(Value::as_f64).map(|date| date - NOW_SECONDS);
    assert!(date("exp").is_some_and(|end| end > -SKEW.as_secs_f64()));
    assert!(date("iat").is_some_and(|start| start <= SKEW.as_secs_f64() + MILLISECOND));
    assert!(date("nbf").is_none_or(|start| start <= SKEW.as_secs_f64() + MILLISECOND));
    assert_eq!(claims["sub"], token.subject.as_str());
    assert!((1..=MAX_IDENTIFIER_CHARS).contains(&token.subject.chars().count()));
    assert!(!token.subject.contains(char::is_control));
    match occasion {
        Occasion::SignIn { max_age, .. } => {
            assert_eq!(claims["nonce"], NONCE.reveal());
            let earliest = NOW.minus(MAX_AGE + SKEW);
            assert!(max_age.is_none() || token.auth_time.is_some_and(|at| at >= earliest));
        }
        Occasion::Refresh { nonce, .. } => {
            assert_eq!(token.subject, SUBJECT);
            assert!(nonce.is_none() || claims.get("nonce").is_none_or(|own| own == NONCE.reveal()));
        }
    }
}
