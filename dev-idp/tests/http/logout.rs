//! Sign-out at the provider.

use dev_idp::{Client, Endpoint, Switch};
use reqwest::{
    Response, StatusCode,
    header::{COOKIE, LOCATION, SET_COOKIE},
};

use crate::relying_party::{AFTER_LOGOUT, CALLBACK, RelyingParty, callback_parameters, id_token};

async fn leave(party: &RelyingParty, parameters: &[(&str, &str)]) -> Response {
    let url = url::Url::parse_with_params(&party.idp.url(Endpoint::EndSession), parameters).unwrap();
    party.http.get(url).send().await.unwrap()
}

#[tokio::test]
async fn sign_out_ends_the_sign_on_and_returns_with_the_state() {
    let party = RelyingParty::start().await;
    let first = party.authorize(&[("login_hint", "alice")]).await;
    let cookie = first.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let (_, tokens) = party.redeem(&callback_parameters(&first)["code"]).await;
    let hint = id_token(&tokens).text;
    let parameters = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", AFTER_LOGOUT), ("state", "s")];
    let answer = leave(&party, &parameters).await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()[LOCATION], format!("{AFTER_LOGOUT}?state=s"));
    assert!(answer.headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    let again = party.http.get(party.authorization_url(&[])).header(COOKIE, cookie).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(party.refresh(refresh).await.0, StatusCode::OK);
}

#[tokio::test]
async fn sign_out_goes_to_registered_addresses_of_a_known_client_only() {
    let party = RelyingParty::start().await;
    party.idp.register(Client::public("other", CALLBACK));
    let hint = id_token(&party.sign_in(&[]).await).text;
    let forged = format!("{hint}x");
    let check = async |parameters: &[(&str, &str)], expected| {
        assert_eq!(leave(&party, parameters).await.status(), expected, "{parameters:?}");
    };
    let (good, evil) = (("post_logout_redirect_uri", AFTER_LOGOUT), ("post_logout_redirect_uri", "https://evil.test/"));
    let hint = ("id_token_hint", hint.as_str());
    check(&[hint, good], StatusCode::FOUND).await;
    check(&[("client_id", "app"), good], StatusCode::FOUND).await;
    check(&[hint], StatusCode::OK).await;
    check(&[], StatusCode::OK).await;
    check(&[hint, evil], StatusCode::BAD_REQUEST).await;
    check(&[good], StatusCode::BAD_REQUEST).await;
    check(&[("id_token_hint", &forged), good], StatusCode::BAD_REQUEST).await;
    check(&[hint, ("client_id", "other"), good], StatusCode::BAD_REQUEST).await;
    check(&[("client_id", "other"), good], StatusCode::BAD_REQUEST).await;
}

#[tokio::test]
async fn the_state_of_a_sign_out_can_be_bent() {
    let party = RelyingParty::start().await;
    let hint = id_token(&party.sign_in(&[]).await).text;
    let check = async |switch, expected: &str| {
        party.idp.honest();
        party.idp.set(switch);
        let parameters = [("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", AFTER_LOGOUT), ("state", "s")];
        assert_eq!(leave(&party, &parameters).await.headers()[LOCATION], expected, "{switch:?}");
    };
    check(Switch::LogoutWrongState, &format!("{AFTER_LOGOUT}?state=s_INVALID")).await;
    check(Switch::LogoutMissingState, AFTER_LOGOUT).await;
}
