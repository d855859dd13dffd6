//! Outage, slowness and hanging.

use std::time::{Duration, Instant};

use dev_idp::{Endpoint, Switch, Trouble};
use reqwest::StatusCode;
use tokio::time::timeout;

use crate::relying_party::RelyingParty;

#[tokio::test]
async fn an_outage_is_503_everywhere() {
    let party = RelyingParty::facing(Switch::Outage).await;
    for endpoint in [Endpoint::Discovery, Endpoint::Jwks, Endpoint::Authorize, Endpoint::Token] {
        let status = party.http.get(party.idp.url(endpoint)).send().await.unwrap().status();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{endpoint:?}");
    }
    party.idp.honest();
    party.sign_in(&[]).await;
}

#[tokio::test]
async fn a_stopped_provider_refuses_connections_and_comes_back_with_its_memory() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    party.idp.stop().await;
    let refused = party.http.get(party.idp.url(Endpoint::Jwks)).send().await.unwrap_err();
    assert!(refused.is_connect());
    party.idp.restart().await.unwrap();
    party.idp.restart().await.unwrap();
    assert_eq!(party.refresh(tokens["refresh_token"].as_str().unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn one_endpoint_can_be_unavailable_alone() {
    let party = RelyingParty::start().await;
    party.idp.trouble(Endpoint::Jwks, Trouble::Unavailable);
    let status = async |endpoint| party.http.get(party.idp.url(endpoint)).send().await.unwrap().status();
    assert_eq!(status(Endpoint::Jwks).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(Endpoint::Discovery).await, StatusCode::OK);
    party.idp.relieve(Endpoint::Jwks);
    assert_eq!(status(Endpoint::Jwks).await, StatusCode::OK);
}

#[tokio::test]
async fn a_slow_endpoint_acts_at_once_and_answers_late() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let delay = Duration::from_millis(200);
    party.idp.trouble(Endpoint::Token, Trouble::Slow(delay));
    let began = Instant::now();
    assert_eq!(party.refresh(token).await.0, StatusCode::OK);
    assert!(began.elapsed() >= delay);
    party.idp.honest();
    assert_eq!(party.refresh(token).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_hanging_endpoint_never_answers_and_never_acts() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    party.idp.trouble(Endpoint::Token, Trouble::Hang);
    assert!(timeout(Duration::from_millis(200), party.refresh(token)).await.is_err());
    assert_eq!(party.idp.requests_to(Endpoint::Token)[1].status, None);
    party.idp.honest();
    assert_eq!(party.refresh(token).await.0, StatusCode::OK);
}
