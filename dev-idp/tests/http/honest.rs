//! The flow as it should be.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dev_idp::{Algorithm, Client, Endpoint, IdTokenClaims, Issuer, Person, Presented, Settings, Tls};
use reqwest::{
    StatusCode,
    header::{COOKIE, LOCATION, SET_COOKIE},
};
use serde_json::json;

use crate::relying_party::{CALLBACK, RelyingParty, VERIFIER, answered, callback_parameters, id_token};

#[tokio::test]
async fn discovery_names_the_endpoints_below_the_issuer() {
    let party = RelyingParty::start().await;
    let document = party.document(Endpoint::Discovery).await;
    assert_eq!(document["issuer"], party.idp.issuer());
    assert_eq!(document["token_endpoint"], party.idp.url(Endpoint::Token));
    assert_eq!(document["authorization_response_iss_parameter_supported"], true);
    assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
}

#[tokio::test]
async fn an_issuer_may_have_a_path_and_a_slash_at_its_end() {
    let settings = Settings { issuer: Issuer::Host("localhost/tenant/".to_owned()), ..Settings::default() };
    let party = RelyingParty::with(settings).await;
    let port = party.idp.address().port();
    assert_eq!(party.idp.issuer(), format!("http://localhost:{port}/tenant/"));
    let url = format!("http://127.0.0.1:{port}/tenant/.well-known/openid-configuration");
    let (status, document) = answered(party.http.get(url).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(document["jwks_uri"], format!("http://localhost:{port}/tenant/jwks"));
}

#[tokio::test]
async fn the_key_set_holds_every_kind_of_key_without_private_parts() {
    let party = RelyingParty::start().await;
    let keys = party.keys().await;
    let kinds: Vec<_> = keys
        .iter()
        .map(|key| format!("{} {}", key["use"].as_str().unwrap(), key["crv"].as_str().unwrap_or("RSA")))
        .collect();
    let expected =
        ["sig RSA", "sig RSA", "sig P-256", "sig P-256", "sig secp256k1", "sig Ed25519", "enc RSA", "enc P-256"];
    assert_eq!(kinds, expected);
    assert!(keys.iter().all(|key| key.get("d").is_none() && key["kid"].is_string()));
    assert!(keys[..6].iter().all(|key| key.get("alg").is_none()));
}

#[tokio::test]
async fn a_code_becomes_tokens_and_claims() {
    let party = RelyingParty::start().await;
    let callback = party.callback(&[]).await;
    assert_eq!(callback["state"], "the-state");
    assert_eq!(callback["iss"], party.idp.issuer());
    let (_, answer) = party.redeem(&callback["code"]).await;
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(300)));
    let token = id_token(&answer);
    assert_eq!(token.claims["nonce"], "the-nonce");
    assert_eq!(token.claims["aud"], "app");
    assert_eq!(token.claims["iss"], party.idp.issuer());
    assert!(token.claims["sid"].is_string());
    assert!(token.claims.get("auth_time").is_none() && token.claims.get("groups").is_none());
    let access = answer["access_token"].as_str().unwrap();
    let hash = digest(&SHA256, access.as_bytes());
    assert_eq!(token.claims["at_hash"], URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]));
    let (status, claims) = party.userinfo(access).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(claims["sub"], token.claims["sub"]);
    assert_eq!(claims["groups"], json!(["staff", "admins"]));
    assert_eq!(claims["https://example.com/roles"], json!(["admin", "editor"]));
    assert_eq!(claims["realm_access"]["roles"], json!(["admin", "editor"]));
    assert_eq!(claims["email_verified"], true);
}

#[tokio::test]
async fn every_algorithm_verifies_with_exactly_its_own_key() {
    let all = [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];
    for algorithm in all {
        let party = RelyingParty::with(Settings { algorithm, ..Settings::default() }).await;
        let token = id_token(&party.sign_in(&[]).await);
        assert_eq!(token.header["alg"], algorithm.name());
        let places = party.verifying_keys(&token).await;
        let ids: Vec<_> = party.keys().await.iter().map(|key| key["kid"].clone()).collect();
        assert_eq!(places.len(), 1, "{algorithm:?}");
        assert_eq!(token.header["kid"], ids[places[0]], "{algorithm:?}");
    }
}

#[tokio::test]
async fn clients_choose_their_own_algorithm() {
    let party = RelyingParty::start().await;
    party.idp.register(Client::public("app", CALLBACK).signed_with(Algorithm::Es256));
    assert_eq!(id_token(&party.sign_in(&[]).await).header["alg"], "ES256");
}

#[tokio::test]
async fn id_tokens_carry_claims_where_the_settings_say_so() {
    let settings = Settings { id_token_claims: IdTokenClaims::AlsoIdToken, ..Settings::default() };
    let party = RelyingParty::with(settings).await;
    let token = id_token(&party.sign_in(&[("login_hint", "carol")]).await);
    assert_eq!(token.claims["email"], "carol@example.com");
    assert_eq!(token.claims["email_verified"], false);
    assert_eq!(token.claims["groups"], json!([]));
}

#[tokio::test]
async fn the_time_of_authentication_is_told_when_max_age_is_asked() {
    let party = RelyingParty::start().await;
    let token = id_token(&party.sign_in(&[("max_age", "600")]).await);
    assert_eq!(token.claims["auth_time"], token.claims["iat"]);
}

#[tokio::test]
async fn the_login_page_signs_in_by_its_buttons() {
    let party = RelyingParty::start().await;
    let page = party.authorize(&[]).await;
    assert_eq!(page.status(), StatusCode::OK);
    let html = page.text().await.unwrap();
    assert!(html.contains("name=\"login\" value=\"bob\"") && html.contains("id=\"login-alice\""));
    let answer = press(&party, &html, ("login", "bob")).await;
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Secure"));
    let (_, tokens) = party.redeem(&callback_parameters(&answer)["code"]).await;
    assert_eq!(id_token(&tokens).claims["sub"], "subject-of-bob");
}

#[tokio::test]
async fn the_login_page_can_be_cancelled() {
    let party = RelyingParty::start().await;
    let html = party.authorize(&[]).await.text().await.unwrap();
    let answer = press(&party, &html, ("cancel", "yes")).await;
    assert_eq!(callback_parameters(&answer)["error"], "access_denied");
}

#[tokio::test]
async fn a_second_sign_in_is_silent_until_it_is_too_old_or_not_wanted() {
    let party = RelyingParty::start().await;
    let first = party.authorize(&[("login_hint", "alice")]).await;
    let cookie = first.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let again = async |changes: &[(&str, &str)]| {
        party.http.get(party.authorization_url(changes)).header(COOKIE, &cookie).send().await.unwrap()
    };
    let session = |tokens| id_token(&tokens).claims["sid"].clone();
    let (_, tokens) = party.redeem(&callback_parameters(&first)["code"]).await;
    let silent = again(&[("prompt", "none")]).await;
    let (_, more) = party.redeem(&callback_parameters(&silent)["code"]).await;
    assert_eq!(session(tokens), session(more));
    assert_eq!(again(&[("prompt", "login")]).await.status(), StatusCode::OK);
    assert_eq!(again(&[("max_age", "0")]).await.status(), StatusCode::OK);
    assert_eq!(again(&[("max_age", "60")]).await.status(), StatusCode::FOUND);
    party.idp.advance(std::time::Duration::from_secs(62));
    assert_eq!(again(&[("max_age", "60")]).await.status(), StatusCode::OK);
    party.idp.forget_sign_ons();
    assert_eq!(callback_parameters(&again(&[("prompt", "none")]).await)["error"], "login_required");
}

#[tokio::test]
async fn form_post_sends_the_answer_in_a_form() {
    let party = RelyingParty::start().await;
    let answer = party.authorize(&[("login_hint", "alice"), ("response_mode", "form_post")]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let html = answer.text().await.unwrap();
    assert!(html.contains("action=\"https://app.test/auth/callback?tenant=1\"") && html.contains("name=\"code\""));
}

#[tokio::test]
async fn secrets_go_by_basic_or_form_as_registered() {
    let party = RelyingParty::start().await;
    party.idp.register(Client::basic("basic", "fake:%+secret", CALLBACK));
    party.idp.register(Client::post("post", "fake:%+secret", CALLBACK));
    let code = party.code(&[("client_id", "basic")]).await;
    let grant = [("grant_type", "authorization_code"), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)];
    let form: Vec<_> = grant.into_iter().chain([("code", code.as_str())]).collect();
    let request = party.http.post(party.idp.url(Endpoint::Token)).form(&form);
    let (status, _) = answered(request.basic_auth("basic", Some("fake%3A%25%2Bsecret")).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let code = party.code(&[("client_id", "post")]).await;
    let secret = [("client_id", "post"), ("client_secret", "fake:%+secret"), ("code", code.as_str())];
    let form: Vec<_> = grant.into_iter().chain(secret).collect();
    assert_eq!(party.post(Endpoint::Token, &form).await.status(), StatusCode::OK);
    let records = party.idp.requests_to(Endpoint::Token);
    assert_eq!((records[0].presented, records[1].presented), (Presented::SecretBasic, Presented::SecretPost));
    assert_eq!(records[0].client.as_deref(), Some("basic"));
    assert_eq!(records[0].parameter("grant_type"), Some("authorization_code"));
    assert!(records[1].parameter("client_secret").is_none());
    assert_eq!(records[1].status, Some(200));
}

#[tokio::test]
async fn a_changed_person_shows_in_userinfo() {
    let party = RelyingParty::start().await;
    let tokens = party.sign_in(&[]).await;
    party.idp.enrol(Person::new("alice", "Adams").in_groups(&["retired"]));
    let (_, claims) = party.userinfo(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(claims["groups"], json!(["retired"]));
}

#[tokio::test]
async fn it_serves_tls() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pem = made.cert.pem();
    let tls = Tls { certificates_pem: pem.clone(), key_pem: made.signing_key.serialize_pem() };
    let issuer = Issuer::Host("localhost".to_owned());
    let idp = dev_idp::start(Settings { tls: Some(tls), issuer, ..Settings::default() }).await.unwrap();
    let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
    let answer = http.get(idp.url(Endpoint::Discovery)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(idp.issuer().starts_with("https://localhost:"));
}

/// Sends the form of a login page with one button pressed.
async fn press(party: &RelyingParty, html: &str, button: (&str, &str)) -> reqwest::Response {
    let action = html.split_once("action=\"").unwrap().1.split_once('"').unwrap().0.replace("&amp;", "&");
    let url = format!("{}{action}", party.idp.issuer());
    let answer = party.http.post(url).form(&[button]).send().await.unwrap();
    assert!(answer.headers().contains_key(LOCATION));
    answer
}
