//! Probes every provider from the start of the process on, whether or not anybody signs in, and keeps the verdicts.
//!
//! What a probe means is `health`'s to say. Nobody waits for a probe: whoever wants the verdict reads the last one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::health::{Change, Health, Rules};
use crate::{
    clock::Clock,
    oidc::providers::{Member, Providers},
    telemetry::{Event, Telemetry, fallback::FallbackEvent, metrics::fallback::IdpHealth},
};

/// The providers' health.
#[derive(Debug)]
pub struct Monitor {
    watched: BTreeMap<String, Watched>,
    limit: Duration,
    clock: Clock,
    telemetry: Telemetry,
}

#[derive(Debug)]
struct Watched {
    member: Arc<Member>,
    health: Mutex<Health>,
}

impl Monitor {
    /// Nobody was probed yet, and nobody is down.
    pub fn new(providers: &Providers, rules: &Rules, clock: Clock, telemetry: Telemetry) -> Self {
        let watched = providers.iter().map(|member| {
            let health = Mutex::new(Health::new(rules.clone()));
            (member.provider().name().to_owned(), Watched { member: Arc::clone(member), health })
        });
        Self { watched: watched.collect(), limit: rules.timeout, clock, telemetry }
    }

    /// Whether that provider is held to be down.
    pub fn is_down(&self, provider: &str) -> bool {
        self.watched.get(provider).is_some_and(|watched| watched.health().is_down())
    }

    /// Whether all of them are, and there is one.
    pub fn are_down<'a>(&self, providers: impl IntoIterator<Item = &'a String>) -> bool {
        let mut providers = providers.into_iter().peekable();
        providers.peek().is_some() && providers.all(|provider| self.is_down(provider))
    }

    /// The providers that are watched.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.watched.keys().map(String::as_str)
    }

    /// Probes one provider whenever it is time, for ever; the caller's to spawn and to cancel.
    pub async fn keep_watching(&self, provider: &str) {
        let Some(watched) = self.watched.get(provider) else {
            return;
        };
        let mut pace = tokio::time::interval(LOOK_EVERY);
        loop {
            pace.tick().await;
            let now = self.clock.now();
            let due = {
                let mut health = watched.health();
                let due = health.is_due(now);
                if due {
                    health.begin(now);
                }
                due
            };
            if due {
                self.probe(provider, watched).await;
            }
        }
    }

    /// Tells the metrics what is known of every provider.
    pub fn tell(&self) {
        for (provider, watched) in &self.watched {
            self.tell_of(provider, watched);
        }
    }

    async fn probe(&self, provider: &str, watched: &Watched) {
        let began = Instant::now();
        let failure = match timeout(self.limit, watched.member.provider().probe()).await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure.cause),
            Err(_) => Some(format!("no whole answer within {:?}", self.limit)),
        };
        let took = began.elapsed();
        let probed = FallbackEvent::Probed { provider, failure: failure.as_deref(), took };
        self.telemetry.event(&Event::Fallback(probed));
        let change = watched.health().end(self.clock.now(), failure.is_none());
        let verdict = match change {
            None => return,
            Some(Change::Down) => FallbackEvent::Verdict { provider, down: true, after: Duration::ZERO },
            Some(Change::Up { after }) => FallbackEvent::Verdict { provider, down: false, after },
        };
        self.telemetry.event(&Event::Fallback(verdict));
    }

    fn tell_of(&self, provider: &str, watched: &Watched) {
        let health = watched.health();
        let told = IdpHealth {
            failures: health.failures(),
            successes: health.successes(),
            down_for: health.down_for(self.clock.now()),
            stabilising: health.is_stabilising(),
        };
        drop(health);
        self.telemetry.metrics().fallback().set_health(provider, told);
    }
}

impl Watched {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(200);
