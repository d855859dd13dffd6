//! Pure. Which policy a request falls under by its host, path and method, where its nginx location named none.
//!
//! Ordered, the first rule that fits decides, and where none fits nobody passes. Invariant: a rule decides only about
//! a target that can be read in one way, and only if no rule before it would fit for a reader who is less exact: one
//! who ignores case, a slash at the end or `;parameters`, or takes the method from a header.

use http::{HeaderName, Method};

use super::{
    policy::PolicyName,
    target::{TargetPath, bare, is_alike, is_plain},
};
use crate::{origin::HostName, reason::Reason};

/// All rules, in order.
#[derive(Clone, Debug, Default)]
pub struct Matching(Vec<Rule>);

/// One rule: which requests, and their policy.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Any of these hosts; any host of the sites if there are none.
    pub hosts: Vec<HostName>,
    /// Any of these paths.
    pub paths: Vec<PathPattern>,
    /// Any of these methods, or any at all if there are none. GET stands for HEAD as well, as in nginx.
    pub methods: Vec<Method>,
    /// The policy that then decides.
    pub policy: PolicyName,
}

/// What nginx says of a request, and what the client says of its method.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The host that nginx chose the server by.
    pub host: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The raw target.
    pub target: &'a str,
    /// Whether a header names another method ([`METHOD_HEADERS`]), which an application may believe.
    pub renames_method: bool,
}

impl Matching {
    /// Takes the rules in their order.
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// How many rules there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The policy of the first rule that fits.
    ///
    /// # Errors
    /// [`Reason::PolicyMissing`] without any rules, [`Reason::AmbiguousTarget`], [`Reason::PolicyUnmatched`].
    pub fn policy_for(&self, asked: &Asked<'_>) -> Result<&PolicyName, Reason> {
        if self.is_empty() {
            return Err(Reason::PolicyMissing);
        }
        let path = TargetPath::of(asked.target)?;
        for rule in &self.0 {
            match rule.fit(asked, &path) {
                Fit::Not => {}
                Fit::InSomeReading => return Err(Reason::AmbiguousTarget),
                Fit::Certain => return Ok(&rule.policy),
            }
        }
        Err(Reason::PolicyUnmatched)
    }
}

impl Rule {
    fn fit(&self, asked: &Asked<'_>, path: &TargetPath<'_>) -> Fit {
        if !(self.hosts.is_empty() || self.hosts.iter().any(|host| host.as_str() == asked.host)) {
            return Fit::Not;
        }
        let path = self.paths.iter().map(|pattern| pattern.fit(path)).max().unwrap_or(Fit::Not);
        path.min(self.fit_of_method(asked))
    }

    fn fit_of_method(&self, asked: &Asked<'_>) -> Fit {
        match asked {
            _ if self.methods.is_empty() => Fit::Certain,
            Asked { renames_method: true, .. } => Fit::InSomeReading,
            Asked { method, .. } if self.methods.iter().any(|own| covers_method(own, method)) => Fit::Certain,
            _ => Fit::Not,
        }
    }

    /// Whether every request that fits `later` fits this one too, as far as it can be told from the two alone.
    pub fn covers(&self, later: &Self) -> bool {
        let all = |own: bool, later: bool, each: bool| own || (!later && each);
        let hosts = later.hosts.iter().all(|host| self.hosts.contains(host));
        let methods = later.methods.iter().all(|method| self.methods.iter().any(|own| covers_method(own, method)));
        all(self.hosts.is_empty(), later.hosts.is_empty(), hosts)
            && all(self.methods.is_empty(), later.methods.is_empty(), methods)
            && later.paths.iter().all(|path| self.paths.iter().any(|own| own.covers(path)))
    }
}

fn covers_method(own: &Method, method: &Method) -> bool {
    own == method || (own == Method::GET && method == Method::HEAD)
}

/// How well something fits; the least of all conditions counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Not,
    InSomeReading,
    Certain,
}

/// A path of the settings. `/admin` stands for itself and all that is below it, `=/admin` for that path alone, `/` for
/// every path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// Without a slash at its end, unless it is exact.
    text: String,
    is_exact: bool,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PathPatternError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        let (is_exact, path) = text.strip_prefix('=').map_or((false, text), |path| (true, path));
        if !path.starts_with('/') {
            return Err(PathPatternError::Relative);
        }
        if path.contains(['%', '?', '#', '*']) {
            return Err(PathPatternError::Encoded);
        }
        if path.contains(';') || !is_plain(path) || path.split('/').any(|segment| bare(segment) != segment) {
            return Err(PathPatternError::NotPlain);
        }
        match path.strip_suffix('/') {
            Some(_) if is_exact => Ok(Self { text: path.to_owned(), is_exact }),
            Some("") => Ok(Self { text: String::new(), is_exact }),
            Some(_) => Err(PathPatternError::SlashAtEnd),
            None => Ok(Self { text: path.to_owned(), is_exact }),
        }
    }

    fn fit(&self, path: &TargetPath<'_>) -> Fit {
        if self.contains(path.as_str()) {
            return Fit::Certain;
        }
        if self.resembles(path.as_str()) { Fit::InSomeReading } else { Fit::Not }
    }

    fn contains(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.text.as_str());
        rest.is_some_and(|rest| rest.is_empty() || (!self.is_exact && rest.starts_with('/')))
    }

    fn covers(&self, later: &Self) -> bool {
        self.contains(&later.text) && (later.is_exact || !self.is_exact)
    }

    /// Whether a reader who is less exact might find it fitting.
    fn resembles(&self, path: &str) -> bool {
        let mut theirs = names(path).peekable();
        for own in names(&self.text) {
            let Some(name) = theirs.next() else {
                return false;
            };
            if !is_alike(own, name, theirs.peek().is_none()) {
                return false;
            }
        }
        !self.is_exact || theirs.next().is_none()
    }
}

/// The segments of a path that name something.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !bare(segment).is_empty())
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// It does not begin with a slash.
    #[error(r#"must begin with "/", or with "=/" for that path alone"#)]
    Relative,
    /// It has something of a URL or of a wild card.
    #[error("must be a plain path, not encoded, without query, fragment or wild card")]
    Encoded,
    /// Requests for it would be refused as ambiguous.
    #[error("is a path that could be read in two ways, so it is never matched")]
    NotPlain,
    /// It looks as if it did not stand for the folder itself.
    #[error(r#"must not end in "/": "/a" stands for itself and all that is below it, "=/a/" for that path alone"#)]
    SlashAtEnd,
}

/// Headers by which some frameworks let a client name another method than the request's own.
pub static METHOD_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// The methods that a rule may name: all that nginx knows and passes on, and no misspelt one.
pub const METHODS: [&str; 14] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "MKCOL",
    "COPY",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use proptest::prelude::*;

    use super::*;

    fn rule(hosts: &[&str], paths: &[&str], methods: &[&str], policy: &str) -> Rule {
        Rule {
            hosts: hosts.iter().map(|host| HostName::parse(host).unwrap()).collect(),
            paths: paths.iter().map(|path| PathPattern::parse(path).unwrap()).collect(),
            methods: methods.iter().map(|method| method.parse().unwrap()).collect(),
            policy: PolicyName::parse(policy).unwrap(),
        }
    }

    fn matching() -> Matching {
        Matching::new(vec![
            rule(&["wiki.example.com"], &["/"], &[], "wiki"),
            rule(&[], &["/admin/help", "=/admin/logo.svg"], &["GET"], "everyone"),
            rule(&[], &["/admin", "/\u{fc}ber uns"], &[], "admins"),
            rule(&[], &["=/", "=/exact", "=/folder/", "/keys", "/access"], &[], "front"),
            rule(&["app.example.com"], &["/api"], &["GET", "OPTIONS"], "readers"),
            rule(&["app.example.com"], &["/api"], &[], "writers"),
            rule(&[], &["/public"], &[], "everyone"),
        ])
    }

    fn decide<'a>(matching: &'a Matching, method: &str, host: &str, target: &str) -> Result<&'a str, Reason> {
        let method = method.parse().unwrap();
        let asked = Asked { host, method: &method, target, renames_method: false };
        matching.policy_for(&asked).map(PolicyName::as_str)
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let matching = matching();
        let check = |line: &str, expected: Result<&str, Reason>| {
            let (method, rest) = line.split_once(' ').unwrap();
            let (host, target) = rest.split_once(' ').unwrap();
            assert_eq!(decide(&matching, method, &format!("{host}.example.com"), target), expected, "{line}");
        };
        assert_eq!((matching.len(), matching.is_empty()), (7, false));
        check("GET wiki /admin", Ok("wiki"));
        check("GET app /admin", Ok("admins"));
        check("GET app /admin/", Ok("admins"));
        check("POST app /admin/x/y?z", Ok("admins"));
        check("GET app /admin/help", Ok("everyone"));
        check("HEAD app /admin/help/me", Ok("everyone"));
        check("POST app /admin/help", Ok("admins"));
        check("GET app /admin/logo.svg", Ok("everyone"));
        check("GET app /admin/logo.svg/x", Ok("admins"));
        check("GET app /%C3%BCber%20uns/x", Ok("admins"));
        check("GET app /", Ok("front"));
        check("GET app /?x=/admin", Ok("front"));
        check("GET app /exact", Ok("front"));
        check("GET app /folder/", Ok("front"));
        check("GET app /exact/x", Err(Reason::PolicyUnmatched));
        check("GET app /api/x", Ok("readers"));
        check("OPTIONS app /api/x", Ok("readers"));
        check("DELETE app /api/x", Ok("writers"));
        check("BREW app /api/x", Ok("writers"));
        check("GET other /api/x", Err(Reason::PolicyUnmatched));
        check("GET app /public", Ok("everyone"));
        check("GET app /administrator", Err(Reason::PolicyUnmatched));
        check("GET app /x/admin", Err(Reason::PolicyUnmatched));
        check("GET app /public/../admin", Err(Reason::AmbiguousTarget));
    }

    #[test]
    fn what_an_earlier_rule_would_fit_for_a_less_exact_reader_is_refused() {
        let matching = matching();
        let check = |target: &str| {
            assert_eq!(decide(&matching, "GET", "app.example.com", target), Err(Reason::AmbiguousTarget), "{target}");
        };
        for target in [
            "/Admin",
            "/ADMIN/x",
            "/admin.",
            "/admin.json",
            "/admin;x",
            "/admin%20/x",
            "/admin./x",
            "/%C3%9Cber%20uns",
            "/adm%C4%B1n/x",
            "/ADM%C4%B0N/x",
            "/%E2%84%AAeys",
            "/acce%C5%BF%C5%BF",
            "/exact/",
            "/Exact",
            "/exact.html",
            "/exact/;x",
            "/folder",
            "/;jsessionid=1",
            "/admin/HELP",
            "/API/x",
            "/Public/x",
        ] {
            check(target);
        }
    }

    #[test]
    fn a_method_that_a_header_renames_fits_no_rule_about_methods() {
        let matching = matching();
        let check = |target: &str, expected: Result<&str, Reason>| {
            let asked = Asked { host: "app.example.com", method: &Method::GET, target, renames_method: true };
            assert_eq!(matching.policy_for(&asked).map(PolicyName::as_str), expected, "{target}");
        };
        check("/api/x", Err(Reason::AmbiguousTarget));
        check("/admin/help", Err(Reason::AmbiguousTarget));
        check("/admin/x", Ok("admins"));
        check("/public", Ok("everyone"));
    }

    #[test]
    fn without_rules_the_location_must_name_its_policy() {
        for target in ["/", "/%2e"] {
            assert_eq!(decide(&Matching::default(), "GET", "app.example.com", target), Err(Reason::PolicyMissing));
        }
    }

    #[test]
    fn patterns_are_plain_paths() {
        use PathPatternError::{Encoded, NotPlain, Relative, SlashAtEnd};
        let check = |text: &str, expected: Option<PathPatternError>| {
            assert_eq!(PathPattern::parse(text).err(), expected, "{text}");
        };
        for text in ["/", "=/", "/admin", "/a/b.c", "=/a", "=/a/", "/gr\u{f6}\u{df}e", "/a b", "/@x:y", "/.well-known"]
        {
            check(text, None);
        }
        for text in ["", "=", "admin", "=admin", "https://app.example.com/", "~ ^/a"] {
            check(text, Some(Relative));
        }
        for text in ["/a%20b", "/a?b", "/a#b", "/a/*", "/%2e"] {
            check(text, Some(Encoded));
        }
        for text in [
            "//",
            "//a",
            "/a//b",
            "/a/../b",
            "/.",
            "/..",
            "/a;x",
            "=/;x",
            "/a\\b",
            "/a.",
            "/a /b",
            "/a\tb",
            "/\u{ff0f}",
        ] {
            check(text, Some(NotPlain));
        }
        check("/a/", Some(SlashAtEnd));
    }

    #[test]
    fn a_rule_covers_what_it_leaves_nothing_of() {
        let check = |earlier: &Rule, later: &Rule, expected: bool| {
            assert_eq!(earlier.covers(later), expected, "{earlier:?} {later:?}");
        };
        let any = rule(&[], &["/"], &[], "a");
        let admin = rule(&[], &["/admin"], &[], "a");
        let reading = rule(&[], &["/admin"], &["GET"], "a");
        let on_app = rule(&["app.example.com"], &["/admin"], &[], "a");
        let exact = rule(&[], &["=/admin"], &[], "a");
        let both = rule(&[], &["/admin", "/b"], &[], "a");
        for later in [&any, &admin, &reading, &on_app, &exact, &both] {
            check(&any, later, true);
            check(later, later, true);
        }
        check(&admin, &any, false);
        check(&admin, &exact, true);
        check(&exact, &admin, false);
        check(&admin, &both, false);
        check(&both, &admin, true);
        check(&reading, &admin, false);
        check(&reading, &rule(&[], &["/admin/x"], &["HEAD"], "a"), true);
        check(&on_app, &admin, false);
        check(&admin, &rule(&[], &["/administrator"], &[], "a"), false);
    }

    proptest! {
        /// However a target is written, who is decided about as outside a tree is outside it for every reader.
        #[test]
        fn nothing_below_a_path_is_decided_on_by_a_later_rule(
            prefix in "(/|//|/\\./|/x/\\.\\./|/%2e/|\\\\)",
            name in "(admin|ADMIN|adm%69n|admin%20|admin\\.|admin;a|admin\\.js|%61dmin|admin%2f|admin%00)",
            rest in "(/|/x|\\?|;x|#|%23|%3f|/\\.\\./admin|)",
        ) {
            let target = format!("{prefix}{name}{rest}");
            let matching = Matching::new(vec![rule(&[], &["/admin"], &[], "admins"), rule(&[], &["/"], &[], "everyone")]);
            let decided = decide(&matching, "GET", "app.example.com", &target);
            let names_a_sibling = name == "admin.js" && rest.starts_with("/x");
            prop_assert!(names_a_sibling || decided != Ok("everyone"), "{}", target);
        }
    }
}
