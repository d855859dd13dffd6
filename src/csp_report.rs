//! Pure. What browsers report against our pages: read strictly, bounded, and cut down to what a log may hold.
//!
//! Anybody can send a report. So nothing of one gets into the log or a label but words of closed lists, and schemes and
//! origins of what was blocked: a page's query may hold a code, and a sample anything at all. Reports about pages that
//! are not the site's count for nothing. Content Security Policy Level 3 section 5, Reporting API section 2.

use http::Method;
use serde_json::{Map, Value};
use url::{Origin, Url};

use crate::{
    clock::Timestamp,
    inbound::Listener,
    oidc::json::{self, Object},
    origin::Site,
    reason::Reason,
    route::{Prefix, Route},
};

/// One violation of the policy of one of our pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The directive, out of a closed list.
    pub directive: &'static str,
    /// Whether the browser let it happen: `enforce`, `report`, or `unknown`.
    pub disposition: &'static str,
    /// The endpoint whose page it was; `protected` where a page of ours stood in for one of the application's.
    pub page: &'static str,
    /// The origin or scheme of what was blocked, or a word such as `inline`.
    pub blocked: String,
    /// The origin or scheme of the script that caused it: a browser's extension has one of its own.
    pub source: String,
}

/// Reads the violations out of a body of that media type.
///
/// # Errors
/// [`Reason::BodyTooLarge`], [`Reason::ReportMalformed`].
pub fn read(media_type: &str, body: &[u8], site: &Site, prefix: &Prefix) -> Result<Vec<Violation>, Reason> {
    if body.len() > REPORT_BYTES {
        return Err(Reason::BodyTooLarge);
    }
    let about = |form: &Form, report: &Map<String, Value>| form.violation(report, site, prefix);
    if media_type.eq_ignore_ascii_case("application/csp-report") {
        let whole = json::object(body).map_err(|_| Reason::ReportMalformed)?;
        let report = whole.get("csp-report").and_then(Value::as_object).ok_or(Reason::ReportMalformed)?;
        return Ok(about(&REPORT_URI, report).into_iter().collect());
    }
    if !media_type.eq_ignore_ascii_case("application/reports+json") {
        return Err(Reason::ReportMalformed);
    }
    let reports: Vec<Object> = serde_json::from_slice(body).map_err(|_| Reason::ReportMalformed)?;
    let ours = reports.iter().filter(|report| text(&report.0, "type") == "csp-violation");
    let bodies = ours.take(REPORTS_PER_BODY).filter_map(|report| report.0.get("body")?.as_object());
    Ok(bodies.filter_map(|report| about(&REPORT_TO, report)).collect())
}

/// How many violations are written down within a minute; the rest are only counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    minute: u64,
    written: u32,
}

impl Budget {
    /// Whether there is room for one more line.
    pub const fn take(&mut self, now: Timestamp) -> bool {
        let minute = now.seconds() / 60;
        if self.minute != minute {
            *self = Self { minute, written: 0 };
        }
        let room = self.written < LINES_PER_MINUTE;
        if room {
            self.written += 1;
        }
        room
    }
}

/// What a form of report calls its members.
struct Form {
    page: &'static str,
    directives: &'static [&'static str],
    blocked: &'static str,
    source: &'static str,
}

/// For `report-uri`. Some browsers fill only the older of the directive's two names, with the directive's whole value.
const REPORT_URI: Form = Form {
    page: "document-uri",
    directives: &["effective-directive", "violated-directive"],
    blocked: "blocked-uri",
    source: "source-file",
};
/// For `report-to`.
const REPORT_TO: Form =
    Form { page: "documentURL", directives: &["effectiveDirective"], blocked: "blockedURL", source: "sourceFile" };

impl Form {
    fn violation(&self, report: &Map<String, Value>, site: &Site, prefix: &Prefix) -> Option<Violation> {
        let page = Url::parse(text(report, self.page)).ok()?;
        if !site.has_origin(&page.origin().ascii_serialization()) {
            return None;
        }
        let directive = self.directives.iter().map(|name| text(report, name)).find(|value| !value.is_empty());
        Some(Violation {
            directive: word_of(&DIRECTIVES, first_word(directive.unwrap_or_default())).unwrap_or("other"),
            disposition: word_of(&["enforce", "report"], text(report, "disposition")).unwrap_or("unknown"),
            page: endpoint_at(prefix, page.path()),
            blocked: cut(text(report, self.blocked)),
            source: cut(text(report, self.source)),
        })
    }
}

fn text<'a>(report: &'a Map<String, Value>, name: &str) -> &'a str {
    report.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn first_word(text: &str) -> &str {
    text.split_ascii_whitespace().next().unwrap_or_default()
}

fn word_of(list: &[&'static str], word: &str) -> Option<&'static str> {
    list.iter().copied().find(|known| *known == word)
}

fn endpoint_at(prefix: &Prefix, path: &str) -> &'static str {
    let at = |method| Route::of(Listener::Nginx, prefix, &method, path).ok();
    at(Method::GET).or_else(|| at(Method::POST)).map_or("protected", |route| route.endpoint.label())
}

/// What may be told of a URL that somebody sent: its origin, or its scheme where it has none.
fn cut(text: &str) -> String {
    let told = match Url::parse(text).map(|url| (url.origin(), url)) {
        Ok((origin @ Origin::Tuple(..), _)) => origin.ascii_serialization(),
        Ok((Origin::Opaque(_), url)) => format!("{}:", url.scheme()),
        Err(_) => word_of(&BLOCKED_WORDS, text).unwrap_or("other").to_owned(),
    };
    if told.len() > TOLD_BYTES { "other".to_owned() } else { told }
}

/// The directives that reports are counted by; any other is `other`.
const DIRECTIVES: [&str; 22] = [
    "base-uri",
    "child-src",
    "connect-src",
    "default-src",
    "font-src",
    "form-action",
    "frame-ancestors",
    "frame-src",
    "img-src",
    "manifest-src",
    "media-src",
    "object-src",
    "prefetch-src",
    "require-trusted-types-for",
    "script-src",
    "script-src-attr",
    "script-src-elem",
    "style-src",
    "style-src-attr",
    "style-src-elem",
    "trusted-types",
    "worker-src",
];
/// What browsers say in place of a URL; some name a scheme without its colon.
const BLOCKED_WORDS: [&str; 9] =
    ["", "inline", "eval", "wasm-eval", "self", "data", "blob", "trusted-types-policy", "trusted-types-sink"];

/// The longest body of reports that is read.
pub const REPORT_BYTES: usize = 16 * 1_024;
/// The most reports of one body that are looked at.
pub const REPORTS_PER_BODY: usize = 20;
/// The most violations that a process writes down within a minute.
pub const LINES_PER_MINUTE: u32 = 30;
/// The longest origin or scheme that is told.
const TOLD_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::origin::{PublicUrl, SiteParts};

    const LEGACY: &str = "application/csp-report";
    const MODERN: &str = "application/reports+json";

    fn read_by_site(media_type: &str, body: &[u8]) -> Result<Vec<Violation>, Reason> {
        let site = Site::new(SiteParts::new("main", PublicUrl::parse("https://app.example.com").unwrap())).unwrap();
        read(media_type, body, &site, &Prefix::parse("/auth").unwrap())
    }

    fn violation(directive: &'static str, page: &'static str, blocked: &str, source: &str) -> Violation {
        let (blocked, source) = (blocked.to_owned(), source.to_owned());
        Violation { directive, disposition: "enforce", page, blocked, source }
    }

    fn legacy(page: &str, directive: &str, blocked: &str, source: &str) -> Value {
        json!({"csp-report": {
            "document-uri": page, "referrer": "https://x.example/?secret", "violated-directive": directive,
            "effective-directive": directive, "original-policy": "…", "disposition": "enforce", "blocked-uri": blocked,
            "status-code": 200, "source-file": source, "line-number": 1, "script-sample": "secret",
        }})
    }

    fn modern(page: &str, directive: &str, blocked: &str) -> Value {
        json!({"age": 1, "type": "csp-violation", "url": page, "user_agent": "secret", "body": {
            "documentURL": page, "effectiveDirective": directive, "blockedURL": blocked, "disposition": "enforce",
            "sample": "secret", "referrer": "", "sourceFile": null, "statusCode": 200,
        }})
    }

    #[test]
    fn both_forms_are_cut_down_to_what_may_be_told() {
        let check = |media_type: &str, body: Value, expected: &[Violation]| {
            assert_eq!(read_by_site(media_type, body.to_string().as_bytes()).as_deref(), Ok(expected), "{body}");
        };
        let page = "https://app.example.com/auth/callback?code=secret&state=secret#secret";
        let one = |page: &str, directive: &str, blocked: &str| legacy(page, directive, blocked, "");
        check(LEGACY, one(page, "style-src-elem", "inline"), &[violation("style-src-elem", "callback", "inline", "")]);
        check(
            "Application/CSP-Report",
            legacy(
                page,
                "img-src",
                "https://user:secret@evil.example:8443/x?secret",
                "chrome-extension://abc/secret.js",
            ),
            &[violation("img-src", "callback", "https://evil.example:8443", "chrome-extension:")],
        );
        let older = json!({"csp-report": {"document-uri": page, "violated-directive": "style-src 'nonce-secret'"}});
        let found = Violation { disposition: "unknown", ..violation("style-src", "callback", "", "") };
        check(LEGACY, older, &[found]);
        let protected = "https://app.example.com/patients/secret?x";
        check(LEGACY, one(protected, "made-up", "data:secret"), &[violation("other", "protected", "data:", "")]);
        check(LEGACY, one(protected, "", "secret"), &[violation("other", "protected", "other", "")]);
        let form = "https://app.example.com/auth/callback/partners";
        check(LEGACY, one(form, "form-action", "blob"), &[violation("form-action", "callback", "blob", "")]);
        let posted = "https://app.example.com/auth/refresh";
        check(LEGACY, one(posted, "img-src", ""), &[violation("img-src", "refresh", "", "")]);
        let other = json!({"type": "deprecation", "body": {"documentURL": page}});
        check(
            MODERN,
            json!([
                modern(page, "script-src-elem", "inline"),
                other,
                modern(protected, "img-src", "blob:https://a.example/secret")
            ]),
            &[
                violation("script-src-elem", "callback", "inline", ""),
                violation("img-src", "protected", "https://a.example", ""),
            ],
        );
    }

    #[test]
    fn reports_about_other_peoples_pages_count_for_nothing() {
        for page in [
            "https://evil.example/",
            "http://app.example.com/auth/login",
            "https://app.example.com:8443/auth/login",
            "https://app.example.com.evil.example/auth/login",
            "about",
            "data:text/html,x",
            "",
        ] {
            let body = legacy(page, "img-src", "inline", "").to_string();
            assert_eq!(read_by_site(LEGACY, body.as_bytes()), Ok(vec![]), "{page}");
            let body = json!([modern(page, "img-src", "inline")]).to_string();
            assert_eq!(read_by_site(MODERN, body.as_bytes()), Ok(vec![]), "{page}");
        }
    }

    #[test]
    fn what_browsers_do_not_send_is_refused() {
        let check = |media_type: &str, body: &str| {
            assert_eq!(read_by_site(media_type, body.as_bytes()), Err(Reason::ReportMalformed), "{body}");
        };
        let good = legacy("https://app.example.com/", "img-src", "inline", "").to_string();
        assert_eq!(read_by_site(LEGACY, good.as_bytes()).unwrap().len(), 1);
        for media_type in ["", "application/json", "text/plain", "application/x-www-form-urlencoded", MODERN] {
            check(media_type, &good);
        }
        for body in ["", "{}", "[]", "null", "{\"csp-report\":[]}", "{\"csp-report\":{},\"csp-report\":{}}", "{"] {
            check(LEGACY, body);
        }
        for body in ["", "{}", "[1]", "[[]]", "[{\"type\":\"a\",\"type\":\"b\"}]", "[{}] x"] {
            check(MODERN, body);
        }
        let long = " ".repeat(REPORT_BYTES + 1);
        assert_eq!(read_by_site(LEGACY, long.as_bytes()), Err(Reason::BodyTooLarge));
    }

    #[test]
    fn of_many_reports_the_first_are_looked_at() {
        let small = json!({"type": "csp-violation", "body": {"documentURL": "https://app.example.com/"}});
        let body = Value::from(vec![small; REPORTS_PER_BODY + 5]).to_string();
        assert_eq!(read_by_site(MODERN, body.as_bytes()).unwrap().len(), REPORTS_PER_BODY);
    }

    #[test]
    fn only_so_many_are_written_down_in_a_minute() {
        let mut budget = Budget::default();
        let at = Timestamp::from_seconds;
        let written = (0..100).filter(|_| budget.take(at(1_000_000_000))).count();
        assert_eq!(written, usize::try_from(LINES_PER_MINUTE).unwrap());
        assert!(!budget.take(at(1_000_000_019)));
        assert!(budget.take(at(1_000_000_020)), "the next minute has begun");
    }

    proptest! {
        #[test]
        fn whatever_was_blocked_only_an_origin_a_scheme_or_a_word_is_told(text in "[a-z-]{0,12}:?(//)?[ -~\\PC]{0,300}") {
            let told = cut(&text);
            prop_assert!(told.len() <= TOLD_BYTES, "{}", told);
            prop_assert!(told.bytes().all(|byte| byte.is_ascii_graphic()), "{}", told);
            let rest = told.split_once("://").map_or("", |(_, rest)| rest);
            prop_assert!(!rest.contains(['/', '?', '#', '@']) && !told.contains(['?', '#', '@', '"', '<']), "{}", told);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512), modern in any::<bool>()) {
            drop(read_by_site(if modern { MODERN } else { LEGACY }, &bytes));
        }
    }
}
