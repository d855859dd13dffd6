//! Pure. A sign-in that failed: why, what the log may know of it, and what the person is told.

use url::form_urlencoded;

use crate::{
    answer::{Answer, RETRY_AFTER_SECONDS},
    challenge::ANYWAY,
    inbound::Caller,
    oidc::{
        provider::{Failure, ProviderError},
        transaction::Transaction,
    },
    origin::Site,
    pages::{self, Link, Next, OtherAccount, Page, Reload},
    reason::{Kind, Reason},
    session::User,
};

/// A sign-in that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Why.
    pub reason: Reason,
    /// What the log may say about the cause.
    pub cause: String,
    /// The provider that the sign-in was with, as far as it came.
    pub provider: Option<String>,
    /// The transaction's cookie, where it is of no more use.
    pub used_cookie: Option<String>,
    provider_error: Option<ProviderError>,
    account: Option<String>,
    return_to: String,
}

impl From<Reason> for Failed {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            cause: reason.meaning().to_owned(),
            provider: None,
            used_cookie: None,
            provider_error: None,
            account: None,
            return_to: String::new(),
        }
    }
}

impl Failed {
    /// The provider's endpoint failed us.
    pub fn at_provider(failure: Failure, return_to: &str) -> Self {
        Self {
            cause: failure.cause,
            provider_error: failure.provider_error,
            return_to: return_to.to_owned(),
            ..Self::from(failure.reason)
        }
    }

    /// The provider is known to be down, so nothing was asked of it.
    pub fn idp_down(provider: &str, return_to: &str) -> Self {
        Self { return_to: return_to.to_owned(), ..Self::from(Reason::IdpDown) }.with(provider)
    }

    /// The provider answered with an error of its own.
    pub fn provider_error(error: ProviderError) -> Self {
        let reason = if error.is_its_own_fault() { Reason::ProviderFault } else { Reason::ProviderError };
        Self { cause: error.error.clone(), provider_error: Some(error), ..Self::from(reason) }
    }

    /// The user is known and may have no session.
    pub fn access_denied(user: &User) -> Self {
        let account = [&user.email, &user.preferred_username, &user.name].into_iter().find(|text| !text.is_empty());
        Self { account: account.map(ToString::to_string), ..Self::from(Reason::AccessDenied) }
    }

    /// The sign-in was with this provider.
    #[must_use]
    pub fn with(mut self, provider: &str) -> Self {
        self.provider = Some(provider.to_owned());
        self
    }

    /// It used this transaction up.
    #[must_use]
    pub fn of(mut self, transaction: &Transaction, cookie_name: &str) -> Self {
        self.used_cookie = Some(cookie_name.to_owned());
        self.to_retry(transaction)
    }

    /// The transaction is as good as before.
    #[must_use]
    pub fn to_retry(mut self, transaction: &Transaction) -> Self {
        self.return_to.clone_from(&transaction.return_to);
        self.with(&transaction.provider)
    }

    /// What the visitor is told. `shown_name` is the provider's for people.
    pub fn answer(self, caller: Caller, site: &Site, shown_name: &str, sign_in: &str) -> Answer {
        if caller == Caller::Script {
            return Answer::json_error(self.reason);
        }
        if let Some(url) = site.error_url() {
            return Answer::redirect(with_reason(url.clone(), self.reason)).because(self.reason);
        }
        let again = self.sign_in_link(sign_in);
        Answer::page(match self.reason.kind() {
            Kind::ProviderDown => {
                Page::ProviderDown { reason: self.reason, provider: shown_name.to_owned(), try_anyway: again }
            }
            Kind::TooMany | Kind::Unavailable => Page::TryAgain {
                reason: self.reason,
                retry_after_seconds: RETRY_AFTER_SECONDS,
                reload: Reload::ByHand,
                again,
            },
            Kind::Forbidden => Page::Forbidden {
                reason: self.reason,
                account: self.account,
                other_account: OtherAccount::SignIn(Link::local(&format!("{sign_in}?account=other"))),
            },
            Kind::SignIn | Kind::BadRequest | Kind::NotFound | Kind::Internal => Page::Error {
                reason: self.reason,
                provider_error: self.provider_error.map(shown),
                next: Next::SignIn(again),
            },
        })
    }

    fn sign_in_link(&self, sign_in: &str) -> Link {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("rd", &self.return_to);
        if let Some(provider) = &self.provider {
            query.append_pair("provider", provider);
        }
        if self.reason.kind() == Kind::ProviderDown {
            query.append_pair(ANYWAY, "yes");
        }
        Link::local(&format!("{sign_in}?{}", query.finish()))
    }
}

fn shown(error: ProviderError) -> pages::ProviderError {
    pages::ProviderError { error: error.error, description: error.description, uri: error.uri }
}

fn with_reason(mut url: url::Url, reason: Reason) -> url::Url {
    url.query_pairs_mut().append_pair("reason", reason.code());
    url
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::origin::{PublicUrl, SiteParts};

    fn site(error_url: Option<&str>) -> Site {
        let public_url = PublicUrl::parse("https://app.example.com").unwrap();
        let error_url = error_url.map(str::to_owned);
        Site::new(SiteParts { error_url, ..SiteParts::new("main", public_url) }).unwrap()
    }

    #[test]
    fn scripts_get_json_people_a_page_and_a_sites_own_page_a_redirect() {
        let check = |caller, site: &Site, expected: &str| {
            let failed = Failed::from(Reason::CodeRejected).with("main");
            assert_eq!(failed.answer(caller, site, "Example", "/auth/login").summary(), expected);
        };
        check(Caller::Script, &site(None), "400 json code_rejected");
        check(Caller::Navigation, &site(None), "400 page code_rejected");
        let own = site(Some("https://app.example.com/failed"));
        check(Caller::Script, &own, "400 json code_rejected");
        check(Caller::Navigation, &own, "302 https://app.example.com/failed?reason=code_rejected");
    }

    #[test]
    fn what_is_known_of_a_failure_is_kept() {
        let said = || ProviderError::cleaned("invalid_grant", None, None);
        let failure = Failure { provider_error: Some(said()), ..Failure::new(Reason::CodeRejected, "the cause") };
        let failed = Failed::at_provider(failure, "/reports");
        assert_eq!((failed.reason, failed.cause.as_str()), (Reason::CodeRejected, "the cause"));
        assert_eq!((failed.provider_error, failed.return_to.as_str()), (Some(said()), "/reports"));

        let failed = Failed::provider_error(said());
        assert_eq!((failed.reason, failed.cause.as_str()), (Reason::ProviderError, "invalid_grant"));
        assert_eq!(failed.provider_error, Some(said()));
    }

    #[test]
    fn who_may_not_come_in_is_told_as_whom_they_are_known() {
        let check = |email: &str, preferred_username: &str, expected: Option<&str>| {
            let (email, preferred_username) = (email.into(), preferred_username.into());
            let user = User { id: "7".into(), email, preferred_username, ..User::default() };
            let failed = Failed::access_denied(&user);
            assert_eq!((failed.reason, failed.account.as_deref()), (Reason::AccessDenied, expected));
        };
        check("alice@example.com", "alice", Some("alice@example.com"));
        check("", "alice", Some("alice"));
        check("", "", None);
    }

    #[test]
    fn the_page_shows_all_that_the_provider_said() {
        let said = ProviderError::cleaned("invalid_scope", Some("No such scope."), Some("https://op.example.com/help"));
        let expected = pages::ProviderError {
            error: "invalid_scope".to_owned(),
            description: Some("No such scope.".to_owned()),
            uri: Some("https://op.example.com/help".to_owned()),
        };
        assert_eq!(shown(said), expected);
    }
}
