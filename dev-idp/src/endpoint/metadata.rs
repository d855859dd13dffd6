//! Discovery (OpenID Connect Discovery 1.0) and the key set (RFC 7517).

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    endpoint::Endpoint,
    jws, keys,
    provider::Provider,
    reply::{Refusal, Reply},
    settings::Algorithm,
    switch::Switch,
};

/// The provider's description of itself.
pub(crate) fn discovery(provider: &Provider) -> Reply {
    if provider.is_on(Switch::DiscoveryGarbage) {
        return Reply::text(StatusCode::OK, "text/html; charset=utf-8", "<h1>Down for maintenance</h1>".to_owned());
    }
    if provider.is_on(Switch::DiscoveryOversized) {
        return Reply::text(StatusCode::OK, "application/json", " ".repeat(OVERSIZED_BYTES));
    }
    if provider.is_on(Switch::DiscoveryRedirects) {
        return Reply::redirect(&provider.url(Endpoint::Discovery));
    }
    let mut document = json!({
        "issuer": issuer(provider),
        "authorization_endpoint": provider.url(Endpoint::Authorize),
        "token_endpoint": provider.url(Endpoint::Token),
        "jwks_uri": format!("{}{}", provider.url(Endpoint::Jwks), provider.keys_suffix()),
        "revocation_endpoint": provider.url(Endpoint::Revoke),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms(provider),
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "scopes_supported": ["openid", "profile", "email", "groups", "offline_access"],
        "claims_supported": [
            "sub", "name", "given_name", "family_name", "preferred_username", "email", "email_verified", "groups",
            "https://example.com/roles", "realm_access", "auth_time", "sid",
        ],
        "authorization_response_iss_parameter_supported": true,
    });
    if !provider.is_on(Switch::DiscoveryWithoutPkce) {
        document["code_challenge_methods_supported"] = json!(["S256"]);
    }
    if !provider.is_on(Switch::DiscoveryWithoutUserinfo) {
        document["userinfo_endpoint"] = json!(provider.url(Endpoint::Userinfo));
    }
    if !provider.is_on(Switch::DiscoveryWithoutEndSession) {
        document["end_session_endpoint"] = json!(provider.url(Endpoint::EndSession));
    }
    Reply::json(StatusCode::OK, &document)
}

/// The public keys.
pub(crate) fn key_set(provider: &Provider) -> Result<Reply, Refusal> {
    let listing = jws::listing(&provider.switches());
    let mut keys: Vec<Value> = Vec::new();
    if provider.is_on(Switch::KeySetWithBrokenKeys) {
        keys.extend(keys::broken());
    }
    if provider.is_on(Switch::KeySetUnusable) {
        return Ok(Reply::json(StatusCode::OK, &json!({"keys": keys::broken()})));
    }
    let with_p384 = provider.uses(Algorithm::Es384);
    keys.extend(provider.keys()?.listed(listing, with_p384));
    if provider.is_on(Switch::KeySetWithEarlierKeys) {
        keys.extend(provider.earlier_keys()?.iter().flat_map(|set| set.listed(listing, with_p384)));
    }
    Ok(Reply::json(StatusCode::OK, &json!({"keys": keys})))
}

fn issuer(provider: &Provider) -> String {
    let suffix = if provider.is_on(Switch::DiscoveryWrongIssuer) { "INVALID" } else { "" };
    format!("{}{suffix}", provider.issuer)
}

fn algorithms(provider: &Provider) -> Vec<&'static str> {
    if provider.is_on(Switch::DiscoveryRs256Only) {
        return vec![Algorithm::Rs256.name()];
    }
    let announced = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa];
    let rare = provider.uses(Algorithm::Es384).then_some(Algorithm::Es384);
    announced.into_iter().chain(rare).map(Algorithm::name).collect()
}

/// More than any client should read.
const OVERSIZED_BYTES: usize = 8 * 1024 * 1024;
