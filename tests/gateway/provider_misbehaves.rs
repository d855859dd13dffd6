//! A provider that does each thing a provider must not do, and some that it may: no session comes of the former.

use dev_idp::{Algorithm, Endpoint, IdTokenClaims, Switch, Trouble};
use reqwest::Method;

use crate::support::{Plan, Stage, Visitor, eventually};

async fn signs_in(plan: Plan, switches: &[Switch]) -> Stage {
    let stage = plan.start().await;
    for switch in switches {
        stage.idp.set(*switch);
    }
    let alice = Visitor::new(&stage);
    let reply = alice.sign_in("alice", "/x").await;
    assert_eq!(reply.status, 200, "{switches:?}: {reply:?}");
    stage
}

async fn is_refused(plan: Plan, switches: &[Switch], reason: &str) -> Stage {
    let stage = plan.start().await;
    for switch in switches {
        stage.idp.set(*switch);
    }
    let alice = Visitor::new(&stage);
    let reply = alice.sign_in("alice", "/x").await;
    assert_eq!(reply.header("x-portcullis-reason"), reason, "{switches:?}: {reply:?}");
    assert!(matches!(reply.status, 400 | 503), "{reply:?}");
    assert!(alice.session().is_none(), "{switches:?}: a session came of it");
    assert!(stage.upstream.requests().is_empty());
    let failures = format!("oauth2_authorization_failures_total{{reason=\"{reason}\"}}");
    assert!(stage.metric(&failures).await >= 1.0, "{failures}");
    stage
}

/// Refused, and nothing of the tokens was used: no userinfo call.
async fn is_refused_before_userinfo(plan: Plan, switches: &[Switch], reason: &str) {
    let stage = is_refused(plan, switches, reason).await;
    assert_eq!(stage.asked(Endpoint::Userinfo), 0, "{switches:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_provider_with_keys_of_every_kind_signs_people_in() {
    let stage = signs_in(Plan::new(), &[]).await;
    assert_eq!(stage.asked(Endpoint::Userinfo), 1);
    signs_in(Plan::new(), &[Switch::KeySetWithBrokenKeys]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_of_another_issuer_is_refused() {
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenWrongIssuer], "id_token_issuer").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenMissingIssuer], "id_token_issuer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_about_nobody_is_refused() {
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenMissingSubject], "id_token_subject").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_for_somebody_else_is_refused() {
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenWrongAudience], "id_token_audience").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenStrangerInAudience], "id_token_audience").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenWrongAuthorizedParty], "id_token_authorized_party").await;
    signs_in(Plan::new(), &[Switch::IdTokenAudienceArray]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_for_nobody_is_refused() {
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenMissingAudience], "id_token_audience").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_without_its_times_or_outside_them_is_refused() {
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenMissingIssuedAt], "id_token_issued_at").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenIssuedInFuture], "id_token_issued_at").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenExpired], "id_token_expired").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenMissingExpiry], "id_token_expired").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenNotYetValid], "id_token_not_yet_valid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_id_the_one_fitting_key_is_taken() {
    signs_in(Plan::new(), &[Switch::KeyIdAbsentSingleKeys]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_id_every_fitting_key_is_tried() {
    signs_in(Plan::new(), &[Switch::KeyIdAbsentManyKeys]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_knows_only_rs256_is_taken_at_its_word() {
    signs_in(Plan::new(), &[Switch::DiscoveryRs256Only]).await;
    let rs256_alone = Plan::new().set("PROVIDER__MAIN__ALGORITHMS", r#"["RS256"]"#);
    is_refused_before_userinfo(rs256_alone, &[Switch::SignatureOtherAlgorithm], "id_token_algorithm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_allowed_algorithm_signs_people_in() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        signs_in(Plan::new().provider(|provider| provider.algorithm = algorithm), &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_id_token_is_refused() {
    is_refused_before_userinfo(Plan::new(), &[Switch::SignatureNone], "id_token_algorithm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_rsa_signature_is_refused() {
    is_refused_before_userinfo(Plan::new(), &[Switch::SignatureBrokenRs256], "id_token_signature").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::SignatureUnknownKey], "id_token_key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_elliptic_signature_is_refused() {
    is_refused_before_userinfo(Plan::new(), &[Switch::SignatureBrokenEs256], "id_token_signature").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_signed_with_the_clients_own_secret_is_refused() {
    let plan = Plan::new().authenticating("client_secret_basic", "a-fake-secret-of-some-length-000000");
    is_refused_before_userinfo(plan, &[Switch::SignatureHs256], "id_token_algorithm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_about_somebody_else_ends_the_sign_in() {
    is_refused(Plan::new(), &[Switch::UserinfoWrongSubject], "userinfo_subject").await;
    is_refused(Plan::new(), &[Switch::UserinfoMissingSubject], "userinfo_subject").await;
    is_refused(Plan::new(), &[Switch::UserinfoArray], "userinfo_invalid").await;
    is_refused(Plan::new(), &[Switch::UserinfoRefuses], "userinfo_invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_of_another_sign_in_is_refused() {
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenWrongNonce], "id_token_nonce").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenMissingNonce], "id_token_nonce").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_is_always_sent() {
    let stage = signs_in(Plan::new(), &[]).await;
    let request = stage.idp.requests_to(Endpoint::Authorize).pop().unwrap();
    assert!(request.parameter("nonce").is_some_and(|nonce| (43..=43).contains(&nonce.len())));
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_asked_for_by_scope_and_read_from_userinfo_or_the_id_token() {
    for (place, userinfo) in [(IdTokenClaims::OnlyUserinfo, "true"), (IdTokenClaims::AlsoIdToken, "false")] {
        let plan =
            Plan::new().provider(|provider| provider.id_token_claims = place).set("PROVIDER__MAIN__USERINFO", userinfo);
        let stage = signs_in(plan, &[]).await;
        let request = stage.idp.requests_to(Endpoint::Authorize).pop().unwrap();
        assert!(request.parameter("scope").unwrap().contains("email"));
        assert_eq!(stage.upstream.requests().pop().unwrap().headers["x-auth-request-email"], "alice@example.com");
        assert_eq!(stage.asked(Endpoint::Userinfo), usize::from(userinfo == "true"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_credentials_are_form_encoded_first() {
    let plan = Plan::new().authenticating("client_secret_basic", "fake:secret%41with+signs&more=1");
    let stage = signs_in(plan, &[]).await;
    assert_eq!(stage.idp.requests_to(Endpoint::Token).pop().unwrap().presented, dev_idp::Presented::SecretBasic);
}

#[tokio::test(flavor = "multi_thread")]
async fn harmless_oddities_of_the_token_answer_are_accepted() {
    for switch in [Switch::TokenTypeInverted, Switch::TokenWithoutExpiresIn, Switch::TokenExpiresInString] {
        signs_in(Plan::new(), &[switch]).await;
    }
    is_refused(Plan::new(), &[Switch::TokenAnswerNotJson], "token_response_invalid").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenMissing], "id_token_missing").await;
    is_refused_before_userinfo(Plan::new(), &[Switch::IdTokenWrongAccessTokenHash], "id_token_access_token_hash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_issuer_or_state_goes_no_further() {
    let check = async |switch, reason: &str| {
        let stage = is_refused(Plan::new(), &[switch], reason).await;
        assert_eq!(stage.asked(Endpoint::Token), 0, "{switch:?}: no token request");
    };
    check(Switch::AuthorizationWrongIssuer, "issuer_mismatch").await;
    check(Switch::AuthorizationMissingIssuer, "issuer_missing").await;
    check(Switch::AuthorizationWrongState, "transaction_missing").await;
    check(Switch::AuthorizationMissingState, "parameter_missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_document_of_another_issuer_starts_no_sign_in() {
    let mut stage = Stage::usual().await;
    stage.stop_gateway().await;
    stage.idp.set(Switch::DiscoveryWrongIssuer);
    stage.start_gateway().await;
    let reply = Visitor::new(&stage).get("/auth/login").await;
    assert_eq!(reply.refusal(), (503, "provider_metadata_invalid"));
    assert_eq!(stage.asked(Endpoint::Authorize), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change_just_before_signing_are_fetched_at_once() {
    let stage = signs_in(Plan::new(), &[Switch::KeysRotatedBeforeSigning]).await;
    assert!(stage.asked(Endpoint::Jwks) >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_replaced_since_the_last_sign_in_are_fetched_at_once() {
    let stage = Stage::usual().await;
    stage.signed_in("alice").await;
    let probes = "oauth2_idp_health_checks_total{idp=\"main\",result=\"success\"}";
    eventually("the one probe of this test ends", || async { stage.metric(probes).await >= 1.0 }).await;
    let before = stage.asked(Endpoint::Jwks);
    stage.idp.rotate_keys();
    stage.signed_in("bob").await;
    assert_eq!(stage.asked(Endpoint::Jwks), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_where_discovery_says_they_are() {
    let mut stage = Stage::usual().await;
    stage.stop_gateway().await;
    stage.idp.set(Switch::DiscoveryKeysElsewhere);
    stage.start_gateway().await;
    stage.signed_in("alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_pkce_is_used_safely_by_state_and_nonce() {
    let plan = || Plan::new();
    let switches = |more: &[Switch]| [&[Switch::DiscoveryWithoutPkce], more].concat();
    let stage = signs_in(plan(), &switches(&[])).await;
    let request = stage.idp.requests_to(Endpoint::Authorize).pop().unwrap();
    assert_eq!(request.parameter("code_challenge_method"), Some("S256"), "a challenge is sent all the same");
    is_refused_before_userinfo(plan(), &switches(&[Switch::IdTokenWrongNonce]), "id_token_nonce").await;
    is_refused(plan(), &switches(&[Switch::AuthorizationWrongState]), "transaction_missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_authentication_is_refused_where_a_fresh_one_was_asked_for() {
    let plan = || Plan::new().set("PROVIDER__MAIN__MAX_AGE", "5m");
    signs_in(plan(), &[]).await;
    is_refused_before_userinfo(plan(), &[Switch::IdTokenOldAuthTime], "id_token_auth_time").await;
    is_refused_before_userinfo(plan(), &[Switch::IdTokenMissingAuthTime], "id_token_auth_time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_brings_new_tokens_that_work() {
    let stage = Plan::new().set("PROVIDER__MAIN__OFFLINE_ACCESS", "true").start().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.clear_log();
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.status, 200);
    assert_eq!(stage.asked(Endpoint::Userinfo), 1, "userinfo was asked with the new token");
    stage.idp.set(Switch::RefreshWithoutIdToken);
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.status, 200);
}

async fn refresh_is_refused(switch: Switch, reason: &str) {
    let stage = Plan::new().set("PROVIDER__MAIN__OFFLINE_ACCESS", "true").start().await;
    let alice = stage.signed_in("alice").await;
    stage.idp.set(switch);
    stage.idp.clear_log();
    assert_eq!(alice.fetch(Method::POST, "/auth/refresh").await.header("x-portcullis-reason"), reason);
    assert_eq!(stage.asked(Endpoint::Userinfo), 0, "the new access token was not used");
    assert_eq!(alice.fetch(Method::GET, "/").await.status, 401, "the session is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_id_token_of_another_issuer_is_refused() {
    refresh_is_refused(Switch::RefreshIdTokenWrongIssuer, "id_token_issuer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_id_token_about_somebody_else_is_refused() {
    refresh_is_refused(Switch::RefreshIdTokenWrongSubject, "id_token_subject").await;
    refresh_is_refused(Switch::RefreshIdTokenWrongNonce, "id_token_nonce").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_id_token_is_checked_like_the_first() {
    refresh_is_refused(Switch::SignatureBrokenRs256, "id_token_signature").await;
    refresh_is_refused(Switch::SignatureNone, "id_token_algorithm").await;
    refresh_is_refused(Switch::IdTokenWrongAudience, "id_token_audience").await;
    refresh_is_refused(Switch::IdTokenExpired, "id_token_expired").await;
    refresh_is_refused(Switch::IdTokenMissingIssuedAt, "id_token_issued_at").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_hanging_provider_is_given_up_in_time() {
    let stage = Stage::usual().await;
    stage.idp.trouble(Endpoint::Token, Trouble::Hang);
    let alice = Visitor::new(&stage);
    let began = std::time::Instant::now();
    let reply = alice.sign_in("alice", "/").await;
    assert_eq!(reply.refusal(), (503, "provider_unreachable"));
    assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
    assert_eq!(alice.fetch(Method::GET, "/api/whoami").await.status, 401, "others are answered meanwhile");
}
