//! The rules' tables: each row breaks one rule, and names the reason that must be given.

#![expect(clippy::unwrap_used, reason = "a test's own set-up")]

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::oidc::signing::{SigningKey, key_set};

const ISSUER: &str = "https://op.example/";
const CLIENT: &str = "client";
const NOW: u64 = 1_700_000_000;

fn signer() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate(Algorithm::Es256, Some("k")))
}

fn keys_of(keys: &[&SigningKey]) -> KeySet {
    KeySet::parse(key_set(keys).as_bytes()).unwrap()
}

fn honest() -> Value {
    json!({"iss": ISSUER, "aud": CLIENT, "sub": "user", "nonce": "n", "iat": NOW, "exp": NOW + 300})
}

/// The honest claims with some replaced; `null` takes one away.
fn with(changes: &Value) -> Value {
    let mut claims = honest();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn reason(verdict: &Result<IdToken, Rejection>) -> Option<Reason> {
    verdict.as_ref().err().map(|rejection| rejection.reason)
}

struct Case {
    access_token: Secret,
    nonce: Secret,
    max_age: Option<Duration>,
}

impl Case {
    fn new() -> Self {
        Self { access_token: Secret::new("access"), nonce: Secret::new("n"), max_age: None }
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            issuer: ISSUER,
            client_id: CLIENT,
            algorithms: &Algorithm::ALL,
            access_token: &self.access_token,
            clock_skew: Duration::from_secs(60),
            occasion: Occasion::SignIn { nonce: &self.nonce, max_age: self.max_age },
        }
    }

    fn verify(&self, token: &str, keys: &KeySet) -> Result<IdToken, Rejection> {
        verify(token, keys, &self.expected(), Timestamp::from_seconds(NOW))
    }
}

#[track_caller]
fn check(changes: &Value, expected: Option<Reason>) {
    let token = signer().token(&with(changes));
    let verdict = Case::new().verify(&token, &keys_of(&[signer()]));
    assert_eq!(reason(&verdict), expected, "{changes}");
}

#[test]
fn an_honest_token_of_every_algorithm_is_believed() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm, Some("k"));
        let verdict = Case::new().verify(&key.token(&honest()), &keys_of(&[&key]));
        assert_eq!(verdict.unwrap().subject, "user", "{}", algorithm.name());
    }
}

#[test]
fn the_issuer_is_compared_exactly() {
    let wrong = Some(Reason::IdTokenIssuer);
    for issuer in ["https://op.example", "https://op.example/1", "https://OP.example/", ""] {
        check(&json!({"iss": issuer}), wrong);
    }
    check(&json!({"iss": null}), wrong);
    check(&json!({"iss": [ISSUER]}), Some(Reason::IdTokenMalformed));
}

#[test]
fn the_audience_is_us_and_strangers_need_azp() {
    for (changes, expected) in [
        (json!({"aud": [CLIENT]}), None),
        (json!({"aud": [CLIENT, CLIENT]}), None),
        (json!({"aud": "client1"}), Some(Reason::IdTokenAudience)),
        (json!({"aud": []}), Some(Reason::IdTokenAudience)),
        (json!({"aud": null}), Some(Reason::IdTokenAudience)),
        (json!({"aud": ["stranger"], "azp": CLIENT}), Some(Reason::IdTokenAudience)),
        (json!({"aud": [CLIENT, "stranger"]}), Some(Reason::IdTokenAudience)),
        (json!({"aud": [CLIENT, "stranger"], "azp": CLIENT}), None),
        (json!({"aud": [CLIENT, "stranger"], "azp": "stranger"}), Some(Reason::IdTokenAuthorizedParty)),
        (json!({"azp": CLIENT}), None),
        (json!({"azp": "stranger"}), Some(Reason::IdTokenAuthorizedParty)),
        (json!({"azp": ""}), Some(Reason::IdTokenAuthorizedParty)),
        (json!({"azp": 7}), Some(Reason::IdTokenMalformed)),
        (json!({"aud": 7}), Some(Reason::IdTokenMalformed)),
        (json!({"aud": [CLIENT, 7]}), Some(Reason::IdTokenMalformed)),
        (json!({"aud": {"client": 1}}), Some(Reason::IdTokenMalformed)),
    ] {
        check(&changes, expected);
    }
}

#[test]
fn times_are_dates_within_the_clock_skew() {
    for (changes, expected) in [
        (json!({"exp": NOW - 59}), None),
        (json!({"exp": NOW - 60}), Some(Reason::IdTokenExpired)),
        (json!({"exp": 0}), Some(Reason::IdTokenExpired)),
        (json!({"exp": null}), Some(Reason::IdTokenExpired)),
        (json!({"exp": 253_402_300_800_000_u64}), None),
        (json!({"iat": NOW + 60}), None),
        (json!({"iat": NOW + 61}), Some(Reason::IdTokenIssuedAt)),
        (json!({"iat": null}), Some(Reason::IdTokenIssuedAt)),
        (json!({"iat": 253_402_300_800_000_u64}), Some(Reason::IdTokenIssuedAt)),
        (json!({"nbf": NOW + 60}), None),
        (json!({"nbf": NOW + 61}), Some(Reason::IdTokenNotYetValid)),
        (json!({"nbf": 0}), None),
    ] {
        check(&changes, expected);
    }
}

#[test]
fn a_date_is_a_number_of_seconds_and_nothing_else() {
    for name in ["exp", "iat", "nbf", "auth_time"] {
        for value in [
            json!("1700000000"),
            json!(1e300),
            json!(-1),
            json!(-0.5),
            json!(true),
            json!([NOW]),
            json!({}),
            json!(u64::MAX),
            json!(i64::MIN),
        ] {
            check(&json!({name: value}), Some(Reason::IdTokenMalformed));
        }
    }
    check(&json!({"exp": 1_700_000_000.5, "iat": 1_700_000_000.5, "auth_time": 1.5}), None);
}

#[test]
fn the_subject_is_an_identifier() {
    for (value, expected) in [
        (json!("x".repeat(255)), None),
        (json!("x".repeat(256)), Some(Reason::IdTokenMalformed)),
        (json!("a\r\nb"), Some(Reason::IdTokenMalformed)),
        (json!("a\u{0}"), Some(Reason::IdTokenMalformed)),
        (json!(7), Some(Reason::IdTokenMalformed)),
        (json!(""), Some(Reason::IdTokenSubject)),
        (json!(null), Some(Reason::IdTokenSubject)),
    ] {
        check(&json!({"sub": value}), expected);
    }
    check(&json!({"sid": "s"}), None);
    check(&json!({"sid": ""}), Some(Reason::IdTokenMalformed));
    check(&json!({"sid": 7}), Some(Reason::IdTokenMalformed));
}

#[test]
fn the_nonce_is_the_one_that_was_sent() {
    for value in [json!(null), json!(""), json!("n1"), json!("N")] {
        check(&json!({"nonce": value}), Some(Reason::IdTokenNonce));
    }
    check(&json!({"nonce": ["n"]}), Some(Reason::IdTokenMalformed));
}

#[test]
fn the_access_token_hash_is_checked_when_present() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm, None);
        let (hash, half) = match algorithm {
            Algorithm::Es384 => (&digest::SHA384, 24),
            Algorithm::EdDsa => (&digest::SHA512, 32),
            _ => (&digest::SHA256, 16),
        };
        let left = URL_SAFE_NO_PAD.encode(&digest::digest(hash, b"access").as_ref()[..half]);
        for (claim, expected) in [
            (json!(left), None),
            (json!(format!("{left}1")), Some(Reason::IdTokenAccessTokenHash)),
            (json!(""), Some(Reason::IdTokenAccessTokenHash)),
            (json!(7), Some(Reason::IdTokenMalformed)),
        ] {
            let token = key.token(&with(&json!({"at_hash": claim})));
            let verdict = Case::new().verify(&token, &keys_of(&[&key]));
            assert_eq!(reason(&verdict), expected, "{} {claim}", algorithm.name());
        }
    }
}

#[test]
fn the_hash_is_what_openssl_makes_of_it() {
    // echo -n access | openssl dgst -sha256 -binary | head -c16 | basenc --base64url
    check(&json!({"at_hash": "oFYf1knNtrqnhAVfBRuteQ"}), None);
}

#[test]
fn auth_time_counts_where_max_age_was_asked_for() {
    for (max_age, auth_time, expected) in [
        (None, json!(1), None),
        (Some(100), json!(NOW - 160), None),
        (Some(100), json!(NOW - 161), Some(Reason::IdTokenAuthTime)),
        (Some(0), json!(NOW - 60), None),
        (Some(100), json!(null), Some(Reason::IdTokenAuthTime)),
    ] {
        let case = Case { max_age: max_age.map(Duration::from_secs), ..Case::new() };
        let token = signer().token(&with(&json!({"auth_time": auth_time})));
        let verdict = case.verify(&token, &keys_of(&[signer()]));
        assert_eq!(reason(&verdict), expected, "{max_age:?} {auth_time}");
    }
}

#[test]
fn a_refreshed_token_is_about_the_same_user() {
    for (changes, earlier_nonce, expected) in [
        (json!({}), Some("n"), None),
        (json!({"nonce": null}), Some("n"), None),
        (json!({"nonce": "other"}), None, None),
        (json!({"nonce": "other"}), Some("n"), Some(Reason::IdTokenNonce)),
        (json!({"sub": "user1"}), Some("n"), Some(Reason::IdTokenSubject)),
        (json!({"iss": "https://op.example/1"}), None, Some(Reason::IdTokenIssuer)),
        (json!({"aud": "other"}), None, Some(Reason::IdTokenAudience)),
        (json!({"exp": 1}), None, Some(Reason::IdTokenExpired)),
        (json!({"auth_time": 1}), None, None),
    ] {
        let case = Case::new();
        let expectation =
            Expected { occasion: Occasion::Refresh { subject: "user", nonce: earlier_nonce }, ..case.expected() };
        let token = signer().token(&with(&changes));
        let keys = keys_of(&[signer()]);
        let verdict = verify(&token, &keys, &expectation, Timestamp::from_seconds(NOW));
        assert_eq!(reason(&verdict), expected, "{changes} {earlier_nonce:?}");
    }
}

#[test]
fn the_header_names_an_allowed_algorithm_and_this_kind_of_token() {
    let algorithm = Some(Reason::IdTokenAlgorithm);
    let malformed = Some(Reason::IdTokenMalformed);
    for (header, expected) in [
        (r#"{"alg":"ES256","kid":"k"}"#, None),
        (r#"{"alg":"ES256","kid":"k","typ":"jwt"}"#, None),
        (r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#, malformed),
        (r#"{"alg":"ES256","kid":"k","typ":"logout+JWT"}"#, malformed),
        (r#"{"alg":"ES256","kid":"k","crit":["exp"]}"#, malformed),
        (r#"{"alg":"ES256","kid":"k","zip":"DEF"}"#, malformed),
        (r#"{"alg":"none"}"#, algorithm),
        (r#"{"alg":"None"}"#, algorithm),
        (r#"{"alg":"HS256","kid":"k"}"#, algorithm),
        (r#"{"alg":"es256","kid":"k"}"#, algorithm),
        (r#"{"alg":"","kid":"k"}"#, algorithm),
        (r#"{"kid":"k"}"#, malformed),
        (r#"{"alg":["ES256"],"kid":"k"}"#, malformed),
        (r#"{"alg":"ES256","alg":"ES256","kid":"k"}"#, malformed),
        (r#"{"alg":"ES256","kid":7}"#, malformed),
        (r#"["ES256"]"#, malformed),
        (r#"{"alg":"ES256","kid":"K"}"#, Some(Reason::IdTokenKey)),
        (r#"{"alg":"RS256","kid":"k"}"#, Some(Reason::IdTokenKey)),
        (r#"{"alg":"ES384","kid":"k"}"#, Some(Reason::IdTokenKey)),
        (r#"{"alg":"ES256"}"#, None),
    ] {
        let token = signer().sign(header, &honest().to_string());
        let verdict = Case::new().verify(&token, &keys_of(&[signer()]));
        assert_eq!(reason(&verdict), expected, "{header}");
    }
}

#[test]
fn an_algorithm_that_is_not_configured_is_refused_although_the_key_is_there() {
    let case = Case::new();
    let expected = Expected { algorithms: &[Algorithm::Rs256], ..case.expected() };
    let keys = keys_of(&[signer()]);
    let verdict = verify(&signer().token(&honest()), &keys, &expected, Timestamp::from_seconds(NOW));
    assert_eq!(reason(&verdict), Some(Reason::IdTokenAlgorithm));
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let modulus = signer().jwk()["x"].as_str().unwrap().to_owned();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"k"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(honest().to_string()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, modulus.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    let verdict = Case::new().verify(&token, &keys_of(&[signer()]));
    assert_eq!(reason(&verdict), Some(Reason::IdTokenAlgorithm));
}

#[test]
fn every_changed_byte_of_a_token_is_noticed() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
        let key = SigningKey::generate(algorithm, Some("k"));
        let (token, keys) = (key.token(&honest()), keys_of(&[&key]));
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(Case::new().verify(&changed, &keys).is_err(), "byte {place}");
        }
    }
}

#[test]
fn a_token_without_its_shape_is_malformed() {
    let honest = signer().token(&honest());
    let (rest, signature) = honest.rsplit_once('.').unwrap();
    let (header, payload) = rest.split_once('.').unwrap();
    for (token, expected) in [
        (String::new(), Reason::IdTokenMalformed),
        ("..".to_owned(), Reason::IdTokenMalformed),
        (rest.to_owned(), Reason::IdTokenMalformed),
        (format!("{honest}.x.y"), Reason::IdTokenMalformed),
        (format!("{honest} "), Reason::IdTokenSignature),
        (format!("{honest}="), Reason::IdTokenSignature),
        (format!("{rest}."), Reason::IdTokenSignature),
        (format!("{header}=.{payload}.{signature}"), Reason::IdTokenMalformed),
        (format!("{header}.{payload}x.{signature}"), Reason::IdTokenSignature),
        ("a".repeat(MAX_TOKEN_BYTES + 1), Reason::IdTokenMalformed),
    ] {
        let verdict = Case::new().verify(&token, &keys_of(&[signer()]));
        assert_eq!(reason(&verdict), Some(expected), "{token:.60}");
    }
    for payload in ["[]", "null", "\"x\"", r#"{"sub":"user","sub":"user"}"#, ""] {
        let token = signer().sign(r#"{"alg":"ES256","kid":"k"}"#, payload);
        let verdict = Case::new().verify(&token, &keys_of(&[signer()]));
        assert_eq!(reason(&verdict), Some(Reason::IdTokenMalformed), "{payload}");
    }
}

#[test]
fn without_a_kid_every_fitting_key_is_tried() {
    let keys: Vec<SigningKey> = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es256, Algorithm::Es256]
        .map(|algorithm| SigningKey::generate(algorithm, None))
        .into();
    let set = keys_of(&keys.iter().collect::<Vec<_>>());
    for key in &keys {
        assert!(Case::new().verify(&key.token(&honest()), &set).is_ok());
    }
}

#[test]
fn newer_keys_might_help_where_a_key_is_what_is_missing() {
    let stranger = SigningKey::generate(Algorithm::Es256, Some("k"));
    let nameless = SigningKey::generate(Algorithm::Es256, None);
    let renamed = SigningKey::generate(Algorithm::Es256, Some("new"));
    for (token, expected, newer) in [
        (stranger.token(&honest()), Reason::IdTokenSignature, false),
        (nameless.token(&honest()), Reason::IdTokenSignature, true),
        (renamed.token(&honest()), Reason::IdTokenKey, true),
    ] {
        let rejection = Case::new().verify(&token, &keys_of(&[signer()])).unwrap_err();
        assert_eq!((rejection.reason, rejection.newer_keys_might_help), (expected, newer));
    }
}

#[test]
fn a_key_of_another_issuer_does_not_count() {
    let mut jwk = signer().jwk();
    jwk["issuer"] = json!("https://other.example/");
    let keys = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
    let verdict = Case::new().verify(&signer().token(&honest()), &keys);
    assert_eq!(reason(&verdict), Some(Reason::IdTokenKey));
}

#[test]
fn the_signature_is_checked_before_any_claim() {
    let stranger = SigningKey::generate(Algorithm::Es256, Some("k"));
    let token = stranger.token(&with(&json!({"iss": "x", "exp": 1, "aud": 7})));
    let verdict = Case::new().verify(&token, &keys_of(&[signer()]));
    assert_eq!(reason(&verdict), Some(Reason::IdTokenSignature));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_is_believed(text in ".{0,200}") {
        prop_assert!(Case::new().verify(&text, &keys_of(&[signer()])).is_err());
    }

    #[test]
    fn no_parts_make_it_panic_or_are_believed(
        header in proptest::collection::vec(any::<u8>(), 0..64),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        signature in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let [header, payload, signature] = [header, payload, signature].map(|part| URL_SAFE_NO_PAD.encode(part));
        let token = format!("{header}.{payload}.{signature}");
        prop_assert!(Case::new().verify(&token, &keys_of(&[signer()])).is_err());
    }

    #[test]
    fn no_signature_over_honest_claims_is_believed(signature in proptest::collection::vec(any::<u8>(), 0..80)) {
        let honest = signer().token(&honest());
        let (signed, _) = honest.rsplit_once('.').unwrap();
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        prop_assert!(Case::new().verify(&token, &keys_of(&[signer()])).is_err());
    }
}

#[test]
fn a_token_may_be_as_long_as_its_limit_and_not_a_byte_longer() {
    let of_length = |length: usize| {
        let token = |spaces: usize, pad: usize| {
            let header = format!(r#"{{"alg":"ES256","kid":"k"{}}}"#, " ".repeat(spaces));
            signer().sign(&header, &with(&json!({"pad": "x".repeat(pad)})).to_string())
        };
        // Not every length can be had by the payload alone, for base64 turns three bytes into four.
        let around = |spaces: usize| (length - token(spaces, 0).len()) / 4 * 3;
        let tries = (0..4).flat_map(|spaces| (0..6).map(move |more| (spaces, more)));
        let mut tokens = tries.map(|(spaces, more)| token(spaces, around(spaces) + more));
        tokens.find(|token| token.len() == length).unwrap()
    };
    let verdict = |length| reason(&Case::new().verify(&of_length(length), &keys_of(&[signer()])));
    assert_eq!(verdict(MAX_TOKEN_BYTES), None);
    assert_eq!(verdict(MAX_TOKEN_BYTES + 1), Some(Reason::IdTokenMalformed));
}
