//! One OpenID Connect provider, as handlers see it: start a sign-in, finish it, refresh, sign out.
//!
//! It fetches, and asks the pure parts what to think of it (`id_token`, `userinfo`, `claims`); it knows no browser,
//! cookie or session.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use url::Url;

use self::known::{Discovery, Known};
pub use self::{
    config::{Config, Logout, SetUpError},
    outcome::{Account, AuthorizationRequest, Identified, Refreshed, Revocable, SignedIn, TokenSet},
};
pub use super::failure::{Failure, ProviderError, RefreshFailure};
use super::{
    claims::{self, ClaimsTooLarge},
    discovery::Metadata,
    id_token::{self, Expected, IdToken, Occasion, Rejection},
    jwk::KeySet,
    logout_url,
    request::{self, SignIn},
    token_answer::Tokens,
    transport::TokenFailure,
    userinfo,
};
use crate::{
    clock::{Clock, Timestamp},
    outbound::Outbound,
    random,
    reason::Reason,
    secret::Secret,
};

pub mod config;
pub mod known;
pub mod outcome;

/// A provider.
#[derive(Debug)]
pub struct Provider {
    config: Arc<Config>,
    discovery: Discovery,
    clock: Clock,
}

impl Provider {
    /// Takes the settings; asks nobody anything yet.
    ///
    /// # Errors
    /// [`SetUpError`] when no request could come of them.
    pub fn new(config: Config, outbound: Outbound, clock: Clock) -> Result<Self, SetUpError> {
        config.check()?;
        let config = Arc::new(config);
        Ok(Self { discovery: Discovery::new(Arc::clone(&config), outbound, clock.clone()), config, clock })
    }

    /// Its name in the settings.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What people are told it is called: as the settings say, or its host.
    pub fn shown_name(&self) -> &str {
        self.config.display_name.as_deref().unwrap_or_else(|| self.config.issuer.host())
    }

    /// Its issuer.
    pub fn issuer(&self) -> &str {
        self.config.issuer.as_str()
    }

    /// Whether it was discovered, now or some time ago.
    pub fn ready(&self) -> bool {
        self.discovery.known().is_some()
    }

    /// Discovers the provider and keeps what is known of it fresh, for ever; the caller's to spawn and to cancel.
    pub async fn keep_discovering(&self) {
        self.discovery.keep_discovering().await;
    }

    /// Whether it works: its discovery document is its own and its keys can be used, now.
    ///
    /// # Errors
    /// [`Failure`] when they do not come, or something else does.
    pub async fn probe(&self) -> Result<(), Failure> {
        self.discovery.probe().await
    }

    /// The start of a sign-in that comes back to `redirect_uri`.
    ///
    /// # Errors
    /// [`Failure`] when the provider is not known yet and cannot be discovered now.
    pub async fn authorization_request(
        &self,
        redirect_uri: &Url,
        account: Account,
    ) -> Result<AuthorizationRequest, Failure> {
        let known = self.discovery.discovered().await?;
        let (state, nonce, verifier) = (drawn()?, drawn()?, drawn()?);
        let url = request::authorization_url(
            &known.client,
            SignIn {
                redirect_uri,
                state: &state,
                nonce: &nonce,
                verifier: &verifier,
                scopes: &self.scopes(&known.metadata),
                extra_parameters: &self.config.extra_parameters,
                max_age: self.config.max_age,
                prompt: match account {
                    Account::Any => None,
                    Account::Ask => Some(known.metadata.account_prompt()),
                },
            },
        );
        Ok(AuthorizationRequest { url, state, nonce, verifier })
    }

    /// Whether an authorization response, error or not, with that `iss` is this provider's (RFC 9207 section 2.4).
    ///
    /// # Errors
    /// [`Reason::IssuerMismatch`]; [`Reason::IssuerMissing`] where the provider announces `iss`; and where it is missing
    /// and the provider cannot be asked what it announces, why it cannot.
    pub async fn check_issuer(&self, iss: Option<&str>) -> Result<(), Failure> {
        match iss {
            Some(iss) if iss == self.issuer() => Ok(()),
            Some(_) => Err(Failure::new(Reason::IssuerMismatch, "iss is another issuer")),
            None if self.discovery.discovered().await?.metadata.announces_issuer => {
                Err(Failure::new(Reason::IssuerMissing, "iss is announced and missing"))
            }
            None => Ok(()),
        }
    }

    /// Finishes a sign-in: exchanges the code, and checks everything that comes of it.
    ///
    /// # Errors
    /// [`Failure`] by the first thing that is not in order; no token may be used then.
    pub async fn exchange(
        &self,
        code: &Secret,
        redirect_uri: &Url,
        nonce: &Secret,
        verifier: &Secret,
    ) -> Result<SignedIn, Failure> {
        let known = self.discovery.discovered().await?;
        let tokens =
            known.transport.exchange_code(&known.client, code, redirect_uri, verifier).await.map_err(code_failed)?;
        let id = tokens
            .id
            .as_ref()
            .ok_or_else(|| Failure::new(Reason::IdTokenMissing, "the token answer has no id_token"))?;
        let max_age = self.config.max_age;
        let occasion = Occasion::SignIn { nonce, max_age };
        let token = self.verified(&known, id, &tokens.access, occasion).await?;
        let userinfo = self.userinfo(&known, &tokens.access, &token.subject).await?;
        let own = claims::of_user(token.claims);
        Ok(SignedIn {
            issuer: self.issuer().to_owned(),
            claims: claims::merged(own, userinfo.unwrap_or_default()).map_err(too_large)?,
            subject: token.subject,
            sid: token.sid,
            auth_time: token.auth_time,
            tokens: TokenSet {
                access_expires_at: self.expiry(&tokens),
                id: id.clone(),
                access: tokens.access,
                refresh: tokens.refresh,
            },
        })
    }

    /// Exchanges a refresh token, and checks that everything that comes of it is about the same user.
    ///
    /// # Errors
    /// [`RefreshFailure`], by what the caller can do next.
    pub async fn refresh(&self, refresh_token: &Secret, before: Identified<'_>) -> Result<Refreshed, RefreshFailure> {
        if before.issuer != self.issuer() {
            let cause = "the session is another issuer's";
            return Err(RefreshFailure::NotSent(Failure::new(Reason::IssuerMismatch, cause)));
        }
        let known = self.discovery.discovered().await.map_err(RefreshFailure::NotSent)?;
        let answer = known.transport.refresh(&known.client, refresh_token).await;
        let tokens = answer.map_err(refresh_failed)?;
        self.refreshed(&known, tokens, before).await.map_err(answer_failed)
    }

    /// Where the browser goes to sign out at the provider too; `None` where the settings or the provider say nowhere,
    /// or it is not known yet.
    pub fn logout_url(&self, id_token: Option<&Secret>, return_to: &Url) -> Option<Url> {
        if self.config.logout == Logout::Off {
            return None;
        }
        let known = self.discovery.known()?;
        let endpoint = known.metadata.end_session_endpoint.as_ref()?;
        let client_id = &self.config.client_id;
        Some(logout_url::rp_initiated(endpoint, client_id, id_token, return_to))
    }

    /// Gives tokens back, where the settings say so and the provider takes them; the refresh token first, and the
    /// access token even when that fails.
    ///
    /// # Errors
    /// [`Failure`] of the first that the provider did not take.
    pub async fn revoke(&self, tokens: Revocable<'_>) -> Result<(), Failure> {
        let Some(known) = self.discovery.known().filter(|_| self.config.revoke_tokens) else {
            return Ok(());
        };
        let Some(endpoint) = &known.metadata.revocation_endpoint else {
            return Ok(());
        };
        let (transport, client) = (&known.transport, &known.client);
        let refresh = match tokens.refresh {
            Some(token) => transport.revoke_refresh(client, endpoint, token).await,
            None => Ok(()),
        };
        let access = match tokens.access {
            Some(token) => transport.revoke_access(client, endpoint, token).await,
            None => Ok(()),
        };
        taken(refresh).and(taken(access))
    }

    fn scopes<'a>(&'a self, metadata: &Metadata) -> Vec<&'a str> {
        let mut scopes: Vec<&str> = self.config.scopes.iter().map(String::as_str).collect();
        let offline = self.config.offline_access && metadata.offers_offline_access;
        if offline && !scopes.contains(&OFFLINE_ACCESS) {
            scopes.push(OFFLINE_ACCESS);
        }
        scopes
    }

    fn expiry(&self, tokens: &Tokens) -> Option<Timestamp> {
        tokens.expires_in.map(|lifetime| self.clock.now().plus(lifetime))
    }

    /// Checks an ID token, if need be once more under newer keys.
    async fn verified(
        &self,
        known: &Known,
        token: &Secret,
        access_token: &Secret,
        occasion: Occasion<'_>,
    ) -> Result<IdToken, Failure> {
        let expected = Expected {
            issuer: self.issuer(),
            client_id: &self.config.client_id,
            algorithms: &known.metadata.algorithms,
            access_token,
            clock_skew: self.config.clock_skew,
            occasion,
        };
        let verify = |keys: &KeySet| id_token::verify(token.reveal(), keys, &expected, self.clock.now());
        let keys = known.keys();
        let rejection = match verify(&keys) {
            Ok(token) => return Ok(token),
            Err(rejection) => rejection,
        };
        if !rejection.newer_keys_might_help {
            return Err(not_believed(rejection));
        }
        match known.keys_newer_than(&keys, &self.clock).await? {
            Some(keys) => verify(&keys).map_err(not_believed),
            // Keys that change twice within a minute sign nobody out.
            None if matches!(expected.occasion, Occasion::Refresh { .. }) => {
                Err(Failure::new(Reason::ProviderUnreachable, "it is too early to fetch the key of an ID token"))
            }
            None => Err(not_believed(rejection)),
        }
    }

    async fn userinfo(
        &self,
        known: &Known,
        access: &Secret,
        subject: &str,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        let endpoint = known.metadata.userinfo_endpoint.as_ref();
        let Some(endpoint) = endpoint.filter(|_| self.config.userinfo) else {
            return Ok(None);
        };
        let answer = known.transport.userinfo(endpoint, access).await?;
        userinfo::claims(answer.headers(), answer.body(), subject).map(claims::of_user).map(Some)
    }

    async fn refreshed(&self, known: &Known, tokens: Tokens, before: Identified<'_>) -> Result<Refreshed, Failure> {
        let earlier = before.id_token.and_then(id_token::claims_of_verified);
        let nonce = earlier.as_ref().and_then(|claims| claims.get("nonce")?.as_str());
        let occasion = Occasion::Refresh { subject: before.subject, nonce };
        let fresh = match &tokens.id {
            Some(id) => Some(self.verified(known, id, &tokens.access, occasion).await?),
            None => None,
        };
        // The tokens are good and the old refresh token is used up: a userinfo endpoint in trouble must not cost them.
        // Only an answer about somebody else does.
        let userinfo = self.userinfo(known, &tokens.access, before.subject).await;
        let (userinfo, userinfo_failure) = match userinfo {
            Err(failure) if failure.reason != Reason::UserinfoSubject => (None, Some(failure)),
            other => (other?, None),
        };
        let claims = match userinfo_failure {
            Some(_) => None,
            None => claims_anew(fresh, userinfo, earlier)?,
        };
        Ok(Refreshed {
            access_expires_at: self.expiry(&tokens),
            access: tokens.access,
            refresh: tokens.refresh,
            id: tokens.id,
            claims,
            userinfo_failure,
        })
    }
}

/// Everything from the new ID token and userinfo. Where no new ID token came, the earlier one's claims stand behind what
/// userinfo says now.
fn claims_anew(
    fresh: Option<IdToken>,
    userinfo: Option<Map<String, Value>>,
    earlier: Option<Map<String, Value>>,
) -> Result<Option<Map<String, Value>>, Failure> {
    let (first, second) = match (fresh, userinfo) {
        (Some(token), userinfo) => (claims::of_user(token.claims), userinfo.unwrap_or_default()),
        (None, Some(userinfo)) => (userinfo, claims::of_user(earlier.unwrap_or_default())),
        (None, None) => return Ok(None),
    };
    claims::merged(first, second).map(Some).map_err(too_large)
}

/// 256 random bits, as 43 characters that need no escaping.
fn drawn() -> Result<Secret, Failure> {
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(random::bytes::<32>()?)))
}

fn too_large(error: ClaimsTooLarge) -> Failure {
    Failure::new(Reason::ClaimsTooLarge, error.to_string())
}

fn not_believed(rejection: Rejection) -> Failure {
    Failure::new(rejection.reason, format!("ID token: {}", rejection.cause))
}

fn code_failed(failure: TokenFailure) -> Failure {
    match failure {
        TokenFailure::Error(error) if error.error == INVALID_GRANT => said(Reason::CodeRejected, error),
        other => request_failed(other),
    }
}

fn refresh_failed(failure: TokenFailure) -> RefreshFailure {
    match failure {
        TokenFailure::Error(error) if error.error == INVALID_GRANT => {
            RefreshFailure::InvalidGrant(said(Reason::RefreshRejected, error))
        }
        error @ TokenFailure::Error(_) => RefreshFailure::Rejected(request_failed(error)),
        error @ TokenFailure::Lost(_) => RefreshFailure::Lost(request_failed(error)),
        error @ TokenFailure::NotSent(_) => RefreshFailure::NotSent(request_failed(error)),
        error @ TokenFailure::Unusable(_) => RefreshFailure::BadAnswer(request_failed(error)),
    }
}

/// Where keys could not be fetched, nobody knows what the answer is worth; that is no reason to end a session.
fn answer_failed(failure: Failure) -> RefreshFailure {
    match failure.reason {
        Reason::ProviderUnreachable | Reason::ProviderMetadataInvalid => RefreshFailure::Lost(failure),
        _ => RefreshFailure::BadAnswer(failure),
    }
}

fn request_failed(failure: TokenFailure) -> Failure {
    let cause = failure.to_string();
    match failure {
        TokenFailure::Error(error) => said(Reason::ProviderError, error),
        TokenFailure::Lost(_) | TokenFailure::NotSent(_) => Failure::new(Reason::ProviderUnreachable, cause),
        TokenFailure::Unusable(_) => Failure::new(Reason::TokenResponseInvalid, cause),
    }
}

fn said(reason: Reason, error: ProviderError) -> Failure {
    Failure { reason, cause: format!("the provider answered {}", error.error), provider_error: Some(error) }
}

/// A provider that does not revoke tokens of one kind (RFC 7009 section 2.2.1) has been asked; that is all there is.
fn taken(outcome: Result<(), TokenFailure>) -> Result<(), Failure> {
    match outcome {
        Err(TokenFailure::Error(error)) if error.error == UNSUPPORTED_TOKEN_TYPE => Ok(()),
        outcome => outcome.map_err(request_failed),
    }
}

const OFFLINE_ACCESS: &str = "offline_access";
const INVALID_GRANT: &str = "invalid_grant";
const UNSUPPORTED_TOKEN_TYPE: &str = "unsupported_token_type";
#[cfg(test)]
mod tests;
