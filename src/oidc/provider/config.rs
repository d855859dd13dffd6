//! Pure. What the settings say of one provider, and whether a request could come of it.

use std::time::Duration;

use crate::oidc::{
    discovery::Issuer,
    jwk::Algorithm,
    request::{self, ClientAuthentication},
};

/// What the settings say of one provider.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name in settings, policies and logs.
    pub name: String,
    /// What people are told it is called; its host unless set.
    pub display_name: Option<String>,
    /// Its issuer, to the letter.
    pub issuer: Issuer,
    /// Who we are to it.
    pub client_id: String,
    /// How we prove that.
    pub client_authentication: ClientAuthentication,
    /// Scopes that are asked for; `openid` always is.
    pub scopes: Vec<String>,
    /// Whether `offline_access` is asked for as well, where the provider lists it.
    pub offline_access: bool,
    /// Whether userinfo is fetched, where the provider has it.
    pub userinfo: bool,
    /// The algorithms that may sign ID tokens, where the provider announces them.
    pub algorithms: Vec<Algorithm>,
    /// More parameters for the authorization request.
    pub extra_parameters: Vec<(String, String)>,
    /// How long ago the user may have authenticated at a sign-in, in whole seconds.
    pub max_age: Option<Duration>,
    /// How far the provider's clock may be from ours.
    pub clock_skew: Duration,
    /// What a sign-out does at the provider.
    pub logout: Logout,
    /// Whether tokens are given back at a sign-out, where the provider takes them.
    pub revoke_tokens: bool,
}

impl Config {
    /// The defaults for a public client of that issuer.
    pub fn new(name: impl Into<String>, issuer: Issuer, client_id: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            display_name: None,
            issuer,
            client_id: client_id.into(),
            client_authentication: ClientAuthentication::None,
            scopes: DEFAULT_SCOPES.map(str::to_owned).to_vec(),
            offline_access: false,
            userinfo: true,
            algorithms: Algorithm::ALL.to_vec(),
            extra_parameters: Vec::new(),
            max_age: None,
            clock_skew: DEFAULT_CLOCK_SKEW,
            logout: Logout::RpInitiated,
            revoke_tokens: true,
        }
    }

    pub(super) fn check(&self) -> Result<(), SetUpError> {
        let (ClientAuthentication::SecretBasic(secret) | ClientAuthentication::SecretPost(secret)) =
            &self.client_authentication
        else {
            return self.check_request();
        };
        if secret.is_empty() {
            return Err(SetUpError::ClientSecret);
        }
        self.check_request()
    }

    fn check_request(&self) -> Result<(), SetUpError> {
        if self.client_id.is_empty() {
            return Err(SetUpError::ClientId);
        }
        if self.algorithms.is_empty() {
            return Err(SetUpError::Algorithms);
        }
        if let Some(scope) = self.scopes.iter().find(|scope| !request::is_scope(scope)) {
            return Err(SetUpError::Scope(scope.clone()));
        }
        let mut names = self.extra_parameters.iter().map(|(name, _)| name);
        match names.find(|name| request::is_reserved_parameter(name)) {
            Some(name) => Err(SetUpError::ExtraParameter(name.clone())),
            None => Ok(()),
        }
    }
}

/// What a sign-out does at the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logout {
    /// The browser goes to the provider's own logout, where it has one.
    #[default]
    RpInitiated,
    /// Nothing; the user stays signed in there.
    Off,
}

/// Why settings make no provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetUpError {
    /// There is none.
    #[error("client_id is empty")]
    ClientId,
    /// It is empty.
    #[error("the client secret is empty")]
    ClientSecret,
    /// None is allowed.
    #[error("no ID token algorithm is allowed")]
    Algorithms,
    /// It is not one word of printable ASCII.
    #[error("{0:?} is no scope")]
    Scope(String),
    /// The flow's safety hangs on it, or another setting says it.
    #[error("the authorization parameter {0:?} is not for settings to give")]
    ExtraParameter(String),
}

const DEFAULT_SCOPES: [&str; 3] = ["openid", "profile", "email"];
const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(60);
