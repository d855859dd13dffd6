//! The controls over HTTP, as the demo and other programs use them.

use dev_idp::{Endpoint, Switch};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::relying_party::{RelyingParty, answered, id_token};

async fn order(party: &RelyingParty, method: Method, order: &str) -> StatusCode {
    let url = format!("{}/dev/{order}", party.idp.issuer());
    party.http.request(method, url).send().await.unwrap().status()
}

#[tokio::test]
async fn every_switch_can_be_thrown_over_http() {
    let party = RelyingParty::start().await;
    for switch in Switch::ALL {
        let path = format!("switch/{}", switch.name());
        assert_eq!(order(&party, Method::POST, &path).await, StatusCode::NO_CONTENT, "{switch:?}");
        let url = format!("{}/dev/switch", party.idp.issuer());
        let (_, on) = answered(party.http.get(url).send().await.unwrap()).await;
        assert_eq!(on, json!([switch.name()]));
        assert_eq!(order(&party, Method::DELETE, &path).await, StatusCode::NO_CONTENT, "{switch:?}");
    }
    party.sign_in(&[]).await;
    assert_eq!(order(&party, Method::POST, "switch/no-such").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_other_orders_are_obeyed() {
    let party = RelyingParty::start().await;
    let kid = id_token(&party.sign_in(&[]).await).header["kid"].clone();
    let before = party.idp.now();
    for path in ["rotate-keys", "advance/1000", "trouble/jwks/unavailable", "forget-sign-ons", "revoke-all"] {
        assert_eq!(order(&party, Method::POST, path).await, StatusCode::NO_CONTENT, "{path}");
    }
    let jwks = party.http.get(party.idp.url(Endpoint::Jwks)).send().await.unwrap();
    assert_eq!(jwks.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(order(&party, Method::DELETE, "trouble/jwks").await, StatusCode::NO_CONTENT);
    assert_eq!(order(&party, Method::POST, "honest").await, StatusCode::NO_CONTENT);
    assert_ne!(id_token(&party.sign_in(&[]).await).header["kid"], kid);
    assert!(party.idp.now() >= before + 1000);
    assert_eq!(order(&party, Method::POST, "trouble/nowhere/hang").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_log_shows_the_requests_but_not_the_controls() {
    let party = RelyingParty::start().await;
    party.sign_in(&[]).await;
    let url = format!("{}/dev/log", party.idp.issuer());
    let (_, log) = answered(party.http.get(&url).send().await.unwrap()).await;
    let endpoints: Vec<_> = log.as_array().unwrap().iter().map(|record| record["endpoint"].clone()).collect();
    assert_eq!(endpoints, ["authorize", "token"]);
    assert_eq!(order(&party, Method::DELETE, "log").await, StatusCode::NO_CONTENT);
    assert!(party.idp.log().is_empty());
}

#[tokio::test]
async fn a_page_of_another_origin_controls_nothing() {
    let party = RelyingParty::start().await;
    for (name, value) in [("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")] {
        let url = format!("{}/dev/switch/outage", party.idp.issuer());
        let answer = party.http.post(url).header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
}
