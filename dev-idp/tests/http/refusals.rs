//! What an honest provider refuses.

use std::net::SocketAddr;

use dev_idp::{Client, Endpoint, Settings, StartError};
use reqwest::{StatusCode, header::LOCATION};

use crate::relying_party::{CALLBACK, RelyingParty, VERIFIER, answered, callback_parameters};

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let listen: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let refused = dev_idp::start(Settings { listen, ..Settings::default() }).await;
    assert!(matches!(refused, Err(StartError::NotLoopback(_))));
}

#[tokio::test]
async fn unknown_clients_and_addresses_are_never_redirected_to() {
    let party = RelyingParty::start().await;
    for changes in [
        ("client_id", "stranger"),
        ("redirect_uri", "https://app.test/auth/callback"),
        ("redirect_uri", "https://evil.test/"),
        ("redirect_uri", ""),
    ] {
        let answer = party.authorize(&[changes, ("login_hint", "alice")]).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{changes:?}");
        assert!(!answer.headers().contains_key(LOCATION), "{changes:?}");
    }
    let mut twice = party.authorization_url(&[]);
    twice.query_pairs_mut().append_pair("scope", "openid");
    assert_eq!(party.http.get(twice).send().await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn faulty_requests_are_refused_to_the_client() {
    let party = RelyingParty::start().await;
    for (change, expected) in [
        (("nonce", ""), "invalid_request"),
        (("scope", "openid"), "invalid_scope"),
        (("scope", "profile"), "invalid_scope"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("response_type", "id_token"), "unsupported_response_type"),
    ] {
        let parameters = callback_parameters(&party.authorize(&[change]).await);
        assert_eq!(parameters["error"], expected, "{change:?}");
        assert_eq!(parameters["state"], "the-state", "{change:?}");
        assert_eq!(parameters["iss"], party.idp.issuer(), "{change:?}");
    }
}

#[tokio::test]
async fn a_code_needs_its_verifier_its_address_and_its_client() {
    let party = RelyingParty::start().await;
    party.idp.register(Client::public("other", CALLBACK));
    let other_verifier = "x".repeat(43);
    for (change, expected) in [
        (("code_verifier", other_verifier.as_str()), "invalid_grant"),
        (("code_verifier", ""), "invalid_request"),
        (("redirect_uri", "https://app.test/elsewhere"), "invalid_grant"),
        (("client_id", "other"), "invalid_grant"),
        (("code", "guessed"), "invalid_grant"),
        (("grant_type", "password"), "unsupported_grant_type"),
    ] {
        let code = party.code(&[]).await;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", "app"),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        form.retain(|(name, _)| *name != change.0);
        form.extend(Some(change).filter(|(_, value)| !value.is_empty()));
        let (status, answer) = answered(party.post(Endpoint::Token, &form).await).await;
        assert_eq!((status, answer["error"].as_str()), (StatusCode::BAD_REQUEST, Some(expected)), "{change:?}");
    }
}

#[tokio::test]
async fn a_code_works_once_and_its_second_use_ends_the_first() {
    let party = RelyingParty::start().await;
    let code = party.code(&[]).await;
    let (_, tokens) = party.redeem(&code).await;
    let (status, answer) = party.redeem(&code).await;
    assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &"invalid_grant".into()));
    let (status, _) = party.userinfo(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_code_and_an_access_token_expire_by_the_providers_clock() {
    let party = RelyingParty::start().await;
    let code = party.code(&[]).await;
    party.idp.advance(std::time::Duration::from_secs(61));
    assert_eq!(party.redeem(&code).await.0, StatusCode::BAD_REQUEST);
    let tokens = party.sign_in(&[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(party.userinfo(access).await.0, StatusCode::OK);
    party.idp.advance(std::time::Duration::from_secs(301));
    assert_eq!(party.userinfo(access).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn unencoded_basic_credentials_are_no_client() {
    let party = RelyingParty::start().await;
    party.idp.register(Client::basic("basic", "fake:%+secret", CALLBACK));
    let request = party.http.post(party.idp.url(Endpoint::Token)).form(&[("grant_type", "refresh_token")]);
    let answer = request.basic_auth("basic", Some("fake:%+secret")).send().await.unwrap();
    assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    let (status, answer) = answered(answer).await;
    assert_eq!((status, &answer["error"]), (StatusCode::UNAUTHORIZED, &"invalid_client".into()));
}

#[tokio::test]
async fn userinfo_takes_tokens_from_the_header_only() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    let access = tokens["access_token"].as_str().unwrap();
    let url = format!("{}?access_token={access}", party.idp.url(Endpoint::Userinfo));
    assert_eq!(party.http.get(url).send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let form = [("access_token", access)];
    assert_eq!(party.post(Endpoint::Userinfo, &form).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(party.userinfo("guessed").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn parameters_of_the_token_endpoint_belong_into_the_form_once() {
    let party = RelyingParty::start().await;
    let url = format!("{}?grant_type=refresh_token", party.idp.url(Endpoint::Token));
    assert_eq!(party.http.post(url).send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let twice = [("client_id", "app"), ("grant_type", "refresh_token"), ("grant_type", "refresh_token")];
    assert_eq!(party.post(Endpoint::Token, &twice).await.status(), StatusCode::BAD_REQUEST);
    let get = party.http.get(party.idp.url(Endpoint::Token)).send().await.unwrap();
    assert_eq!(get.status(), StatusCode::BAD_REQUEST);
}
