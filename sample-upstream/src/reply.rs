//! Pure. What the application answers to a request; every answer forbids caches to keep it, so that after sign-out the
//! back button shows nothing.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use serde_json::json;

use crate::{identity::identity, page, websocket};

/// A whole answer.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Answers a request. A 101 says that the connection becomes a WebSocket.
pub(crate) fn to(request: &Parts) -> Reply {
    match request.uri.path() {
        "/api/whoami" => whoami(request),
        "/login-required-of-its-own" => own_refusal(),
        "/ws" => websocket::handshake(request).unwrap_or_else(upgrade_required),
        page::SCRIPT_PATH => reply(StatusCode::OK, "text/javascript; charset=utf-8", page::SCRIPT),
        _ => page(request),
    }
}

/// Whether the application takes its time for this request.
pub(crate) fn is_slow(request: &Parts) -> bool {
    request.uri.path() == "/slow"
}

fn page(request: &Parts) -> Reply {
    let html = page::html(request.uri.path(), &identity(&request.headers));
    let mut page = reply(StatusCode::OK, "text/html; charset=utf-8", html);
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    page
}

fn whoami(request: &Parts) -> Reply {
    let json = json!(identity(&request.headers)).to_string();
    reply(StatusCode::OK, "application/json", json)
}

/// A scheme of its own, for which no browser opens a dialogue.
fn own_refusal() -> Reply {
    let mut refusal = reply(StatusCode::UNAUTHORIZED, "text/plain; charset=utf-8", "The application's own 401.\n");
    refusal
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Sample realm=\"the application's own\""));
    refusal
}

fn upgrade_required() -> Reply {
    let mut refusal = reply(StatusCode::UPGRADE_REQUIRED, "text/plain; charset=utf-8", "This is a WebSocket.\n");
    refusal.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    refusal
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use http::Request;

    use super::*;

    fn check(path: &str, expected: (u16, &str)) {
        let (request, ()) = Request::get(path).body(()).unwrap().into_parts();
        let reply = to(&request);
        let kind = reply.headers()[header::CONTENT_TYPE].to_str().unwrap();
        assert_eq!((reply.status().as_u16(), kind), expected, "{path}");
        assert_eq!(reply.headers()[header::CACHE_CONTROL], "no-store", "{path}");
    }

    #[test]
    fn each_path_has_its_answer_and_none_is_kept_by_caches() {
        check("/", (200, "text/html; charset=utf-8"));
        check("/deep/link?a=b", (200, "text/html; charset=utf-8"));
        check("/slow", (200, "text/html; charset=utf-8"));
        check("/api/whoami", (200, "application/json"));
        check("/sample-upstream.js", (200, "text/javascript; charset=utf-8"));
        check("/login-required-of-its-own", (401, "text/plain; charset=utf-8"));
        check("/ws", (426, "text/plain; charset=utf-8"));
    }
}
