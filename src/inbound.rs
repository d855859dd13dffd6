//! Pure. What came in: the peer, whether it is believed, and the facts nginx states about the original request.
//!
//! The only reader of request headers. Invariant: a fact is read only from a trusted peer, stands exactly once, and
//! has no underscore twin; the client's address is the one nginx saw, never one out of `X-Forwarded-For`.

use std::{fmt, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts};

pub use self::peer::{Peer, Trust};
use crate::{origin::Site, reason::Reason};

mod peer;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// nginx: verify, and the public pages that it passes on.
    Nginx,
    /// The upstream's server side: check, userinfo, refresh.
    Application,
    /// The platform: liveness, readiness, metrics.
    Ops,
}

/// One request, read once.
#[derive(Debug)]
pub struct Inbound {
    listener: Listener,
    trusted: bool,
    reads_certificates: bool,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Inbound {
    /// Takes a request's head over.
    pub fn new(listener: Listener, trusted: bool, parts: Parts) -> Self {
        let Parts { method, uri, headers, .. } = parts;
        Self { listener, trusted, reads_certificates: false, method, uri, headers }
    }

    /// The same, where the listener is one on which nginx passes on client certificates.
    #[must_use]
    pub const fn reading_certificates(mut self, reads: bool) -> Self {
        self.reads_certificates = reads;
        self
    }

    /// Its header map, emptied, to be used again.
    pub fn into_emptied_headers(mut self) -> HeaderMap {
        self.headers.clear();
        self.headers
    }

    /// The listener it came in by.
    pub const fn listener(&self) -> Listener {
        self.listener
    }

    /// Whether the peer is believed.
    pub const fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// The method of the request to the gateway; nginx's subrequests are always GET.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The path of the request to the gateway.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The query's parameters, decoded.
    pub fn query(&self) -> Parameters<'_> {
        Parameters(self.uri.query().unwrap_or_default())
    }

    /// The facts that nginx states about the original request.
    ///
    /// # Errors
    /// [`Reason::UntrustedPeer`] or [`Reason::FactsMalformed`].
    pub fn facts(&self) -> Result<Facts<'_>, Reason> {
        if !self.trusted {
            return Err(Reason::UntrustedPeer);
        }
        Stated::read(&self.headers).and_then(Stated::facts).ok_or(Reason::FactsMalformed)
    }

    /// Whether the listener is one on which nginx passes on client certificates.
    pub const fn reads_certificates(&self) -> bool {
        self.reads_certificates
    }

    /// The client certificate that nginx was shown; nothing on a listener that is not made for them.
    ///
    /// # Errors
    /// [`Reason::UntrustedPeer`], or [`Reason::FactsMalformed`] if something of it stands twice.
    pub fn certificate(&self) -> Result<Option<Shown<'_>>, Reason> {
        if !self.reads_certificates {
            return Ok(None);
        }
        if !self.trusted {
            return Err(Reason::UntrustedPeer);
        }
        let (verify, escaped) = (self.certificate_fact(&CLIENT_VERIFY)?, self.certificate_fact(&CLIENT_CERTIFICATE)?);
        if verify.is_none() && escaped.is_none() {
            return Ok(None);
        }
        Ok(Some(Shown { verify: verify.unwrap_or_default(), escaped: escaped.unwrap_or_default() }))
    }

    fn certificate_fact(&self, name: &HeaderName) -> Result<Option<&str>, Reason> {
        let hyphened = |found: &HeaderName| found.as_str().replace('_', "-") == name.as_str();
        let mut found = self.headers.iter().filter(|(found, _)| hyphened(found));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((found, value)), None) if found == name => text(value).map(Some).ok_or(Reason::FactsMalformed),
            _ => Err(Reason::FactsMalformed),
        }
    }

    /// Whether the request changes something, as far as its method says, or opens a WebSocket, which no method tells.
    pub fn opens_or_changes(&self, method: &Method) -> bool {
        let opens = [&header::SEC_WEBSOCKET_KEY, &header::SEC_WEBSOCKET_VERSION, &header::UPGRADE];
        !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || self.carries_any(opens.into_iter())
    }

    /// The request id that nginx gave, if it is a believable one.
    pub fn request_id(&self) -> Option<RequestId> {
        self.fact(&REQUEST_ID).and_then(RequestId::parse).filter(|_| self.trusted)
    }

    /// The request id that nginx gave, for log lines; empty without one.
    pub fn request_id_text(&self) -> &str {
        self.fact(&REQUEST_ID).filter(|text| self.trusted && is_request_id(text)).unwrap_or_default()
    }

    /// The reason that verify gave for the refusal which nginx now asks an answer for.
    pub fn refusal(&self) -> Option<Reason> {
        self.fact(&REASON).and_then(Reason::from_code)
    }

    /// Whether the client sent any of these headers.
    pub fn carries_any<'a>(&self, mut names: impl Iterator<Item = &'a HeaderName>) -> bool {
        names.any(|name| self.headers.contains_key(name))
    }

    /// Values of all cookies with such a name, in order.
    pub fn cookies<'a>(&'a self, is_named_so: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = &'a str> {
        self.all_cookies().filter(move |(name, _)| is_named_so(name)).map(|(_, value)| value)
    }

    /// Names and values of all cookies whose names start so, in order; as many as fit into a head.
    pub fn cookies_starting<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all_cookies().filter(move |(found, _)| found.starts_with(prefix))
    }

    /// Each cookie is read by itself: browsers send what scripts and sibling hosts wrote into theirs, in any bytes.
    fn all_cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .filter_map(|pair| str::from_utf8(pair.trim_ascii()).ok()?.split_once('='))
    }

    /// The `User-Agent`, as bytes; empty if there is none.
    pub fn user_agent(&self) -> &[u8] {
        self.headers.get(header::USER_AGENT).map_or(&[], |value| value.as_bytes())
    }

    /// What the caller would like to be answered.
    pub fn caller(&self) -> Caller {
        let says = |name: &str, value: &str| {
            self.headers.get(name).is_some_and(|found| found.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
        };
        if says("x-requested-with", "xmlhttprequest") || self.headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            return Caller::Script;
        }
        match self.headers.get("sec-fetch-mode").map(HeaderValue::as_bytes) {
            Some(b"navigate") if !self.lands_in_a_frame() => Caller::Navigation,
            None if self.accepts_html() => Caller::Navigation,
            Some(_) | None => Caller::Script,
        }
    }

    fn lands_in_a_frame(&self) -> bool {
        let destination = self.headers.get("sec-fetch-dest").map(HeaderValue::as_bytes);
        !matches!(destination, None | Some(b"document"))
    }

    /// Whether the browser says that this is for a page it already shows: a picture, a script, a frame, or what it
    /// fetches because that page asks for it ahead of any person.
    fn is_part_of_a_page(&self) -> bool {
        let mode = self.headers.get("sec-fetch-mode").map(HeaderValue::as_bytes);
        mode.is_some_and(|mode| mode != b"navigate") || self.lands_in_a_frame() || self.is_speculative()
    }

    fn accepts_html(&self) -> bool {
        self.headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|accept| accept.contains("text/html"))
    }

    /// The origin of the page that asks, where the browser names exactly one.
    pub fn origin(&self) -> Option<&str> {
        self.fact(&header::ORIGIN)
    }

    /// Whether a browser asks what a script of another origin may send.
    pub fn is_preflight(&self) -> bool {
        self.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// The body's media type without its parameters; empty where it is not said.
    pub fn media_type(&self) -> &str {
        let said = self.fact(&header::CONTENT_TYPE).unwrap_or_default();
        said.split(';').next().unwrap_or_default().trim()
    }

    /// Whether the browser fetches ahead of a person who may never come (`Sec-Purpose`).
    pub fn is_speculative(&self) -> bool {
        self.headers.contains_key("sec-purpose") || self.headers.contains_key("purpose")
    }

    /// Where the browser says that a request comes from.
    pub fn provenance(&self) -> Provenance<'_> {
        if let Some(site) = self.headers.get(&SEC_FETCH_SITE) {
            return match site.as_bytes() {
                b"same-origin" => Provenance::SameOrigin,
                b"none" => Provenance::UserTyped,
                _ if self.is_part_of_a_page() => self.origin_or(Provenance::Embedded),
                _ => self.origin_or(Provenance::Elsewhere),
            };
        }
        self.origin_or(Provenance::Unknown)
    }

    fn origin_or<'a>(&'a self, otherwise: Provenance<'a>) -> Provenance<'a> {
        match self.headers.get(header::ORIGIN) {
            Some(origin) => origin.to_str().map_or(Provenance::Elsewhere, Provenance::Origin),
            None => otherwise,
        }
    }

    /// One fact, as text, if it stands exactly once.
    fn fact(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => text(value),
            _ => None,
        }
    }
}

/// The facts that every request needs, found in one pass over its head.
#[derive(Debug, Default)]
struct Stated<'a> {
    exposure: Option<&'a HeaderValue>,
    method: Option<&'a HeaderValue>,
    scheme: Option<&'a HeaderValue>,
    host: Option<&'a HeaderValue>,
    target: Option<&'a HeaderValue>,
    client: Option<&'a HeaderValue>,
}

impl<'a> Stated<'a> {
    /// Nothing at all if a fact stands twice or has a twin.
    fn read(headers: &'a HeaderMap) -> Option<Self> {
        let mut stated = Self::default();
        for (name, value) in headers {
            let Some(fact) = fact_named(name.as_str()) else { continue };
            if name.as_str().contains('_') {
                return None;
            }
            if stated.place_of(fact).is_some_and(|place| place.replace(value).is_some()) {
                return None;
            }
        }
        Some(stated)
    }

    fn place_of(&mut self, fact: &str) -> Option<&mut Option<&'a HeaderValue>> {
        match fact {
            "exposure" => Some(&mut self.exposure),
            "method" => Some(&mut self.method),
            "scheme" => Some(&mut self.scheme),
            "host" => Some(&mut self.host),
            "uri" => Some(&mut self.target),
            "client-address" => Some(&mut self.client),
            _ => None,
        }
    }

    /// Nothing at all if one is missing or makes no sense.
    fn facts(self) -> Option<Facts<'a>> {
        Some(Facts {
            exposure: match self.exposure?.as_bytes() {
                b"internal" => Exposure::Internal,
                b"public" => Exposure::Public,
                _ => return None,
            },
            method: Method::from_bytes(self.method?.as_bytes()).ok()?,
            https: match self.scheme?.as_bytes() {
                b"https" => true,
                b"http" => false,
                _ => return None,
            },
            host: text(self.host?)?,
            target: text(self.target?)?,
            client: text(self.client?)?.parse::<IpAddr>().ok()?.to_canonical(),
        })
    }
}

/// What nginx says about the original request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Which kind of location nginx passed it on from.
    pub exposure: Exposure,
    /// The original method.
    pub method: Method,
    /// Whether the client came over https.
    pub https: bool,
    /// The host that nginx chose the server by.
    pub host: &'a str,
    /// The raw request target.
    pub target: &'a str,
    /// The address nginx saw.
    pub client: IpAddr,
}

/// What nginx says of the client's certificate, word for word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown<'a> {
    /// `$ssl_client_verify`: `SUCCESS`, `NONE`, or `FAILED:` and why.
    pub verify: &'a str,
    /// `$ssl_client_escaped_cert`: the PEM text, percent-encoded; empty without a certificate.
    pub escaped: &'a str,
}

/// Which kind of nginx location a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// A location that clients cannot reach.
    Internal,
    /// The public location of the gateway's pages.
    Public,
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A person, in a tab.
    Navigation,
    /// A script, an API client, a frame, an image, a WebSocket.
    Script,
}

/// Where a browser says that a request comes from (Fetch metadata, `Origin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance<'a> {
    /// A page of the very origin it goes to.
    SameOrigin,
    /// The address bar or a bookmark: no page at all.
    UserTyped,
    /// A page of that origin.
    Origin(&'a str),
    /// A page of another origin, which sent the browser here.
    Elsewhere,
    /// A page of another origin, for something on itself.
    Embedded,
    /// The browser does not say.
    Unknown,
}

impl Provenance<'_> {
    /// Whether the browser vouches that a page of that site sent the request.
    pub fn is_page_of(self, site: &Site) -> bool {
        match self {
            Self::SameOrigin => true,
            Self::Origin(origin) => site.has_origin(origin),
            Self::UserTyped | Self::Elsewhere | Self::Embedded | Self::Unknown => false,
        }
    }

    /// Whether the browser says that a page of another site fetches it for itself; only such a request has an `Origin`
    /// that is not ours, where the method is GET.
    pub fn is_embedded_by_others(self, site: &Site) -> bool {
        match self {
            Self::Embedded => true,
            Self::Origin(origin) => !site.has_origin(origin),
            Self::SameOrigin | Self::UserTyped | Self::Elsewhere | Self::Unknown => false,
        }
    }

    /// Whether the browser vouches that a page of that site sent the request, or one of an origin that the site lists.
    pub fn may_change(self, site: &Site) -> bool {
        self.is_page_of(site) || matches!(self, Self::Origin(origin) if site.shares_with(origin))
    }

    /// Whether the browser says that no page of that site sent the request. A page with `Referrer-Policy: no-referrer`,
    /// as ours have, calls its origin "null".
    pub fn is_foreign_to(self, site: &Site) -> bool {
        match self {
            Self::SameOrigin | Self::UserTyped | Self::Unknown | Self::Origin("null") => false,
            Self::Origin(origin) => !site.has_origin(origin),
            Self::Elsewhere | Self::Embedded => true,
        }
    }
}

/// The name of one request, in logs and pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Takes letters, digits and hyphens, at most [`REQUEST_ID_BYTES`] of them.
    pub fn parse(text: &str) -> Option<Self> {
        is_request_id(text).then(|| Self(text.to_owned()))
    }

    /// Makes one of 16 random bytes, as nginx does.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(hex(bytes))
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The parameters of a query or a form.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a>(&'a str);

impl<'a> Parameters<'a> {
    /// Reads a query or a form body.
    pub const fn of_form(text: &'a str) -> Self {
        Self(text)
    }

    /// The one value of a parameter, if it is there.
    ///
    /// # Errors
    /// [`Reason::ParameterRepeated`] if it stands twice, [`Reason::ParameterMalformed`] if it does not decode.
    pub fn once(&self, name: &str) -> Result<Option<String>, Reason> {
        let mut values = self.pairs().filter(|(found, _)| found == name);
        let first = values.next().map(|(_, value)| value.into_owned());
        if values.next().is_some() {
            return Err(Reason::ParameterRepeated);
        }
        match first {
            Some(value) if value.contains(char::REPLACEMENT_CHARACTER) => Err(Reason::ParameterMalformed),
            value => Ok(value),
        }
    }

    /// All of it, as it came.
    pub const fn text(&self) -> &'a str {
        self.0
    }

    /// Every name and value, decoded.
    pub fn pairs(&self) -> url::form_urlencoded::Parse<'a> {
        url::form_urlencoded::parse(self.0.as_bytes())
    }
}

/// The longest request id that is taken over.
pub const REQUEST_ID_BYTES: usize = 64;

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

fn is_request_id(text: &str) -> bool {
    let fits = (1..=REQUEST_ID_BYTES).contains(&text.len());
    fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What follows the prefix of all facts in a header's name, be the prefix written with hyphens or underscores.
fn fact_named(name: &str) -> Option<&str> {
    let (prefix, fact) = name.split_at_checked(FACT_PREFIX.len())?;
    let hyphened = prefix.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
    hyphened.eq(FACT_PREFIX.bytes()).then_some(fact)
}

/// A value as text; nginx passes a target's raw bytes on, so it need not be ASCII.
fn text(value: &HeaderValue) -> Option<&str> {
    str::from_utf8(value.as_bytes()).ok()
}

const FACT_PREFIX: &str = "x-portcullis-";
static REQUEST_ID: HeaderName = HeaderName::from_static("x-portcullis-request-id");
static CLIENT_VERIFY: HeaderName = HeaderName::from_static("x-ssl-client-verify");
static CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-ssl-client-cert");
static REASON: HeaderName = HeaderName::from_static("x-portcullis-reason");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests;
