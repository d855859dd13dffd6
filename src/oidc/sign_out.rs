//! Sign-out: the record is ended for good first; then tokens are revoked and the browser goes on to the provider.
//!
//! A GET that another site caused shows a page that asks; nothing happens without the person. Without a session it is
//! simply signed out. With the store down the cookie goes, the ending is kept, and the page says so.

use std::sync::Arc;

use compact_str::CompactString;
use cookie::Cookie;
use http::Method;
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use crate::{
    answer::Answer,
    drain::Drain,
    inbound::{Caller, Inbound, Provenance},
    oidc::{
        provider::{Provider, Revocable},
        providers::{Member, Providers},
        sign_in::Asked,
    },
    origin::Site,
    pages::{Ending, FormTarget, Link, Page, ProviderSession, SignOutForm},
    reason::Reason,
    route::Prefix,
    secret::Secret,
    session::{
        Tokens,
        ending::Outcome,
        keeper::{END_WITHIN, Keeper},
    },
    telemetry::{EndCause, Event, Telemetry},
};

/// What signing out takes.
#[derive(Debug)]
pub struct SignOut {
    keeper: Arc<Keeper>,
    providers: Arc<Providers>,
    prefix: Prefix,
    telemetry: Telemetry,
    drain: Drain,
}

/// What became of the sessions that a browser showed.
struct Ended {
    pending: bool,
    had_session: bool,
    provider: Option<CompactString>,
    id_token: Option<Secret>,
}

impl SignOut {
    /// Puts sign-out together.
    pub fn new(
        keeper: Arc<Keeper>,
        providers: Arc<Providers>,
        prefix: Prefix,
        telemetry: Telemetry,
        drain: Drain,
    ) -> Self {
        Self { keeper, providers, prefix, telemetry, drain }
    }

    /// `GET /logout`.
    pub async fn asked(&self, asked: Asked<'_>) -> Answer {
        let provenance = asked.inbound.provenance();
        let ours = provenance == Provenance::UserTyped || provenance.is_page_of(asked.site);
        let meant = ours && !asked.inbound.is_speculative();
        if meant && asked.inbound.caller() == Caller::Navigation {
            self.sign_out(asked).await
        } else if asked.inbound.caller() == Caller::Script {
            Answer::json_error(Reason::CrossSite)
        } else {
            Answer::page(Page::ConfirmSignOut { account: None, form: self.form(asked.site), stay: Link::local("/") })
        }
    }

    /// `POST /logout`, with proof of its origin.
    pub async fn submitted(&self, asked: Asked<'_>) -> Answer {
        self.sign_out(asked).await
    }

    /// `GET /signed-out`: where the provider's logout comes back to, whatever parameters it brings.
    pub fn done(&self, asked: Asked<'_>) -> Answer {
        let by_provider = matches!(asked.inbound.provenance(), Provenance::Elsewhere | Provenance::Origin(_));
        let provider = self.only_provider(asked.site).map(|provider| provider.shown_name().to_owned());
        self.page(
            Ending::Done,
            match provider {
                Some(provider) if by_provider => ProviderSession::Ended { provider },
                Some(provider) => ProviderSession::MayContinue { provider },
                None => ProviderSession::NoneKnown,
            },
        )
    }

    /// The form that signs out, and where its answer may lead.
    pub fn form(&self, site: &Site) -> SignOutForm {
        let back = self.return_url(site);
        let logouts =
            self.providers.of(site.providers()).filter_map(|member| member.provider().logout_url(None, &back));
        SignOutForm {
            action: Link::local(&self.prefix.path("/logout")),
            return_to: None,
            redirect_targets: logouts.filter_map(|url| FormTarget::of(&url)).collect(),
        }
    }

    async fn sign_out(&self, asked: Asked<'_>) -> Answer {
        let ended = self.end_all(asked.inbound, asked.site).await;
        let cleared = self.keeper.clear_cookie(asked.site);
        self.farewell(asked, &ended, cleared)
    }

    fn farewell(&self, asked: Asked<'_>, ended: &Ended, cleared: Cookie<'static>) -> Answer {
        let pending = ended.pending;
        if asked.inbound.caller() == Caller::Script {
            return Answer::json(json!({"status": "signed_out", "pending": pending})).with_cookie(cleared);
        }
        let onward = ended.had_session.then(|| self.onward(asked.site, ended)).flatten();
        match onward {
            Some(url) if !pending && asked.inbound.method() == Method::POST => Answer::see_other(url),
            Some(url) if !pending => Answer::redirect(url),
            _ => {
                let session = match self.provider_of(asked.site, ended) {
                    Some(provider) if ended.had_session => {
                        ProviderSession::MayContinue { provider: provider.shown_name().to_owned() }
                    }
                    _ => ProviderSession::NoneKnown,
                };
                self.page(if pending { Ending::Pending } else { Ending::Done }, session)
            }
        }
        .with_cookie(cleared)
    }

    async fn end_all(&self, inbound: &Inbound, site: &Site) -> Ended {
        let mut ended = Ended { pending: false, had_session: false, provider: None, id_token: None };
        let deadline = Instant::now() + END_WITHIN;
        for handle in self.keeper.shown(inbound, site) {
            let (outcome, whole) = self.keeper.end_with_tokens(&handle, EndCause::Logout, deadline).await;
            ended.had_session |= outcome != Outcome::Before;
            ended.pending |= outcome == Outcome::Pending;
            if let Some((facts, tokens)) = whole.filter(|(facts, _)| self.providers.of_session(facts).is_some()) {
                ended.id_token = Some(tokens.id.clone()).filter(|id| !id.is_empty());
                self.revoke(facts.provider.clone(), tokens);
                ended.provider = Some(facts.provider);
            }
        }
        ended
    }

    fn revoke(&self, provider: CompactString, tokens: Tokens) {
        let providers = Arc::clone(&self.providers);
        let telemetry = self.telemetry.clone();
        self.drain.spawn(async move {
            let Some(provider) = providers.named(&provider).map(Member::provider) else {
                return;
            };
            let access = Some(&tokens.access).filter(|access| !access.is_empty());
            let revocable = Revocable { refresh: tokens.refresh.as_ref(), access };
            if let Err(failure) = provider.revoke(revocable).await {
                let event =
                    Event::ProviderFailed { provider: provider.name(), operation: "revoke", cause: &failure.cause };
                telemetry.event(&event);
            }
        });
    }

    fn onward(&self, site: &Site, ended: &Ended) -> Option<Url> {
        self.provider_of(site, ended)?.logout_url(ended.id_token.as_ref(), &self.return_url(site))
    }

    /// The provider of the session that was ended; with the store down, the site's, where it has only one.
    fn provider_of(&self, site: &Site, ended: &Ended) -> Option<&Provider> {
        let named = ended.provider.as_deref().and_then(|name| self.providers.named(name)).map(Member::provider);
        named.or_else(|| self.only_provider(site))
    }

    fn only_provider(&self, site: &Site) -> Option<&Provider> {
        match site.providers() {
            [only] => self.providers.named(only).map(Member::provider),
            _ => None,
        }
    }

    fn return_url(&self, site: &Site) -> Url {
        site.page(&self.prefix.path("/signed-out"))
    }

    fn page(&self, ending: Ending, provider_session: ProviderSession) -> Answer {
        Answer::page(Page::SignedOut { ending, provider_session, sign_in: Link::local(&self.prefix.path("/login")) })
    }
}
