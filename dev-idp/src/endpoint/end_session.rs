//! RP-initiated logout: ends the browser's sign-on and returns to a registered address. Grants with `offline_access`
//! stay; a client that wants them gone revokes them.

use http::{StatusCode, header::SET_COOKIE};
use url::Url;

use crate::{
    endpoint::authorize::{set_cookie, sign_on_cookie},
    ledger::IssuedIdToken,
    page::Page,
    parameters::Parameters,
    provider::{Incoming, Provider},
    reply::{Refusal, Reply},
    settings::Client,
    switch::Switch,
};

/// `GET|POST /end_session`
pub(crate) fn end_session(provider: &Provider, incoming: &Incoming) -> Result<Reply, Refusal> {
    let parameters = incoming.query.clone().joined(incoming.form.clone());
    if parameters.repeated().is_some() {
        return Err(Refusal::Page("A parameter was sent twice."));
    }
    let hint = hinted(provider, &parameters)?;
    let client = client(provider, &parameters, hint.as_ref())?;
    let reply = match parameters.value("post_logout_redirect_uri") {
        None => Reply::page(StatusCode::OK, Page::message("Signed out", "You are signed out of the provider.")),
        Some(uri) => Reply::redirect(&return_location(provider, uri, client.as_ref(), parameters.value("state"))?),
    };
    if let Some(cookie) = sign_on_cookie(provider, &incoming.headers) {
        provider.ledger().sign_off(&cookie);
    }
    if let Some(issued) = hint {
        provider.ledger().end_session(&issued.session);
    }
    Ok(reply.with_header(SET_COOKIE, &set_cookie(provider, "")))
}

/// What the hint leads to; it must be an ID token issued here.
fn hinted(provider: &Provider, parameters: &Parameters) -> Result<Option<IssuedIdToken>, Refusal> {
    let Some(hint) = parameters.value("id_token_hint") else {
        return Ok(None);
    };
    let issued = provider.ledger().issued_id_token(hint).cloned();
    issued.map(Some).ok_or(Refusal::Page("The id_token_hint was not issued here."))
}

fn client(
    provider: &Provider,
    parameters: &Parameters,
    hint: Option<&IssuedIdToken>,
) -> Result<Option<Client>, Refusal> {
    let named = parameters.value("client_id");
    let hinted = hint.map(|issued| issued.client.as_str());
    match (named, hinted) {
        (Some(named), Some(hinted)) if named != hinted => {
            Err(Refusal::Page("The id_token_hint was issued to another client."))
        }
        _ => Ok(hinted.or(named).and_then(|id| provider.client(id))),
    }
}

fn return_location(
    provider: &Provider,
    uri: &str,
    client: Option<&Client>,
    state: Option<&str>,
) -> Result<String, Refusal> {
    let registered =
        client.is_some_and(|client| client.post_logout_redirect_uris.iter().any(|registered| registered == uri));
    if !registered {
        return Err(Refusal::Page("The post_logout_redirect_uri is not registered for a known client."));
    }
    let mut location = Url::parse(uri).map_err(|_| Refusal::Page("The registered address is no URL."))?;
    if let Some(state) = state.filter(|_| !provider.is_on(Switch::LogoutMissingState)) {
        let suffix = if provider.is_on(Switch::LogoutWrongState) { "_INVALID" } else { "" };
        location.query_pairs_mut().append_pair("state", &format!("{state}{suffix}"));
    }
    Ok(location.into())
}
