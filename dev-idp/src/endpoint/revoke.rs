//! Token revocation (RFC 7009): a refresh token takes its whole grant along, an unknown token is no error.

use http::StatusCode;

use crate::{
    endpoint::token::caller,
    provider::{Incoming, Provider},
    reply::{Refusal, Reply},
};

/// `POST /revoke`
pub(crate) fn revoke(provider: &Provider, incoming: &Incoming) -> Result<Reply, Refusal> {
    let client = caller(provider, incoming)?;
    let missing = Refusal::client("invalid_request", "there is no token");
    let token = incoming.form.value("token").ok_or(missing)?;
    provider.ledger().revoke(token, &client.id);
    Ok(Reply::empty(StatusCode::OK))
}
