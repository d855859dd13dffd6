//! Pure. What went wrong with a provider: a reason for everybody, a cause for the log, and what the provider said.
//!
//! A provider's own words are cleaned and bounded here, once, before anybody can show or log them. No token, code or
//! secret is ever in a failure.

use url::Url;

use crate::{random::NoRandomness, reason::Reason, secret::Secret};

/// Why something with a provider did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {cause}", reason.code())]
pub struct Failure {
    /// The code.
    pub reason: Reason,
    /// What happened, for the log.
    pub cause: String,
    /// What the provider said, where it answered with an OAuth error.
    pub provider_error: Option<ProviderError>,
}

impl Failure {
    /// A failure that is not an OAuth error.
    pub fn new(reason: Reason, cause: impl Into<String>) -> Self {
        Self { reason, cause: cause.into(), provider_error: None }
    }
}

impl From<NoRandomness> for Failure {
    fn from(error: NoRandomness) -> Self {
        Self::new(Reason::Internal, error.to_string())
    }
}

/// Why a refresh did not come about, by what the caller can do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshFailure {
    /// `invalid_grant`: the provider takes this refresh token no more.
    #[error("invalid grant: {0}")]
    InvalidGrant(Failure),
    /// The request went out and no whole answer came, or none that could be checked for want of the provider's keys:
    /// whether the token is used up, nobody knows.
    #[error("answer lost: {0}")]
    Lost(Failure),
    /// The provider did not get the request, or refused to look at it (429): the token was surely not used.
    #[error("not sent: {0}")]
    NotSent(Failure),
    /// Another OAuth error: the token was not used, and trying again at once will not help.
    #[error("rejected: {0}")]
    Rejected(Failure),
    /// The provider answered with success, and the answer cannot be believed; nothing of it may be used. The token may
    /// well be used up.
    #[error("bad answer: {0}")]
    BadAnswer(Failure),
}

impl RefreshFailure {
    /// What happened.
    pub const fn failure(&self) -> &Failure {
        match self {
            Self::InvalidGrant(failure)
            | Self::Lost(failure)
            | Self::NotSent(failure)
            | Self::Rejected(failure)
            | Self::BadAnswer(failure) => failure,
        }
    }
}

/// An OAuth error as the provider gave it (RFC 6749 sections 4.1.2.1 and 5.2), cleaned and bounded. Text of a stranger
/// all the same: escape it where it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// `error`; `unknown_error` where nothing of it was printable.
    pub error: String,
    /// `error_description`.
    pub description: Option<String>,
    /// `error_uri`, where it is an http or https URL.
    pub uri: Option<String>,
}

impl ProviderError {
    /// Cleans what came with a redirect or from an endpoint.
    pub fn cleaned(error: &str, description: Option<&str>, uri: Option<&str>) -> Self {
        let code: String = error
            .chars()
            .filter(|character| character.is_ascii_alphanumeric() || "_-.:/".contains(*character))
            .take(MAX_ERROR_CHARS)
            .collect();
        Self {
            error: if code.is_empty() { UNKNOWN.to_owned() } else { code },
            description: description.map(one_line).filter(|text| !text.is_empty()),
            uri: uri.and_then(web_page),
        }
    }

    /// Whether the provider says that it is in trouble itself (RFC 6749 section 4.1.2.1, which has these two because a
    /// browser cannot be sent back with a status).
    pub fn is_its_own_fault(&self) -> bool {
        matches!(self.error.as_str(), "server_error" | "temporarily_unavailable")
    }

    /// The same without those secrets: some providers repeat in the description what they were sent.
    #[must_use]
    pub fn without(mut self, secrets: &[&Secret]) -> Self {
        let repeats = |text: &str| {
            let mut long =
                secrets.iter().map(|secret| secret.reveal()).filter(|secret| secret.len() >= MIN_SECRET_BYTES);
            long.any(|secret| text.contains(secret))
        };
        if repeats(&self.error) {
            UNKNOWN.clone_into(&mut self.error);
        }
        self.description = self.description.filter(|text| !repeats(text));
        self.uri = self.uri.filter(|uri| !repeats(uri));
        self
    }
}

/// Without control characters and those that turn the direction of text, and no longer than its limit.
fn one_line(text: &str) -> String {
    let mut clean = text.chars().filter(|character| !character.is_control() && !TURNS_TEXT.contains(character));
    let kept: String = clean.by_ref().take(MAX_DESCRIPTION_CHARS).collect();
    kept.trim().to_owned()
}

fn web_page(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    let web = matches!(url.scheme(), "https" | "http") && url.as_str().len() <= MAX_URI_BYTES;
    (web && plain).then(|| url.into())
}

/// The longest `error` that is kept.
pub const MAX_ERROR_CHARS: usize = 64;
/// The longest `error_description` that is kept.
pub const MAX_DESCRIPTION_CHARS: usize = 512;
/// The longest `error_uri` that is kept.
pub const MAX_URI_BYTES: usize = 512;
/// Anything shorter stands in ordinary words by chance, and can be guessed anyway.
const MIN_SECRET_BYTES: usize = 8;
const UNKNOWN: &str = "unknown_error";
/// Unicode's bidirectional overrides and isolates, and its line separators.
const TURNS_TEXT: [char; 11] = [
    '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
    '\u{2028}', '\u{2029}',
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_keeps_only_what_a_code_is_made_of() {
        for (error, expected) in [
            ("access_denied", "access_denied"),
            ("<script>alert(1)</script>", "scriptalert1/script"),
            ("a\r\nSet-Cookie: x=1", "aSet-Cookie:x1"),
            ("", UNKNOWN),
            ("\u{0}<>\"'", UNKNOWN),
            (&"x".repeat(1000), &"x".repeat(MAX_ERROR_CHARS)),
        ] {
            assert_eq!(ProviderError::cleaned(error, None, None).error, expected);
        }
    }

    #[test]
    fn a_description_is_one_bounded_line() {
        for (text, expected) in [
            ("The user said no.", Some("The user said no.")),
            ("a\r\nb\tc\u{0}\u{7f}\u{85}d", Some("abcd")),
            ("left\u{202e}right", Some("leftright")),
            (" \r\n ", None),
            ("", None),
            (&"ü".repeat(1000), Some(&*"ü".repeat(MAX_DESCRIPTION_CHARS))),
        ] {
            let error = ProviderError::cleaned("e", Some(text), None);
            assert_eq!(error.description.as_deref(), expected, "{text:.30}");
        }
    }

    #[test]
    fn an_error_page_is_on_the_web() {
        for (uri, expected) in [
            ("https://op.example/errors#1", true),
            ("http://op.example/", true),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("https://user:password@op.example/", false),
            ("https://user@op.example/", false),
            ("https://:password@op.example/", false),
            ("/relative", false),
            (&format!("https://op.example/{}", "x".repeat(MAX_URI_BYTES)), false),
        ] {
            let error = ProviderError::cleaned("e", None, Some(uri));
            assert_eq!(error.uri.is_some(), expected, "{uri:.40}");
        }
    }

    #[test]
    fn a_provider_in_trouble_says_so() {
        for (error, expected) in [
            ("server_error", true),
            ("temporarily_unavailable", true),
            ("access_denied", false),
            ("invalid_request", false),
            ("", false),
        ] {
            assert_eq!(ProviderError::cleaned(error, None, None).is_its_own_fault(), expected, "{error}");
        }
    }

    #[test]
    fn what_repeats_a_secret_is_dropped() {
        let error =
            ProviderError::cleaned("e", Some("code 's3cret-code' is invalid"), Some("https://x/?c=s3cret-code"));
        let clean = error.without(&[&Secret::new("s3cret-code"), &Secret::default()]);
        assert_eq!(clean, ProviderError::cleaned("e", None, None));
    }

    proptest! {
        #[test]
        fn nothing_can_break_a_line(error in any::<String>(), description in any::<String>()) {
            let clean = ProviderError::cleaned(&error, Some(&description), None);
            let text = format!("{}{}", clean.error, clean.description.unwrap_or_default());
            prop_assert!(!text.contains(char::is_control));
        }
    }
}
