//! The composition root: the only place that sees all collaborators, and the way of a request through them.
//!
//! `hyper request → Inbound → Route → handler → Answer → hyper response`. A gateway is callable without a socket.

use std::{fmt, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{Instrument, error_span};

use crate::{
    account::Account,
    answer::{Answer, Frame},
    challenge::{self, Asked as Challenged},
    clock::{Clock, Timestamp},
    drain::Drain,
    inbound::{Facts, Inbound, Listener, Peer, RequestId, Trust},
    oidc::{
        provider::{self, Provider},
        sign_in::{self, Asked, SignIn},
        sign_out::SignOut,
    },
    origin::Site,
    outbound::{self, Outbound},
    pages::{Link, OtherAccount, SiteLook},
    random,
    reason::Reason,
    route::{Endpoint, Prefix, Reach, Route},
    secret::Secret,
    session::{
        Client, Presented,
        cookie::Handle,
        keeper::{self, Found, Keeper},
        refresher::Refresher,
    },
    store::{self, Store},
    telemetry::{Event, Telemetry},
    verify::{
        self, Allow, identity,
        policy::{self, Policies},
    },
};

/// What a gateway is told.
#[derive(Debug)]
pub struct Config {
    /// The site.
    pub site: Site,
    /// Its provider.
    pub provider: provider::Config,
    /// The HTTP client that speaks to it.
    pub outbound: outbound::Config,
    /// Signing in, and who may have a session at all.
    pub sign_in: sign_in::Config,
    /// Cookie, lifetimes and keys of sessions.
    pub session: keeper::Config,
    /// Where sessions live.
    pub store: store::Config,
    /// Who may pass where.
    pub policies: Policies,
    /// What upstreams are told.
    pub identity: identity::Config,
    /// How our pages look.
    pub look: SiteLook,
    /// Whether browsers only report what breaks the content security policy.
    pub csp_report_only: bool,
}

/// One gateway. Knows nothing of sockets.
pub struct Gateway {
    site: Site,
    prefix: Prefix,
    look: SiteLook,
    report_only: bool,
    policies: Policies,
    identity: identity::Config,
    keeper: Arc<Keeper>,
    refresher: Refresher,
    sign_in: SignIn,
    sign_out: SignOut,
    account: Account,
    provider: Arc<Provider>,
    store: Arc<Store>,
    telemetry: Telemetry,
    drain: Drain,
    waiting: Semaphore,
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
}

impl Gateway {
    /// Puts a gateway together. Waits for nothing: provider and store may be down.
    ///
    /// # Errors
    /// [`StartError`] when a client cannot be set up from the settings, before anything is asked of the network.
    pub fn new(config: Config, clock: &Clock, telemetry: Telemetry, drain: Drain) -> Result<Self, StartError> {
        let store = Arc::new(Store::open(config.store, clock, observer(&telemetry)).map_err(StartError::Store)?);
        let outbound = Outbound::new(&config.outbound).map_err(StartError::Outbound)?;
        let provider = Provider::new(config.provider, outbound, clock.clone()).map_err(StartError::Provider)?;
        let provider = Arc::new(provider);
        let keeper = Arc::new(Keeper::new(config.session, Arc::clone(&store), clock.clone(), telemetry.clone()));
        let refresher = Refresher::new(
            Arc::clone(&keeper),
            Arc::clone(&provider),
            config.sign_in.profile.clone(),
            clock.clone(),
            telemetry.clone(),
            drain.clone(),
        );
        let prefix = config.sign_in.prefix.clone();
        Ok(Self {
            sign_in: SignIn::new(
                Arc::clone(&keeper),
                Arc::clone(&provider),
                config.sign_in,
                clock.clone(),
                telemetry.clone(),
            ),
            sign_out: SignOut::new(
                Arc::clone(&keeper),
                Arc::clone(&provider),
                prefix.clone(),
                telemetry.clone(),
                drain.clone(),
            ),
            account: Account::new(Arc::clone(&keeper), refresher.clone(), clock.clone()),
            site: config.site,
            prefix,
            look: config.look,
            report_only: config.csp_report_only,
            policies: config.policies,
            identity: config.identity,
            keeper,
            refresher,
            provider,
            store,
            telemetry,
            drain,
            waiting: Semaphore::new(WAITING_FOR_PROVIDER),
        })
    }

    /// Begins what runs beside the requests: discovery, and making endings good.
    pub fn begin(&self) {
        let provider = Arc::clone(&self.provider);
        self.drain.spawn_until_stop(async move { provider.keep_discovering().await });
        let keeper = Arc::clone(&self.keeper);
        self.drain.spawn_until_stop(async move { keeper.keep_settling().await });
    }

    /// Where events go.
    pub const fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Answers one request, whose body was `readable` within the limits or not.
    pub async fn handle(
        &self,
        request: Request<()>,
        readable: Result<(), Reason>,
        origin: &Origin<'_>,
    ) -> Response<Full<Bytes>> {
        let began = Instant::now();
        let trusted = origin.trust.believes(origin.peer);
        let inbound = Inbound::new(origin.listener, trusted, request.into_parts().0);
        let route = Route::of(origin.listener, &self.prefix, inbound.method(), inbound.path());
        let route = readable.and(route);
        if let Ok(route @ Route { endpoint: Endpoint::Verify, .. }) = route {
            let answer = self.verify(&inbound, route, began).await;
            return answer.for_nginx(inbound.into_emptied_headers());
        }
        let Ok(drawn) = random::bytes::<32>() else {
            return Answer::refused(Reason::Internal).for_nginx(inbound.into_emptied_headers());
        };
        let (nonce, id) = halves(drawn);
        let request_id = inbound.request_id().unwrap_or_else(|| RequestId::from_random(id));
        let endpoint = route.map_or("none", |route| route.endpoint.label());
        let span = error_span!("request", %request_id, endpoint);
        // On the heap, so that verify's requests, which are most, do not carry the room for all the others along.
        let answer = Box::pin(self.answered(&inbound, route)).instrument(span.clone()).await;
        let answer = answer.unwrap_or_else(|reason| self.refusal(&inbound, reason));
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
            https: self.site.is_https(),
            report_only: self.report_only,
        })
    }

    async fn answered(&self, inbound: &Inbound, route: Result<Route, Reason>) -> Result<Answer, Reason> {
        let route = route?;
        let visit = self.admitted(inbound, route)?;
        let _place = self.place(route.endpoint)?;
        let visitor = || visit.as_ref().map(|facts| Asked { inbound, facts, site: &self.site }).ok_or(Reason::NotFound);
        let client = visit.as_ref().map_or(Client::Application, |facts| browser(inbound, facts));
        Ok(match route.endpoint {
            Endpoint::Health => Answer::healthy(),
            Endpoint::Livez => Answer::probe(true),
            Endpoint::Readyz => Answer::probe(!self.drain.is_stopping()),
            Endpoint::Metrics => self.metrics().await?,
            Endpoint::Check => self.account.check(&self.find(inbound, client).await?),
            Endpoint::CheckActive => self.account.check_active(&self.find(inbound, client).await?).await,
            Endpoint::Userinfo => Account::userinfo(&self.find(inbound, client).await?),
            Endpoint::Refresh => self.account.refresh(self.find(inbound, client).await?).await,
            Endpoint::Challenge => challenge::challenge(
                &self.challenged(inbound, visitor()?.facts),
                inbound.refusal().unwrap_or(Reason::NoSession),
            ),
            Endpoint::Deny => self.deny(inbound, visitor()?.facts).await,
            Endpoint::Login => self.sign_in.begin(visitor()?).await,
            Endpoint::Callback => self.sign_in.complete(visitor()?).await,
            Endpoint::Logout => self.sign_out.asked(visitor()?).await,
            Endpoint::LogoutSubmitted => self.sign_out.submitted(visitor()?).await,
            Endpoint::SignedOut => self.sign_out.done(visitor()?),
            Endpoint::Verify => return Err(Reason::Internal),
        })
    }

    /// While a provider is silent, those who wait for it must leave room for those who only want to be let in.
    fn place(&self, endpoint: Endpoint) -> Result<Option<SemaphorePermit<'_>>, Reason> {
        if !endpoint.waits_for_provider() {
            return Ok(None);
        }
        self.waiting.try_acquire().map(Some).map_err(|_| Reason::Overloaded)
    }

    /// What nginx says of the request, where nginx sent it and the route asks who did.
    fn admitted<'a>(&self, inbound: &'a Inbound, route: Route) -> Result<Option<Facts<'a>>, Reason> {
        match (route.reach, inbound.listener()) {
            (Reach::Anyone, _) => Ok(None),
            (_, Listener::Nginx) => {
                let facts = inbound.facts()?;
                route.admit(&facts, &self.site, inbound.provenance())?;
                Ok(Some(facts))
            }
            (_, Listener::Application | Listener::Ops) if inbound.is_trusted() => Ok(None),
            (_, Listener::Application | Listener::Ops) => Err(Reason::UntrustedPeer),
        }
    }

    async fn metrics(&self) -> Result<Answer, Reason> {
        if let Ok(count) = self.store.count().await {
            self.telemetry.metrics().set_active_sessions(count);
        }
        self.telemetry.metrics().text().map(Answer::metrics).map_err(|_| Reason::Internal)
    }

    async fn deny(&self, inbound: &Inbound, facts: &Facts<'_>) -> Answer {
        let reason = inbound.refusal().unwrap_or(Reason::Internal);
        let asked = self.challenged(inbound, facts);
        if reason != Reason::PolicyDenied {
            return challenge::deny(&asked, reason, None, OtherAccount::Pointless);
        }
        let found = self.find(inbound, browser(inbound, facts)).await.ok();
        let account = found.map(|found| found.session.facts().user.shown_name());
        challenge::deny(&asked, reason, account, OtherAccount::SignOut(self.sign_out.form(&self.site)))
    }

    async fn find(&self, inbound: &Inbound, client: Client<'_>) -> Result<Found, Reason> {
        self.keeper.find(inbound, &self.site, &Presented { site: self.site.name(), client }).await
    }

    fn challenged<'a>(&'a self, inbound: &Inbound, facts: &'a Facts<'a>) -> Challenged<'a> {
        Challenged { facts, caller: inbound.caller(), site: &self.site, prefix: &self.prefix }
    }

    fn refusal(&self, inbound: &Inbound, reason: Reason) -> Answer {
        let answer = challenge::refuse(inbound.caller(), reason, &Link::local(&self.prefix.path("/login")));
        match reason {
            Reason::MethodNotAllowed => {
                answer.allowing(Route::methods(inbound.listener(), &self.prefix, inbound.path()))
            }
            _ => answer,
        }
    }

    /// May this request pass? Asking changes nothing; what has to be written is written beside the answer.
    async fn verify(&self, inbound: &Inbound, route: Route, began: Instant) -> Answer {
        let facts = inbound.facts();
        let policy = policy::asked_for(&inbound.query());
        let verdict = match (&facts, &policy) {
            (Err(reason), _) => Err(*reason),
            (Ok(facts), policy) => self.verified(inbound, route, facts, policy.as_deref()).await,
        };
        let request_id = inbound.request_id_text();
        match verdict {
            Ok((allow, identity)) => {
                let (policy, rule) = allow.rule();
                let user = &allow.session().facts().user.id;
                let took = began.elapsed();
                self.telemetry.event(&Event::Allowed { request_id, policy, rule, user, took });
                Answer::allowed(&allow, identity)
            }
            Err(reason) => {
                self.telemetry.event(&Event::Refused {
                    request_id,
                    policy: policy.as_deref().ok().filter(|name| self.policies.named(name).is_ok()),
                    reason,
                    client: facts.as_ref().ok().map(|facts| facts.client),
                    host: facts.as_ref().map_or("", |facts| facts.host),
                    took: began.elapsed(),
                });
                Answer::refused(reason)
            }
        }
    }

    async fn verified(
        &self,
        inbound: &Inbound,
        route: Route,
        facts: &Facts<'_>,
        policy: Result<&str, &Reason>,
    ) -> Result<(Allow, identity::Headers), Reason> {
        route.admit(facts, &self.site, inbound.provenance())?;
        let policy = policy.map_err(|reason| *reason)?;
        // Should nginx lack the line that overwrites it, the client's own would reach the application.
        if inbound.carries_any(self.identity.claims.iter().map(|claim| &claim.name)) {
            return Err(Reason::IdentityForged);
        }
        let Found { session, handle, at } = self.find(inbound, browser(inbound, facts)).await?;
        let access_token = if self.identity.access_token { Some(self.access_token(&handle).await?) } else { None };
        let allow = verify::decide(session, &self.policies, policy, at)?;
        let identity = identity::headers(&self.identity, &allow, access_token.as_ref());
        self.keep_up(&allow, handle, at);
        Ok((allow, identity))
    }

    /// On the heap, for it is rarely asked for.
    async fn access_token(&self, handle: &Handle) -> Result<Secret, Reason> {
        Ok(Box::pin(self.keeper.read_whole(handle)).await?.2.access)
    }

    /// What an allowed request causes beside its answer: the time of last use, and fresh tokens.
    fn keep_up(&self, allow: &Allow, handle: Arc<Handle>, now: Timestamp) {
        let facts = allow.session().facts();
        if self.keeper.wants_touch(facts, now) {
            self.keeper.touch_aside(Arc::clone(&handle), &self.drain);
        }
        if facts.tokens.refresh_due(now) {
            self.refresher.begin(handle);
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gateway").field("site", &self.site.name()).finish_non_exhaustive()
    }
}

/// Why a gateway could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store's client.
    #[error("store: {0}")]
    Store(#[source] store::redis::SetupError),
    /// The HTTP client.
    #[error("outbound: {0}")]
    Outbound(#[source] outbound::OutboundError),
    /// The provider's client.
    #[error("provider: {0}")]
    Provider(#[source] provider::SetUpError),
}

fn observer(telemetry: &Telemetry) -> store::Observer {
    let telemetry = telemetry.clone();
    Box::new(move |operation, ok, took| telemetry.metrics().store_operation(operation, ok, took))
}

fn browser<'a>(inbound: &'a Inbound, facts: &Facts<'_>) -> Client<'a> {
    Client::Browser { address: facts.client, user_agent: inbound.user_agent() }
}

fn halves(drawn: [u8; 32]) -> ([u8; 16], [u8; 16]) {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&drawn[..16]);
    second.copy_from_slice(&drawn[16..]);
    (first, second)
}

/// Most requests that wait for the provider at once; the listeners take many more connections than that.
pub const WAITING_FOR_PROVIDER: usize = 256;

#[cfg(test)]
mod tests;
