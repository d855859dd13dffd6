//! Pure. Addresses that may stand in a page: what is clickable, and where a form's answer may lead.
//!
//! Escaping keeps an address inside its attribute; only this keeps `javascript:` out of it. Whether a target is one of
//! ours is `origin.rs`'s question, asked before.

use std::fmt;

use url::{Origin, Url};

/// A path of our own, a web address or a `mailto:`; never a scheme that runs anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(String);

impl Link {
    /// Takes an address as it stands.
    ///
    /// # Errors
    /// [`NotALink`] for anything but a path that starts with one `/`, or an `https:`, `http:` or `mailto:` address.
    pub fn parse(text: &str) -> Result<Self, NotALink> {
        if is_local(text) {
            return Ok(Self(text.to_owned()));
        }
        let url = Url::parse(text).map_err(|_| NotALink)?;
        match url.scheme() {
            "https" | "http" | "mailto" => Ok(Self(url.into())),
            _ => Err(NotALink),
        }
    }

    /// A path of our own; whatever is not one becomes `/`, which is always safe to offer.
    pub fn local(path: &str) -> Self {
        Self(if is_local(path) { path } else { "/" }.to_owned())
    }
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The text is no address that a page may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a local path, nor an https, http or mailto address")]
pub struct NotALink;

/// An origin that a form's answer may redirect to, fit to stand in a content security policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormTarget(String);

impl FormTarget {
    /// The address's origin; nothing when it has none, or one that a policy cannot name (an IPv6 address).
    pub fn of(url: &Url) -> Option<Self> {
        let origin @ Origin::Tuple(..) = url.origin() else {
            return None;
        };
        let text = origin.ascii_serialization();
        // A host may hold `;` or `,`, which would begin another directive or another policy.
        let nameable = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte);
        text.bytes().all(nameable).then_some(Self(text))
    }

    /// The source expression.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Browsers drop tabs and line ends from addresses and read `\` as `/`, so `/\t/host` would leave the site.
fn is_local(text: &str) -> bool {
    let rooted = text.starts_with('/') && !text.starts_with("//");
    rooted && !text.contains(|letter: char| letter.is_control() || letter == '\\')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use super::*;

    #[test]
    fn only_addresses_that_cannot_run_anything_become_links() {
        let check = |text: &str, expected: Option<&str>| {
            let link = Link::parse(text).ok().map(|link| link.to_string());
            assert_eq!(link.as_deref(), expected, "{text:?}");
        };
        check("/auth/login?rd=%2Fa", Some("/auth/login?rd=%2Fa"));
        check("https://help.example/portal", Some("https://help.example/portal"));
        check("mailto:help@example.org", Some("mailto:help@example.org"));
        for bad in [
            "",
            "relative",
            "//evil.test/",
            "/\\evil.test/",
            "/\t/evil.test/",
            "javascript:alert(1)",
            " javascript:alert(1)",
            "java\nscript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn what_is_no_path_of_ours_leads_to_the_front_page() {
        for bad in ["https://evil.test/", "//evil.test", "javascript:x", ""] {
            assert_eq!(Link::local(bad).to_string(), "/", "{bad:?}");
        }
    }

    #[test]
    fn a_form_target_is_an_origin_that_cannot_end_its_directive() {
        let check = |text: &str, expected: Option<&str>| {
            let target = FormTarget::of(&Url::parse(text).unwrap());
            assert_eq!(target.as_ref().map(FormTarget::as_str), expected, "{text:?}");
        };
        check("https://id.example:8443/a?b", Some("https://id.example:8443"));
        check("https://id.example:443/", Some("https://id.example"));
        check("http://127.0.0.1:4000/end", Some("http://127.0.0.1:4000"));
        check("https://a;b/", None);
        check("https://a,b/", None);
        check("https://[::1]/", None);
        check("mailto:a@b", None);
    }
}
