//! Pure. Which endpoint a request is for, and what that endpoint asks of it.
//!
//! Who may reach an endpoint, by which method, and whether it needs proof of its origin, are data here; no handler
//! repeats them. A new endpoint is one variant and one row.

use http::Method;

use crate::{
    inbound::{Exposure, Facts, Listener, Provenance},
    origin::{Site, Sites},
    reason::Reason,
};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// May this request pass?
    Verify,
    /// What to tell a visitor whom verify did not know.
    Challenge,
    /// What to tell a visitor whom verify refused, or could not decide about.
    Deny,
    /// What to tell somebody whose client certificate nginx itself refused.
    CertificateRefused,
    /// Begins a sign-in.
    Login,
    /// Where the provider sends the browser back to.
    Callback,
    /// Ends the session; from another site's link only after asking.
    Logout,
    /// Ends the session, asked by a form or a script of our own.
    LogoutSubmitted,
    /// Where the provider's logout sends the browser back to.
    SignedOut,
    /// Fresh tokens.
    Refresh,
    /// How long the session lives.
    Check,
    /// The same, and counts as use.
    CheckActive,
    /// Who the user is.
    Userinfo,
    /// What a script of another origin may send.
    Preflight,
    /// What browsers report against our pages.
    CspReport,
    /// A sign of life for anyone.
    Health,
    /// The process runs.
    Livez,
    /// The process takes requests.
    Readyz,
    /// Metrics for Prometheus.
    Metrics,
    /// How the fallback stands.
    FallbackStatus,
    /// A record of the fallback's switches.
    FallbackThrown,
    /// Tries a certificate out and lets nobody in.
    FallbackDrill,
}

impl Endpoint {
    /// The label in logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Challenge => "challenge",
            Self::Deny => "deny",
            Self::CertificateRefused => "certificate-refused",
            Self::Login => "login",
            Self::Callback => "callback",
            Self::Logout | Self::LogoutSubmitted => "logout",
            Self::SignedOut => "signed-out",
            Self::Refresh => "refresh",
            Self::Check | Self::CheckActive => "check",
            Self::Userinfo => "userinfo",
            Self::Preflight => "preflight",
            Self::CspReport => "csp-report",
            Self::Health => "health",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
            Self::Metrics => "metrics",
            Self::FallbackStatus | Self::FallbackThrown => "fallback",
            Self::FallbackDrill => "fallback-drill",
        }
    }
}

impl Endpoint {
    /// What becomes of a request's body, known before it is read.
    pub const fn body(self) -> Body {
        if matches!(self, Self::CspReport | Self::FallbackThrown | Self::FallbackDrill) {
            Body::Taken
        } else {
            Body::Discarded
        }
    }

    /// Whether scripts of the origins that a site lists may have its answers.
    pub const fn is_shared(self) -> bool {
        matches!(
            self,
            Self::Check
                | Self::CheckActive
                | Self::Userinfo
                | Self::Refresh
                | Self::LogoutSubmitted
                | Self::Preflight
                | Self::Challenge
                | Self::Deny
        )
    }
}

impl Endpoint {
    /// How its use is limited.
    pub const fn limited(self) -> Limited {
        match self {
            Self::Verify
            | Self::Challenge
            | Self::Deny
            | Self::CertificateRefused
            | Self::Livez
            | Self::Readyz
            | Self::Metrics
            | Self::FallbackStatus
            | Self::FallbackThrown
            | Self::FallbackDrill => Limited::Not,
            Self::Login => Limited::AsSignIn,
            Self::Callback => Limited::WhenItFails,
            Self::Refresh => Limited::AsRefresh,
            Self::Logout
            | Self::LogoutSubmitted
            | Self::SignedOut
            | Self::Check
            | Self::CheckActive
            | Self::Userinfo
            | Self::Preflight
            | Self::CspReport
            | Self::Health => Limited::AsEverything,
        }
    }
}

/// How an endpoint's use is limited; the figures are settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Not at all: nginx asks, or the platform.
    Not,
    /// Together with all public pages.
    AsEverything,
    /// As a sign-in that begins.
    AsSignIn,
    /// As a refresh of that session.
    AsRefresh,
    /// Only once it has failed.
    WhenItFails,
}

/// Who may reach an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// nginx itself, from locations that clients cannot reach.
    Internal,
    /// Visitors, through nginx.
    Public,
    /// Anybody at all who can connect.
    Anyone,
}

/// What a request must show of where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    None,
    /// That a page of our own, or of an origin that the site lists, sent it: it changes something.
    SameOrigin,
    /// That the browser does not name another site's page. No proof; it keeps the noise of other sites' pages out.
    NotForeign,
    /// That no page of another site fetches it as a picture, a frame or the like: it counts against the address.
    NotEmbedded,
}

/// What becomes of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It is read within the limits and dropped.
    Discarded,
    /// The endpoint gets it.
    Taken,
}

/// An endpoint, and what it asks of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Who may reach it.
    pub reach: Reach,
    /// What it must show.
    pub proof: Proof,
}

impl Route {
    /// Finds the route of a request.
    ///
    /// # Errors
    /// [`Reason::NotFound`], or [`Reason::MethodNotAllowed`] where another method would do.
    pub fn of(listener: Listener, prefix: &Prefix, method: &Method, path: &str) -> Result<Self, Reason> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let mut reason = Reason::NotFound;
        for row in rows(listener, prefix, path) {
            if row.method == *method {
                return Ok(row.route);
            }
            reason = Reason::MethodNotAllowed;
        }
        Err(reason)
    }

    /// The methods that a path takes, as `Allow` lists them (RFC 9110 section 10.2.1); a preflight is not for everybody.
    pub fn methods(listener: Listener, prefix: &Prefix, path: &str) -> String {
        methods_of(rows(listener, prefix, path))
    }

    /// The methods by which scripts of the origins that a site lists may ask for a path.
    pub fn shared_methods(prefix: &Prefix, path: &str) -> String {
        methods_of(rows(Listener::Nginx, prefix, path).filter(|row| row.route.endpoint.is_shared()))
    }

    /// Whether a request that came through nginx may have this route, and for which site it is.
    ///
    /// # Errors
    /// [`Reason::NotFound`] for an internal route asked for from outside, [`Reason::HostUnknown`],
    /// [`Reason::CrossSite`].
    pub fn admit<'s>(
        &self,
        facts: &Facts<'_>,
        sites: &'s Sites,
        provenance: Provenance<'_>,
    ) -> Result<&'s Site, Reason> {
        if self.reach == Reach::Internal && facts.exposure != Exposure::Internal {
            return Err(Reason::NotFound);
        }
        let site = sites.of_host(facts.host).ok_or(Reason::HostUnknown)?;
        let proven = match self.proof {
            Proof::None => true,
            Proof::SameOrigin => provenance.may_change(site),
            Proof::NotForeign => !provenance.is_foreign_to(site),
            Proof::NotEmbedded => !provenance.is_embedded_by_others(site),
        };
        if proven { Ok(site) } else { Err(Reason::CrossSite) }
    }
}

/// The path that the gateway's public pages are under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Reads `/auth`, `/api/v1/auth`, or `/` for none.
    pub fn parse(text: &str) -> Option<Self> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let segment = |segment: &str| {
            !segment.is_empty()
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
                && !matches!(segment, "." | "..")
        };
        let rooted = path.is_empty() || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment));
        (rooted && text.starts_with('/')).then(|| Self(path.to_owned()))
    }

    /// The path of one of our pages, such as `/login`.
    pub fn path(&self, page: &str) -> String {
        format!("{}{page}", self.0)
    }

    fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.0.as_str())
    }
}

fn rows(listener: Listener, prefix: &Prefix, path: &str) -> impl Iterator<Item = &'static Row> {
    let local = match listener {
        Listener::Ops => Some(path),
        Listener::Nginx | Listener::Application => prefix.strip(path),
    };
    let is_its = move |row: &&Row| local.is_some_and(|path| row.is_for(path)) && row.listeners.contains(&listener);
    ROUTES.iter().filter(is_its)
}

fn methods_of(rows: impl Iterator<Item = &'static Row>) -> String {
    let asked = rows.filter(|row| row.route.endpoint != Endpoint::Preflight);
    asked.map(|row| row.method.as_str()).collect::<Vec<_>>().join(", ")
}

struct Row {
    listeners: &'static [Listener],
    method: Method,
    path: &'static str,
    route: Route,
}

impl Row {
    /// A path that ends in `/*` is for one more segment, whatever it is called.
    fn is_for(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(parent) => path.strip_prefix(parent).is_some_and(|name| !name.is_empty() && !name.contains('/')),
            None => self.path == path,
        }
    }
}

const fn row(
    listeners: &'static [Listener],
    method: Method,
    path: &'static str,
    endpoint: Endpoint,
    reach: Reach,
    proof: Proof,
) -> Row {
    Row { listeners, method, path, route: Route { endpoint, reach, proof } }
}

const NGINX: &[Listener] = &[Listener::Nginx];
const BOTH: &[Listener] = &[Listener::Nginx, Listener::Application];
const OPS: &[Listener] = &[Listener::Ops];

const ROUTES: &[Row] = &[
    row(NGINX, Method::GET, "/verify", Endpoint::Verify, Reach::Internal, Proof::None),
    row(NGINX, Method::GET, "/challenge", Endpoint::Challenge, Reach::Internal, Proof::None),
    row(NGINX, Method::GET, "/deny", Endpoint::Deny, Reach::Internal, Proof::None),
    row(NGINX, Method::GET, "/certificate-refused", Endpoint::CertificateRefused, Reach::Internal, Proof::None),
    row(NGINX, Method::GET, "/login", Endpoint::Login, Reach::Public, Proof::NotEmbedded),
    row(NGINX, Method::GET, "/callback", Endpoint::Callback, Reach::Public, Proof::None),
    row(NGINX, Method::GET, "/callback/*", Endpoint::Callback, Reach::Public, Proof::None),
    row(NGINX, Method::GET, "/logout", Endpoint::Logout, Reach::Public, Proof::None),
    row(NGINX, Method::POST, "/logout", Endpoint::LogoutSubmitted, Reach::Public, Proof::SameOrigin),
    row(NGINX, Method::GET, "/signed-out", Endpoint::SignedOut, Reach::Public, Proof::None),
    row(BOTH, Method::POST, "/refresh", Endpoint::Refresh, Reach::Public, Proof::SameOrigin),
    row(BOTH, Method::GET, "/check", Endpoint::Check, Reach::Public, Proof::None),
    row(BOTH, Method::POST, "/check", Endpoint::CheckActive, Reach::Public, Proof::SameOrigin),
    row(BOTH, Method::GET, "/userinfo", Endpoint::Userinfo, Reach::Public, Proof::None),
    row(NGINX, Method::OPTIONS, "/logout", Endpoint::Preflight, Reach::Public, Proof::None),
    row(NGINX, Method::OPTIONS, "/refresh", Endpoint::Preflight, Reach::Public, Proof::None),
    row(NGINX, Method::OPTIONS, "/check", Endpoint::Preflight, Reach::Public, Proof::None),
    row(NGINX, Method::OPTIONS, "/userinfo", Endpoint::Preflight, Reach::Public, Proof::None),
    row(NGINX, Method::POST, "/csp-report", Endpoint::CspReport, Reach::Public, Proof::NotForeign),
    row(BOTH, Method::GET, "/health", Endpoint::Health, Reach::Anyone, Proof::None),
    row(OPS, Method::GET, "/livez", Endpoint::Livez, Reach::Anyone, Proof::None),
    row(OPS, Method::GET, "/readyz", Endpoint::Readyz, Reach::Anyone, Proof::None),
    row(OPS, Method::GET, "/metrics", Endpoint::Metrics, Reach::Anyone, Proof::None),
    row(OPS, Method::GET, "/fallback", Endpoint::FallbackStatus, Reach::Anyone, Proof::None),
    row(OPS, Method::POST, "/fallback", Endpoint::FallbackThrown, Reach::Anyone, Proof::None),
    row(OPS, Method::POST, "/fallback/drill", Endpoint::FallbackDrill, Reach::Anyone, Proof::None),
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::origin::{PublicUrl, SiteParts};

    fn find(listener: Listener, method: &Method, path: &str) -> Result<Endpoint, Reason> {
        let prefix = Prefix::parse("/auth").unwrap();
        Route::of(listener, &prefix, method, path).map(|route| route.endpoint)
    }

    #[test]
    fn each_listener_has_its_own_endpoints() {
        let check = |listener, method: &Method, path: &str, expected| {
            assert_eq!(find(listener, method, path), expected, "{path}");
        };
        check(Listener::Nginx, &Method::GET, "/auth/verify", Ok(Endpoint::Verify));
        check(Listener::Nginx, &Method::HEAD, "/auth/verify", Ok(Endpoint::Verify));
        check(Listener::Nginx, &Method::POST, "/auth/verify", Err(Reason::MethodNotAllowed));
        check(Listener::Nginx, &Method::GET, "/auth/logout", Ok(Endpoint::Logout));
        check(Listener::Nginx, &Method::POST, "/auth/logout", Ok(Endpoint::LogoutSubmitted));
        check(Listener::Nginx, &Method::GET, "/auth/verify/", Err(Reason::NotFound));
        check(Listener::Nginx, &Method::GET, "/authverify", Err(Reason::NotFound));
        check(Listener::Nginx, &Method::GET, "/verify", Err(Reason::NotFound));
        check(Listener::Nginx, &Method::GET, "/auth/callback", Ok(Endpoint::Callback));
        check(Listener::Nginx, &Method::GET, "/auth/callback/partners", Ok(Endpoint::Callback));
        check(Listener::Nginx, &Method::GET, "/auth/callback/", Err(Reason::NotFound));
        check(Listener::Nginx, &Method::GET, "/auth/callback/a/b", Err(Reason::NotFound));
        check(Listener::Nginx, &Method::GET, "/auth/callbacks", Err(Reason::NotFound));
        check(Listener::Nginx, &Method::POST, "/auth/csp-report", Ok(Endpoint::CspReport));
        check(Listener::Nginx, &Method::GET, "/auth/csp-report", Err(Reason::MethodNotAllowed));
        check(Listener::Nginx, &Method::OPTIONS, "/auth/check", Ok(Endpoint::Preflight));
        check(Listener::Nginx, &Method::OPTIONS, "/auth/login", Err(Reason::MethodNotAllowed));
        check(Listener::Application, &Method::OPTIONS, "/auth/check", Err(Reason::MethodNotAllowed));
        check(Listener::Application, &Method::POST, "/auth/csp-report", Err(Reason::NotFound));
        check(Listener::Nginx, &Method::GET, "/metrics", Err(Reason::NotFound));
        check(Listener::Nginx, &Method::GET, "/auth/metrics", Err(Reason::NotFound));
        check(Listener::Application, &Method::GET, "/auth/verify", Err(Reason::NotFound));
        check(Listener::Application, &Method::GET, "/auth/userinfo", Ok(Endpoint::Userinfo));
        check(Listener::Application, &Method::GET, "/auth/login", Err(Reason::NotFound));
        check(Listener::Ops, &Method::GET, "/metrics", Ok(Endpoint::Metrics));
        check(Listener::Ops, &Method::GET, "/auth/userinfo", Err(Reason::NotFound));
    }

    #[test]
    fn the_methods_of_a_path_are_known() {
        let prefix = Prefix::parse("/auth").unwrap();
        assert_eq!(Route::methods(Listener::Nginx, &prefix, "/auth/logout"), "GET, POST");
        assert_eq!(Route::methods(Listener::Nginx, &prefix, "/auth/refresh"), "POST");
        assert_eq!(Route::methods(Listener::Nginx, &prefix, "/elsewhere"), "");
        assert_eq!(Route::shared_methods(&prefix, "/auth/logout"), "POST");
        assert_eq!(Route::shared_methods(&prefix, "/auth/check"), "GET, POST");
        assert_eq!(Route::shared_methods(&prefix, "/auth/login"), "");
    }

    #[test]
    fn a_body_is_taken_only_where_an_endpoint_wants_one() {
        for row in ROUTES {
            let taken =
                row.method == Method::POST && matches!(row.path, "/csp-report" | "/fallback" | "/fallback/drill");
            let expected = if taken { Body::Taken } else { Body::Discarded };
            assert_eq!(row.route.endpoint.body(), expected, "{}", row.path);
        }
    }

    #[test]
    fn prefixes_are_plain_paths() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Prefix::parse(text).map(|prefix| prefix.path("/x")).as_deref(), expected, "{text}");
        };
        check("/auth", Some("/auth/x"));
        check("/auth/", Some("/auth/x"));
        check("/api/v1/auth", Some("/api/v1/auth/x"));
        check("/", Some("/x"));
        check("", None);
        check("auth", None);
        check("//auth", None);
        check("/a/../b", None);
        check("/a b", None);
    }

    #[test]
    fn what_changes_something_needs_proof_of_its_origin() {
        let site = Site::new(SiteParts {
            cors_origins: vec![PublicUrl::parse("https://spa.example.com").unwrap()],
            ..SiteParts::new("main", PublicUrl::parse("https://app.example.com").unwrap())
        })
        .unwrap();
        let sites = Sites::new(vec![site]);
        let facts = |exposure, host| Facts {
            exposure,
            method: Method::POST,
            https: true,
            host,
            target: "/auth/refresh",
            client: [192, 0, 2, 7].into(),
        };
        let route = |method, path| Route::of(Listener::Nginx, &Prefix::parse("/auth").unwrap(), &method, path).unwrap();
        let check = |provenance, expected| {
            let result = route(Method::POST, "/auth/refresh").admit(
                &facts(Exposure::Public, "app.example.com"),
                &sites,
                provenance,
            );
            assert_eq!(result.map(Site::name), expected, "{provenance:?}");
        };
        check(Provenance::SameOrigin, Ok("main"));
        check(Provenance::Origin("https://app.example.com"), Ok("main"));
        check(Provenance::Origin("https://spa.example.com"), Ok("main"));
        check(Provenance::Origin("https://spa.example.com:8443"), Err(Reason::CrossSite));
        check(Provenance::Origin("https://spa.example.com.evil.example"), Err(Reason::CrossSite));
        check(Provenance::Origin("null"), Err(Reason::CrossSite));
        check(Provenance::Origin("https://evil.example"), Err(Reason::CrossSite));
        check(Provenance::Elsewhere, Err(Reason::CrossSite));
        check(Provenance::UserTyped, Err(Reason::CrossSite));
        check(Provenance::Unknown, Err(Reason::CrossSite));
        let embedded = |provenance| {
            let facts = facts(Exposure::Public, "app.example.com");
            route(Method::GET, "/auth/login").admit(&facts, &sites, provenance).map(Site::name)
        };
        for provenance in [Provenance::Embedded, Provenance::Origin("https://evil.example")] {
            assert_eq!(embedded(provenance), Err(Reason::CrossSite), "{provenance:?}");
        }
        let fine = [Provenance::Elsewhere, Provenance::SameOrigin, Provenance::UserTyped, Provenance::Unknown];
        for provenance in fine.into_iter().chain([Provenance::Origin("https://app.example.com")]) {
            assert_eq!(embedded(provenance), Ok("main"), "{provenance:?}");
        }
        let verify = |exposure, host, provenance| {
            route(Method::GET, "/auth/verify").admit(&facts(exposure, host), &sites, provenance).map(Site::name)
        };
        let own = "app.example.com";
        assert_eq!(verify(Exposure::Public, own, Provenance::Unknown), Err(Reason::NotFound));
        assert_eq!(verify(Exposure::Internal, "evil.example", Provenance::Unknown), Err(Reason::HostUnknown));
        assert_eq!(verify(Exposure::Internal, own, Provenance::Elsewhere), Ok("main"));
        let report = |provenance| {
            let facts = facts(Exposure::Public, own);
            route(Method::POST, "/auth/csp-report").admit(&facts, &sites, provenance).map(Site::name)
        };
        assert_eq!(report(Provenance::SameOrigin), Ok("main"));
        assert_eq!(report(Provenance::Unknown), Ok("main"));
        assert_eq!(report(Provenance::Origin("null")), Ok("main"));
        assert_eq!(report(Provenance::Elsewhere), Err(Reason::CrossSite));
        assert_eq!(report(Provenance::Embedded), Err(Reason::CrossSite));
        assert_eq!(report(Provenance::Origin("https://spa.example.com")), Err(Reason::CrossSite));
    }
}
