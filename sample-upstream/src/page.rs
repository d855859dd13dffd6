//! Pure. The one page: who the gate says you are, and the buttons that try the gate's endpoints.
//!
//! It brings everything along. Every value that came in a request is escaped; the sign-out form works without scripts.

use std::{collections::BTreeMap, fmt::Write as _};

/// The page for one path and identity.
pub(crate) fn html(path: &str, identity: &BTreeMap<String, String>) -> String {
    TEMPLATE.replace("{{path}}", &escaped(path)).replace("{{identity}}", &rows(identity))
}

/// The page's script, served from a path of its own so that the policy can forbid inline ones.
pub(crate) const SCRIPT: &str = include_str!("page.js");
/// Where the script is.
pub(crate) const SCRIPT_PATH: &str = "/sample-upstream.js";
/// What the page may load. Not `form-action`: sign-out goes on to the provider, and browsers apply it to redirects.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

const TEMPLATE: &str = include_str!("page.html");

fn rows(identity: &BTreeMap<String, String>) -> String {
    if identity.is_empty() {
        return "<tr><td colspan=\"2\">The gate says nothing about you.</td></tr>".to_owned();
    }
    identity.iter().fold(String::new(), |mut rows, (name, value)| {
        let (name, value) = (escaped(name), escaped(value));
        // Writing to a String does not fail.
        let _ = writeln!(rows, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
        rows
    })
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Braces too, so that a value cannot name a place in the template.
            '{' => safe.push_str("&#123;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, user: &str) -> String {
        html(path, &[("x-auth-request-user".to_owned(), user.to_owned())].into())
    }

    #[test]
    fn what_came_in_is_shown_escaped() {
        let page = page("/<script>\"{{identity}}", "<img src=x onerror='alert(1)'>&amp;");
        assert!(page.contains("/&lt;script&gt;&quot;&#123;&#123;identity}}"));
        assert!(page.contains("<td>&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&amp;amp;</td>"), "{page}");
        assert!(!page.contains("<img"));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = page("/", "alice");
        assert!(!page.contains("//"), "{page}");
        assert_eq!(page.matches("src=").count(), 1);
        assert!(page.contains(SCRIPT_PATH));
    }

    #[test]
    fn a_visitor_without_identity_is_told_so() {
        assert!(html("/", &BTreeMap::new()).contains("nothing about you"));
    }
}
