//! Pure. What a visitor is told whom verify did not let through.
//!
//! nginx asks here after a 401, a 403 or a 500. A person's navigation goes to sign-in or gets a page; a script, an API
//! client, a frame, a WebSocket or anything but GET gets JSON. Nobody is sent to sign in because *we* are in trouble,
//! nor when they are known and refused: that would only go round. Nor is anybody sent to a
//! provider that is down: they get a page that says so, and a link that tries it all the same.

use http::Method;
use url::form_urlencoded;

use crate::{
    answer::{Answer, RETRY_AFTER_SECONDS},
    inbound::{Caller, Facts},
    origin::Site,
    pages::{Link, Next, OtherAccount, Page, Reload},
    reason::{Kind, Reason},
    route::Prefix,
};

/// What the answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The original request.
    pub facts: &'a Facts<'a>,
    /// Who waits for the answer.
    pub caller: Caller,
    /// The site.
    pub site: &'a Site,
    /// Where our pages are.
    pub prefix: &'a Prefix,
    /// What the site's providers are called, if every one of them is down.
    pub down: Option<&'a str>,
}

/// The answer after a 401.
pub fn challenge(asked: &Asked<'_>, reason: Reason) -> Answer {
    if !is_navigation(asked) {
        return Answer::json_error(reason);
    }
    match asked.down {
        Some(provider) => Answer::page(provider_down(asked, provider)),
        None => Answer::redirect(sign_in_url(asked.site, asked.prefix, asked.facts)),
    }
}

/// The answer after a 403, or after a 500 that nginx made of an answer it does not pass on.
///
/// `account` is who is signed in, for the page.
pub fn deny(asked: &Asked<'_>, reason: Reason, account: Option<String>, other_account: OtherAccount) -> Answer {
    if !is_person(asked) {
        return Answer::json_error(reason);
    }
    match reason.kind() {
        Kind::SignIn => challenge(asked, reason),
        // While people can sign in, a certificate that nobody asked for does not keep them from it.
        Kind::Forbidden if reason.closes_the_door() && is_navigation(asked) && may_sign_in(asked, reason) => {
            challenge(asked, reason)
        }
        Kind::Forbidden => Answer::page(Page::Forbidden { reason, account, other_account }),
        Kind::TooMany | Kind::Unavailable | Kind::ProviderDown => Answer::page(try_again(asked, reason)),
        Kind::BadRequest | Kind::NotFound | Kind::Internal => {
            Answer::page(Page::Error { reason, provider_error: None, next: Next::Home(Link::local("/")) })
        }
    }
}

/// The answer to a request that nginx itself refused because of its client certificate. It never sends anybody on: every
/// page of this server is refused to that certificate.
pub fn certificate_refused(asked: &Asked<'_>, reason: Reason) -> Answer {
    match asked.caller {
        Caller::Script => Answer::json_error(reason),
        Caller::Navigation => Answer::page(Page::CertificateRefused { reason }),
    }
}

/// The answer to a request for one of our own pages that is refused.
pub fn refuse(caller: Caller, reason: Reason, sign_in: &Link) -> Answer {
    if caller == Caller::Script {
        return Answer::json_error(reason);
    }
    let next = || Next::SignIn(sign_in.clone());
    Answer::page(match reason.kind() {
        Kind::NotFound => Page::NotFound { home: Link::local("/") },
        Kind::Forbidden => Page::Forbidden { reason, account: None, other_account: OtherAccount::Pointless },
        Kind::SignIn | Kind::BadRequest | Kind::Internal => Page::Error { reason, provider_error: None, next: next() },
        Kind::TooMany | Kind::Unavailable | Kind::ProviderDown => Page::TryAgain {
            reason,
            retry_after_seconds: RETRY_AFTER_SECONDS,
            reload: Reload::ByHand,
            again: sign_in.clone(),
        },
    })
}

/// The answer to somebody who asked too often, and may ask again after so many seconds.
pub fn wait(caller: Caller, seconds: u32, again: Link) -> Answer {
    match caller {
        Caller::Script => Answer::json_error(Reason::RateLimited),
        Caller::Navigation => Answer::page(Page::TooManyRequests { wait_seconds: seconds, again }),
    }
    .retrying_after(seconds)
}

fn may_sign_in(asked: &Asked<'_>, reason: Reason) -> bool {
    asked.down.is_none() || reason == Reason::FallbackDisabled
}

fn provider_down(asked: &Asked<'_>, provider: &str) -> Page {
    let mut anyway = sign_in_url(asked.site, asked.prefix, asked.facts);
    anyway.query_pairs_mut().append_pair(ANYWAY, "yes");
    Page::ProviderDown {
        reason: Reason::IdpDown,
        provider: provider.to_owned(),
        try_anyway: Link::parse(anyway.as_str()).unwrap_or_else(|_| Link::local(&asked.prefix.path("/login"))),
    }
}

fn try_again(asked: &Asked<'_>, reason: Reason) -> Page {
    Page::TryAgain {
        reason,
        retry_after_seconds: RETRY_AFTER_SECONDS,
        reload: if is_navigation(asked) { Reload::ByItself } else { Reload::ByHand },
        again: Link::local(asked.facts.target),
    }
}

/// Where a sign-in begins that ends on the page that was asked for.
fn sign_in_url(site: &Site, prefix: &Prefix, facts: &Facts<'_>) -> url::Url {
    let mut url = site.page(&prefix.path("/login"));
    let wanted = site.url_on(facts.host, facts.target);
    let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("rd", &wanted).finish();
    url.set_query(Some(&query));
    url
}

/// The parameter of `/login` by which somebody tries a provider that is held to be down.
pub const ANYWAY: &str = "anyway";

fn is_person(asked: &Asked<'_>) -> bool {
    asked.caller == Caller::Navigation
}

fn is_navigation(asked: &Asked<'_>) -> bool {
    is_person(asked) && matches!(asked.facts.method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::{
        inbound::Exposure,
        origin::{HostName, PublicUrl, SiteParts},
    };

    fn site() -> Site {
        Site::new(SiteParts {
            hosts: vec![HostName::parse("wiki.example.com").unwrap()],
            ..SiteParts::new("main", PublicUrl::parse("https://app.example.com").unwrap())
        })
        .unwrap()
    }

    fn ask(method: Method, caller: Caller, host: &str, answer: impl Fn(&Asked<'_>) -> Answer) -> String {
        let facts = Facts {
            exposure: Exposure::Internal,
            method,
            https: true,
            host,
            target: "/a?b=c&d=e",
            client: [192, 0, 2, 7].into(),
        };
        let site = site();
        let prefix = Prefix::parse("/auth").unwrap();
        answer(&Asked { facts: &facts, caller, site: &site, prefix: &prefix, down: None }).summary()
    }

    #[test]
    fn a_navigation_goes_to_sign_in_and_everything_else_gets_json() {
        let check = |method, caller, host: &str, expected: &str| {
            assert_eq!(ask(method, caller, host, |asked| challenge(asked, Reason::NoSession)), expected);
        };
        let app = "app.example.com";
        check(Method::GET, Caller::Navigation, app, "302 https://app.example.com/auth/login?rd=%2Fa%3Fb%3Dc%26d%3De");
        check(
            Method::GET,
            Caller::Navigation,
            "wiki.example.com",
            "302 https://app.example.com/auth/login?rd=https%3A%2F%2Fwiki.example.com%2Fa%3Fb%3Dc%26d%3De",
        );
        check(Method::POST, Caller::Navigation, app, "401 json no_session");
        check(Method::GET, Caller::Script, app, "401 json no_session");
    }

    #[test]
    fn the_refused_stay_where_they_are() {
        let check = |caller, reason, expected: &str| {
            let answer = |asked: &Asked<'_>| deny(asked, reason, None, OtherAccount::Pointless);
            assert_eq!(ask(Method::GET, caller, "app.example.com", answer), expected);
        };
        check(Caller::Navigation, Reason::PolicyDenied, "403 page policy_denied");
        check(Caller::Script, Reason::PolicyDenied, "403 json policy_denied");
        check(Caller::Navigation, Reason::StoreUnavailable, "503 page store_unavailable");
        check(Caller::Script, Reason::StoreUnavailable, "503 json store_unavailable");
        check(Caller::Navigation, Reason::Internal, "500 page internal_error");
    }
}
