//! Pure. Every reply we can give; the only place that picks statuses and headers.
//!
//! Invariants: a 200 to verify is made from an [`Allow`]; verify's replies have no body; every response that a browser
//! may see carries the security headers; no reply shows a cause, only a fixed text, a reason and the request id.

use bytes::Bytes;
use cookie::Cookie;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use url::Url;

use crate::{
    cors::{self, Grant},
    inbound::RequestId,
    pages::{
        self, FallbackNotice, Nonce, Page, SiteLook, View,
        policy::{Delivery, NO_PAGE},
    },
    reason::{Kind, Reason},
    verify::{Allow, identity},
};

/// What a handler answers.
#[derive(Debug)]
pub struct Answer {
    body: Body,
    cookies: Vec<Cookie<'static>>,
    reason: Option<Reason>,
    allow: Option<String>,
    retry_after: Option<u32>,
}

#[derive(Debug)]
enum Body {
    Allowed(identity::Headers, Vec<(HeaderName, HeaderValue)>),
    Refused(Reason),
    Redirect(StatusCode, Url),
    Page(Box<Page>),
    Json(Value),
    Conflict(Value),
    JsonError(Reason),
    Plain(StatusCode, &'static str, String),
    NoContent,
    Preflight(String),
}

/// What surrounds an answer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The request's id.
    pub request_id: &'a RequestId,
    /// 16 fresh random bytes for the page's style.
    pub nonce: [u8; 16],
    /// How pages look.
    pub look: &'a SiteLook,
    /// Whether the site is reached over https.
    pub https: bool,
    /// How browsers get to know the content security policy.
    pub csp: &'a Delivery,
    /// The other origin whose scripts may read it.
    pub shared_with: Option<Grant<'a>>,
    /// What is told to an administrator who came in by certificate.
    pub fallback: Option<&'a FallbackNotice>,
}

impl Answer {
    /// Verify's 200: the request may pass, and this is who it is.
    pub fn allowed(proof: &Allow, identity: identity::Headers) -> Self {
        let mut more = Vec::new();
        if let Some(admitted) = proof.who().certificate() {
            more.push((MODE, FALLBACK));
            let ends = admitted.ends_soon().and_then(|ends| HeaderValue::try_from(ends).ok());
            more.extend(ends.map(|ends| (CERTIFICATE_ENDS, ends)));
        }
        Self::of(Body::Allowed(identity, more), None)
    }

    /// Verify's refusal, for nginx: a status, a reason, nothing else.
    pub fn refused(reason: Reason) -> Self {
        Self::of(Body::Refused(reason), Some(reason))
    }

    /// Sends the browser on (302).
    pub fn redirect(to: Url) -> Self {
        Self::of(Body::Redirect(StatusCode::FOUND, to), None)
    }

    /// Sends the browser on after a form, by GET (303).
    pub fn see_other(to: Url) -> Self {
        Self::of(Body::Redirect(StatusCode::SEE_OTHER, to), None)
    }

    /// Shows a page; its status follows from it.
    pub fn page(page: Page) -> Self {
        let reason = page.reason();
        Self::of(Body::Page(Box::new(page)), reason)
    }

    /// 200 with JSON.
    pub fn json(value: Value) -> Self {
        Self::of(Body::Json(value), None)
    }

    /// 409 with JSON: somebody else was first, and this is how it is.
    pub fn conflict(value: Value) -> Self {
        Self::of(Body::Conflict(value), None)
    }

    /// A refusal, for scripts.
    pub fn json_error(reason: Reason) -> Self {
        Self::of(Body::JsonError(reason), Some(reason))
    }

    /// `{"status":"healthy"}` and nothing else.
    pub fn healthy() -> Self {
        Self::json(json!({"status": "healthy"}))
    }

    /// 204: taken, and nothing to say.
    pub const fn no_content() -> Self {
        Self::of(Body::NoContent, None)
    }

    /// 204: what scripts of another origin may send here; `methods` as `Allow` would list them.
    pub const fn preflight(methods: String) -> Self {
        Self::of(Body::Preflight(methods), None)
    }

    /// A line for the platform: 200 or 503.
    pub fn probe(ok: bool) -> Self {
        let (status, text) =
            if ok { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "draining\n") };
        Self::of(Body::Plain(status, "text/plain; charset=utf-8", text.to_owned()), None)
    }

    /// The metrics, in the OpenMetrics text format.
    pub fn metrics(text: String) -> Self {
        Self::of(Body::Plain(StatusCode::OK, METRICS_TYPE, text), None)
    }

    /// The same answer with a cookie set or taken away.
    #[must_use]
    pub fn with_cookie(mut self, cookie: Cookie<'static>) -> Self {
        self.cookies.push(cookie);
        self
    }

    /// The same answer with these cookies.
    #[must_use]
    pub fn with_cookies(mut self, cookies: impl IntoIterator<Item = Cookie<'static>>) -> Self {
        self.cookies.extend(cookies);
        self
    }

    /// The same answer with the methods that would do (405).
    #[must_use]
    pub fn allowing(mut self, methods: String) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The same answer, saying after how many seconds it is worth coming back.
    #[must_use]
    pub const fn retrying_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same answer, which is a refusal although it does not look like one.
    #[must_use]
    pub const fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Why it is a refusal, if it is one.
    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The status it will have.
    pub fn status(&self) -> StatusCode {
        match &self.body {
            Body::Allowed(..) | Body::Json(_) => StatusCode::OK,
            Body::Refused(reason) => verify_status(*reason),
            Body::Conflict(_) => StatusCode::CONFLICT,
            Body::Page(page) => page.reason().map_or(StatusCode::OK, status),
            Body::JsonError(reason) => status(*reason),
            Body::Redirect(status, _) | Body::Plain(status, ..) => *status,
            Body::NoContent | Body::Preflight(_) => StatusCode::NO_CONTENT,
        }
    }

    /// Writes verify's answer out: no body, and none of the headers that only browsers need.
    ///
    /// `emptied` is the request's own map. hyper keeps an answer's map for the connection's next request, so that no
    /// request but the first has to make one.
    pub fn for_nginx(self, mut emptied: HeaderMap) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = self.status();
        match self.body {
            Body::Allowed(identity, more) => {
                for (name, value) in identity.iter() {
                    emptied.insert(name, value.clone());
                }
                emptied.extend(more);
            }
            _ => emptied.extend(self.reason.map(reason_header)),
        }
        *response.headers_mut() = emptied;
        response
    }

    /// Writes the answer out.
    pub fn into_response(self, frame: &Frame<'_>) -> Response<Full<Bytes>> {
        let status = self.status();
        let shared_with = frame.shared_with.filter(|_| self.is_for_scripts());
        let mut response = match self.body {
            Body::Allowed(..) | Body::Refused(_) => return self.for_nginx(HeaderMap::new()),
            Body::Plain(_, kind, text) => return plain(status, kind, text),
            Body::Redirect(_, to) => redirect(&to),
            Body::Page(page) => html(&page, frame),
            Body::Json(value) | Body::Conflict(value) => json_body(&value),
            Body::JsonError(reason) => json_error(reason, frame.request_id),
            Body::NoContent => no_content(),
            Body::Preflight(methods) => preflight(&methods),
        };
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Some(reason) = self.reason {
            headers.extend([reason_header(reason)]);
            let seconds = self.retry_after.or_else(|| default_wait(reason));
            headers.extend(seconds.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))));
        }
        if let Some(Ok(methods)) = self.allow.as_deref().map(HeaderValue::from_str) {
            headers.insert(header::ALLOW, methods);
        }
        secure(headers, frame);
        if frame.fallback.is_some() {
            headers.insert(MODE, FALLBACK);
        }
        if let Some(grant) = shared_with {
            share(headers, grant);
        }
        for cookie in &self.cookies {
            if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
                headers.append(header::SET_COOKIE, value);
            }
        }
        response
    }

    /// What it is in a few words, for tests.
    #[cfg(test)]
    pub(crate) fn summary(&self) -> String {
        let status = self.status().as_u16();
        let reason = self.reason.map_or("", Reason::code);
        match &self.body {
            Body::Allowed(..) => format!("{status} allowed"),
            Body::Refused(_) => format!("{status} refused {reason}"),
            Body::Redirect(_, to) => format!("{status} {to}"),
            Body::Page(_) => format!("{status} page {reason}"),
            Body::Json(value) | Body::Conflict(value) => format!("{status} {value}"),
            Body::JsonError(_) => format!("{status} json {reason}"),
            Body::Plain(..) => format!("{status} plain"),
            Body::NoContent => format!("{status}"),
            Body::Preflight(methods) => format!("{status} {methods}"),
        }
    }

    /// Pages and redirects are for people; no script of another origin has any use for them.
    const fn is_for_scripts(&self) -> bool {
        matches!(self.body, Body::Json(_) | Body::JsonError(_) | Body::Preflight(_))
    }

    const fn of(body: Body, reason: Option<Reason>) -> Self {
        Self { body, cookies: Vec::new(), reason, allow: None, retry_after: None }
    }
}

/// The status of a refusal that a visitor sees.
pub const fn status(reason: Reason) -> StatusCode {
    match (reason, reason.kind()) {
        (Reason::MethodNotAllowed, _) => StatusCode::METHOD_NOT_ALLOWED,
        (Reason::BodyTooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (_, Kind::SignIn) => StatusCode::UNAUTHORIZED,
        (_, Kind::Forbidden) => StatusCode::FORBIDDEN,
        (_, Kind::BadRequest) => StatusCode::BAD_REQUEST,
        (_, Kind::NotFound) => StatusCode::NOT_FOUND,
        (_, Kind::TooMany) => StatusCode::TOO_MANY_REQUESTS,
        (_, Kind::ProviderDown | Kind::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Kind::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of a refusal that nginx sees: it passes on 401 and 403; 503 says that we cannot decide.
const fn verify_status(reason: Reason) -> StatusCode {
    match reason.kind() {
        Kind::SignIn => StatusCode::UNAUTHORIZED,
        Kind::Forbidden | Kind::BadRequest | Kind::NotFound => StatusCode::FORBIDDEN,
        Kind::TooMany | Kind::ProviderDown | Kind::Unavailable | Kind::Internal => StatusCode::SERVICE_UNAVAILABLE,
    }
}

const fn error_code(reason: Reason) -> &'static str {
    match reason.kind() {
        Kind::SignIn => "authentication_required",
        Kind::Forbidden => "forbidden",
        Kind::BadRequest => "bad_request",
        Kind::NotFound => "not_found",
        Kind::TooMany => "rate_limited",
        Kind::ProviderDown | Kind::Unavailable => "unavailable",
        Kind::Internal => "internal_error",
    }
}

const fn error_text(reason: Reason) -> &'static str {
    match reason.kind() {
        Kind::SignIn => "Please sign in.",
        Kind::Forbidden => "You may not do this.",
        Kind::BadRequest => "The request could not be understood.",
        Kind::NotFound => "There is nothing here.",
        Kind::TooMany => "Too many requests. Please wait as long as Retry-After says.",
        Kind::ProviderDown => "The identity provider cannot be reached. Please try again.",
        Kind::Unavailable => "We cannot answer just now. Please try again.",
        Kind::Internal => "Something went wrong on our side.",
    }
}

fn plain(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn redirect(to: &Url) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if let Ok(location) = HeaderValue::from_str(to.as_str()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    no_page(response.headers_mut());
    response
}

fn html(page: &Page, frame: &Frame<'_>) -> Response<Full<Bytes>> {
    let nonce = Nonce::new(frame.nonce);
    let view =
        View { nonce: &nonce, site: frame.look, request_id: frame.request_id.as_str(), fallback: frame.fallback };
    let rendered = pages::render(page, &view);
    let mut response = plain(StatusCode::OK, "text/html; charset=utf-8", rendered.html);
    let name = if frame.csp.report_only {
        header::CONTENT_SECURITY_POLICY_REPORT_ONLY
    } else {
        header::CONTENT_SECURITY_POLICY
    };
    let policy = frame.csp.completed(rendered.content_security_policy);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(name, policy);
    }
    if let Some(Ok(endpoints)) = frame.csp.endpoints().as_deref().map(HeaderValue::from_str) {
        response.headers_mut().insert(REPORTING_ENDPOINTS, endpoints);
    }
    response
}

fn no_content() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    no_page(response.headers_mut());
    response
}

fn preflight(methods: &str) -> Response<Full<Bytes>> {
    let mut response = no_content();
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(methods) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(cors::ALLOWED_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors::PREFLIGHT_SECONDS));
    response
}

/// Who asked decides whether they may read it, so a cache must not give it to anybody else.
fn share(headers: &mut HeaderMap, grant: Grant<'_>) {
    let Ok(origin) = HeaderValue::from_str(grant.origin()) else {
        return;
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(cors::EXPOSED_HEADERS));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
}

fn json_body(value: &Value) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::OK, "application/json", value.to_string());
    no_page(response.headers_mut());
    response
}

fn json_error(reason: Reason, request_id: &RequestId) -> Response<Full<Bytes>> {
    let mut response = json_body(&json!({
        "error": error_code(reason),
        "message": error_text(reason),
        "request_id": request_id.as_str(),
    }));
    if reason.kind() == Kind::SignIn {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"portcullis\""));
    }
    response
}

fn no_page(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(NO_PAGE));
}

const fn reason_header(reason: Reason) -> (HeaderName, HeaderValue) {
    (REASON, HeaderValue::from_static(reason.code()))
}

const fn default_wait(reason: Reason) -> Option<u32> {
    match reason.kind() {
        Kind::TooMany | Kind::Unavailable | Kind::ProviderDown => Some(RETRY_AFTER_SECONDS),
        Kind::SignIn | Kind::Forbidden | Kind::BadRequest | Kind::NotFound | Kind::Internal => None,
    }
}

fn secure(headers: &mut HeaderMap, frame: &Frame<'_>) {
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if frame.https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
}

/// Seconds in `Retry-After`, and after which a "try again" page asks again by itself.
pub const RETRY_AFTER_SECONDS: u32 = 5;
const REASON: HeaderName = HeaderName::from_static("x-portcullis-reason");
const MODE: HeaderName = HeaderName::from_static("x-portcullis-mode");
const FALLBACK: HeaderValue = HeaderValue::from_static("fallback");
const CERTIFICATE_ENDS: HeaderName = HeaderName::from_static("x-portcullis-certificate-ends");
const REPORTING_ENDPOINTS: HeaderName = HeaderName::from_static("reporting-endpoints");
const HSTS: &str = "max-age=31536000; includeSubDomains";
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const SECURITY_HEADERS: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn respond(answer: Answer) -> Response<Full<Bytes>> {
        delivered(answer, &Delivery { report_only: false, reports_to: None }, None)
    }

    fn delivered(answer: Answer, csp: &Delivery, shared_with: Option<Grant<'_>>) -> Response<Full<Bytes>> {
        let look = SiteLook { product: "Portcullis".into(), support: None };
        let request_id = RequestId::from_random([7; 16]);
        answer.into_response(&Frame {
            request_id: &request_id,
            nonce: [1; 16],
            look: &look,
            https: true,
            csp,
            shared_with,
            fallback: None,
        })
    }

    fn page() -> Page {
        Page::Error { reason: Reason::Internal, provider_error: None, next: pages::Next::Home(pages::Link::local("/")) }
    }

    #[test]
    fn verify_answers_nginx_with_what_nginx_passes_on() {
        for reason in Reason::ALL {
            let status = Answer::refused(*reason).status().as_u16();
            assert!(matches!(status, 401 | 403 | 503), "{reason:?} {status}");
        }
    }

    #[test]
    fn everything_a_browser_sees_carries_the_security_headers() {
        let script = [Answer::json_error(Reason::NoSession), Answer::healthy(), Answer::no_content()];
        for answer in script.into_iter().chain([Answer::page(page()), Answer::preflight("POST".into())]) {
            let response = respond(answer);
            for (name, value) in SECURITY_HEADERS {
                assert_eq!(response.headers()[name], value);
            }
            assert_eq!(response.headers()[header::STRICT_TRANSPORT_SECURITY], HSTS);
            assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        }
    }

    #[test]
    fn a_page_says_where_to_report_to_and_whether_that_is_all() {
        let check = |report_only, reports_to: Option<&str>, name, tail: &str, endpoints: Option<&str>| {
            let csp = Delivery { report_only, reports_to: reports_to.map(str::to_owned) };
            let response = delivered(Answer::page(page()), &csp, None);
            let policies = [header::CONTENT_SECURITY_POLICY, header::CONTENT_SECURITY_POLICY_REPORT_ONLY];
            assert_eq!(policies.iter().filter(|name| response.headers().contains_key(*name)).count(), 1);
            let policy = response.headers()[name].to_str().unwrap_or_default();
            assert!(policy.starts_with("default-src 'none'; ") && policy.ends_with(tail), "{policy}");
            let found = response.headers().get(REPORTING_ENDPOINTS).and_then(|value| value.to_str().ok());
            assert_eq!(found, endpoints);
        };
        let silent = "frame-ancestors 'none'";
        let reporting = "frame-ancestors 'none'; report-uri /auth/csp-report; report-to csp";
        let (path, endpoints) = (Some("/auth/csp-report"), Some("csp=\"/auth/csp-report\""));
        check(false, None, header::CONTENT_SECURITY_POLICY, silent, None);
        check(false, path, header::CONTENT_SECURITY_POLICY, reporting, endpoints);
        check(true, path, header::CONTENT_SECURITY_POLICY_REPORT_ONLY, reporting, endpoints);
    }

    #[test]
    fn who_must_wait_is_told_how_long() {
        let response = respond(Answer::json_error(Reason::StoreUnavailable));
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        assert_eq!(response.headers()[REASON], "store_unavailable");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let response = respond(Answer::json_error(Reason::RateLimited).retrying_after(42));
        assert_eq!(response.headers()[header::RETRY_AFTER], "42");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}
