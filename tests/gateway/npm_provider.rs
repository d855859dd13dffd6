//! The whole flow at the certified npm `oidc-provider`: what it does is not what we think a provider does.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use url::{Url, form_urlencoded};

use crate::support::{
    Plan, Reply, Stage, Visitor,
    certificates::Certificates,
    eventually, free_port,
    oidc_provider::{ACCESS_TOKEN_SECONDS, Claims, OidcProvider},
};

const ALMOST_EXPIRED: Duration = Duration::from_secs(ACCESS_TOKEN_SECONDS - 50);
const SECRET: &str = "fake-secret-for-tests";

/// The provider goes on for as long as the stage that asks it.
async fn stage(plan: Plan, client: &str, claims: Claims) -> (Stage, OidcProvider) {
    let (https, folder) = (free_port(), TempDir::new().unwrap());
    let certificates = Certificates::make(folder.path());
    let provider = OidcProvider::start(claims, https, &certificates).await;
    let plan = plan.with_issuer(&provider.issuer, client).standing_on(folder, certificates);
    (plan.start_at(https).await, provider)
}

async fn public() -> (Stage, OidcProvider) {
    stage(Plan::new(), "public", Claims::InUserinfo).await
}

/// Signs in, refreshes and signs in anew as this client.
async fn works(plan: Plan, client: &str, claims: Claims) {
    let (stage, _provider) = stage(plan, client, claims).await;
    let alice = Visitor::new(&stage);
    let reply = alice.sign_in("alice", "/deep/link?a=b").await;
    assert_eq!((reply.status, reply.url.as_str()), (200, stage.url("/deep/link?a=b").as_str()), "{reply:?}");
    let told = stage.upstream.requests().pop().unwrap().headers;
    assert_eq!(told["x-auth-request-email"], "alice@example.com");
    assert_eq!(told["x-auth-request-groups"], "staff,admins");
    assert_eq!(told["x-auth-request-preferred-username"], "alice");
    let user = alice.fetch(Method::GET, "/auth/userinfo").await.json();
    assert_eq!(user["claims"]["https://example.com/roles"], json!(["admin", "editor"]));
    assert_eq!(user["claims"]["realm_access"], json!({"roles": ["admin", "editor"]}));
    let refreshed = alice.fetch(Method::POST, "/auth/refresh").await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    assert_eq!(alice.get("/admin").await.status, 200, "and has its groups still");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_with_claims_in_userinfo() {
    works(Plan::new(), "public", Claims::InUserinfo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_with_claims_in_the_id_token_alone() {
    works(Plan::new().set("PROVIDER__MAIN__USERINFO", "false"), "public", Claims::InIdToken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_by_http_basic() {
    works(Plan::new().authenticating("client_secret_basic", SECRET), "confidential", Claims::InUserinfo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_by_form() {
    works(Plan::new().authenticating("client_secret_post", SECRET), "confidential-post", Claims::InIdToken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_with_characters_that_basic_must_escape() {
    let secret = "fake:secret%41with+signs&more=1";
    works(Plan::new().authenticating("client_secret_basic", secret), "special", Claims::InUserinfo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_tokens_with_elliptic_curves() {
    works(Plan::new(), "public-es256", Claims::InIdToken).await;
    let confidential = Plan::new().authenticating("client_secret_basic", SECRET);
    works(confidential, "confidential-es256", Claims::InUserinfo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_userinfo_nothing_is_known_but_the_subject() {
    let plan = Plan::new().set("PROVIDER__MAIN__USERINFO", "false");
    let (stage, _provider) = stage(plan, "public", Claims::InUserinfo).await;
    let reply = Visitor::new(&stage).sign_in("alice", "/").await;
    assert_eq!(reply.refusal(), (403, "policy_denied"), "the rule needs a group: {reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_signs_nobody_in() {
    let plan = Plan::new().authenticating("client_secret_basic", "another-secret");
    let (stage, _provider) = stage(plan, "confidential", Claims::InUserinfo).await;
    let alice = Visitor::new(&stage);
    let reply = alice.sign_in("alice", "/").await;
    assert!(reply.status >= 400 && !reply.header("x-portcullis-reason").is_empty(), "{reply:?}");
    assert!(alice.session().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refresh_uses_the_token_of_the_one_before() {
    let (stage, _provider) = public().await;
    let alice = stage.signed_in("alice").await;
    for round in 1..=3 {
        let reply = alice.fetch(Method::POST, "/auth/refresh").await;
        assert_eq!(reply.json(), json!({"status": "success", "expires_in": ACCESS_TOKEN_SECONDS}), "{round}");
    }
    assert!((stage.metric(REFRESHED).await - 3.0).abs() < f64::EPSILON);
}

/// The provider ends the whole grant when a rotated token comes again; then the last refresh here would be refused.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_at_expiry_bring_no_rotated_token_again() {
    // Our clock moves, the provider's does not.
    let plan = Plan::new().with_redis().of_two().set("PROVIDER__MAIN__CLOCK_SKEW", "10m");
    let plan = plan.set("LIMITS__REFRESH_SESSION", "off");
    let (stage, _provider) = stage(plan, "public", Claims::InUserinfo).await;
    let alice = stage.signed_in("alice").await;
    for round in 1..=3 {
        stage.clock.advance(ALMOST_EXPIRED);
        let pages = futures_util::future::join_all((0..50).map(|_| alice.fetch(Method::GET, "/")));
        let demands = futures_util::future::join_all((0..5).map(|_| alice.fetch(Method::POST, "/auth/refresh")));
        let (pages, demands) = tokio::join!(pages, demands);
        for reply in pages.iter().chain(&demands) {
            assert_eq!(reply.status, 200, "{round}: {reply:?}");
        }
    }
    let settled = async || alice.fetch(Method::POST, "/auth/refresh").await.status == 200;
    eventually("a refresh after the storm", settled).await;
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 200);
    let failed = stage.metric(r#"oauth2_token_refresh_total{result="failure"}"#).await;
    assert!(failed.abs() < f64::EPSILON, "{failed} refreshes failed: {}", stage.metrics().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_goes_by_way_of_the_provider_and_back() {
    let (stage, provider) = public().await;
    let alice = stage.signed_in("alice").await;
    let out = alice.ask(Method::GET, "/auth/logout", TYPED).await;
    let to = out.location().unwrap();
    assert_eq!(to.origin().ascii_serialization(), provider.issuer);
    let question = alice.visit(&to).await;
    assert_eq!(question.status, 200, "{question:?}");
    let confirmed = submit_logout(&alice, &question).await;
    let back = confirmed.location().unwrap_or_else(|| panic!("{confirmed:?}"));
    assert_eq!(back.origin().ascii_serialization(), stage.url(""));
    let done = alice.visit(&back).await;
    assert_eq!((done.status, done.url.path()), (200, "/auth/signed-out"));
    assert!(alice.session().is_none());
    let login = signed_out_there(&alice).await;
    assert!(login.body.contains("login-alice"), "the provider asks who it is: {}", login.body);
}

/// Presses the button of the provider's own question.
async fn submit_logout(visitor: &Visitor, question: &Reply) -> Reply {
    let value = |after: &str| {
        let found = question.body.split_once(after).and_then(|(_, rest)| rest.split_once('"'));
        found.unwrap_or_else(|| panic!("no {after} in {}", question.body)).0.to_owned()
    };
    let (action, xsrf) = (value("action=\""), value("name=\"xsrf\" value=\""));
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("xsrf", &xsrf)
        .append_pair("logout", "yes")
        .finish();
    let url = question.url.join(&action).unwrap();
    let content_type = ("content-type", "application/x-www-form-urlencoded");
    let response = visitor.client.post(url.clone()).header(content_type.0, content_type.1).body(form).send().await;
    let response = response.unwrap();
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        url,
        body: response.text().await.unwrap(),
    }
}

/// Begins to sign in without saying who it is, up to the provider's page.
async fn signed_out_there(visitor: &Visitor) -> Reply {
    let mut reply = visitor.get("/").await;
    let mut hops: Vec<Url> = Vec::new();
    while let Some(next) = reply.location() {
        assert!(hops.len() < 8, "{hops:?}");
        reply = visitor.visit(&next).await;
        hops.push(next);
    }
    reply
}

const TYPED: &[(&str, &str)] = &[
    ("Accept", "text/html"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Site", "none"),
];
const REFRESHED: &str = r#"oauth2_token_refresh_total{result="success"}"#;
