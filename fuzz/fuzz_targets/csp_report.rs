//! What browsers, and everybody else, report against our pages. Input: the media type, a line end, the body.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::{
    csp_report::{self, REPORT_BYTES, REPORTS_PER_BODY, Violation},
    origin::Site,
    reason::Reason,
    route::Prefix,
};
use portcullis_fuzz::{line_and_rest, site};

static SITE: LazyLock<Site> = LazyLock::new(site);
static PREFIX: LazyLock<Prefix> = LazyLock::new(|| Prefix::parse("/auth").expect("a prefix"));

fuzz_target!(|data: &[u8]| {
    let (kind, body) = line_and_rest(data);
    let Ok(kind) = str::from_utf8(kind) else { return };
    match csp_report::read(kind, body, &SITE, &PREFIX) {
        Ok(violations) => {
            assert!(violations.len() <= REPORTS_PER_BODY && body.len() <= REPORT_BYTES);
            violations.iter().for_each(tells_little);
        }
        Err(reason) => assert!(matches!(reason, Reason::BodyTooLarge | Reason::ReportMalformed)),
    }
});

/// Only a word, a scheme or an origin can be told, whatever was sent.
fn tells_little(violation: &Violation) {
    for told in [&violation.blocked, &violation.source] {
        assert!(told.len() <= 255 && told.bytes().all(|byte| byte.is_ascii_graphic()), "{told}");
        let rest = told.split_once("://").map_or("", |(_, rest)| rest);
        assert!(!rest.contains('/') && !told.contains(['?', '#', '@', '"', '<']), "{told}");
    }
}
