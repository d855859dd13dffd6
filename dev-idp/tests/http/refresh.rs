//! Refresh: rotation, reuse detection, revocation.

use dev_idp::{Endpoint, Switch};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::relying_party::{RelyingParty, id_token};

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap()
}

#[tokio::test]
async fn a_refresh_rotates_the_token_and_names_the_same_person() {
    let party = RelyingParty::start().await;
    let first = party.sign_in(&[("max_age", "600")]).await;
    party.idp.advance(std::time::Duration::from_secs(30));
    let (status, second) = party.refresh(text(&first, "refresh_token")).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_ne!(first["access_token"], second["access_token"]);
    let (before, after) = (id_token(&first).claims, id_token(&second).claims);
    for same in ["iss", "sub", "aud", "sid", "auth_time"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert!(after["iat"].as_u64() > before["iat"].as_u64());
    assert!(after.get("nonce").is_none());
    assert_eq!(party.userinfo(text(&second, "access_token")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_spent_refresh_token_ends_the_whole_family() {
    let party = RelyingParty::start().await;
    let first = party.sign_in(&[]).await;
    let (_, second) = party.refresh(text(&first, "refresh_token")).await;
    let (_, third) = party.refresh(text(&second, "refresh_token")).await;
    let (status, answer) = party.refresh(text(&first, "refresh_token")).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    assert_eq!(party.refresh(text(&third, "refresh_token")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(party.userinfo(text(&third, "access_token")).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn of_two_refreshes_at_once_one_is_a_reuse() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    let token = text(&tokens, "refresh_token");
    let (one, other) = tokio::join!(party.refresh(token), party.refresh(token));
    let good = [one.0, other.0].into_iter().filter(StatusCode::is_success).count();
    assert_eq!(good, 1);
    assert_eq!(party.idp.requests_to(Endpoint::Token).len(), 3);
}

#[tokio::test]
async fn there_is_no_refresh_token_unless_offline_access_is_asked() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[("scope", "openid email")]).await;
    assert!(tokens.get("refresh_token").is_none());
    assert_eq!(tokens["scope"], "openid email");
}

#[tokio::test]
async fn a_refresh_may_narrow_the_scope_but_not_widen_it() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    let ask = async |token: &str, scope: &str| {
        party.token(&[("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)]).await
    };
    let (status, answer) = ask(text(&tokens, "refresh_token"), "openid groups").await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_scope")));
    let (status, narrow) = ask(text(&tokens, "refresh_token"), "openid email").await;
    assert_eq!(status, StatusCode::OK);
    let (_, claims) = party.userinfo(text(&narrow, "access_token")).await;
    assert!(claims.get("name").is_none() && claims["email"].is_string());
}

#[tokio::test]
async fn revoking_a_refresh_token_ends_its_grant() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    let revoke = async |token: &str| party.post(Endpoint::Revoke, &[("client_id", "app"), ("token", token)]).await;
    assert_eq!(revoke("unknown").await.status(), StatusCode::OK);
    assert_eq!(revoke(text(&tokens, "refresh_token")).await.status(), StatusCode::OK);
    assert_eq!(party.refresh(text(&tokens, "refresh_token")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(party.userinfo(text(&tokens, "access_token")).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn all_grants_can_be_revoked_from_outside() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    party.idp.revoke_all();
    assert_eq!(party.refresh(text(&tokens, "refresh_token")).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_client_with_a_spent_token() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    party.idp.set(Switch::RefreshAnswerLost);
    let token = text(&tokens, "refresh_token");
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "app")];
    let lost = party.http.post(party.idp.url(Endpoint::Token)).form(&form).send().await;
    assert!(lost.is_err());
    assert_eq!(party.idp.requests_to(Endpoint::Token)[1].status, None);
    party.idp.honest();
    assert_eq!(party.refresh(token).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_refresh_can_keep_the_old_token() {
    let party = RelyingParty::facing(Switch::RefreshWithoutRefreshToken).await;
    let tokens = party.sign_in(&[]).await;
    for _ in 0..2 {
        let (status, answer) = party.refresh(text(&tokens, "refresh_token")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(answer.get("refresh_token").is_none());
    }
}

#[tokio::test]
async fn the_id_token_of_a_refresh_can_be_bent_alone() {
    let party = RelyingParty::start().await;
    let check = async |switch, claim: &str, expected: Value| {
        party.idp.honest();
        party.idp.set(switch);
        let tokens = party.sign_in(&[]).await;
        let honest = id_token(&tokens).claims;
        assert_eq!((&honest["iss"], &honest["nonce"]), (&json!(party.idp.issuer()), &json!("the-nonce")));
        let (_, answer) = party.refresh(text(&tokens, "refresh_token")).await;
        assert_eq!(id_token(&answer).claims[claim], expected, "{switch:?}");
    };
    check(Switch::RefreshIdTokenWrongIssuer, "iss", json!(format!("{}1", party.idp.issuer()))).await;
    check(Switch::RefreshIdTokenWrongSubject, "sub", json!("subject-of-alice1")).await;
    check(Switch::RefreshIdTokenWithNonce, "nonce", json!("the-nonce")).await;
    check(Switch::RefreshIdTokenWrongNonce, "nonce", json!("the-nonce1")).await;
    party.idp.set(Switch::RefreshWithoutIdToken);
    let tokens = party.sign_in(&[]).await;
    let (_, answer) = party.refresh(text(&tokens, "refresh_token")).await;
    assert!(tokens.get("id_token").is_some() && answer.get("id_token").is_none());
}
