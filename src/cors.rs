//! Pure. Which scripts of other origins may read our answers and change something: those of origins that the site lists.
//!
//! Invariant: an origin that is not listed, to the letter, gets no header of this protocol at all, so that its scripts
//! read nothing and its preflights fail. There is no wild card, and nothing here lets anybody in: who asks is decided by
//! the session cookie, which browsers send along within one registrable domain alone (`SameSite`). Fetch standard,
//! "CORS protocol".

use crate::{
    answer::Answer,
    inbound::Inbound,
    origin::Site,
    reason::Reason,
    route::{Endpoint, Prefix, Route},
};

/// An origin whose scripts may have the answer; there is one only for origins that the site lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a>(&'a str);

impl<'a> Grant<'a> {
    /// What an endpoint grants the page that asks, if anything.
    pub fn of(endpoint: Endpoint, site: &Site, origin: Option<&'a str>) -> Option<Self> {
        origin.filter(|origin| endpoint.is_shared() && site.shares_with(origin)).map(Self)
    }

    /// The origin, as the browser wrote it.
    pub const fn origin(self) -> &'a str {
        self.0
    }
}

/// The answer to a preflight.
///
/// # Errors
/// [`Reason::MethodNotAllowed`], as for everybody else who sends `OPTIONS`, where there is nothing to grant.
pub fn preflight(inbound: &Inbound, site: &Site, prefix: &Prefix) -> Result<Answer, Reason> {
    let granted = Grant::of(Endpoint::Preflight, site, inbound.origin());
    match granted {
        Some(_) if inbound.is_preflight() => Ok(Answer::preflight(Route::shared_methods(prefix, inbound.path()))),
        Some(_) | None => Err(Reason::MethodNotAllowed),
    }
}

/// What scripts of a listed origin may send beside what every page may.
pub const ALLOWED_HEADERS: &str = "Content-Type, X-Requested-With";
/// What they may read beside what every page may.
pub const EXPOSED_HEADERS: &str = "Retry-After, X-Portcullis-Reason";
/// How long a browser may remember a preflight's answer.
pub const PREFLIGHT_SECONDS: u32 = 600;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use http::{Method, Request};

    use super::*;
    use crate::{
        inbound::Listener,
        origin::{HostName, PublicUrl, SiteParts},
    };

    fn site() -> Site {
        Site::new(SiteParts {
            hosts: vec![HostName::parse("wiki.example.com").unwrap()],
            return_origins: vec![PublicUrl::parse("https://docs.example.com").unwrap()],
            cors_origins: vec![
                PublicUrl::parse("https://spa.example.com").unwrap(),
                PublicUrl::parse("https://Old.example.com:8443").unwrap(),
            ],
            ..SiteParts::new("main", PublicUrl::parse("https://app.example.com").unwrap())
        })
        .unwrap()
    }

    #[test]
    fn a_grant_is_for_listed_origins_to_the_letter() {
        let check = |origin: &str, expected: bool| {
            let granted = Grant::of(Endpoint::Check, &site(), Some(origin));
            assert_eq!(granted.map(Grant::origin), expected.then_some(origin), "{origin}");
        };
        check("https://spa.example.com", true);
        check("https://old.example.com:8443", true);
        for other in [
            "https://app.example.com",
            "https://wiki.example.com",
            "https://docs.example.com",
            "https://old.example.com",
            "https://spa.example.com:443",
            "https://spa.example.com/",
            "https://SPA.example.com",
            "http://spa.example.com",
            "https://spa.example.com.evil.example",
            "https://evil-spa.example.com",
            "https://spa.example.com@evil.example",
            "https://spa.example.com, https://evil.example",
            "null",
            "*",
            "",
        ] {
            check(other, false);
        }
        assert_eq!(Grant::of(Endpoint::Check, &site(), None), None);
    }

    #[test]
    fn only_answers_for_scripts_are_shared() {
        let origin = Some("https://spa.example.com");
        let check = |endpoint, expected| {
            assert_eq!(Grant::of(endpoint, &site(), origin).is_some(), expected, "{endpoint:?}");
        };
        check(Endpoint::Userinfo, true);
        check(Endpoint::Refresh, true);
        check(Endpoint::LogoutSubmitted, true);
        check(Endpoint::Challenge, true);
        check(Endpoint::Deny, true);
        check(Endpoint::Verify, false);
        check(Endpoint::Login, false);
        check(Endpoint::Callback, false);
        check(Endpoint::Logout, false);
        check(Endpoint::CspReport, false);
        check(Endpoint::Metrics, false);
    }

    #[test]
    fn a_preflight_is_answered_for_listed_origins_alone() {
        let check = |path: &str, origins: &[&str], method: Option<&str>, expected: Result<&str, Reason>| {
            let mut request = Request::builder().method(Method::OPTIONS).uri(path);
            for origin in origins {
                request = request.header("origin", *origin);
            }
            if let Some(method) = method {
                request = request.header("access-control-request-method", method);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let inbound = Inbound::new(Listener::Nginx, true, parts);
            let answer = preflight(&inbound, &site(), &Prefix::parse("/auth").unwrap());
            let summary = answer.map(|answer| answer.summary());
            assert_eq!(summary.as_deref().map_err(|reason| *reason), expected, "{path} {origins:?}");
        };
        let refused = Err(Reason::MethodNotAllowed);
        let listed = "https://spa.example.com";
        check("/auth/refresh", &[listed], Some("POST"), Ok("204 POST"));
        check("/auth/check", &[listed], Some("DELETE"), Ok("204 GET, POST"));
        check("/auth/logout", &[listed], Some("GET"), Ok("204 POST"));
        check("/auth/refresh", &["https://evil.example"], Some("POST"), refused);
        check("/auth/refresh", &[listed, listed], Some("POST"), refused);
        check("/auth/refresh", &[], Some("POST"), refused);
        check("/auth/refresh", &[listed], None, refused);
    }
}
