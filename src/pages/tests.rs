//! Tests of every page at once: what is true of one must be true of all.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use url::Url;

use super::*;

const HOSTILE: &str = "\"><script>alert(1)</script>'&";

/// Every page in every shape, with one text wherever a text goes.
fn pages_with(text: &str) -> Vec<Page> {
    let link = || Link::local(&format!("/{text}"));
    let form = || SignOutForm {
        action: link(),
        return_to: Some(text.to_owned()),
        redirect_targets: FormTarget::of(&Url::parse("https://id.example").unwrap()).into_iter().collect(),
    };
    let provider = || text.to_owned();
    let signed_out = |ending, provider_session| Page::SignedOut { ending, provider_session, sign_in: link() };
    let forbidden =
        |other_account| Page::Forbidden { reason: Reason::PolicyDenied, account: Some(text.to_owned()), other_account };
    let try_again =
        |reload| Page::TryAgain { reason: Reason::StoreUnavailable, retry_after_seconds: 5, reload, again: link() };
    let error = |reason, next| Page::Error {
        reason,
        provider_error: Some(ProviderError {
            error: text.to_owned(),
            description: Some(text.to_owned()),
            uri: Some(text.to_owned()),
        }),
        next,
    };
    vec![
        Page::ChooseProvider { providers: vec![ProviderLink { name: text.to_owned(), to: link() }] },
        Page::SignedIn { to: link() },
        signed_out(Ending::Done, ProviderSession::NoneKnown),
        signed_out(Ending::Done, ProviderSession::Ended { provider: provider() }),
        signed_out(Ending::Pending, ProviderSession::MayContinue { provider: provider() }),
        Page::ConfirmSignOut { account: Some(text.to_owned()), form: form(), stay: link() },
        error(Reason::ProviderError, Next::SignIn(link())),
        error(Reason::ParameterRepeated, Next::Home(link())),
        forbidden(OtherAccount::SignOut(form())),
        forbidden(OtherAccount::SignIn(link())),
        forbidden(OtherAccount::Pointless),
        try_again(Reload::ByItself),
        try_again(Reload::ByHand),
        Page::TooManyRequests { wait_seconds: 42, again: link() },
        Page::ProviderDown { reason: Reason::ProviderUnreachable, provider: provider(), try_anyway: link() },
        Page::CertificateRefused { reason: Reason::Expired },
        Page::NotFound { home: link() },
    ]
}

fn rendered_with(page: &Page, text: &str) -> Rendered {
    let site = SiteLook { product: text.to_owned(), support: Some(Link::local(&format!("/{text}"))) };
    let nonce = Nonce::new([7; 16]);
    let notice = FallbackNotice { account: text.to_owned(), ends: Some(text.to_owned()) };
    let view = View { nonce: &nonce, site: &site, request_id: text, fallback: Some(&notice) };
    render(page, &view)
}

fn rendered(page: &Page) -> Rendered {
    rendered_with(page, "plain")
}

#[test]
fn every_dynamic_value_is_escaped() {
    for page in pages_with(HOSTILE) {
        let html = rendered_with(&page, HOSTILE).html;
        assert!(!html.contains("<script"), "{page:?}\n{html}");
        assert!(!html.contains("\"&gt;<"), "{page:?}");
        assert!(!html.contains("'&\""), "{page:?}");
        assert!(html.contains("&lt;script&gt;") || html.contains("&#60;script&#62;"), "{page:?}");
    }
}

#[test]
fn hostile_text_changes_no_element() {
    let shape = |html: &str| html.matches('<').count();
    for (plain, hostile) in pages_with("plain").iter().zip(pages_with(HOSTILE)) {
        let expected = shape(&rendered(plain).html);
        assert_eq!(shape(&rendered_with(&hostile, HOSTILE).html), expected, "{plain:?}");
    }
}

#[test]
fn no_page_names_another_origin() {
    for page in pages_with("plain") {
        let html = rendered(&page).html;
        for outside in ["http:", "https:", "=\"//", "url(", "@import", "src="] {
            assert!(!html.contains(outside), "{outside} in {page:?}");
        }
    }
}

#[test]
fn every_page_has_a_language_a_title_a_viewport_and_landmarks() {
    for page in pages_with("plain") {
        let html = rendered(&page).html;
        let title = format!("<title>{} · plain</title>", wording::of(&page).title);
        let needed = [
            "<!doctype html>",
            "<html lang=\"en\">",
            &title,
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
            "<header>",
            "<main>",
            "<footer>",
        ];
        for part in needed {
            assert!(html.contains(part), "{part} is missing from {page:?}");
        }
        assert_eq!(html.matches("<h1>").count(), 1, "{page:?}");
        assert!(html.trim_end().ends_with("</html>"), "{page:?}");
    }
}

#[test]
fn the_style_and_the_policy_carry_the_same_nonce() {
    let nonce = "BwcHBwcHBwcHBwcHBwcHBw==";
    for page in pages_with("plain") {
        let Rendered { html, content_security_policy } = rendered(&page);
        assert_eq!(html.matches("<style").count(), 1, "{page:?}");
        assert!(html.contains(&format!("<style nonce=\"{nonce}\">")), "{page:?}");
        assert!(content_security_policy.contains(&format!("style-src 'nonce-{nonce}'")));
        assert!(!html.contains(" style=\""), "an inline style is not allowed: {page:?}");
    }
}

#[test]
fn no_policy_allows_a_script_a_frame_or_a_base() {
    for page in pages_with("plain") {
        let policy = rendered(&page).content_security_policy;
        for part in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{part} is missing from {policy}");
        }
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
    }
}

#[test]
fn forms_may_lead_to_us_and_to_the_provider_and_only_where_there_is_one() {
    for page in pages_with("plain") {
        let Rendered { html, content_security_policy } = rendered(&page);
        let expected =
            if html.contains("<form") { "form-action 'self' https://id.example;" } else { "form-action 'none';" };
        assert!(content_security_policy.contains(expected), "{page:?}: {content_security_policy}");
    }
}

#[test]
fn every_form_posts_and_lets_the_browser_say_where_it_comes_from() {
    for page in pages_with("plain") {
        let html = rendered(&page).html;
        let forms = html.matches("<form").count();
        assert_eq!(html.matches("method=\"post\"").count(), forms, "{page:?}");
        let says = html.contains("<meta name=\"referrer\" content=\"same-origin\">");
        assert_eq!(says, forms > 0, "{page:?}");
    }
}

#[test]
fn the_reason_and_the_request_id_stand_at_the_foot() {
    for page in pages_with("plain") {
        let html = rendered(&page).html;
        let foot = html.split("<footer>").nth(1).unwrap();
        assert!(foot.contains("<dd>plain</dd>"), "{page:?}");
        if let Some(reason) = page.reason() {
            assert!(foot.contains(&format!("<dd>{}</dd>", reason.code())), "{page:?}");
        }
    }
}

#[test]
fn only_a_page_told_to_reloads_by_itself() {
    for page in pages_with("plain") {
        let told = matches!(page, Page::TryAgain { reload: Reload::ByItself, .. });
        let html = rendered(&page).html;
        assert_eq!(html.contains("<meta http-equiv=\"refresh\" content=\"5\">"), told, "{page:?}");
    }
}

#[test]
fn every_reason_makes_a_page() {
    for reason in Reason::ALL {
        let page = Page::Error { reason: *reason, provider_error: None, next: Next::Home(Link::local("/")) };
        assert!(rendered(&page).html.contains(reason.code()), "{reason:?}");
    }
}
