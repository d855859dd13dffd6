//! What a provider says about itself. Input: the document, and at the same time an issuer as the settings have it.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::{
    oidc::{
        discovery::{Issuer, Metadata},
        jwk::Algorithm,
    },
    outbound::destination::PlainHttp,
};
use portcullis_fuzz::provider::ISSUER;
use serde_json::Value;
use url::Url;

static OWN: LazyLock<Issuer> = LazyLock::new(|| Issuer::parse(ISSUER, PlainHttp::Refused).expect("an issuer"));
static ELSEWHERE: LazyLock<[Url; 2]> = LazyLock::new(|| {
    ["http://169.254.169.254/latest/", "https://10.0.0.1:6379/"].map(|text| Url::parse(text).expect("an address"))
});

fuzz_target!(|data: &[u8]| {
    for plain_http in [PlainHttp::Refused, PlainHttp::Loopback] {
        for configured in [Algorithm::ALL.as_slice(), &[Algorithm::Es256]] {
            if let Ok(metadata) = Metadata::parse(data, &OWN, plain_http, configured) {
                is_usable(&metadata, data, plain_http, configured);
            }
        }
        if let Some(issuer) = str::from_utf8(data).ok().and_then(|text| Issuer::parse(text, plain_http).ok()) {
            assert_eq!(issuer.as_str().as_bytes(), data);
            assert!(is_sound(issuer.document(), plain_http) && issuer.document().query().is_none());
            assert!(
                issuer.document().path().ends_with("/.well-known/openid-configuration") && !issuer.host().is_empty()
            );
        }
    }
});

fn is_usable(metadata: &Metadata, document: &[u8], plain_http: PlainHttp, configured: &[Algorithm]) {
    let document: Value = serde_json::from_slice(document).expect("it was read");
    assert_eq!(document["issuer"], ISSUER);
    let needed = [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
    let offered = [&metadata.userinfo_endpoint, &metadata.end_session_endpoint, &metadata.revocation_endpoint];
    for url in needed.into_iter().chain(offered.into_iter().flatten()) {
        assert!(is_sound(url, plain_http), "{url}");
    }
    assert!(!metadata.algorithms.is_empty() && metadata.algorithms.iter().all(|own| configured.contains(own)));
    let reachable = metadata.reachable(&OWN);
    assert!(reachable.contains(OWN.document()) && reachable.contains(&metadata.token_endpoint));
    assert!(!reachable.contains(&ELSEWHERE[0]));
    let named = [&metadata.token_endpoint, &metadata.jwks_uri].into_iter().chain(&metadata.userinfo_endpoint);
    let mut named = named.chain(&metadata.revocation_endpoint);
    assert!(!reachable.contains(&ELSEWHERE[1]) || named.any(|url| url.origin() == ELSEWHERE[1].origin()));
}

fn is_sound(url: &Url, plain_http: PlainHttp) -> bool {
    let local = url.host_str().is_some_and(|host| {
        let name = host.strip_suffix('.').unwrap_or(host);
        host.starts_with("127.") || host == "[::1]" || name == "localhost" || name.ends_with(".localhost")
    });
    let encrypted = url.scheme() == "https" || (url.scheme() == "http" && plain_http == PlainHttp::Loopback && local);
    encrypted && url.has_host() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none()
}
