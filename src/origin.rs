//! Pure. Origins, hosts, sites, and the one rule for where a browser may be sent back to.
//!
//! Invariant: a [`ReturnTarget`] is an absolute URL whose origin is the site's own or a listed one, whatever was
//! asked for (RFC 9700 section 4.11). URLs are parsed as browsers do (WHATWG), never by looking at prefixes.

use std::fmt;

use url::{Host, Position, Url};

/// The longest return target that is looked at; anything longer is the landing page.
pub const RETURN_TARGET_BYTES: usize = 4_096;
/// How often a return target is decoded in search of another origin.
const DECODING_DEPTH: usize = 4;

/// All sites. No host is of two.
#[derive(Clone, Debug)]
pub struct Sites(Vec<Site>);

impl Sites {
    /// Gathers them.
    pub const fn new(sites: Vec<Site>) -> Self {
        Self(sites)
    }

    /// The site of a host, as nginx chose it.
    pub fn of_host(&self, host: &str) -> Option<&Site> {
        self.0.iter().find(|site| site.has_host(host))
    }

    /// The site of that name.
    pub fn named(&self, name: &str) -> Option<&Site> {
        self.0.iter().find(|site| site.name == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Site> {
        self.0.iter()
    }

    /// Whether browsers reach every one of them over https.
    pub fn are_https(&self) -> bool {
        self.0.iter().all(Site::is_https)
    }
}

/// The hosts that share one sign-in and one cookie.
#[derive(Clone, Debug)]
pub struct Site {
    name: String,
    providers: Vec<String>,
    public_url: Url,
    hosts: Vec<HostName>,
    return_origins: Vec<url::Origin>,
    shared_with: Vec<String>,
    cookie_domain: Option<String>,
    landing: Url,
    error_url: Option<Url>,
}

/// What a site is made from.
#[derive(Clone, Debug)]
pub struct SiteParts {
    /// The site's name in the settings.
    pub name: String,
    /// The names of the providers that people sign in with here.
    pub providers: Vec<String>,
    /// Where browsers reach it: scheme, host, port, and nothing else.
    pub public_url: PublicUrl,
    /// Further hosts of the site; the public URL's own is always one.
    pub hosts: Vec<HostName>,
    /// Further origins that a browser may be sent back to.
    pub return_origins: Vec<PublicUrl>,
    /// Other origins whose scripts may ask the gateway as the site's own do.
    pub cors_origins: Vec<PublicUrl>,
    /// The domain that the session cookie is for, where the site spans several hosts.
    pub cookie_domain: Option<String>,
    /// Where a sign-in ends that did not say where to go.
    pub landing: String,
    /// Where a failed sign-in is sent instead of our own page.
    pub error_url: Option<String>,
}

impl SiteParts {
    /// A site of one host, without anything that has a default.
    pub fn new(name: impl Into<String>, public_url: PublicUrl) -> Self {
        Self {
            name: name.into(),
            providers: Vec::new(),
            public_url,
            hosts: Vec::new(),
            return_origins: Vec::new(),
            cors_origins: Vec::new(),
            cookie_domain: None,
            landing: "/".to_owned(),
            error_url: None,
        }
    }
}

impl Site {
    /// Puts a site together.
    ///
    /// # Errors
    /// [`SiteError`] when the landing page or the error page is not on an origin of the site.
    pub fn new(parts: SiteParts) -> Result<Self, SiteError> {
        let public_url = parts.public_url.0;
        let mut hosts = parts.hosts;
        hosts.extend(public_url.host_str().and_then(HostName::parse));
        let mut site = Self {
            name: parts.name,
            providers: parts.providers,
            landing: public_url.clone(),
            public_url,
            hosts,
            return_origins: parts.return_origins.iter().map(|url| url.0.origin()).collect(),
            shared_with: parts.cors_origins.iter().map(|url| url.0.origin().ascii_serialization()).collect(),
            cookie_domain: parts.cookie_domain,
            error_url: None,
        };
        let on_site = |text: &str| site.allowed(text);
        let landing = on_site(&parts.landing).ok_or(SiteError::Landing)?;
        let error_url = match parts.error_url {
            Some(text) => Some(on_site(&text).ok_or(SiteError::ErrorUrl)?),
            None => None,
        };
        site.landing = landing;
        site.error_url = error_url;
        Ok(site)
    }

    /// The site's name in the settings.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the providers that people sign in with here.
    pub fn providers(&self) -> &[String] {
        &self.providers
    }

    /// The URL of one of the gateway's own pages on this site.
    pub fn page(&self, path: &str) -> Url {
        let mut url = self.public_url.clone();
        url.set_path(path);
        url
    }

    /// How a target on one of the site's hosts is named in `rd`: a path on the public URL's own host, else a URL.
    pub fn url_on(&self, host: &str, target: &str) -> String {
        if self.is_main_host(host) {
            return target.to_owned();
        }
        let port = self.public_url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{host}{port}{target}", self.public_url.scheme())
    }

    /// Whether that host is the public URL's own, where sign-ins begin and end.
    pub fn is_main_host(&self, host: &str) -> bool {
        self.public_url.host_str() == Some(host)
    }

    /// Whether browsers reach the site over https.
    fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }

    /// The domain that the session cookie is for; none means this host alone.
    pub fn cookie_domain(&self) -> Option<&str> {
        self.cookie_domain.as_deref()
    }

    /// Where a failed sign-in is sent instead of our own page.
    pub fn error_url(&self) -> Option<&Url> {
        self.error_url.as_ref()
    }

    /// Where a sign-in ends that did not say where to go.
    pub fn landing(&self) -> ReturnTarget {
        ReturnTarget(self.landing.clone())
    }

    /// Whether a request for that host, as nginx chose it, is for this site.
    pub fn has_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own.0 == host)
    }

    /// Whether that `Origin` header is one of the site's own.
    pub fn has_origin(&self, origin: &str) -> bool {
        Url::parse(origin).is_ok_and(|url| self.is_own(&url))
    }

    /// Whether that `Origin` header is, to the letter, one whose scripts may ask as the site's own do.
    pub fn shares_with(&self, origin: &str) -> bool {
        self.shared_with.iter().any(|listed| listed == origin)
    }

    /// The one return-target rule: where a browser that asked for `wanted` is sent.
    pub fn return_target(&self, wanted: Option<&str>) -> ReturnTarget {
        wanted.and_then(|text| self.allowed(text)).map_or_else(|| self.landing(), ReturnTarget)
    }

    fn allowed(&self, text: &str) -> Option<Url> {
        if text.is_empty() || text.len() > RETURN_TARGET_BYTES {
            return None;
        }
        let url = self.resolve(text)?;
        let mut decoded = text.to_owned();
        for _ in 0..DECODING_DEPTH {
            let next = percent_decoded(&decoded);
            if next == decoded {
                return Some(url);
            }
            self.resolve(&next)?;
            decoded = next;
        }
        Some(url)
    }

    fn resolve(&self, text: &str) -> Option<Url> {
        let relative = text.starts_with(['/', '\\']);
        let absolute = text.starts_with("https://") || text.starts_with("http://");
        if !(relative || absolute) {
            return None;
        }
        let url = self.public_url.join(text).ok()?;
        let bare = url.username().is_empty() && url.password().is_none();
        (bare && self.is_allowed_origin(&url)).then_some(url)
    }

    fn is_allowed_origin(&self, url: &Url) -> bool {
        self.is_own(url) || self.return_origins.contains(&url.origin())
    }

    /// Whether a URL is on one of the site's hosts, by the public URL's scheme and port.
    fn is_own(&self, url: &Url) -> bool {
        url.scheme() == self.public_url.scheme()
            && url.port_or_known_default() == self.public_url.port_or_known_default()
            && url.host_str().is_some_and(|host| self.has_host(host))
    }
}

/// Why the parts do not make a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// The landing page is elsewhere.
    #[error("landing must be a path, or a URL on an origin of the site")]
    Landing,
    /// The error page is elsewhere.
    #[error("error_url must be a path, or a URL on an origin of the site")]
    ErrorUrl,
}

/// Where a browser is sent back to: an absolute URL on an origin that is ours or listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTarget(Url);

impl ReturnTarget {
    /// The URL itself.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Path, query and fragment, for keeping it in few bytes.
    pub fn path_and_rest(&self) -> &str {
        &self.0[Position::BeforePath..]
    }
}

/// Scheme, host and port of something browsers reach; no path, query, fragment or user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// Reads `https://app.example.com[:port]`; http is for loopback alone.
    ///
    /// # Errors
    /// [`PublicUrlError`] says which of the rules it breaks.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let url = Url::parse(text).map_err(|_| PublicUrlError::NotAUrl)?;
        if text.contains('*') {
            return Err(PublicUrlError::Wildcard);
        }
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
            return Err(PublicUrlError::Scheme);
        }
        if url.host_str().is_some_and(|host| host.ends_with('.')) {
            return Err(PublicUrlError::RootedHost);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(PublicUrlError::MoreThanAnOrigin);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(PublicUrlError::MoreThanAnOrigin);
        }
        Ok(Self(url))
    }

    /// The URL itself.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Whether it is http.
    pub fn is_plain_http(&self) -> bool {
        self.0.scheme() == "http"
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

/// Why a text is not a public URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// It does not parse.
    #[error("is not a URL")]
    NotAUrl,
    /// Neither https nor http, or without a host.
    #[error("must be https://HOST[:PORT]")]
    Scheme,
    /// It has a path, a query, a fragment or a user.
    #[error("must be an origin: no path, query, fragment or user")]
    MoreThanAnOrigin,
    /// Its host ends in a dot: browsers send another `Host` and `Origin` without it.
    #[error("must name its host without a dot at the end")]
    RootedHost,
    /// It has a star.
    #[error("must name one origin; wild cards are refused")]
    Wildcard,
}

/// Whether a URL's host is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A host as nginx gives it in `$host`: lower case, no port, no trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(String);

impl HostName {
    /// Reads a host; none if it is not one, or carries a port.
    pub fn parse(text: &str) -> Option<Self> {
        let host = Host::parse(text).ok()?.to_string();
        // Parsed again, because a name may end in one of Unicode's other full stops, and is another without it.
        let name = Host::parse(host.trim_end_matches('.')).ok()?;
        Some(Self(name.to_string()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text without its percent-encoding; what is no UTF-8 then becomes U+FFFD.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex_value(*high) << 4 | hex_value(*low));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use proptest::prelude::*;

    use super::*;

    fn site() -> Site {
        Site::new(SiteParts {
            hosts: vec![HostName::parse("wiki.example.com").unwrap()],
            return_origins: vec![PublicUrl::parse("https://docs.example.net:8443").unwrap()],
            landing: "/home".into(),
            ..SiteParts::new("main", PublicUrl::parse("https://app.example.com").unwrap())
        })
        .unwrap()
    }

    const LANDING: &str = "https://app.example.com/home";

    #[test]
    fn deep_links_survive() {
        let check = |wanted: &str, expected: &str| {
            let target = site().return_target(Some(wanted));
            assert_eq!(target.url().as_str(), expected, "{wanted}");
        };
        check("/a/b?c=d&e=f#g", "https://app.example.com/a/b?c=d&e=f#g");
        check("/?u=//x/../y#//z", "https://app.example.com/?u=//x/../y#//z");
        check("/proxy/https://x.example/", "https://app.example.com/proxy/https://x.example/");
        check("/a/%2fb", "https://app.example.com/a/%2fb");
        check("/?next=%2f%2fevil.example", "https://app.example.com/?next=%2f%2fevil.example");
        check("https://wiki.example.com/x", "https://wiki.example.com/x");
        check("https://docs.example.net:8443/x", "https://docs.example.net:8443/x");
        check("https://APP.example.com:443/x", "https://app.example.com/x");
    }

    #[test]
    fn whatever_leads_elsewhere_becomes_the_landing_page() {
        for wanted in [
            "",
            "//evil.example",
            "///evil.example",
            "////evil.example/",
            "/\\evil.example",
            "\\\\evil.example",
            "/\\/evil.example",
            "/\t/evil.example",
            "/%09/evil.example",
            "//%09/evil.example",
            "/%2fevil.example",
            "/%5cevil.example",
            "/%252fevil.example",
            "/%25252fevil.example",
            "%2f%2fevil.example",
            "https:evil.example",
            "https:/evil.example",
            "https:///evil.example/",
            "http:evil.example",
            "https:\\\\evil.example",
            "https://evil.example",
            "http://app.example.com/",
            "https://app.example.com.evil.example/",
            "https://evil-app.example.com/",
            "https://app.example.com@evil.example/",
            "https://app.example.com:8443/",
            "https://user:pass@app.example.com/",
            "https://evil.example\\.app.example.com/",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "//\u{ff0f}evil.example",
            "https://docs.example.net/",
            "https://wiki.example.com:444/",
            "/\r\n/evil.example",
            "\u{2028}//evil.example",
            "evil.example",
            "?x",
            "#x",
            "https://app.example.com%2eevil.example/",
            "//app.example.com@evil.example",
            " //evil.example",
        ] {
            let target = site().return_target(Some(wanted));
            assert_eq!(target.url().as_str(), LANDING, "{wanted:?}");
        }
    }

    #[test]
    fn a_target_over_the_limit_becomes_the_landing_page() {
        let long = format!("/{}", "a".repeat(RETURN_TARGET_BYTES));
        assert_eq!(site().return_target(Some(&long)).url().as_str(), LANDING);
    }

    #[test]
    fn origins_are_compared_whole() {
        let check = |origin: &str, expected: bool| {
            assert_eq!(site().has_origin(origin), expected, "{origin}");
        };
        check("https://app.example.com", true);
        check("https://wiki.example.com", true);
        check("http://app.example.com", false);
        check("https://app.example.com:8443", false);
        check("https://evil.example", false);
        check("null", false);
        check("", false);
    }

    #[test]
    fn public_urls_are_origins() {
        let check = |text: &str, expected: Option<PublicUrlError>| {
            assert_eq!(PublicUrl::parse(text).err(), expected, "{text}");
        };
        check("https://app.example.com", None);
        check("http://127.0.0.1:8080", None);
        check("https://app.example.com/x", Some(PublicUrlError::MoreThanAnOrigin));
        check("https://app.example.com.", Some(PublicUrlError::RootedHost));
        check("https://app.example.com.:8443/", Some(PublicUrlError::RootedHost));
        check("https://app.example.com\u{3002}", Some(PublicUrlError::RootedHost));
        check("https://*.example.com", Some(PublicUrlError::Wildcard));
        check("ftp://app.example.com", Some(PublicUrlError::Scheme));
        check("app.example.com", Some(PublicUrlError::NotAUrl));
    }

    #[test]
    fn a_host_has_no_trailing_dot_however_it_is_written() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(HostName::parse(text).as_ref().map(HostName::as_str), expected, "{text}");
        };
        check("Wiki.example.com", Some("wiki.example.com"));
        check("wiki.example.com.", Some("wiki.example.com"));
        check("wiki.example.com\u{3002}", Some("wiki.example.com"));
        check("wiki.example.com\u{3002}.", Some("wiki.example.com"));
        check("127.0.0.1.", Some("127.0.0.1"));
        check("[::1]", Some("[::1]"));
        for text in ["", ".", "\u{3002}", "app.example.com:443", "a b", "a/b", "wiki.example.9.."] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn any_target_ends_on_an_origin_that_is_ours_or_listed(
            wanted in "(https?:)?[/\\\\]{0,4}(%2f|%5c|%09|%25|\t|\u{ff0f})?[a-z.@:\\\\/%0-9]{0,30}(evil\\.example|app\\.example\\.com)?\\PC{0,20}"
        ) {
            let site = site();
            let url = site.return_target(Some(&wanted)).url().clone();
            let host = url.host_str().unwrap();
            prop_assert!(matches!(host, "app.example.com" | "wiki.example.com" | "docs.example.net"));
            prop_assert_eq!(url.scheme(), "https");
            prop_assert!(url.username().is_empty());
            let again = Url::parse(url.as_str()).unwrap();
            prop_assert_eq!(again.origin(), url.origin());
        }

        #[test]
        fn any_text_at_all_ends_on_an_origin_that_is_ours_or_listed(wanted in any::<String>()) {
            let url = site().return_target(Some(&wanted)).url().clone();
            prop_assert!(matches!(url.host_str(), Some("app.example.com" | "wiki.example.com" | "docs.example.net")));
        }
    }
}
