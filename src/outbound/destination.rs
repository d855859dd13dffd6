//! Pure. Where an outgoing request may go: over https to a listed origin, or, in development, over http to this machine.
//! Only what is signed itself is also fetched over http from elsewhere.
//!
//! The list holds whole origins (scheme, host, port): another port of a listed host is another destination.

use url::{Host, Origin, Url};

/// Whether http, without TLS, is ever spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// Never.
    #[default]
    Refused,
    /// With this machine's own loopback addresses only: development mode.
    Loopback,
    /// With every listed origin: for revocation lists alone. They are signed and public, authorities publish them over
    /// http (RFC 5280 section 8), and an https of their own would have to be checked first.
    Anywhere,
}

impl PlainHttp {
    /// Whether that URL is https, or http that is allowed here.
    pub fn permits(self, url: &Url) -> bool {
        match url.scheme() {
            "https" => url.has_host(),
            "http" => match self {
                Self::Refused => false,
                Self::Loopback => is_loopback(url),
                Self::Anywhere => url.has_host(),
            },
            _ => false,
        }
    }
}

/// The origins that requests of one kind may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reachable(Vec<Origin>);

impl Reachable {
    /// The origins of those URLs.
    pub fn of<'a>(urls: impl IntoIterator<Item = &'a Url>) -> Self {
        let mut origins = Vec::new();
        for origin in urls.into_iter().map(Url::origin) {
            if origin.is_tuple() && !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        Self(origins)
    }

    /// Whether that URL is at one of them.
    pub fn contains(&self, url: &Url) -> bool {
        self.0.contains(&url.origin())
    }
}

/// Whether that name means this machine whatever a name server says (RFC 6761 section 6.3).
pub fn is_loopback_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_loopback_name(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own URLs")]

    use super::*;

    fn check(url: &str, in_production: bool, in_development: bool) {
        let url = Url::parse(url).unwrap();
        assert_eq!(PlainHttp::Refused.permits(&url), in_production, "{url}");
        assert_eq!(PlainHttp::Loopback.permits(&url), in_development, "{url}");
    }

    #[test]
    fn http_is_for_loopback_in_development_only() {
        check("https://op.example/", true, true);
        check("http://op.example/", false, false);
        check("http://127.0.0.1:8080/", false, true);
        check("http://127.9.9.9/", false, true);
        check("http://[::1]:8080/", false, true);
        check("http://localhost/", false, true);
        check("http://op.LOCALHOST./", false, true);
        check("http://localhost.example/", false, false);
        check("http://127.0.0.1.example/", false, false);
        check("http://169.254.169.254/", false, false);
        check("ftp://127.0.0.1/", false, false);
        check("file:///etc/passwd", false, false);
        check("data:text/plain,x", false, false);
    }

    #[test]
    fn what_is_signed_itself_comes_over_http_from_anywhere_but_by_no_other_way() {
        for (url, expected) in [
            ("https://crl.example/", true),
            ("http://crl.example/root.crl", true),
            ("http://127.0.0.1:8080/", true),
            ("ftp://crl.example/", false),
            ("file:///etc/passwd", false),
            ("ldap://crl.example/", false),
            ("data:text/plain,x", false),
        ] {
            assert_eq!(PlainHttp::Anywhere.permits(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn another_port_or_scheme_is_another_destination() {
        let listed = Url::parse("https://op.example/token").unwrap();
        let reachable = Reachable::of([&listed]);
        for (url, expected) in [
            ("https://op.example/userinfo", true),
            ("https://op.example:443/", true),
            ("https://op.example:8443/", false),
            ("http://op.example/", false),
            ("https://evil-op.example/", false),
            ("https://op.example.evil/", false),
            ("https://op.example@evil.example/", false),
        ] {
            assert_eq!(reachable.contains(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn an_opaque_origin_reaches_nothing() {
        let opaque = Url::parse("data:text/plain,x").unwrap();
        assert!(!Reachable::of([&opaque]).contains(&opaque));
    }
}
