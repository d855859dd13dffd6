//! Pure. The pages a person sees: login, sign-out, messages. Self-contained, light and dark, and usable without
//! JavaScript; only `form_post` has a script, with a button beside it.

use std::fmt::Write as _;

use crate::settings::Person;

/// HTML and the policy it is served under. The policy has no `form-action`: Chromium holds it against the redirects
/// that follow a form, and those lead to the client.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) html: String,
    pub(crate) security_policy: String,
}

impl Page {
    /// The people to choose from. The form goes to `action`, which carries the request.
    pub(crate) fn login(people: &[Person], client: &str, action: &str) -> Self {
        let mut body = format!(
            "<h1>Sign in</h1><p class=\"lead\">to continue to <strong>{}</strong></p>\
             <form id=\"login\" method=\"post\" action=\"{}\"><ul>",
            escaped(client),
            escaped(action)
        );
        for person in people {
            body.push_str(&person_button(person));
        }
        body.push_str(
            "</ul><button class=\"cancel\" type=\"submit\" id=\"cancel\" name=\"cancel\" value=\"yes\">Cancel</button></form>",
        );
        Self::new("Sign in", &body, None)
    }

    /// A headline and a sentence.
    pub(crate) fn message(title: &str, text: &str) -> Self {
        let body = format!("<h1>{}</h1><p class=\"lead\" id=\"message\">{}</p>", escaped(title), escaped(text));
        Self::new(title, &body, None)
    }

    /// Sends parameters to the client by a form (OAuth 2.0 Form Post Response Mode).
    pub(crate) fn form_post(action: &str, parameters: &[(String, String)], nonce: &str) -> Self {
        let mut body =
            format!("<h1>One moment</h1><form id=\"answer\" method=\"post\" action=\"{}\">", escaped(action));
        for (name, value) in parameters {
            let _ = write!(body, "<input type=\"hidden\" name=\"{}\" value=\"{}\">", escaped(name), escaped(value));
        }
        let _ = write!(
            body,
            "<button type=\"submit\">Continue</button></form>\
             <script nonce=\"{nonce}\">document.getElementById('answer').submit();</script>"
        );
        Self::new("One moment", &body, Some(nonce))
    }

    fn new(title: &str, body: &str, script_nonce: Option<&str>) -> Self {
        let html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{} · dev-idp</title>\
             <style>{STYLE}</style></head><body><main>{body}</main>\
             <footer>dev-idp, a provider for tests: nobody here is real.</footer></body></html>\n",
            escaped(title)
        );
        let scripts = script_nonce.map(|nonce| format!("; script-src 'nonce-{nonce}'")).unwrap_or_default();
        let security_policy =
            format!("default-src 'none'; style-src 'unsafe-inline'{scripts}; base-uri 'none'; frame-ancestors 'none'");
        Self { html, security_policy }
    }
}

fn person_button(person: &Person) -> String {
    let about = if person.groups.is_empty() { "no group".to_owned() } else { person.groups.join(", ") };
    let unverified = if person.email_verified { "" } else { " (not verified)" };
    let login = escaped(&person.login);
    format!(
        "<li><button type=\"submit\" id=\"login-{login}\" name=\"login\" value=\"{login}\">\
         <span class=\"initial\" aria-hidden=\"true\">{}</span>\
         <span class=\"who\"><strong>{}</strong><small>{}{unverified}</small><small>{}</small></span></button></li>",
        escaped(&person.given_name.chars().take(1).collect::<String>()),
        escaped(&person.full_name()),
        escaped(&person.email),
        escaped(&about),
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

const STYLE: &str = "
:root{color-scheme:light dark;--paper:#f4f5f8;--card:#fff;--ink:#1b2130;--soft:#596177;--line:#d9dde7;--accent:#3b4fd1;--on:#fff}
@media (prefers-color-scheme:dark){:root{--paper:#12151d;--card:#1b202c;--ink:#eef0f6;--soft:#a5adc2;--line:#323a4d;--accent:#8d9bff;--on:#12151d}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;flex-direction:column;align-items:center;justify-content:center;gap:1rem;padding:1rem;background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:25rem;padding:1.75rem;background:var(--card);border:1px solid var(--line);border-radius:1rem;box-shadow:0 8px 30px rgb(0 0 0/.08);overflow-wrap:anywhere}
h1{margin:0;font-size:1.5rem;line-height:1.25}
.lead{margin:.35rem 0 1.25rem;color:var(--soft)}
.lead strong{color:var(--ink)}
ul{margin:0;padding:0;list-style:none;display:grid;gap:.6rem}
button{font:inherit;color:inherit;cursor:pointer;border-radius:.7rem;border:1px solid var(--line);background:transparent;padding:.6rem 1rem}
li button{display:flex;align-items:center;gap:.9rem;width:100%;padding:.75rem .9rem;text-align:left}
button:hover{border-color:var(--accent)}
button:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.initial{flex:none;display:grid;place-items:center;width:2.5rem;height:2.5rem;border-radius:50%;background:var(--accent);color:var(--on);font-weight:600}
.who{display:grid;min-width:0}
small{color:var(--soft);font-size:.85rem}
.cancel{display:block;margin:1rem 0 0 auto;color:var(--soft)}
footer{color:var(--soft);font-size:.8rem;text-align:center}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_caller_sends_becomes_markup() {
        let hostile = "<script>\"'&";
        let harmless = "&lt;script&gt;&quot;&#39;&amp;";
        for page in [
            Page::login(&[Person::new(hostile, hostile)], hostile, hostile),
            Page::message(hostile, hostile),
            Page::form_post(hostile, &[(hostile.to_owned(), hostile.to_owned())], "n"),
        ] {
            assert!(page.html.contains(harmless));
            assert!(!page.html.contains(hostile));
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        let page = Page::login(&[Person::new("alice", "Adams")], "app", "/login");
        assert!(!page.html.contains("http:") && !page.html.contains("https:") && !page.html.contains("<script"));
    }
}
