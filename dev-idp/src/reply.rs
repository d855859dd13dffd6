//! Pure. Every reply the provider can give, and the refusals behind the unhappy ones.

use aws_lc_rs::error::Unspecified;
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY, WWW_AUTHENTICATE,
    },
};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::page::Page;

/// What goes out for a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer(Response<Full<Bytes>>),
    /// The connection is dropped without an answer.
    Dropped,
}

impl Reply {
    pub(crate) fn json(status: StatusCode, value: &Value) -> Self {
        Self::text(status, "application/json", value.to_string())
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        Self::text(status, "text/plain; charset=utf-8", String::new())
    }

    pub(crate) fn page(status: StatusCode, page: Page) -> Self {
        Self::text(status, "text/html; charset=utf-8", page.html)
            .with_header(CONTENT_SECURITY_POLICY, &page.security_policy)
            .with_header(REFERRER_POLICY, "no-referrer")
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::empty(StatusCode::FOUND).with_header(LOCATION, location)
    }

    pub(crate) fn text(status: StatusCode, content_type: &'static str, body: String) -> Self {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self::Answer(response)
    }

    /// Adds a header; a value that is none is left out.
    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let (Self::Answer(response), Ok(value)) = (&mut self, HeaderValue::from_str(value)) {
            response.headers_mut().append(name, value);
        }
        self
    }
}

/// Why a request is refused, in the form its caller understands.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// For a person whom we cannot send back: a page.
    Page(&'static str),
    /// For a client: an OAuth error (RFC 6749 section 5.2).
    Client { status: StatusCode, error: &'static str, description: &'static str },
    /// For the bearer of a token (RFC 6750 section 3).
    Bearer { status: StatusCode, error: &'static str },
    /// A finished reply, such as an error on its way to the redirect URI.
    Ready(Box<Reply>),
    /// The cryptography library refused.
    Internal,
}

impl From<Unspecified> for Refusal {
    fn from(Unspecified: Unspecified) -> Self {
        Self::Internal
    }
}

impl Refusal {
    pub(crate) const fn client(error: &'static str, description: &'static str) -> Self {
        Self::Client { status: StatusCode::BAD_REQUEST, error, description }
    }

    pub(crate) fn reply(self) -> Reply {
        match self {
            Self::Page(text) => Reply::page(StatusCode::BAD_REQUEST, Page::message("This request cannot go on", text)),
            Self::Client { status, error, description } => {
                let reply = Reply::json(status, &json!({"error": error, "error_description": description}));
                if status == StatusCode::UNAUTHORIZED {
                    return reply.with_header(WWW_AUTHENTICATE, "Basic realm=\"dev-idp\"");
                }
                reply
            }
            Self::Bearer { status, error } => Reply::json(status, &json!({"error": error}))
                .with_header(WWW_AUTHENTICATE, &format!("Bearer error=\"{error}\"")),
            Self::Ready(reply) => *reply,
            Self::Internal => Reply::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": "server_error"})),
        }
    }
}
