//! A storm: people sign in, look around and sign out on two gateways behind one nginx, while Redis, the gateways, the
//! provider and the clock do as they like. A plain model says of every answer whether it was right.
//!
//! What happens is a function of a seed, which is said first and when something was wrong. `scripts/storm` runs it again.

mod model;
mod people;
mod schedule;
mod scene;
mod world;

use std::{io::Write, time::Duration};

use portcullis::random;
use tokio::task::JoinSet;

use self::{
    model::{Model, Question, Rules, SessionId},
    people::{Did, Person},
    scene::Scene,
    schedule::{PEOPLE, REPLICAS, Step, Way, What, schedule},
};

use crate::support::traffic::HEARD_WITHIN;

#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_nobody_passes_who_must_not_and_nobody_is_signed_out_who_must_not_be() {
    let seed = setting("STORM_SEED").unwrap_or_else(|| u64::from_be_bytes(random::bytes().unwrap()));
    let steps = setting("STORM_STEPS").map_or(STEPS, |steps| usize::try_from(steps).unwrap());
    say(&format!("storm: seed {seed}, {steps} steps"));
    let mut storm = Storm::begun(seed, steps).await;
    for (number, step) in schedule(seed, steps).into_iter().enumerate() {
        storm.passes(number, step).await;
    }
    storm.abates().await;
}

/// What a storm is, while it lasts.
struct Storm {
    seed: u64,
    steps: usize,
    scene: Scene,
    model: Model,
    people: Vec<Person>,
    /// Demands for fresh tokens, which wait for the provider and are not waited for.
    demands: JoinSet<Did>,
    story: Vec<String>,
}

impl Storm {
    async fn begun(seed: u64, steps: usize) -> Self {
        let model = Model::new(RULES);
        let people = (0..PEOPLE).map(Person::new).collect();
        let scene = Scene::set().await;
        let mut storm = Self { seed, steps, scene, model, people, demands: JoinSet::new(), story: Vec::new() };
        storm.all(What::SignIn).await;
        storm
    }

    /// One step: everybody acts, and something happens meanwhile.
    async fn passes(&mut self, number: usize, step: Step) {
        self.story.push(format!("step {number}: {:?}", step.event));
        let mut acting = JoinSet::new();
        let mut used = Vec::new();
        for act in step.acts {
            used.extend(self.people[act.person].session());
            if let Some(does) = self.people[act.person].does(&self.scene.stage, act) {
                let set = if act.what == What::Refresh { &mut self.demands } else { &mut acting };
                set.spawn(does);
            }
        }
        if let Some(event) = step.event {
            tokio::time::sleep(EVENT_AFTER).await;
            self.scene.happens(event, &mut self.model.world).await;
        }
        let mut all = Vec::new();
        while let Some(did) = acting.join_next().await {
            all.push(did.unwrap());
        }
        while let Some(did) = self.demands.try_join_next() {
            all.push(did.unwrap());
        }
        self.scene.notes_standstills(&mut self.model.world);
        // What ends a session may be noticed before whoever ended it has the answer.
        let (endings, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|did| !matches!(did, Did::Asked { .. }));
        endings.into_iter().chain(rest).for_each(|did| self.judge(did));
        let open = self.people.iter().filter_map(Person::session);
        used.extend(open);
        self.model.step_is_over(&used, self.scene.now(), self.scene.clock());
    }

    /// Everybody does the same, in fair weather.
    async fn all(&mut self, what: What) {
        let acts = (0..PEOPLE).map(|person| schedule::Act { person, what, after_millis: 0 }).collect();
        self.passes(self.story.len(), Step { event: None, acts }).await;
    }

    /// The storm is over: everything is mended, all that waited is answered, and everybody finds things as they were.
    async fn abates(mut self) {
        self.scene.mends(&mut self.model.world).await;
        self.waits_for_demands().await;
        tokio::time::sleep(SETTLED_WITHIN).await;
        self.scene.happens(schedule::Event::ClockMoves(120), &mut self.model.world).await;
        self.model.step_is_over(&[], self.scene.now(), self.scene.clock());
        let ways = [Way::Nginx, Way::Replica(0), Way::Replica(REPLICAS - 1)];
        for way in ways {
            self.all(What::Look(way)).await;
            self.all(What::LookWithOldCookie(way)).await;
        }
        self.all(What::SignIn).await;
        self.all(What::Look(Way::Nginx)).await;
        self.all(What::Refresh).await;
        self.waits_for_demands().await;
        self.all(What::SignOut(Way::Replica(0))).await;
        tokio::time::sleep(RULES.heard_within).await;
        self.all(What::LookWithOldCookie(Way::Replica(1))).await;
        let tally = self.model.tally;
        say(&format!("storm: seed {}: {tally:?} in {:?}", self.seed, self.scene.now()));
        assert!(
            tally.had_to_pass > self.steps / 2 && tally.had_to_be_refused > self.steps / 2,
            "a storm that asks little: {tally:?}"
        );
    }

    async fn waits_for_demands(&mut self) {
        while let Some(did) = self.demands.join_next().await {
            self.scene.notes_standstills(&mut self.model.world);
            self.judge(did.unwrap());
        }
    }

    fn judge(&mut self, did: Did) {
        let told = did.to_string();
        let verdict = self.right(did);
        self.story.push(format!("  {told}"));
        if let Err(wrong) = verdict {
            let lately = self.story[self.story.len().saturating_sub(STORY)..].join("\n");
            let (counted, now) = (self.scene.counted(), self.scene.now());
            let Self { seed, steps, .. } = self;
            panic!(
                "{lately}\n{counted}\nwrong: {wrong}\nseed {seed}, after {now:?}; again: scripts/storm --seed {seed} --steps {steps}"
            );
        }
    }

    fn right(&mut self, did: Did) -> Result<(), String> {
        let took = did.span().until.saturating_sub(did.span().from);
        let took = took.saturating_sub(self.model.world.still_for(did.span()));
        if took > did.bound() {
            return Err(format!("it took {took:?}"));
        }
        match did {
            Did::Asked { session: Some(session), asked, answer, .. } => {
                let verdict = self.model.judge(session, &asked, &answer);
                self.model.used(session, asked, &answer);
                verdict
            }
            Did::Asked { session: None, asked, answer, reason, .. } => {
                self.model.judge_stranger(&asked, &answer, reason)
            }
            Did::SignedIn { person, before, span, clock, cookie, reply } => {
                self.signed_in(person, before, span, clock, cookie, &reply)
            }
            Did::SignedOut { person, session, span, way, said } => {
                let said = said?;
                self.model.ended(session, span, way, said);
                if !self.model.sign_out_may_say(span, way, said) {
                    return Err(format!("a sign-out came to {said:?}"));
                }
                if said != model::Said::Nothing {
                    self.people[person].leaves(session);
                }
                Ok(())
            }
        }
    }

    fn signed_in(
        &mut self,
        person: usize,
        before: Option<SessionId>,
        span: world::Span,
        clock: (u64, u64),
        cookie: Option<String>,
        reply: &(u16, String),
    ) -> Result<(), String> {
        let calm = !self.model.sign_in_may_fail(span, clock.0);
        let said = if cookie.is_some() && calm { model::Said::Done } else { model::Said::Nothing };
        if let Some(before) = before {
            self.model.ended(before, span, Way::Nginx, said);
        }
        let fine = if calm { cookie.is_some() && reply.0 == 200 } else { matches!(reply.0, 200 | 400 | 503) };
        if let Some(cookie) = cookie {
            if let Some(before) = before {
                self.people[person].leaves(before);
            }
            let session = self.model.signed_in(span, clock);
            self.people[person].has(session, cookie);
        }
        if fine { Ok(()) } else { Err(format!("a sign-in came to {reply:?}")) }
    }
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Tells whoever waits, also when all is well.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The figures of the settings, and of what the documents promise.
const RULES: Rules =
    Rules { idle: 30 * 60, absolute: 4 * 60 * 60, heard_within: HEARD_WITHIN, settled_within: SETTLED_WITHIN };
/// Endings that Redis has missed are offered to it every second.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);
/// How long after the first act of a step something happens.
const EVENT_AFTER: Duration = Duration::from_millis(40);
/// How many steps a storm has unless somebody says otherwise.
const STEPS: usize = 200;
/// How much of what happened is told when something was wrong.
const STORY: usize = 120;

/// How long whoever asks may have to wait.
const fn bound(what: Question, way: Way) -> Duration {
    match (what, way) {
        // The provider's time, and that of a store that must take what the provider has given.
        (Question::Refresh, _) => Duration::from_secs(36),
        // A second, and what a crowded machine adds to it.
        (_, Way::Replica(_)) => Duration::from_millis(1_500),
        // nginx's patience, and the same.
        (_, Way::Nginx) => Duration::from_millis(2_500),
    }
}
