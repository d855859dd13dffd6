//! What a signed-in user's pages may ask: how long the session lives, who the user is, fresh tokens.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    answer::Answer,
    clock::{Clock, Timestamp},
    reason::Reason,
    session::{
        Facts,
        keeper::{Found, Keeper},
        refresher::{Fresh, Refresher},
    },
};

/// What these answers take.
#[derive(Debug)]
pub struct Account {
    keeper: Arc<Keeper>,
    refresher: Refresher,
    clock: Clock,
}

impl Account {
    /// Puts them together.
    pub const fn new(keeper: Arc<Keeper>, refresher: Refresher, clock: Clock) -> Self {
        Self { keeper, refresher, clock }
    }

    /// `GET /check`: seconds until the idle and the absolute expiry; asking is not using.
    pub fn check(&self, found: &Found) -> Answer {
        self.expiry(found.session.facts())
    }

    /// `POST /check`: the same, and counts as use.
    pub async fn check_active(&self, found: &Found) -> Answer {
        match self.touched(found).await {
            Ok(facts) => self.expiry(&facts),
            Err(reason) => Answer::json_error(reason),
        }
    }

    /// `GET /userinfo`: the profile, never a token.
    pub fn userinfo(found: &Found) -> Answer {
        let facts = found.session.facts();
        let claims: Value = serde_json::from_str(&facts.user.claims).unwrap_or_default();
        Answer::json(json!({
            "user": facts.user.id,
            "sub": facts.subject,
            "email": facts.user.email,
            "email_verified": facts.user.email_verified,
            "preferred_username": facts.user.preferred_username,
            "name": facts.user.name,
            "groups": facts.user.groups,
            "method": facts.method.label(),
            "claims": claims,
        }))
    }

    /// `POST /refresh`: fresh tokens; the absolute expiry stays.
    pub async fn refresh(&self, found: &Found) -> Answer {
        if !found.session.facts().tokens.refreshable {
            return Answer::json_error(Reason::RefreshTokenMissing);
        }
        match self.refreshed(found).await {
            Ok(fresh) => {
                let left = fresh.access_expires_at.map(|at| seconds(at.since(self.clock.now())));
                Answer::json(json!({"status": "success", "expires_in": left}))
            }
            Err(reason) => Answer::json_error(reason),
        }
    }

    async fn touched(&self, found: &Found) -> Result<Facts, Reason> {
        self.keeper.touch(&self.keeper.handle(&found.shown)?).await
    }

    async fn refreshed(&self, found: &Found) -> Result<Fresh, Reason> {
        let handle = Arc::new(self.keeper.handle(&found.shown)?);
        self.refresher.refresh(handle, found.session.facts().tokens).await
    }

    fn expiry(&self, facts: &Facts) -> Answer {
        let now = self.clock.now();
        let until = |at: Timestamp| seconds(at.since(now));
        Answer::json(json!({
            "authenticated": true,
            "user": facts.user.id,
            "idle_expires_in": until(facts.idle_at(self.keeper.lifetimes())),
            "absolute_expires_in": until(facts.expires_at),
        }))
    }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}
