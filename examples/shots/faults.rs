//! Pages that are wrong on purpose: a look that no longer notices one of them is worth nothing.

use url::Url;

use crate::browser::{Browser, SCREENS};
use crate::server::{Exhibit, Server};

/// A wrong page, and a part of the sentence that must be said about it.
const FAULTS: &[(&str, &str, &str)] = &[
    ("fault-wide", "<p>wide</p><div><pre>WIDE</pre></div>", "pixels wide"),
    ("fault-contrast", "<p class=\"pale\">pale</p>", "contrast is"),
    ("fault-focus", "<a class=\"blind\" href=\"/\">link</a>", "focus cannot be seen"),
    ("fault-outside", "<p>image</p><img alt=\"\" src=\"PROVIDERpixel.png\">", "asks for"),
    ("fault-script", "<p>script</p><script>alert(1)</script>", "Content Security Policy"),
    ("fault-style", "<p style=\"margin:0\">style</p>", "Content Security Policy"),
    ("fault-title", "<p>words</p>", "no language"),
];

pub(crate) fn exhibits(provider: &Url) -> Vec<Exhibit> {
    FAULTS
        .iter()
        .map(|(name, body, _)| Exhibit {
            name,
            html: document(&body.replace("PROVIDER", provider.as_str())),
            policy: Some("default-src 'none'; img-src *; style-src 'nonce-x'".to_owned()),
        })
        .collect()
}

fn document(body: &str) -> String {
    let style = "pre { width: 3000px } .pale { color: #999; background: #fff } .blind { outline: none }";
    format!(
        "<!doctype html><meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\">\
         <style nonce=\"x\">{style}</style>{body}"
    )
}

/// What the look should have said about a wrong page and did not.
pub(crate) async fn unnoticed(browser: &Browser, site: &Server) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for screen in SCREENS {
        browser.become_screen(screen).await?;
        for (name, _, expected) in FAULTS {
            let found = browser.look_at(&site.page(name)?, screen).await?;
            if !found.iter().any(|problem| problem.contains(expected)) {
                problems.push(format!("{name}, {screen}: nobody noticed; only {found:?}"));
            }
        }
    }
    Ok(problems)
}
