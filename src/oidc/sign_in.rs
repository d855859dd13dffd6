//! Sign-in: from `/login` to the provider, and from `/callback` to a session.
//!
//! Fetches, then asks the pure parts. Order matters at the callback: the answer must belong to a transaction of this
//! browser, be in time and from the right issuer, and be used once, before any code is sent anywhere; and the tokens,
//! the subject and the access rules must hold before there is a session.

use std::{sync::Arc, time::Instant};

use url::form_urlencoded;

use crate::{
    answer::Answer,
    challenge::ANYWAY,
    clock::{Clock, Timestamp},
    fallback::monitor::Monitor,
    inbound::{Facts as RequestFacts, Inbound, Parameters},
    oidc::{
        callback::ProviderAnswer,
        choice::{self, Choice},
        failed::Failed,
        provider::{Account, SignedIn},
        providers::{Member, Providers},
        transaction::{self, Cookies, Transaction},
    },
    origin::{ReturnTarget, Site},
    pages::{Link, Page, ProviderLink},
    random,
    reason::Reason,
    route::Prefix,
    rules::Conditions,
    secret::Secret,
    session::{Facts, Method, TokenState, Tokens, binding::Binding, index::Entry, keeper::Keeper},
    store::{Mark, Token},
    telemetry::{EndCause, Event, Telemetry},
};

/// What signing in takes.
#[derive(Debug)]
pub struct SignIn {
    keeper: Arc<Keeper>,
    providers: Arc<Providers>,
    monitor: Arc<Monitor>,
    config: Config,
    clock: Clock,
    telemetry: Telemetry,
}

/// What the settings say about signing in.
#[derive(Clone, Debug)]
pub struct Config {
    /// How transaction cookies look, and how long a sign-in may take.
    pub transaction: transaction::Config,
    /// Who may have a session at all.
    pub access: Conditions,
    /// Where our pages are.
    pub prefix: Prefix,
}

/// A request for one of the sign-in pages.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The request.
    pub inbound: &'a Inbound,
    /// What nginx says of it.
    pub facts: &'a RequestFacts<'a>,
    /// The site.
    pub site: &'a Site,
}

impl SignIn {
    /// Puts sign-in together.
    pub fn new(
        keeper: Arc<Keeper>,
        providers: Arc<Providers>,
        monitor: Arc<Monitor>,
        config: Config,
        clock: Clock,
        telemetry: Telemetry,
    ) -> Self {
        Self { keeper, providers, monitor, config, clock, telemetry }
    }

    /// `GET /login`: sends the browser to the provider, with a transaction cookie.
    pub async fn begin(&self, asked: Asked<'_>) -> Answer {
        match self.begun(asked).await {
            Ok(answer) => answer,
            Err(failed) => self.failed(asked, failed, None),
        }
    }

    /// `GET /callback`: takes the provider's answer, and gives the browser a session.
    pub async fn complete(&self, asked: Asked<'_>) -> Answer {
        let began = Instant::now();
        match self.completed(asked, began).await {
            Ok(answer) => answer,
            Err(failed) => self.failed(asked, failed, Some(began)),
        }
    }

    async fn begun(&self, asked: Asked<'_>) -> Result<Answer, Failed> {
        let wish = Wish::read(&asked.inbound.query())?;
        let choice = choice::choose(asked.site, wish.provider.as_deref())?;
        if !asked.site.is_main_host(asked.facts.host) {
            return Ok(Answer::redirect(self.on_main_host(asked, &wish)));
        }
        let return_to = Transaction::kept(&asked.site.return_target(wish.target.as_deref()), asked.site);
        match choice {
            Choice::With(name) => self.sent_to_provider(asked, self.member(name)?, &wish, return_to).await,
            Choice::Ask => Ok(self.chooser(asked.site, &Wish { target: Some(return_to), ..wish })),
        }
    }

    async fn sent_to_provider(
        &self,
        asked: Asked<'_>,
        member: &Member,
        wish: &Wish,
        return_to: String,
    ) -> Result<Answer, Failed> {
        let name = member.provider().name();
        if self.monitor.is_down(name) && !wish.anyway {
            return Err(Failed::idp_down(name, &return_to));
        }
        let _place = member.place().map_err(|reason| Failed::from(reason).with(name))?;
        let account = if wish.other_account { Account::Ask } else { Account::Any };
        let request = member
            .provider()
            .authorization_request(&choice::callback(asked.site, &self.config.prefix, name), account)
            .await
            .map_err(|failure| Failed::at_provider(failure, &return_to).with(name))?;
        let transaction = Transaction {
            provider: name.to_owned(),
            site: asked.site.name().into(),
            nonce: request.nonce,
            verifier: request.verifier,
            return_to,
            started_at: self.clock.now(),
        };
        let cookies = self.cookies();
        let cookie = cookies.issue(&transaction, &request.state, drawn()?)?;
        let bytes = cookie.name().len() + cookie.value().len();
        let crowded = cookies.to_drop(asked.inbound.cookies_starting(cookies.prefix()), bytes);
        let dropped = crowded.into_iter().map(|name| cookies.clear(name));
        Ok(Answer::redirect(request.url).with_cookies(dropped).with_cookie(cookie))
    }

    /// The transaction's cookie is for one host, and the provider answers to the main one.
    fn on_main_host(&self, asked: Asked<'_>, wish: &Wish) -> url::Url {
        let wanted = wish.target.as_deref().unwrap_or("/");
        let target =
            if wanted.starts_with('/') { asked.site.url_on(asked.facts.host, wanted) } else { wanted.to_owned() };
        let mut url = asked.site.page(&self.config.prefix.path("/login"));
        url.set_query(Some(&wish.query(&target, wish.provider.as_deref())));
        url
    }

    fn chooser(&self, site: &Site, wish: &Wish) -> Answer {
        let target = wish.target.as_deref().unwrap_or_default();
        let login = self.config.prefix.path("/login");
        let providers = self.providers.of(site.providers()).map(|member| ProviderLink {
            name: member.provider().shown_name().to_owned(),
            to: Link::local(&format!("{login}?{}", wish.query(target, Some(member.provider().name())))),
        });
        Answer::page(Page::ChooseProvider { providers: providers.collect() })
    }

    fn member(&self, name: &str) -> Result<&Member, Reason> {
        self.providers.named(name).ok_or(Reason::ProviderUnknown)
    }

    async fn completed(&self, asked: Asked<'_>, began: Instant) -> Result<Answer, Failed> {
        let answer = ProviderAnswer::read(&asked.inbound.query())?;
        let (transaction, cookie_name) = self.transaction(asked, &answer.state)?;
        let consumed = |failed: Failed| failed.of(&transaction, &cookie_name);
        let member = self.member(&transaction.provider)?;
        choice::came_back_to(asked.inbound.path(), asked.site, &self.config.prefix, &transaction.provider)
            .map_err(|reason| consumed(reason.into()))?;
        let _place = member.place().map_err(|reason| Failed::from(reason).to_retry(&transaction))?;
        let wrong_issuer = |failure| consumed(Failed::at_provider(failure, ""));
        member.provider().check_issuer(answer.issuer.as_deref()).await.map_err(wrong_issuer)?;
        let first = self.use_up(&answer.state, &transaction, &cookie_name).await;
        first.map_err(|reason| Failed::from(reason).to_retry(&transaction))?;
        let signed_in = self.exchanged(asked, member, answer, &transaction).await.map_err(consumed)?;
        let cookie = self.session(asked, member, &signed_in).await.map_err(|reason| consumed(reason.into()))?;
        let target = asked.site.return_target(Some(transaction.return_to.as_str()));
        let user = member.user(&signed_in.subject, &signed_in.claims);
        self.telemetry.event(&Event::SignedIn {
            provider: &transaction.provider,
            user: &user.id,
            client: asked.facts.client,
            since_start: self.clock.now().since(transaction.started_at),
            callback: began.elapsed(),
        });
        Ok(self.onward(&target).with_cookie(cookie).with_cookie(self.cookies().clear(cookie_name)))
    }

    /// To the page that was wanted; from a page of our own, where a redirect would lose the session's cookie.
    fn onward(&self, target: &ReturnTarget) -> Answer {
        if self.keeper.cookie_is_strict() {
            let to = Link::parse(target.url().as_str()).unwrap_or_else(|_| Link::local("/"));
            return Answer::page(Page::SignedIn { to });
        }
        Answer::redirect(target.url().clone())
    }

    fn transaction(&self, asked: Asked<'_>, state: &Secret) -> Result<(Transaction, String), Reason> {
        let cookies = self.cookies();
        let shown = asked.inbound.cookies_starting(cookies.prefix());
        let (transaction, name) = cookies.open(shown, state, self.clock.now())?;
        let ours = transaction.site == asked.site.name() && asked.site.providers().contains(&transaction.provider);
        if ours { Ok((transaction, name)) } else { Err(Reason::TransactionMissing) }
    }

    /// From here on the transaction is used, whatever comes of it.
    async fn use_up(&self, state: &Secret, transaction: &Transaction, cookie_name: &str) -> Result<(), Reason> {
        let until = transaction.started_at.plus(self.config.transaction.lifetime);
        let name = transaction::mark(&self.cookies(), cookie_name, state);
        let by = Token(drawn()?);
        match self.keeper.store().mark_once(&name, &by, until).await {
            Ok(Mark::First) => Ok(()),
            Ok(Mark::Again) => Err(Reason::TransactionUsed),
            Err(error) => {
                self.telemetry.event(&Event::StoreFailed { operation: "mark_once", error: &error });
                Err(Reason::StoreUnavailable)
            }
        }
    }

    async fn exchanged(
        &self,
        asked: Asked<'_>,
        member: &Member,
        answer: ProviderAnswer,
        transaction: &Transaction,
    ) -> Result<SignedIn, Failed> {
        if let Some(error) = answer.error {
            return Err(Failed::provider_error(error));
        }
        let code = answer.code.ok_or(Reason::ParameterMissing)?;
        let redirect_uri = choice::callback(asked.site, &self.config.prefix, &transaction.provider);
        let signed_in = member
            .provider()
            .exchange(&code, &redirect_uri, &transaction.nonce, &transaction.verifier)
            .await
            .map_err(|failure| Failed::at_provider(failure, &transaction.return_to))?;
        let user = member.user(&signed_in.subject, &signed_in.claims);
        if self.config.access.met_by(&user) && member.admits(&user) {
            Ok(signed_in)
        } else {
            Err(Failed::access_denied(&user))
        }
    }

    async fn session(
        &self,
        asked: Asked<'_>,
        member: &Member,
        signed_in: &SignedIn,
    ) -> Result<cookie::Cookie<'static>, Reason> {
        let facts = self.facts(asked, member, signed_in, self.clock.now());
        let tokens = Tokens {
            access: signed_in.tokens.access.clone(),
            refresh: signed_in.tokens.refresh.clone(),
            id: signed_in.tokens.id.clone(),
        };
        let entry = Entry::of(&facts, asked.facts.client, asked.inbound.user_agent());
        let cookie = self.keeper.create(asked.site, &facts, &tokens, &entry).await?;
        self.keeper.end_shown(asked.inbound, asked.site, EndCause::Replaced).await;
        Ok(cookie)
    }

    fn facts(&self, asked: Asked<'_>, member: &Member, signed_in: &SignedIn, now: Timestamp) -> Facts {
        Facts {
            site: asked.site.name().into(),
            provider: member.provider().name().into(),
            issuer: signed_in.issuer.as_str().into(),
            subject: signed_in.subject.as_str().into(),
            sid: signed_in.sid.as_deref().map(Into::into),
            user: member.user(&signed_in.subject, &signed_in.claims),
            method: Method::Oidc,
            signed_in_at: now,
            expires_at: now.plus(self.keeper.lifetimes().absolute),
            last_seen: now,
            binding: Binding::of(asked.facts.client, asked.inbound.user_agent()),
            tokens: TokenState {
                revision: 1,
                issued_at: now,
                access_expires_at: signed_in.tokens.access_expires_at,
                refreshable: signed_in.tokens.refresh.is_some(),
                in_doubt: false,
                retry_at: now,
            },
        }
    }

    fn failed(&self, asked: Asked<'_>, failed: Failed, began: Option<Instant>) -> Answer {
        let member = failed.provider.as_deref().and_then(|name| self.providers.named(name));
        let shown_name = member.map_or("", |member| member.provider().shown_name());
        self.telemetry.event(&Event::SignInFailed {
            provider: failed.provider.as_deref().unwrap_or_default(),
            reason: failed.reason,
            cause: &failed.cause,
            client: asked.facts.client,
            callback: began.map(|began| began.elapsed()),
        });
        let used = failed.used_cookie.clone().map(|name| self.cookies().clear(name));
        let sign_in = self.config.prefix.path("/login");
        failed.answer(asked.inbound.caller(), asked.site, shown_name, &sign_in).with_cookies(used)
    }

    fn cookies(&self) -> Cookies<'_> {
        Cookies { config: &self.config.transaction, ring: self.keeper.ring() }
    }
}

/// What a link to `/login` asks for.
struct Wish {
    target: Option<String>,
    provider: Option<String>,
    other_account: bool,
    /// To a provider that is held to be down, too.
    anyway: bool,
}

impl Wish {
    fn read(query: &Parameters<'_>) -> Result<Self, Reason> {
        Ok(Self {
            target: query.once("rd")?,
            provider: query.once("provider")?,
            other_account: query.once("account")?.is_some(),
            anyway: query.once(ANYWAY)?.is_some(),
        })
    }

    /// The same wish as a query, for that target and with that provider.
    fn query(&self, target: &str, provider: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("rd", target);
        if let Some(provider) = provider {
            query.append_pair("provider", provider);
        }
        if self.other_account {
            query.append_pair("account", "other");
        }
        if self.anyway {
            query.append_pair(ANYWAY, "yes");
        }
        query.finish()
    }
}

fn drawn<const N: usize>() -> Result<[u8; N], Reason> {
    random::bytes().map_err(|_| Reason::Internal)
}
