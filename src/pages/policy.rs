//! Pure. The content security policy of our pages: nothing but their own style, and forms where there is one.
//!
//! Chromium holds `form-action` against every redirect that follows the submission, so the origin of the
//! provider's logout must be named where a form signs out; Firefox looks at the first address only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{FormTarget, Page};

/// For responses that are no page: JSON, redirects, empty bodies.
pub const NO_PAGE: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How browsers get to know the policy of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whether they only report what breaks it, and show it all the same.
    pub report_only: bool,
    /// The path they report to; none means that they are not asked to.
    pub reports_to: Option<String>,
}

impl Delivery {
    /// The policy with the directives by which older browsers (`report-uri`) and newer ones (`report-to`) report.
    pub fn completed(&self, policy: String) -> String {
        match &self.reports_to {
            Some(path) => format!("{policy}; report-uri {path}; report-to {ENDPOINT}"),
            None => policy,
        }
    }

    /// The `Reporting-Endpoints` header that goes with it.
    pub fn endpoints(&self) -> Option<String> {
        self.reports_to.as_ref().map(|path| format!("{ENDPOINT}=\"{path}\""))
    }
}

/// What `report-to` and `Reporting-Endpoints` call the place of reports.
const ENDPOINT: &str = "csp";

/// Sixteen random bytes in base64: names the one style sheet that may apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Takes bytes drawn for this response alone.
    pub fn new(drawn: [u8; 16]) -> Self {
        Self(STANDARD.encode(drawn))
    }

    /// The base64 text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The policy for a page. `data:` images are the icon in the tab, which would else be asked of the upstream.
pub(super) fn for_page(page: &Page, nonce: &Nonce) -> String {
    let nonce = nonce.as_str();
    let form_action = form_action(page);
    format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action {form_action}; \
         base-uri 'none'; frame-ancestors 'none'"
    )
}

fn form_action(page: &Page) -> String {
    let Some(form) = page.form() else {
        return "'none'".to_owned();
    };
    let targets = form.redirect_targets.iter().map(FormTarget::as_str);
    let sources: Vec<_> = std::iter::once("'self'").chain(targets).collect();
    sources.join(" ")
}
