//! nginx's question, which is nearly all there is to do: may this request pass?

use std::{borrow::Cow, sync::Arc, time::Instant};

use super::{Gateway, browser};
use crate::{
    answer::Answer,
    clock::Timestamp,
    inbound::{Facts, Inbound},
    reason::Reason,
    route::Route,
    secret::Secret,
    session::{cookie::Shown, keeper::Found},
    telemetry::Event,
    verify::{
        self, Allow, identity,
        matching::{self},
        policy::{self},
    },
};

impl Gateway {
    /// May this request pass? Asking changes nothing; what has to be written is written beside the answer.
    pub(super) async fn verify(&self, inbound: &Inbound, route: Route, began: Instant) -> Answer {
        let facts = inbound.facts();
        let policy = self.policy_for(inbound, facts.as_ref());
        let verdict = match (&facts, &policy) {
            (Err(reason), _) => Err(*reason),
            (Ok(facts), policy) => self.verified(inbound, route, facts, policy.as_deref()).await,
        };
        let request_id = inbound.request_id_text();
        match verdict {
            Ok((allow, identity)) => {
                let (policy, rule) = allow.rule();
                let user = &allow.who().user().id;
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

    /// The policy that the location names; where it names none, the one that the settings have for the request.
    fn policy_for<'a>(
        &'a self,
        inbound: &'a Inbound,
        facts: Result<&Facts<'_>, &Reason>,
    ) -> Result<Cow<'a, str>, Reason> {
        match (policy::asked_for(&inbound.query()), facts) {
            (Err(Reason::PolicyMissing), Ok(facts)) => {
                let renames_method = inbound.carries_any(matching::METHOD_HEADERS.iter());
                let asked =
                    matching::Asked { host: facts.host, method: &facts.method, target: facts.target, renames_method };
                self.matching.policy_for(&asked).map(|name| Cow::Borrowed(name.as_str()))
            }
            (named, _) => named,
        }
    }

    async fn verified(
        &self,
        inbound: &Inbound,
        route: Route,
        facts: &Facts<'_>,
        policy: Result<&str, &Reason>,
    ) -> Result<(Allow, identity::Headers), Reason> {
        let site = route.admit(facts, &self.sites, inbound.provenance())?;
        let policy = policy.map_err(|reason| *reason)?;
        // Should nginx lack the line that overwrites it, the client's own would reach the application.
        if inbound.carries_any(self.identity.claim_names()) {
            return Err(Reason::IdentityForged);
        }
        let Found { session, shown, at } = match self.find_for(inbound, site, browser(inbound, facts)).await {
            Ok(found) => found,
            Err(reason) => {
                let allow = Box::pin(self.by_certificate(inbound, site, facts, policy, reason)).await?;
                let identity = self.identity.headers(&allow, None);
                return Ok((allow, identity));
            }
        };
        let access_token =
            if self.identity.asks_for_access_token() { Some(self.access_token(&shown).await?) } else { None };
        let allow = verify::decide(session, &self.policies, policy, facts.client, at)?;
        let identity = self.identity.headers(&allow, access_token.as_ref());
        self.keep_up(&allow, &shown, at);
        Ok((allow, identity))
    }

    /// On the heap, for it is rarely asked for.
    async fn access_token(&self, shown: &Shown) -> Result<Secret, Reason> {
        let handle = self.keeper.handle(shown)?;
        Ok(Box::pin(self.keeper.read_whole(&handle)).await?.2.access)
    }

    /// What an allowed request causes beside its answer: the time of last use, and fresh tokens.
    fn keep_up(&self, allow: &Allow, shown: &Shown, now: Timestamp) {
        let Some(facts) = allow.who().session() else {
            return;
        };
        let (touch, refresh) = (self.keeper.wants_touch(facts, now), facts.tokens.refresh_due(now));
        if !(touch || refresh) {
            return;
        }
        let Ok(handle) = self.keeper.handle(shown).map(Arc::new) else {
            return;
        };
        if touch {
            self.keeper.touch_aside(Arc::clone(&handle), &self.drain);
        }
        if refresh {
            self.refresher.begin(handle);
        }
    }
}
