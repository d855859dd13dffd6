//! Refreshing, giving tokens back and signing out, against the stub of a provider.

use super::*;

#[tokio::test]
async fn a_refresh_brings_new_tokens_and_claims() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    let earlier = Secret::new(stub.id_token(&json!({"tid": "t", "groups": ["old"]})));
    let renewed = stub.id_token(&json!({"nonce": null, "groups": ["new"]}));
    for (id_token, refresh, expected) in [
        (json!(renewed), json!("refresh2"), json!({"sub": "user", "groups": ["new"], "email": "u@example.com"})),
        (json!(null), json!(null), json!({"sub": "user", "tid": "t", "groups": ["old"], "email": "u@example.com"})),
    ] {
        let tokens = stub.tokens(&json!({"id_token": id_token, "refresh_token": refresh, "access_token": "access2"}));
        stub.answer("/token", Answer::Json(200, tokens));
        let before = Identified { id_token: Some(&earlier), ..stub.before() };
        let refreshed = provider.refresh(&Secret::new("marker-refresh"), before).await.unwrap();
        assert_eq!(refreshed.access, Secret::new("access2"));
        assert_eq!(refreshed.refresh.as_ref().map(Secret::reveal), refresh.as_str());
        assert_eq!(refreshed.id.as_ref().map(Secret::reveal), id_token.as_str());
        assert_eq!(refreshed.claims.map(Value::Object), Some(expected));
        assert_eq!(refreshed.access_expires_at, Some(Timestamp::from_seconds(NOW + 3600)));
    }
    let asked = stub.asked_at("/token").remove(0).form();
    assert_eq!((asked["grant_type"].as_str(), asked["refresh_token"].as_str()), ("refresh_token", "marker-refresh"));
    assert_eq!(stub.asked_at("/userinfo")[0].authorization, "Bearer access2");
}

#[tokio::test]
async fn a_userinfo_endpoint_that_is_down_does_not_cost_the_new_tokens() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    for answer in [Answer::Json(503, json!({})), Answer::Close] {
        stub.answer("/userinfo", answer);
        let refreshed = provider.refresh(&Secret::new("r"), stub.before()).await.unwrap();
        assert_eq!(refreshed.claims, None);
        assert_eq!(refreshed.userinfo_failure.unwrap().reason, Reason::ProviderUnreachable);
    }
}

#[tokio::test]
async fn a_failed_refresh_says_what_can_have_become_of_the_token() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    let forged = SigningKey::generate(Algorithm::Es256, Some("first")).token(&stub.claims(&json!({})));
    let with_token = |token: String| Answer::Json(200, stub.tokens(&json!({"id_token": token})));
    for (answer, expected, reason) in [
        (oauth_error("invalid_grant"), "invalid grant", Reason::RefreshRejected),
        (oauth_error("invalid_client"), "rejected", Reason::ProviderError),
        (Answer::Json(429, json!({"error": "slow_down"})), "not sent", Reason::ProviderUnreachable),
        (Answer::Json(503, json!({"error": "invalid_grant"})), "lost", Reason::ProviderUnreachable),
        (Answer::Close, "lost", Reason::ProviderUnreachable),
        (Answer::Silence, "lost", Reason::ProviderUnreachable),
        (Answer::Json(200, json!({})), "bad answer", Reason::TokenResponseInvalid),
        (with_token(stub.id_token(&json!({"iss": format!("{}1", stub.url)}))), "bad answer", Reason::IdTokenIssuer),
        (with_token(stub.id_token(&json!({"sub": "user1"}))), "bad answer", Reason::IdTokenSubject),
        (with_token(forged), "bad answer", Reason::IdTokenSignature),
    ] {
        stub.answer("/token", answer);
        let failure = provider.refresh(&Secret::new("marker-refresh"), stub.before()).await.unwrap_err();
        assert_eq!((kind(&failure), failure.failure().reason), (expected, reason), "{failure}");
        assert!(!format!("{failure:?}").contains("marker"), "{failure:?}");
    }
    assert!(stub.asked_at("/userinfo").is_empty());
}

#[tokio::test]
async fn a_refresh_that_reaches_nobody_was_not_sent() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    provider.discovery.discover_if_due().await.unwrap();
    stub.serving.abort();
    let gone = async {
        loop {
            let failure = provider.refresh(&Secret::new("r"), stub.before()).await;
            if failure.is_err_and(|failure| kind(&failure) == "not sent") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    let other = Identified { issuer: "https://other.example", ..stub.before() };
    let failure = provider.refresh(&Secret::new("r"), other).await.unwrap_err();
    assert_eq!((kind(&failure), failure.failure().reason), ("not sent", Reason::IssuerMismatch));
}

#[tokio::test]
async fn tokens_are_given_back_refresh_token_first() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    let (refresh, access) = (Secret::new("r"), Secret::new("a"));
    let tokens = Revocable { refresh: Some(&refresh), access: Some(&access) };
    provider.revoke(tokens).await.unwrap();
    assert!(stub.asked_at("/revoke").is_empty(), "an unknown provider is not asked");
    provider.discovery.discover_if_due().await.unwrap();
    provider.revoke(tokens).await.unwrap();
    stub.answer("/revoke", oauth_error("unsupported_token_type"));
    provider.revoke(tokens).await.unwrap();
    stub.answer("/revoke", Answer::Json(503, json!({})));
    assert_eq!(provider.revoke(tokens).await.unwrap_err().reason, Reason::ProviderUnreachable);
    let hints: Vec<_> = stub.asked_at("/revoke").iter().map(|asked| asked.form()["token_type_hint"].clone()).collect();
    assert_eq!(hints, ["refresh_token", "access_token"].repeat(3));
    let first = stub.asked_at("/revoke").remove(0);
    assert!(first.authorization.starts_with("Basic ") && first.form()["token"] == "r");

    let keeps = stub.provider_with(Config { revoke_tokens: false, ..stub.config() });
    keeps.discovery.discover_if_due().await.unwrap();
    keeps.revoke(tokens).await.unwrap();
    assert_eq!(stub.asked_at("/revoke").len(), 6);
}

#[tokio::test]
async fn a_logout_goes_to_the_provider_where_it_has_one_and_settings_say_so() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    assert_eq!(provider.logout_url(None, &redirect_uri()), None);
    provider.discovery.discover_if_due().await.unwrap();
    let url = provider.logout_url(Some(&Secret::new("i")), &redirect_uri()).unwrap();
    assert!(url.as_str().starts_with(&format!("{}/end?id_token_hint=i&client_id=", stub.url)));
    let off = stub.provider_with(Config { logout: Logout::Off, ..stub.config() });
    off.discovery.discover_if_due().await.unwrap();
    assert_eq!(off.logout_url(None, &redirect_uri()), None);
}

#[tokio::test]
async fn settings_that_make_no_request_are_refused() {
    let stub = Stub::start().await;
    let outbound = Outbound::new(&outbound::Config::default()).unwrap();
    let check = |config: Config, expected: SetUpError| {
        let refused = Provider::new(config, outbound.clone(), stub.clock.clone());
        assert_eq!(refused.err(), Some(expected));
    };
    let config = || stub.config();
    let parameter = |name: &str| vec![(name.to_owned(), "x".to_owned())];
    check(Config { client_id: String::new(), ..config() }, SetUpError::ClientId);
    check(Config { algorithms: vec![], ..config() }, SetUpError::Algorithms);
    check(Config { scopes: vec!["a b".to_owned()], ..config() }, SetUpError::Scope("a b".to_owned()));
    check(Config { extra_parameters: parameter("state"), ..config() }, SetUpError::ExtraParameter("state".to_owned()));
    let nothing = ClientAuthentication::SecretPost(Secret::default());
    check(Config { client_authentication: nothing, ..config() }, SetUpError::ClientSecret);
}

pub(super) fn kind(failure: &RefreshFailure) -> &'static str {
    match failure {
        RefreshFailure::InvalidGrant(_) => "invalid grant",
        RefreshFailure::Lost(_) => "lost",
        RefreshFailure::NotSent(_) => "not sent",
        RefreshFailure::Rejected(_) => "rejected",
        RefreshFailure::BadAnswer(_) => "bad answer",
    }
}
