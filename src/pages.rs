//! Pure. Every page we show a person: HTML from compiled-in templates, and the content security policy that goes with it.
//!
//! Each value is escaped by its template; nothing on a page comes from another origin, runs a script, or needs one.
//! Statuses and all other headers are `answer.rs`'s. A new page is a variant of [`Page`], a template in `templates/`,
//! and what the compiler then asks for.

pub mod link;
pub mod policy;
pub mod wording;

use askama::Template;

use crate::reason::Reason;

pub use link::{FormTarget, Link, NotALink};
pub use policy::Nonce;
use wording::Wording;

/// Makes the page and its policy. The nonce must be fresh for every response.
pub fn render(page: &Page, view: &View<'_>) -> Rendered {
    let sheet = Sheet::new(page, view);
    Rendered {
        html: sheet.render().unwrap_or_else(|_| PLAIN.to_owned()),
        content_security_policy: policy::for_page(page, view.nonce),
    }
}

/// A page, ready to be sent as `text/html; charset=utf-8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The whole document.
    pub html: String,
    /// The `Content-Security-Policy` it needs, with the same nonce; a [`policy::Delivery`] completes it.
    pub content_security_policy: String,
}

/// What surrounds every page.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// This response's nonce.
    pub nonce: &'a Nonce,
    /// The site's name and help.
    pub site: &'a SiteLook,
    /// The request's id, as in the log.
    pub request_id: &'a str,
    /// What an administrator who came in by certificate is told.
    pub fallback: Option<&'a FallbackNotice>,
}

/// What the yellow banner says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackNotice {
    /// Who it is, as the allow-list has it.
    pub account: String,
    /// When the certificate ends, if that is soon.
    pub ends: Option<String>,
}

/// How a site presents itself on our pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteLook {
    /// The name at the top.
    pub product: String,
    /// Where to get help: a page or a `mailto:`.
    pub support: Option<Link>,
}

/// What a page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// The site signs people in with several providers: which one is this person's?
    ChooseProvider {
        /// Those that there are.
        providers: Vec<ProviderLink>,
    },
    /// Signed in, and going on at once. A redirect would belong to the provider's navigation, on which browsers leave a
    /// `SameSite=Strict` cookie out.
    SignedIn {
        /// The page that was wanted.
        to: Link,
    },
    /// The session here is over.
    SignedOut {
        /// Whether our own side is done.
        ending: Ending,
        /// What became of the session at the provider.
        provider_session: ProviderSession,
        /// Back in.
        sign_in: Link,
    },
    /// Another site sent the browser here to sign out; nothing has happened yet.
    ConfirmSignOut {
        /// Who is signed in, as they know themselves.
        account: Option<String>,
        /// The form that does it.
        form: SignOutForm,
        /// Away without signing out.
        stay: Link,
    },
    /// Something went wrong with this request; the words follow from the reason.
    Error {
        /// Why.
        reason: Reason,
        /// The provider's own answer, when that is what went wrong.
        provider_error: Option<ProviderError>,
        /// The one thing to do next.
        next: Next,
    },
    /// Refused. Offers a way to another account, and never sends the browser round.
    Forbidden {
        /// Why.
        reason: Reason,
        /// Who is signed in, as they know themselves: display name or e-mail address.
        account: Option<String>,
        /// How to come in as somebody else.
        other_account: OtherAccount,
    },
    /// We cannot decide just now; nobody was signed out by it.
    TryAgain {
        /// Why.
        reason: Reason,
        /// The same as in `Retry-After`.
        retry_after_seconds: u32,
        /// Whether the page comes back by itself; only where repeating the request is harmless.
        reload: Reload,
        /// The page that was wanted.
        again: Link,
    },
    /// There were too many requests of this kind.
    TooManyRequests {
        /// The same as in `Retry-After`.
        wait_seconds: u32,
        /// The page that was wanted, or the way to it.
        again: Link,
    },
    /// The identity provider is down: nobody can sign in, and nobody is thrown out.
    ProviderDown {
        /// Why.
        reason: Reason,
        /// The provider's name for people.
        provider: String,
        /// Starts the sign-in all the same.
        try_anyway: Link,
    },
    /// The web server itself refused a client certificate, for every page it has.
    CertificateRefused {
        /// Why.
        reason: Reason,
    },
    /// Nothing is here.
    NotFound {
        /// Somewhere that exists.
        home: Link,
    },
}

/// A provider to sign in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderLink {
    /// Its name for people.
    pub name: String,
    /// Starts the sign-in with it.
    pub to: Link,
}

/// Whether a session that was signed out is over on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is over.
    Done,
    /// The browser has forgotten it; the store learns of it as soon as it answers again.
    Pending,
}

/// What became of the session at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSession {
    /// There was none to speak of.
    NoneKnown,
    /// The provider ended its own as well.
    Ended {
        /// The provider's name for people.
        provider: String,
    },
    /// It may go on: signing in again may not ask for a password.
    MayContinue {
        /// The provider's name for people.
        provider: String,
    },
}

/// The provider's own error, already cleaned and bounded. Shown as text, `error_uri` too: an address out of a query
/// string is nothing to click on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderError {
    /// `error`.
    pub error: String,
    /// `error_description`.
    pub description: Option<String>,
    /// `error_uri`.
    pub uri: Option<String>,
}

/// A `POST` that signs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignOutForm {
    /// Our logout endpoint.
    pub action: Link,
    /// Where to go afterwards, sent as `rd`.
    pub return_to: Option<String>,
    /// Origins that the answer may redirect to (the provider's logout), else the browser stops there.
    pub redirect_targets: Vec<FormTarget>,
}

/// The one thing to do after an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start a sign-in.
    SignIn(Link),
    /// Go to a page.
    Home(Link),
}

/// How a refused person comes in as somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherAccount {
    /// By ending the session here first.
    SignOut(SignOutForm),
    /// By signing in; there is no session to end. The link must make the provider ask which account.
    SignIn(Link),
    /// It would not help.
    Pointless,
}

/// Whether a page asks for itself again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// After `Retry-After`.
    ByItself,
    /// Only when the person does.
    ByHand,
}

impl Page {
    /// Why it is shown, where there is a reason.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::ChooseProvider { .. }
            | Self::SignedIn { .. }
            | Self::SignedOut { .. }
            | Self::ConfirmSignOut { .. } => None,
            Self::Error { reason, .. }
            | Self::Forbidden { reason, .. }
            | Self::TryAgain { reason, .. }
            | Self::CertificateRefused { reason }
            | Self::ProviderDown { reason, .. } => Some(*reason),
            Self::TooManyRequests { .. } => Some(Reason::RateLimited),
            Self::NotFound { .. } => Some(Reason::NotFound),
        }
    }

    /// The form on it.
    pub(crate) const fn form(&self) -> Option<&SignOutForm> {
        match self {
            Self::ConfirmSignOut { form, .. } | Self::Forbidden { other_account: OtherAccount::SignOut(form), .. } => {
                Some(form)
            }
            Self::ChooseProvider { .. }
            | Self::SignedIn { .. }
            | Self::SignedOut { .. }
            | Self::Error { .. }
            | Self::Forbidden { .. }
            | Self::TryAgain { .. }
            | Self::TooManyRequests { .. }
            | Self::ProviderDown { .. }
            | Self::CertificateRefused { .. }
            | Self::NotFound { .. } => None,
        }
    }

    /// How long to wait, where that is what the page is about.
    fn wait_in_words(&self) -> String {
        match self {
            Self::TooManyRequests { wait_seconds, .. } => wording::span(*wait_seconds),
            _ => String::new(),
        }
    }

    const fn reload_after_seconds(&self) -> Option<u32> {
        match self {
            Self::TryAgain { reload: Reload::ByItself, retry_after_seconds, .. } => Some(*retry_after_seconds),
            _ => None,
        }
    }
}

/// What the templates see.
#[derive(Template)]
#[template(path = "sheet.html")]
struct Sheet<'a> {
    page: &'a Page,
    nonce: &'a str,
    site: &'a SiteLook,
    request_id: &'a str,
    fallback: Option<&'a FallbackNotice>,
    reason: Option<Reason>,
    reload_after_seconds: Option<u32>,
    wording: Wording,
}

impl<'a> Sheet<'a> {
    fn new(page: &'a Page, view: &View<'a>) -> Self {
        Self {
            page,
            nonce: view.nonce.as_str(),
            site: view.site,
            request_id: view.request_id,
            fallback: view.fallback,
            reason: page.reason(),
            reload_after_seconds: page.reload_after_seconds(),
            wording: wording::of(page),
        }
    }
}

/// Shown if a template cannot be written, which takes a formatter that fails.
const PLAIN: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>Something went wrong</title>\
    <p>Something went wrong on our side. Please try again.</p></html>";

#[cfg(test)]
mod tests;
