//! What a browser is sent to the provider with.

use std::collections::HashSet;

use super::*;

#[tokio::test]
async fn authorization_requests_never_repeat_themselves() {
    let stub = Stub::start().await;
    let provider = stub.provider();
    let mut seen = HashSet::new();
    for _ in 0..1_000 {
        let request = provider.authorization_request(&redirect_uri(), Account::Any).await.unwrap();
        let drawn =
            request.url.query_pairs().filter(|(name, _)| matches!(&**name, "state" | "nonce" | "code_challenge"));
        seen.extend(drawn.map(|(_, value)| value.into_owned()).chain([request.verifier.reveal().to_owned()]));
    }
    assert_eq!(seen.len(), 4_000);
}

#[tokio::test]
async fn an_authorization_request_is_fresh_each_time() {
    let stub = Stub::start().await;
    let provider = stub.provider_with(Config {
        offline_access: true,
        extra_parameters: vec![("audience".to_owned(), "api".to_owned())],
        ..stub.config()
    });
    let first = provider.authorization_request(&redirect_uri(), Account::Any).await.unwrap();
    let second = provider.authorization_request(&redirect_uri(), Account::Any).await.unwrap();
    assert!(first.url.as_str().starts_with(&format!("{}/authorize?", stub.url)));
    let pairs: HashMap<String, String> = first.url.query_pairs().into_owned().collect();
    assert_eq!(pairs["scope"], "openid profile email offline_access");
    assert_eq!(pairs["audience"], "api");
    for (name, first, second) in [
        ("state", &first.state, &second.state),
        ("nonce", &first.nonce, &second.nonce),
        ("", &first.verifier, &second.verifier),
    ] {
        assert_eq!(first.reveal().len(), 43);
        assert_ne!(first, second);
        assert!(name.is_empty() || pairs[name] == first.reveal());
    }
    assert!(!first.url.as_str().contains(first.verifier.reveal()));
}
