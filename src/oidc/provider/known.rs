//! What is known of a provider, and when it is asked again.
//!
//! Discovery document and key set come together or not at all, are good for [`FRESH_FOR`], and stay in use for as long
//! as the provider cannot be asked again. However many callers wait for the first of them, one asks.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};

use super::config::Config;
use crate::{
    clock::{Clock, Timestamp},
    oidc::{
        discovery::Metadata,
        failure::Failure,
        jwk::{Algorithm, KeySet},
        keys::{Keys, is_due},
        request::{self, Client},
        transport::Transport,
    },
    outbound::{Outbound, destination::Reachable},
    reason::Reason,
};

/// The discovery of one provider.
#[derive(Debug)]
pub struct Discovery {
    config: Arc<Config>,
    outbound: Outbound,
    clock: Clock,
    known: RwLock<Option<Arc<Known>>>,
    attempt: Mutex<Option<Attempt>>,
}

/// What discovery brought.
#[derive(Debug)]
pub struct Known {
    /// What the provider says about itself.
    pub metadata: Metadata,
    /// What writes requests to it.
    pub client: Client,
    /// What sends them.
    pub transport: Transport,
    keys: Arc<Keys>,
    since: Timestamp,
}

impl Known {
    /// The key set in use.
    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.current()
    }

    /// A set that is newer than `seen`; `None` when there is none, as far as may be asked now.
    ///
    /// # Errors
    /// [`Failure`] when it could not be fetched.
    pub async fn keys_newer_than(&self, seen: &Arc<KeySet>, clock: &Clock) -> Result<Option<Arc<KeySet>>, Failure> {
        let fetch = fetch_keys(&self.transport, &self.metadata);
        self.keys.newer_than(seen, clock, fetch).await
    }
}

/// The last attempt that failed, or is under way.
#[derive(Debug)]
struct Attempt {
    at: Instant,
    failure: Failure,
}

impl Discovery {
    /// Knows nothing yet, and asks nobody.
    pub fn new(config: Arc<Config>, outbound: Outbound, clock: Clock) -> Self {
        Self { config, outbound, clock, known: RwLock::new(None), attempt: Mutex::new(None) }
    }

    /// Discovers the provider and keeps what is known of it fresh, for ever.
    pub async fn keep_discovering(&self) {
        let mut pause = FIRST_PAUSE;
        let mut last_cause = String::new();
        loop {
            match self.discover_if_due().await {
                Ok(()) => {
                    (pause, last_cause) = (FIRST_PAUSE, String::new());
                    tokio::time::sleep(LONGEST_PAUSE).await;
                }
                Err(failure) => {
                    if failure.cause != last_cause {
                        tracing::warn!(
                            provider = self.config.name,
                            reason = failure.reason.code(),
                            cause = failure.cause,
                            "discovery failed"
                        );
                        last_cause = failure.cause;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// What is known already.
    pub fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known, discovered now if need be: by one caller for all, and at most once per [`BETWEEN_ATTEMPTS`].
    ///
    /// # Errors
    /// [`Failure`] of the last attempt.
    pub async fn discovered(&self) -> Result<Arc<Known>, Failure> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let mut attempt = self.attempt.lock().await;
        if let Some(known) = self.known() {
            return Ok(known);
        }
        match attempt.as_ref() {
            Some(last) if last.at.elapsed() < BETWEEN_ATTEMPTS => Err(last.failure.clone()),
            _ => self.discover(&mut attempt).await,
        }
    }

    /// Discovers the provider unless what is known is fresh.
    ///
    /// # Errors
    /// [`Failure`] of the attempt; what was known stays in use.
    pub async fn discover_if_due(&self) -> Result<(), Failure> {
        let mut attempt = self.attempt.lock().await;
        let now = self.clock.now();
        if self.known().is_some_and(|known| !is_due(known.since, now, FRESH_FOR)) {
            return Ok(());
        }
        self.discover(&mut attempt).await.map(drop)
    }

    /// Notes the attempt before and after, so that one whose caller goes away counts too.
    async fn discover(&self, attempt: &mut Option<Attempt>) -> Result<Arc<Known>, Failure> {
        let note = |failure| Some(Attempt { at: Instant::now(), failure });
        *attempt = note(Failure::new(Reason::ProviderUnreachable, "discovery was interrupted"));
        match self.fetch().await {
            Ok(known) => {
                let known = Arc::new(known);
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
                Ok(known)
            }
            Err(failure) => {
                *attempt = note(failure.clone());
                Err(failure)
            }
        }
    }

    /// Fetches discovery document and key set and looks whether both are usable; what is in use stays as it is.
    ///
    /// # Errors
    /// [`Failure`] by the first thing that is not in order.
    pub async fn probe(&self) -> Result<(), Failure> {
        let (metadata, _, keys) = self.asked().await?;
        let issuer = self.config.issuer.as_str();
        let fits = |algorithm: &Algorithm| keys.candidates(*algorithm, None, issuer).next().is_some();
        if metadata.algorithms.iter().any(fits) {
            return Ok(());
        }
        Err(Failure::new(Reason::ProviderMetadataInvalid, "no key fits an algorithm that the provider announces"))
    }

    async fn fetch(&self) -> Result<Known, Failure> {
        let since = self.clock.now();
        let (metadata, transport, keys) = self.asked().await?;
        Ok(Known {
            client: request::client(
                &self.config.client_id,
                &self.config.client_authentication,
                self.config.issuer.document(),
                &metadata,
            ),
            keys: self.put_to_use(keys),
            metadata,
            transport,
            since,
        })
    }

    async fn asked(&self) -> Result<(Metadata, Transport, KeySet), Failure> {
        let issuer = &self.config.issuer;
        let reachable = Reachable::of([issuer.document()]);
        let document = Transport::new(self.outbound.clone(), reachable).document(issuer.document()).await?;
        let plain_http = self.outbound.plain_http();
        let metadata = Metadata::parse(&document, issuer, plain_http, &self.config.algorithms)
            .map_err(|error| unusable(&error))?;
        let transport = Transport::new(self.outbound.clone(), metadata.reachable(issuer));
        let keys = fetch_keys(&transport, &metadata).await?;
        Ok((metadata, transport, keys))
    }

    /// In the holder that is there already: it knows when keys were fetched out of turn.
    fn put_to_use(&self, keys: KeySet) -> Arc<Keys> {
        let Some(known) = self.known() else {
            return Arc::new(Keys::new(keys));
        };
        known.keys.replace(keys);
        Arc::clone(&known.keys)
    }
}

async fn fetch_keys(transport: &Transport, metadata: &Metadata) -> Result<KeySet, Failure> {
    let document = transport.document(&metadata.jwks_uri).await?;
    KeySet::parse(&document).map_err(|error| unusable(&error))
}

fn unusable(error: &impl ToString) -> Failure {
    Failure::new(Reason::ProviderMetadataInvalid, error.to_string())
}

/// How long discovery document and key set are good for before they are fetched anew.
pub const FRESH_FOR: Duration = Duration::from_secs(12 * 60 * 60);
/// The least time between two attempts that callers cause.
pub const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
