//! Userinfo (OpenID Connect Core 5.3): the claims of the granted scopes, for a bearer who uses the header and nothing
//! else (RFC 6750 section 2.1).

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    claims,
    log::authorization,
    provider::{Incoming, Provider},
    reply::{Refusal, Reply},
    settings::Person,
    switch::Switch,
};

/// `GET|POST /userinfo`
pub(crate) fn userinfo(provider: &Provider, incoming: &Incoming) -> Result<Reply, Refusal> {
    if ![Method::GET, Method::POST].contains(&incoming.method) {
        return Ok(Reply::empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    if incoming.query.value("access_token").is_some() || incoming.form.value("access_token").is_some() {
        return Err(Refusal::Bearer { status: StatusCode::BAD_REQUEST, error: "invalid_request" });
    }
    let token = authorization(&incoming.headers, "Bearer ").ok_or_else(invalid_token)?;
    if provider.is_on(Switch::UserinfoRefuses) {
        return Err(invalid_token());
    }
    let (grant, scopes) = provider.ledger().opened(token, provider.clock.now()).map_err(|_| invalid_token())?;
    let person = provider.person(&grant.login).ok_or_else(invalid_token)?;
    Ok(Reply::json(StatusCode::OK, &document(provider, &person, &scopes)))
}

fn document(provider: &Provider, person: &Person, scopes: &[String]) -> Value {
    let mut claims = claims::released(person, scopes);
    let suffix = if provider.is_on(Switch::UserinfoWrongSubject) { "invalid" } else { "" };
    claims.insert("sub".to_owned(), json!(format!("{}{suffix}", person.subject)));
    if provider.is_on(Switch::UserinfoMissingSubject) {
        claims.remove("sub");
    }
    if provider.is_on(Switch::UserinfoArray) {
        return json!([claims]);
    }
    Value::Object(claims)
}

const fn invalid_token() -> Refusal {
    Refusal::Bearer { status: StatusCode::UNAUTHORIZED, error: "invalid_token" }
}
