//! Every page with the longest and the plainest things it has to show.

use std::path::Path;

use anyhow::Context;
use portcullis::pages::policy::Nonce;
use portcullis::pages::{
    Ending, FallbackNotice, FormTarget, Link, Next, OtherAccount, Page, ProviderError, ProviderLink, ProviderSession,
    Reload, SignOutForm, SiteLook, View, render,
};
use portcullis::reason::Reason;
use url::Url;

use crate::server::Exhibit;

/// Every page of ours, and nginx's own.
pub(crate) fn exhibits(nginx_pages: &Path, provider: &Url) -> anyhow::Result<Vec<Exhibit>> {
    let mut exhibits: Vec<_> = pages(provider).into_iter().map(|(name, page)| exhibit(name, &page)).collect();
    let file = nginx_pages.join("try-again.html");
    exhibits.push(Exhibit {
        name: "nginx-try-again",
        html: std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?,
        policy: None,
    });
    Ok(exhibits)
}

fn exhibit(name: &'static str, page: &Page) -> Exhibit {
    let nonce = Nonce::new(*b"sixteen bytes...");
    let site = SiteLook { product: "Harbour Operations".to_owned(), support: Some(Link::local("/help")) };
    let notice = notice(name);
    let view =
        View { nonce: &nonce, site: &site, request_id: "7f3a9c51e0b84d2f9a6c3e17d5b0428e", fallback: notice.as_ref() };
    let rendered = render(page, &view);
    Exhibit { name, html: rendered.html, policy: Some(rendered.content_security_policy) }
}

/// What an administrator who came in by certificate sees above some of the pages.
fn notice(name: &str) -> Option<FallbackNotice> {
    let ends = (name == ENDS_SOON).then(|| "2026-11-22 07:30:00 UTC".to_owned());
    name.starts_with("fallback-").then(|| FallbackNotice { account: "ada".to_owned(), ends })
}

const ENDS_SOON: &str = "fallback-ends-soon";

fn pages(provider: &Url) -> Vec<(&'static str, Page)> {
    let mut pages = signing_in_and_out(provider);
    pages.extend(errors());
    pages.extend(refusals(provider));
    pages.extend(outages());
    pages
}

fn signing_in_and_out(provider: &Url) -> Vec<(&'static str, Page)> {
    let signed_out = |ending, provider_session| Page::SignedOut { ending, provider_session, sign_in: login() };
    let named = || "Harbour Identity".to_owned();
    vec![
        ("choose-provider", Page::ChooseProvider { providers: ["Staff account", "Partners"].map(choice).to_vec() }),
        // Its own address but for the fragment, so that going on stays here.
        ("signed-in", Page::SignedIn { to: Link::local("/signed-in#here") }),
        ("signed-out", signed_out(Ending::Done, ProviderSession::NoneKnown)),
        ("signed-out-everywhere", signed_out(Ending::Done, ProviderSession::Ended { provider: named() })),
        ("signed-out-here", signed_out(Ending::Done, ProviderSession::MayContinue { provider: named() })),
        ("signed-out-pending", signed_out(Ending::Pending, ProviderSession::MayContinue { provider: named() })),
        (CONFIRM, confirm(form(provider))),
    ]
}

fn choice(name: &str) -> ProviderLink {
    ProviderLink { name: name.to_owned(), to: login() }
}

fn confirm(form: SignOutForm) -> Page {
    Page::ConfirmSignOut { account: Some("Ada Lovelace".to_owned()), form, stay: Link::local("/") }
}

/// The sign-out form with a policy that does not name the provider; not worth a picture.
pub(crate) fn unnamed(provider: &Url) -> Exhibit {
    let form = SignOutForm { redirect_targets: Vec::new(), ..form(provider) };
    exhibit(CONFIRM_UNNAMED, &confirm(form))
}

fn errors() -> Vec<(&'static str, Page)> {
    let error = |reason, provider_error| Page::Error { reason, provider_error, next: Next::SignIn(login()) };
    let short = ProviderError {
        error: "access_denied".to_owned(),
        description: Some("The user cancelled the sign-in.".to_owned()),
        uri: None,
    };
    let long = ProviderError {
        error: "interaction_required".repeat(6),
        description: Some("AADSTS50105: The signed in user is not assigned to a role. ".repeat(6)),
        uri: Some(format!("https://login.example/error?code=50105&trace={}", "0123456789".repeat(12))),
    };
    vec![
        ("error-expired", error(Reason::TransactionExpired, None)),
        ("error-provider", error(Reason::ProviderError, Some(short))),
        ("error-provider-long", error(Reason::ProviderError, Some(long))),
        ("error-unconfirmed", error(Reason::IdTokenAccessTokenHash, None)),
        (
            "error-internal",
            Page::Error { reason: Reason::Internal, provider_error: None, next: Next::Home(Link::local("/")) },
        ),
        ("not-found", Page::NotFound { home: Link::local("/") }),
    ]
}

fn refusals(provider: &Url) -> Vec<(&'static str, Page)> {
    let forbidden = |reason, account: Option<&str>, other_account| Page::Forbidden {
        reason,
        account: account.map(str::to_owned),
        other_account,
    };
    let long = "a.person.with.a.very.long.name.that.nobody.can.break@department.subsidiary.example-corporation.test";
    let sign_out = || OtherAccount::SignOut(form(provider));
    vec![
        ("forbidden", forbidden(Reason::PolicyDenied, Some("ada@harbour.example"), sign_out())),
        ("forbidden-long", forbidden(Reason::PolicyDenied, Some(long), sign_out())),
        ("forbidden-sign-in", forbidden(Reason::AccessDenied, Some("Ada Lovelace"), OtherAccount::SignIn(login()))),
        ("forbidden-setup", forbidden(Reason::PolicyMissing, None, OtherAccount::Pointless)),
        ("fallback-forbidden", forbidden(Reason::PolicyDenied, Some("ada"), OtherAccount::Pointless)),
        (ENDS_SOON, forbidden(Reason::PolicyDenied, Some("ada"), OtherAccount::Pointless)),
        ("door-closed", forbidden(Reason::FallbackNotArmed, None, OtherAccount::Pointless)),
        ("certificate-unchecked", forbidden(Reason::CrlStale, None, OtherAccount::Pointless)),
        ("certificate-refused", Page::CertificateRefused { reason: Reason::Expired }),
        ("certificate-refused-any", Page::CertificateRefused { reason: Reason::IdpHealthy }),
        ("forbidden-cross-site", forbidden(Reason::CrossSite, None, OtherAccount::Pointless)),
    ]
}

fn outages() -> Vec<(&'static str, Page)> {
    let try_again = |reload| Page::TryAgain {
        reason: Reason::StoreUnavailable,
        retry_after_seconds: 30,
        reload,
        again: Link::local("/reports/today"),
    };
    vec![
        ("try-again", try_again(Reload::ByItself)),
        ("try-again-by-hand", try_again(Reload::ByHand)),
        ("too-many-requests", Page::TooManyRequests { wait_seconds: 1_740, again: login() }),
        (
            "provider-down",
            Page::ProviderDown {
                reason: Reason::IdpDown,
                provider: "Harbour Identity".to_owned(),
                try_anyway: login(),
            },
        ),
    ]
}

fn login() -> Link {
    Link::local("/auth/login?rd=%2Freports%2Ftoday")
}

fn form(provider: &Url) -> SignOutForm {
    SignOutForm {
        action: Link::local("/auth/logout"),
        return_to: Some("/reports/today".to_owned()),
        redirect_targets: FormTarget::of(provider).into_iter().collect(),
    }
}

/// The sign-out form whose policy names the provider.
pub(crate) const CONFIRM: &str = "confirm-sign-out";
/// The one whose policy does not.
pub(crate) const CONFIRM_UNNAMED: &str = "confirm-sign-out-provider-unnamed";
