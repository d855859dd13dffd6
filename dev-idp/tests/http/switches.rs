//! The misbehaviours, seen from outside. Claims of ID tokens are covered beside the code, switch by switch.

use dev_idp::{Algorithm, Client, Endpoint, Settings, Switch};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::relying_party::{CALLBACK, RelyingParty, callback_parameters, id_token};

#[tokio::test]
async fn a_bent_claim_arrives_in_a_rightly_signed_token() {
    let party = RelyingParty::facing(Switch::IdTokenWrongIssuer).await;
    let token = id_token(&party.sign_in(&[]).await);
    assert_eq!(token.claims["iss"], format!("{}1", party.idp.issuer()));
    assert_eq!(party.verifying_keys(&token).await.len(), 1);
    party.idp.clear(Switch::IdTokenWrongIssuer);
    assert_eq!(id_token(&party.sign_in(&[]).await).claims["iss"], party.idp.issuer());
}

#[tokio::test]
async fn tokens_without_a_key_id_are_signed_by_a_listed_key() {
    for (switch, keys, signer) in [(Switch::KeyIdAbsentSingleKeys, 4, 0), (Switch::KeyIdAbsentManyKeys, 12, 2)] {
        let party = RelyingParty::facing(switch).await;
        let listed = party.keys().await;
        assert_eq!(listed.len(), keys);
        assert!(listed.iter().all(|key| key.get("kid").is_none() && key.get("alg").is_none()));
        let token = id_token(&party.sign_in(&[]).await);
        assert!(token.header.get("kid").is_none());
        assert_eq!(party.verifying_keys(&token).await, [signer], "{switch:?}");
    }
}

#[tokio::test]
async fn signatures_can_be_wrong_in_every_way() {
    let check = async |registered, switch, alg: &str, verifying| {
        let party = RelyingParty::with(Settings { algorithm: registered, ..Settings::default() }).await;
        party.idp.set(switch);
        let token = id_token(&party.sign_in(&[]).await);
        assert_eq!(token.header["alg"], alg, "{switch:?}");
        assert_eq!(party.verifying_keys(&token).await.len(), verifying, "{switch:?}");
    };
    check(Algorithm::Rs256, Switch::SignatureNone, "none", 0).await;
    check(Algorithm::Rs256, Switch::SignatureHs256, "HS256", 0).await;
    check(Algorithm::Rs256, Switch::SignatureBrokenRs256, "RS256", 0).await;
    check(Algorithm::Es256, Switch::SignatureBrokenEs256, "ES256", 0).await;
    check(Algorithm::Rs256, Switch::SignatureOtherAlgorithm, "ES256", 1).await;
    check(Algorithm::Es256, Switch::SignatureOtherAlgorithm, "RS256", 1).await;
    check(Algorithm::Es256, Switch::DiscoveryRs256Only, "RS256", 1).await;
}

#[tokio::test]
async fn hs256_is_keyed_with_the_client_secret() {
    let party = RelyingParty::facing(Switch::SignatureHs256).await;
    party.idp.register(Client::post("app", "fake-secret", CALLBACK));
    let code = party.code(&[]).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_secret", "fake-secret"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", crate::relying_party::VERIFIER),
    ];
    let (_, answer) = party.token(&form).await;
    let token = id_token(&answer);
    let (message, signature) = token.text.rsplit_once('.').unwrap();
    let key = jsonwebtoken::DecodingKey::from_secret(b"fake-secret");
    let algorithm = jsonwebtoken::Algorithm::HS256;
    assert!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm).unwrap());
}

#[tokio::test]
async fn an_unknown_key_id_is_in_no_key_set() {
    let party = RelyingParty::facing(Switch::SignatureUnknownKey).await;
    let token = id_token(&party.sign_in(&[]).await);
    assert!(party.keys().await.iter().all(|key| key["kid"] != token.header["kid"]));
}

#[tokio::test]
async fn rotation_replaces_every_key() {
    let party = RelyingParty::start().await;
    let ids = async || party.keys().await.iter().map(|key| key["kid"].clone()).collect::<Vec<_>>();
    let old = ids().await;
    let token = id_token(&party.sign_in(&[]).await);
    party.idp.rotate_keys();
    assert!(ids().await.iter().all(|id| !old.contains(id)));
    assert!(party.verifying_keys(&token).await.is_empty());
    let fresh = id_token(&party.sign_in(&[]).await);
    assert_eq!(party.verifying_keys(&fresh).await.len(), 1);
}

#[tokio::test]
async fn earlier_keys_can_stay_for_a_few_rotations() {
    let party = RelyingParty::facing(Switch::KeySetWithEarlierKeys).await;
    let token = id_token(&party.sign_in(&[]).await);
    for _ in 0..3 {
        party.idp.rotate_keys();
        assert_eq!(party.verifying_keys(&token).await.len(), 1);
    }
    party.idp.rotate_keys();
    assert!(party.verifying_keys(&token).await.is_empty());
}

#[tokio::test]
async fn keys_can_rotate_just_before_signing() {
    let party = RelyingParty::facing(Switch::KeysRotatedBeforeSigning).await;
    let before = party.keys().await;
    let token = id_token(&party.sign_in(&[]).await);
    assert!(before.iter().all(|key| key["kid"] != token.header["kid"]));
    assert_eq!(party.verifying_keys(&token).await.len(), 1);
}

#[tokio::test]
async fn broken_keys_come_before_the_good_ones() {
    let party = RelyingParty::facing(Switch::KeySetWithBrokenKeys).await;
    assert_eq!(party.keys().await.len(), 12);
    let token = id_token(&party.sign_in(&[]).await);
    assert_eq!(party.verifying_keys(&token).await, [4]);
}

#[tokio::test]
async fn discovery_can_be_bent() {
    let party = RelyingParty::start().await;
    let check = async |switch, member: &str, expected: Value| {
        party.idp.honest();
        party.idp.set(switch);
        let document = party.document(Endpoint::Discovery).await;
        assert_eq!(document.get(member).cloned().unwrap_or_default(), expected, "{switch:?}");
    };
    check(Switch::DiscoveryWrongIssuer, "issuer", json!(format!("{}INVALID", party.idp.issuer()))).await;
    check(Switch::DiscoveryRs256Only, "id_token_signing_alg_values_supported", json!(["RS256"])).await;
    check(Switch::DiscoveryWithoutEndSession, "end_session_endpoint", Value::Null).await;
    check(Switch::DiscoveryWithoutUserinfo, "userinfo_endpoint", Value::Null).await;
}

#[tokio::test]
async fn authorization_answers_can_be_bent() {
    let party = RelyingParty::start().await;
    let check = async |switch, parameter: &str, expected: Option<String>| {
        party.idp.honest();
        party.idp.set(switch);
        assert_eq!(party.callback(&[]).await.get(parameter), expected.as_ref(), "{switch:?}");
    };
    check(Switch::AuthorizationWrongIssuer, "iss", Some(format!("{}1", party.idp.issuer()))).await;
    check(Switch::AuthorizationMissingIssuer, "iss", None).await;
    check(Switch::AuthorizationWrongState, "state", Some("the-state1".to_owned())).await;
    check(Switch::AuthorizationMissingState, "state", None).await;
    check(Switch::AuthorizationError, "error", Some("server_error".to_owned())).await;
    assert!(party.callback(&[]).await["error_description"].contains("<script>"));
}

#[tokio::test]
async fn token_answers_can_be_bent() {
    let party = RelyingParty::start().await;
    let check = async |switch, member: &str, expected: Value| {
        party.idp.honest();
        party.idp.set(switch);
        let answer = party.sign_in(&[]).await;
        assert_eq!(answer.get(member).cloned().unwrap_or_default(), expected, "{switch:?}");
    };
    check(Switch::TokenTypeInverted, "token_type", json!("bEARER")).await;
    check(Switch::TokenWithoutExpiresIn, "expires_in", Value::Null).await;
    check(Switch::TokenExpiresInString, "expires_in", json!("300")).await;
    check(Switch::IdTokenMissing, "id_token", Value::Null).await;
    party.idp.set(Switch::TokenAnswerNotJson);
    let (status, answer) = party.redeem(&party.code(&[]).await).await;
    assert_eq!((status, answer), (StatusCode::OK, Value::Null));
}

#[tokio::test]
async fn userinfo_can_be_bent() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    let ask = async |switch| {
        party.idp.honest();
        party.idp.set(switch);
        party.userinfo(tokens["access_token"].as_str().unwrap()).await
    };
    assert_eq!(ask(Switch::UserinfoWrongSubject).await.1["sub"], "subject-of-aliceinvalid");
    assert!(ask(Switch::UserinfoMissingSubject).await.1.get("sub").is_none());
    assert_eq!(ask(Switch::UserinfoArray).await.1[0]["sub"], "subject-of-alice");
    assert_eq!(ask(Switch::UserinfoRefuses).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn lenient_requests_pass_without_a_nonce() {
    let party = RelyingParty::facing(Switch::LenientRequests).await;
    let answer = party.authorize(&[("login_hint", "alice"), ("nonce", ""), ("scope", "openid")]).await;
    assert!(callback_parameters(&answer).contains_key("code"));
}
