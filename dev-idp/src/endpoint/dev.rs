//! The controls, for the program form of the provider and loopback alone. Whoever reaches the port may use them, except
//! a page of another origin.
//!
//! `GET /dev/switch` · `POST|DELETE /dev/switch/NAME` · `POST|DELETE /dev/trouble/ENDPOINT[/KIND]` · `POST /dev/honest` ·
//! `POST /dev/rotate-keys` · `POST /dev/advance/SECONDS` · `POST /dev/forget-sign-ons` · `POST /dev/revoke-all` ·
//! `GET|DELETE /dev/log`

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header::ORIGIN};
use serde_json::json;

use crate::{
    endpoint::Endpoint,
    provider::{Incoming, Provider},
    reply::Reply,
    switch::Switch,
    trouble::Trouble,
};

/// Anything at or below `/dev/`; 404 for all else.
pub(crate) fn control(provider: &Provider, incoming: &Incoming) -> Reply {
    let Some(order) = incoming.path.strip_prefix(PREFIX) else {
        return Reply::empty(StatusCode::NOT_FOUND);
    };
    if foreign(&incoming.headers) {
        return Reply::empty(StatusCode::FORBIDDEN);
    }
    let words: Vec<_> = order.split('/').collect();
    obeyed(provider, &incoming.method, &words).unwrap_or_else(|| Reply::empty(StatusCode::NOT_FOUND))
}

/// Whether this path is a control, which is neither noted nor switched off.
pub(crate) fn is_control(path: &str) -> bool {
    path.starts_with(PREFIX)
}

fn obeyed(provider: &Provider, method: &Method, words: &[&str]) -> Option<Reply> {
    match (method.as_str(), words) {
        ("GET", ["switch"]) => {
            return Some(Reply::json(StatusCode::OK, &json!(provider.switches().names())));
        }
        ("GET", ["log"]) => {
            return Some(Reply::json(StatusCode::OK, &json!(provider.log.records())));
        }
        ("DELETE", ["log"]) => provider.log.clear(),
        ("POST", ["switch", name]) => provider.switches().set(Switch::named(name)?),
        ("DELETE", ["switch", name]) => provider.switches().clear(Switch::named(name)?),
        ("POST", ["trouble", endpoint, kind]) => {
            provider.troubles().set(Endpoint::named(endpoint)?, Trouble::named(kind)?);
        }
        ("DELETE", ["trouble", endpoint]) => provider.troubles().clear(Endpoint::named(endpoint)?),
        ("POST", ["honest"]) => provider.honest(),
        ("POST", ["rotate-keys"]) => provider.rotate_keys(),
        ("POST", ["advance", seconds]) => provider.clock.advance(Duration::from_secs(seconds.parse().ok()?)),
        ("POST", ["forget-sign-ons"]) => provider.ledger().forget_sign_ons(),
        ("POST", ["revoke-all"]) => provider.ledger().revoke_all(),
        _ => return None,
    }
    Some(Reply::empty(StatusCode::NO_CONTENT))
}

/// Whether a page of another origin sends this.
fn foreign(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    headers.contains_key(ORIGIN) || site.is_some_and(|site| site != b"none" && site != b"same-origin")
}

const PREFIX: &str = "/dev/";
