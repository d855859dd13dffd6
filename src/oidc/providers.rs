//! The providers by name, each with what else the settings say of it: whose claims make which user, and who of its
//! users may have a session.
//!
//! Which of them a site signs people in with is the site's to say; which one a sign-in is with is `choice.rs`'s.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    clock::Clock,
    oidc::{
        profile::Profile,
        provider::{self, Provider, SetUpError},
    },
    outbound::{self, Outbound, OutboundError},
    reason::Reason,
    rules::Conditions,
    session::{Facts, User},
};

/// What the settings say of one provider.
#[derive(Debug)]
pub struct Config {
    /// The provider itself.
    pub provider: provider::Config,
    /// The HTTP client that speaks to it.
    pub outbound: outbound::Config,
    /// Which of its claims make the user.
    pub profile: Profile,
    /// Who of its users may have a session; beside what is asked of all.
    pub access: Conditions,
}

/// All providers.
#[derive(Debug)]
pub struct Providers(BTreeMap<String, Arc<Member>>);

/// One of them.
#[derive(Debug)]
pub struct Member {
    provider: Arc<Provider>,
    profile: Profile,
    access: Conditions,
    waiting: Arc<Semaphore>,
}

impl Providers {
    /// Takes the settings of all; asks nobody anything yet.
    ///
    /// # Errors
    /// [`StartError`] names the provider whose client cannot be set up.
    pub fn new(configs: Vec<Config>, clock: &Clock) -> Result<Self, StartError> {
        let member = |config: Config| {
            let name = config.provider.name.clone();
            match Member::new(config, clock) {
                Ok(member) => Ok((name, Arc::new(member))),
                Err(cause) => Err(StartError { name, cause }),
            }
        };
        configs.into_iter().map(member).collect::<Result<_, _>>().map(Self)
    }

    /// The same providers, with what is known of them and whoever waits for them, and other rules of who may have a
    /// session. Which providers there are does not change.
    #[must_use]
    pub fn reloaded(&self, configs: Vec<Config>) -> Self {
        let member = |config: Config| {
            let name = config.provider.name.clone();
            let member = self.0.get(&name)?.reloaded(config);
            Some((name, Arc::new(member)))
        };
        Self(configs.into_iter().filter_map(member).collect())
    }

    /// The provider of that name.
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.0.get(name).map(Arc::as_ref)
    }

    /// The provider that a session was made with; none if another issuer has taken its name since.
    pub fn of_session(&self, facts: &Facts) -> Option<&Member> {
        self.named(&facts.provider).filter(|member| member.provider().issuer() == facts.issuer)
    }

    /// Those of these names, in their order.
    pub fn of<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Member> {
        names.iter().filter_map(|name| self.named(name))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.0.values()
    }
}

impl Member {
    fn new(config: Config, clock: &Clock) -> Result<Self, Cause> {
        let outbound = Outbound::new(&config.outbound)?;
        let provider = Provider::new(config.provider, outbound, clock.clone())?;
        Ok(Self {
            provider: Arc::new(provider),
            profile: config.profile,
            access: config.access,
            waiting: Arc::new(Semaphore::new(WAITING_FOR_PROVIDER)),
        })
    }

    fn reloaded(&self, config: Config) -> Self {
        Self {
            provider: Arc::clone(&self.provider),
            profile: config.profile,
            access: config.access,
            waiting: Arc::clone(&self.waiting),
        }
    }

    /// The provider itself.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// A place among those who wait for it. While a provider is silent, they must leave room for those who wait for
    /// another, or only want to be let in.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] if there is none left.
    pub fn place(&self) -> Result<SemaphorePermit<'_>, Reason> {
        self.waiting.try_acquire().map_err(|_| Reason::Overloaded)
    }

    /// The user that its claims describe.
    pub fn user(&self, subject: &str, claims: &Map<String, Value>) -> User {
        self.profile.user(subject, claims)
    }

    /// Whether that user of its may have a session.
    pub fn admits(&self, user: &User) -> bool {
        self.access.met_by(user)
    }
}

/// A provider could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("provider.{name}: {cause}")]
pub struct StartError {
    name: String,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error(transparent)]
    Provider(#[from] SetUpError),
}

/// Most requests that wait for one provider at once; the listeners take many more connections than that.
pub const WAITING_FOR_PROVIDER: usize = 256;
