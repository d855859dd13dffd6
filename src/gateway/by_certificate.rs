//! The way of a request whose client shows a certificate: past the session that it has not, to the fallback's door.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Gateway, browser};
use crate::{
    answer::Answer,
    challenge,
    fallback::{
        administrators::Entry,
        admission::{Attempt, SentBy},
        door::Conditions,
    },
    inbound::{Facts, Inbound},
    oidc::sign_in::Asked,
    origin::Site,
    pages::FallbackNotice,
    reason::{Kind, Reason},
    telemetry::{
        Event,
        fallback::{CertificateShown, FallbackEvent},
    },
    verify::Allow,
};

impl Gateway {
    /// Whoever has no session may have a certificate; whoever has neither is refused as before. While it is we who are in
    /// trouble, a certificate may let somebody in, but what is wrong with it is not the reason that they are told.
    pub(super) async fn by_certificate(
        &self,
        inbound: &Inbound,
        site: &Site,
        facts: &Facts<'_>,
        policy: &str,
        without_session: Reason,
    ) -> Result<Allow, Reason> {
        let shown = inbound.certificate()?;
        let Some(shown) = shown else {
            return Err(self.without_certificate(inbound, site, policy, without_session));
        };
        let policy = self.policies.named(policy)?;
        let door = || self.fallback.door(policy.providers(site.providers()));
        let (attempt, took) = self.fallback.attempt(door, shown, sent_by(inbound, site, facts)).await;
        let verdict = attempt
            .outcome()
            .cloned()
            .and_then(|admitted| policy.permit(admitted, facts.client, self.clock().now()).map(Allow::new));
        self.tell(inbound, facts, &attempt, took, verdict.as_ref().err().copied());
        self.count_against_the_door(&attempt).await;
        verdict.map_err(|reason| match without_session.kind() {
            Kind::SignIn => reason,
            _ => without_session,
        })
    }

    /// At an open door the missing certificate is the reason.
    fn without_certificate(&self, inbound: &Inbound, site: &Site, policy: &str, without_session: Reason) -> Reason {
        if without_session != Reason::NoSession || !inbound.reads_certificates() {
            return without_session;
        }
        let door = self.policies.named(policy).map(|policy| self.fallback.door(policy.providers(site.providers())));
        if door.is_ok_and(|door| door.open().is_ok()) { Reason::NoCertificate } else { without_session }
    }

    fn tell(&self, inbound: &Inbound, facts: &Facts<'_>, attempt: &Attempt, took: Duration, refused: Option<Reason>) {
        let shown = attempt.shown(inbound.request_id_text(), Some(facts.client), took);
        let shown = CertificateShown { refused, ..shown };
        self.telemetry.event(&Event::Fallback(FallbackEvent::CertificateShown(&shown)));
    }

    /// Counts a refused certificate, and closes the door if there were too many. A store that is slow to count makes nobody
    /// wait for longer than a moment: the counting goes on beside the answer.
    async fn count_against_the_door(&self, attempt: &Attempt) {
        let Some(fingerprint) = attempt.against_the_door().map(|fingerprint| *fingerprint.bytes()) else {
            return;
        };
        let (limits, fallback) = (Arc::clone(&self.limits), Arc::clone(&self.fallback));
        let counting = self.drain.spawn(async move {
            if limits.refused_certificate(&fingerprint).await.is_err() {
                fallback.close_by_itself().await;
            }
        });
        let _ = timeout(COUNT_WITHIN, counting).await;
    }

    /// What nginx refused before it asked. The certificate's own checks say why; if they find nothing, nginx's word does.
    pub(super) async fn certificate_refused(&self, asked: Asked<'_>) -> Answer {
        let Asked { inbound, facts, site } = asked;
        let shown = inbound.certificate().ok().flatten().unwrap_or_default();
        let door = || self.door_of(site);
        let (attempt, took) = self.fallback.attempt(door, shown, SentBy::SafeOrOwnPage).await;
        let reason = attempt.outcome().err().unwrap_or(Reason::NginxVerifyFailed);
        self.tell(inbound, facts, &attempt, took, Some(reason));
        self.count_against_the_door(&attempt).await;
        challenge::certificate_refused(&self.challenged(asked, None), reason)
    }

    /// What the pages tell an administrator who is in by certificate, and has no session.
    pub(super) async fn notice(&self, inbound: &Inbound) -> Option<FallbackNotice> {
        let shown = inbound.certificate().ok().flatten()?;
        let facts = inbound.facts().ok()?;
        let site = self.sites.of_host(facts.host)?;
        let admitted = self.fallback.who_is_in(self.door_of(site), shown)?;
        if self.find_for(inbound, site, browser(inbound, &facts), self.depth).await.is_ok() {
            return None;
        }
        Some(FallbackNotice { account: admitted.user().to_owned(), ends: admitted.ends_soon() })
    }

    pub(super) async fn drill(&self, body: &[u8]) -> Result<Answer, Reason> {
        let by_certificate = |entry: &Entry| self.policies.admitting(&entry.user, &entry.groups);
        self.fallback.drill(body, self.keeper.ring(), by_certificate, self.doors()).await
    }

    /// Whose outage opens the door, for each policy that takes certificates on each site.
    pub(super) fn doors(&self) -> impl Iterator<Item = impl Iterator<Item = &String>> {
        self.sites.iter().flat_map(|site| self.doors_of(site))
    }

    fn doors_of<'a>(&'a self, site: &'a Site) -> impl Iterator<Item = impl Iterator<Item = &'a String>> {
        self.policies.taking_certificates().map(|policy| policy.providers(site.providers()))
    }

    /// The door of a site where nobody says which policy is asked.
    fn door_of(&self, site: &Site) -> Conditions {
        self.fallback.door_of_any(self.doors_of(site))
    }
}

/// A certificate has no `SameSite`, so what may change something must come from a page of ours.
fn sent_by(inbound: &Inbound, site: &Site, facts: &Facts<'_>) -> SentBy {
    if !inbound.opens_or_changes(&facts.method) || inbound.provenance().is_page_of(site) {
        SentBy::SafeOrOwnPage
    } else {
        SentBy::Unproven
    }
}

/// How long an answer waits for a refused certificate to be counted.
const COUNT_WITHIN: Duration = Duration::from_millis(100);
