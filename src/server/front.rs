//! Which gateway answers. Every request takes it once, at its beginning; other settings put another one in its place.
//!
//! Invariant: whoever answers is whole. All that can fail of other settings is done before anything changes, and then the
//! place is taken in one step: an answer is by the old settings or by the new ones, never by some of both.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::{ArcSwap, Guard};

use crate::{
    gateway::{Config, Gateway, StartError},
    seal::Farewell,
    server::{ListenerConfig, tls::Tls},
};

/// The gateway in force, and what else goes by settings.
pub struct Front {
    gateway: ArcSwap<Gateway>,
    tls: Mutex<Vec<Arc<Tls>>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Front {
    /// Begins with that one.
    pub fn of(gateway: Gateway) -> Arc<Self> {
        let changing = tokio::sync::Mutex::default();
        Arc::new(Self { gateway: ArcSwap::from_pointee(gateway), tls: Mutex::default(), changing })
    }

    /// The gateway in force. Taken once for each request.
    pub fn gateway(&self) -> Guard<Arc<Gateway>> {
        self.gateway.load()
    }

    /// Puts other settings in force, and tells which keys open nothing from now on. What they share with the settings before
    /// goes on as it is; which listeners, providers and stores there are is the same.
    ///
    /// # Errors
    /// [`StartError`] when something cannot be set up from them: then nothing has changed.
    pub async fn replace(&self, config: Config, listeners: Vec<ListenerConfig>) -> Result<Vec<Farewell>, StartError> {
        let _turn = self.changing.lock().await;
        let before = self.gateway.load_full();
        let next = Arc::new(before.reloaded(config)?);
        next.begin_after(&before).await;
        // Whoever has the new settings has the new keys: these go first.
        let removed = next.take_over();
        self.gateway.store(next);
        self.replace_certificates(listeners);
        Ok(removed)
    }

    /// Lets an accepted key open nothing any more, because another gateway has given it up; false if there is none, or if
    /// it is the one that seals here.
    pub fn retire(&self, farewell: &Farewell) -> bool {
        self.gateway.load().retire(farewell)
    }

    pub(super) fn knows(&self, tls: &Arc<Tls>) {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(tls));
    }

    fn replace_certificates(&self, listeners: Vec<ListenerConfig>) {
        let known = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, config) in listeners.into_iter().filter_map(|listener| Some((listener.name, listener.tls?))) {
            if let Some(tls) = known.iter().find(|tls| tls.is_of(&name)) {
                tls.serve_with(&config.certificates);
            }
        }
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Front").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}
