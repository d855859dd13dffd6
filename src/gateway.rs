//! The composition root: the only place that sees all collaborators, and the way of a request through them.
//!
//! `hyper request → Inbound → Route → handler → Answer → hyper response`. A gateway is callable without a socket.

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body_util::Full;
use tracing::{Instrument, error_span};

use crate::{
    account::Account,
    answer::{Answer, Frame},
    challenge::{self, Asked as Challenged},
    clock::Clock,
    cors::{self, Grant},
    csp_report,
    drain::Drain,
    fallback::{self, Fallback, health},
    inbound::{Exposure, Facts, Inbound, Listener, Peer, RequestId, Trust},
    limits::{self, Limits, Wait},
    oidc::{
        providers::{self, Member, Providers},
        sign_in::{self, Asked, SignIn},
        sign_out::SignOut,
    },
    origin::{Site, Sites},
    pages::{Link, OtherAccount, SiteLook, policy::Delivery},
    random,
    reason::Reason,
    route::{Body, Endpoint, Limited, Prefix, Reach, Route},
    seal::Farewell,
    session::{
        Client, Presented,
        keeper::{self, Found, Keeper},
        refresher::Refresher,
    },
    store::{self, notice::Notice},
    telemetry::{Event, Telemetry},
    verify::{
        identity::{self, Identity},
        matching::Matching,
        policy::Policies,
    },
};

mod assembly;
mod by_certificate;
mod verifying;

/// What a gateway is told.
#[derive(Debug)]
pub struct Config {
    /// The sites.
    pub sites: Sites,
    /// Their providers.
    pub providers: Vec<providers::Config>,
    /// Signing in, and who may have a session at all.
    pub sign_in: sign_in::Config,
    /// Cookie, lifetimes and keys of sessions.
    pub session: keeper::Config,
    /// Where sessions live.
    pub store: store::Config,
    /// How much of what is too much.
    pub limits: limits::rule::Config,
    /// Who may pass where.
    pub policies: Policies,
    /// Which policy decides where the location names none.
    pub matching: Matching,
    /// What upstreams are told.
    pub identity: identity::Config,
    /// When a provider is held to be down.
    pub health: health::Rules,
    /// Administrators with client certificates, while it is.
    pub fallback: fallback::Config,
    /// How our pages look.
    pub look: SiteLook,
    /// Whether browsers only report what breaks the content security policy.
    pub csp_report_only: bool,
    /// Whether browsers are asked to report what breaks it.
    pub csp_reports: bool,
}

/// One gateway. Knows nothing of sockets.
pub struct Gateway {
    sites: Sites,
    prefix: Prefix,
    look: SiteLook,
    csp: Delivery,
    policies: Policies,
    matching: Matching,
    identity: Arc<Identity>,
    keeper: Arc<Keeper>,
    refresher: Refresher,
    sign_in: SignIn,
    sign_out: SignOut,
    fallback: Arc<Fallback>,
    account: Account,
    limits: Arc<Limits>,
    providers: Arc<Providers>,
    lasting: assembly::Lasting,
    telemetry: Telemetry,
    drain: Drain,
}

/// What a connection says of all requests on it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The listener's kind.
    pub listener: Listener,
    /// Whom the listener believes.
    pub trust: &'a Trust,
    /// Who is at the other end.
    pub peer: Peer,
    /// The site whose application asks, on a listener for applications.
    pub site: Option<&'a str>,
    /// Whether nginx passes on client certificates there.
    pub certificates: bool,
}

impl Gateway {
    /// Begins what of this gateway has not begun with the one before it, and waits a little for what it cannot do without.
    pub async fn begin_after(&self, before: &Self) {
        self.fallback.begin_after(&before.fallback, &self.drain).await;
    }

    /// Puts this gateway's keys in force for all that outlives a reload, and tells which open nothing from now on.
    pub fn take_over(&self) -> Vec<Farewell> {
        self.keeper.take_over()
    }

    /// Lets an accepted key open nothing any more, because another gateway has given it up; false if there is none, or if
    /// it is the one that seals here.
    pub fn retire(&self, farewell: &Farewell) -> bool {
        self.keeper.retire(farewell)
    }

    /// Tells the other gateways of keys that open nothing here any more, beside the requests.
    pub fn announce(&self, removed: &[Farewell]) {
        for farewell in removed.iter().copied() {
            let keeper = Arc::clone(&self.keeper);
            self.drain.spawn_until_stop(async move { keeper.announce(farewell).await });
        }
    }

    /// Begins what runs beside the requests: discovery, probes, and making endings good.
    pub fn begin(&self) {
        for member in self.providers.iter() {
            let member = Arc::clone(member);
            self.drain.spawn_until_stop(async move { member.provider().keep_discovering().await });
        }
        for provider in self.lasting.monitor.providers() {
            let (monitor, provider) = (Arc::clone(&self.lasting.monitor), provider.to_owned());
            self.drain.spawn_until_stop(async move { monitor.keep_watching(&provider).await });
        }
        self.fallback.begin(&self.drain);
        let keeper = Arc::clone(&self.keeper);
        self.drain.spawn_until_stop(async move { keeper.keep_settling().await });
        let (keeper, fallback) = (Arc::clone(&self.keeper), Arc::clone(&self.fallback));
        self.drain.spawn_until_stop(async move {
            keeper
                .keep_hearing(|notice| {
                    if notice == Notice::Switches {
                        fallback.switches_thrown();
                    }
                })
                .await;
        });
    }

    /// What time it is here.
    pub fn clock(&self) -> &Clock {
        self.keeper.clock()
    }

    /// Where events go.
    pub const fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// What is to become of the body of a request with that head.
    pub fn wants_body(&self, listener: Listener, head: &Parts) -> Body {
        let route = Route::of(listener, &self.prefix, &head.method, head.uri.path());
        route.map_or(Body::Discarded, |route| route.endpoint.body())
    }

    /// Answers one request; its body is what [`Gateway::wants_body`] asked for, or what was wrong with it.
    ///
    /// Verify, which is nearly all there is to do, has a small future; the rest of them goes to the heap.
    pub fn handle(
        &self,
        request: Request<()>,
        body: Result<Bytes, Reason>,
        origin: &Origin<'_>,
    ) -> impl Future<Output = Response<Full<Bytes>>> {
        let began = Instant::now();
        let trusted = origin.trust.believes(origin.peer);
        let inbound =
            Inbound::new(origin.listener, trusted, request.into_parts().0).reading_certificates(origin.certificates);
        let route = Route::of(origin.listener, &self.prefix, inbound.method(), inbound.path());
        let route = body.as_ref().map_err(|reason| *reason).and(route);
        async move {
            if let Ok(route @ Route { endpoint: Endpoint::Verify, .. }) = route {
                let answer = self.verify(&inbound, route, began).await;
                return answer.for_nginx(inbound.into_emptied_headers());
            }
            let asked = body.and_then(|body| route.map(|route| (route, body)));
            Box::pin(self.shown(&inbound, asked, origin.site, began)).await
        }
    }

    /// The answer to anything but verify, which a browser may see.
    async fn shown(
        &self,
        inbound: &Inbound,
        asked: Result<(Route, Bytes), Reason>,
        application_of: Option<&str>,
        began: Instant,
    ) -> Response<Full<Bytes>> {
        let Ok(drawn) = random::bytes::<32>() else {
            return Answer::refused(Reason::Internal).for_nginx(HeaderMap::new());
        };
        let (nonce, id) = halves(drawn);
        let request_id = inbound.request_id().unwrap_or_else(|| RequestId::from_random(id));
        let route = asked.as_ref().ok().map(|(route, _)| *route);
        let endpoint = route.map_or("none", |route| route.endpoint.label());
        let span = error_span!("request", %request_id, endpoint);
        let answer = self.answered(inbound, asked, application_of).instrument(span.clone()).await;
        let answer = answer.unwrap_or_else(|reason| self.refusal(inbound, reason));
        let notice = Box::pin(self.notice(inbound)).await;
        span.in_scope(|| {
            self.telemetry.event(&Event::Answered {
                endpoint,
                status: answer.status().as_u16(),
                reason: answer.reason(),
                took: began.elapsed(),
            });
        });
        answer.into_response(&Frame {
            request_id: &request_id,
            nonce,
            look: &self.look,
            https: self.sites.are_https(),
            csp: &self.csp,
            shared_with: route.and_then(|route| self.grant(inbound, route)),
            fallback: notice.as_ref(),
        })
    }

    async fn answered(
        &self,
        inbound: &Inbound,
        asked: Result<(Route, Bytes), Reason>,
        application_of: Option<&str>,
    ) -> Result<Answer, Reason> {
        let admitted = asked.and_then(|(route, body)| {
            let visit = match route.reach {
                Reach::Anyone => None,
                Reach::Internal | Reach::Public => Some(self.admitted(inbound, route, application_of)?),
            };
            Ok((route, visit, body))
        });
        // Who asks for nothing there is, or may not ask, is counted like the others.
        let limited = admitted.as_ref().map_or(Limited::AsEverything, |(route, ..)| route.endpoint.limited());
        if let Err(wait) = self.within_limits(inbound, limited).await {
            return Ok(too_many(inbound, wait, self.same_again(inbound)));
        }
        let (route, visit, body) = admitted?;
        let visit = visit.as_ref().ok_or(Reason::NotFound);
        let asked = || visit.and_then(|visit| visit.asked(inbound));
        Ok(match route.endpoint {
            Endpoint::Health => Answer::healthy(),
            Endpoint::Livez => Answer::probe(true),
            Endpoint::Readyz => Answer::probe(!self.drain.is_leaving()),
            Endpoint::Metrics => self.metrics().await?,
            Endpoint::Check => self.account.check(&self.find(inbound, visit?).await?),
            Endpoint::CheckActive => self.account.check_active(&self.find(inbound, visit?).await?).await,
            Endpoint::Userinfo => Account::userinfo(&self.find(inbound, visit?).await?),
            Endpoint::Refresh => self.refresh(inbound, self.find(inbound, visit?).await?).await?,
            Endpoint::Challenge => {
                let asked = asked()?;
                let down = self.names_if_down(asked.site);
                challenge::challenge(
                    &self.challenged(asked, down.as_deref()),
                    inbound.refusal().unwrap_or(Reason::NoSession),
                )
            }
            Endpoint::Deny => self.deny(asked()?, visit?).await,
            Endpoint::Login => self.sign_in.begin(asked()?).await,
            Endpoint::Callback => self.called_back(asked()?).await,
            Endpoint::Logout => self.sign_out.asked(asked()?).await,
            Endpoint::LogoutSubmitted => self.sign_out.submitted(asked()?).await,
            Endpoint::SignedOut => self.sign_out.done(asked()?),
            Endpoint::Preflight => cors::preflight(inbound, visit?.site, &self.prefix)?,
            Endpoint::CspReport => self.csp_report(inbound, visit?, &body)?,
            Endpoint::CertificateRefused => self.certificate_refused(asked()?).await,
            Endpoint::FallbackStatus => self.fallback.status(self.doors()),
            Endpoint::FallbackThrown => self.fallback.throw(&body).await,
            Endpoint::FallbackDrill => self.drill(&body).await?,
            Endpoint::Verify => return Err(Reason::Internal),
        })
    }

    /// Counts the visitors for whom nginx speaks, not nginx itself; others have nobody at the other end but the asker.
    async fn within_limits(&self, inbound: &Inbound, limited: Limited) -> Result<(), Wait> {
        match inbound.facts() {
            Ok(Facts { exposure: Exposure::Public, client, .. }) if inbound.listener() == Listener::Nginx => {
                self.limits.admit(limited, client).await
            }
            _ => Ok(()),
        }
    }

    async fn refresh(&self, inbound: &Inbound, found: Found) -> Result<Answer, Reason> {
        let _place = self.providers.of_session(found.session.facts()).map(Member::place).transpose()?;
        Ok(match self.limits.admit_refresh(&found).await {
            Ok(()) => self.account.refresh(&found).await,
            Err(wait) => too_many(inbound, wait, self.same_again(inbound)),
        })
    }

    async fn called_back(&self, asked: Asked<'_>) -> Answer {
        let answer = self.sign_in.complete(asked).await;
        let Some(reason) = answer.reason() else {
            return answer;
        };
        match self.limits.failed(reason, asked.facts.client).await {
            Ok(()) => answer,
            // A callback cannot be repeated, so the way from there is a new sign-in.
            Err(wait) => too_many(asked.inbound, wait, self.login()),
        }
    }

    fn same_again(&self, inbound: &Inbound) -> Link {
        inbound.facts().map_or_else(|_| self.login(), |facts| Link::local(facts.target))
    }

    fn login(&self) -> Link {
        Link::local(&self.prefix.path("/login"))
    }

    /// For which site the request is, and what nginx says of it where nginx sent it.
    fn admitted<'a>(
        &'a self,
        inbound: &'a Inbound,
        route: Route,
        application_of: Option<&str>,
    ) -> Result<Visit<'a>, Reason> {
        match inbound.listener() {
            Listener::Nginx => {
                let facts = inbound.facts()?;
                let site = route.admit(&facts, &self.sites, inbound.provenance())?;
                Ok(Visit { site, facts: Some(facts) })
            }
            Listener::Application | Listener::Ops if inbound.is_trusted() => {
                let site = application_of.and_then(|name| self.sites.named(name)).ok_or(Reason::NotFound)?;
                Ok(Visit { site, facts: None })
            }
            Listener::Application | Listener::Ops => Err(Reason::UntrustedPeer),
        }
    }

    /// The page of another origin that may have the answer, where the site lists it.
    fn grant<'a>(&self, inbound: &'a Inbound, route: Route) -> Option<Grant<'a>> {
        let origin = inbound.origin()?;
        let site = self.sites.of_host(inbound.facts().ok()?.host)?;
        Grant::of(route.endpoint, site, Some(origin))
    }

    fn csp_report(&self, inbound: &Inbound, visit: &Visit<'_>, body: &[u8]) -> Result<Answer, Reason> {
        self.csp.reports_to.as_ref().ok_or(Reason::NotFound)?;
        for violation in csp_report::read(inbound.media_type(), body, visit.site, &self.prefix)? {
            let mut lines = self.lasting.csp_lines.lock().unwrap_or_else(PoisonError::into_inner);
            let written = lines.take(self.clock().now());
            drop(lines);
            self.telemetry.event(&Event::CspViolated {
                directive: violation.directive,
                disposition: violation.disposition,
                page: violation.page,
                blocked: &violation.blocked,
                source: &violation.source,
                written,
            });
        }
        Ok(Answer::no_content())
    }

    async fn metrics(&self) -> Result<Answer, Reason> {
        if let Ok(count) = self.lasting.store.count().await {
            self.telemetry.metrics().set_active_sessions(count);
        }
        self.keeper.tell();
        self.lasting.monitor.tell();
        self.fallback.tell(self.doors());
        self.telemetry.metrics().text().map(Answer::metrics).map_err(|_| Reason::Internal)
    }

    async fn deny(&self, asked: Asked<'_>, visit: &Visit<'_>) -> Answer {
        let reason = asked.inbound.refusal().unwrap_or(Reason::Internal);
        let down = self.names_if_down(asked.site);
        let challenged = self.challenged(asked, down.as_deref());
        if reason != Reason::PolicyDenied {
            return challenge::deny(&challenged, reason, None, OtherAccount::Pointless);
        }
        let found = self.find(asked.inbound, visit).await.ok();
        let account = found.map(|found| found.session.facts().user.shown_name());
        // Who came by a certificate has nothing to sign out of.
        let other_account = match (&account, asked.inbound.certificate()) {
            (None, Ok(Some(_))) => OtherAccount::Pointless,
            _ => OtherAccount::SignOut(self.sign_out.form(asked.site)),
        };
        challenge::deny(&challenged, reason, account, other_account)
    }

    async fn find(&self, inbound: &Inbound, visit: &Visit<'_>) -> Result<Found, Reason> {
        let client = visit.facts.as_ref().map_or(Client::Application, |facts| browser(inbound, facts));
        self.find_for(inbound, visit.site, client).await
    }

    async fn find_for(&self, inbound: &Inbound, site: &Site, client: Client<'_>) -> Result<Found, Reason> {
        let found = self.keeper.find(inbound, &Presented { site, client }).await?;
        match self.providers.of_session(found.session.facts()) {
            Some(_) => Ok(found),
            None => Err(Reason::SessionWrongProvider),
        }
    }

    fn challenged<'a>(&'a self, asked: Asked<'a>, down: Option<&'a str>) -> Challenged<'a> {
        Challenged { facts: asked.facts, caller: asked.inbound.caller(), site: asked.site, prefix: &self.prefix, down }
    }

    /// What a site's providers are called, if all of them are down.
    fn names_if_down(&self, site: &Site) -> Option<String> {
        if !self.lasting.monitor.are_down(site.providers()) {
            return None;
        }
        let names = self.providers.of(site.providers()).map(|member| member.provider().shown_name());
        Some(names.collect::<Vec<_>>().join(" and "))
    }

    fn refusal(&self, inbound: &Inbound, reason: Reason) -> Answer {
        let answer = challenge::refuse(inbound.caller(), reason, &self.login());
        match reason {
            Reason::MethodNotAllowed => {
                answer.allowing(Route::methods(inbound.listener(), &self.prefix, inbound.path()))
            }
            _ => answer,
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gateway").field("sites", &self.sites).finish_non_exhaustive()
    }
}

fn too_many(inbound: &Inbound, Wait(wait): Wait, again: Link) -> Answer {
    challenge::wait(inbound.caller(), limits::rule::whole_seconds(wait), again)
}

fn browser<'a>(inbound: &'a Inbound, facts: &Facts<'_>) -> Client<'a> {
    Client::Browser { address: facts.client, user_agent: inbound.user_agent() }
}

/// Who asks, and for which site.
struct Visit<'a> {
    site: &'a Site,
    /// What nginx says; nothing where the application itself asks.
    facts: Option<Facts<'a>>,
}

impl Visit<'_> {
    fn asked<'a>(&'a self, inbound: &'a Inbound) -> Result<Asked<'a>, Reason> {
        let facts = self.facts.as_ref().ok_or(Reason::NotFound)?;
        Ok(Asked { inbound, facts, site: self.site })
    }
}

/// Why a gateway could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store's client.
    #[error("store: {0}")]
    Store(#[source] store::redis::SetupError),
    /// The client that fetches revocation lists.
    #[error("fallback: {0}")]
    Fallback(#[source] fallback::fetcher::StartError),
    /// A provider's client.
    #[error(transparent)]
    Provider(#[from] providers::StartError),
}

fn halves(drawn: [u8; 32]) -> ([u8; 16], [u8; 16]) {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&drawn[..16]);
    second.copy_from_slice(&drawn[16..]);
    (first, second)
}

#[cfg(test)]
mod tests;
