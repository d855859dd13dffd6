//! Pure. What each answer in a storm may be: nobody passes whose session is certainly over, nobody is refused whose
//! session certainly lives, and nobody is told to try again without a cause.
//!
//! What cannot be known is let be: a sign-out whose answer was lost may have happened or not, a time of last use may have
//! been written or not. The model knows of each session what is certain and what is possible, and no more.

use std::time::Duration;

use super::{
    schedule::Way,
    world::{Part, Span, World},
};

/// What the gateways promise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Seconds from the last use to the end.
    pub(super) idle: u64,
    /// Seconds from sign-in to the end.
    pub(super) absolute: u64,
    /// How soon the other gateway has heard of an ending, and all have seen that Redis has lost its data.
    pub(super) heard_within: Duration,
    /// How soon an ending that Redis missed is made good once it is back.
    pub(super) settled_within: Duration,
}

/// Everything that is known of the sessions.
#[derive(Debug)]
pub(super) struct Model {
    rules: Rules,
    pub(super) world: World,
    sessions: Vec<Session>,
    pub(super) tally: Tally,
}

/// How many answers there were, and of how many only one could be right.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) answers: usize,
    pub(super) had_to_pass: usize,
    pub(super) had_to_be_refused: usize,
}

/// A session by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionId(usize);

#[derive(Debug)]
struct Session {
    born: Span,
    clock: (u64, u64),
    endings: Vec<Ending>,
    uses: Vec<Asked>,
    /// It was certainly used as late as this, and that was written.
    used_certainly: u64,
    /// It may have been used as late as this.
    used_possibly: u64,
}

/// A sign-out, or whatever else ends a session.
#[derive(Clone, Copy, Debug)]
struct Ending {
    span: Span,
    way: Way,
    said: Said,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The store has it.
    Done,
    /// The gateway that took it will tell the store.
    Pending,
    /// Nobody knows.
    Nothing,
}

/// A request, and when it was under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) span: Span,
    /// The clock when it began, and when it ended.
    pub(super) clock: (u64, u64),
    pub(super) way: Way,
    pub(super) what: Question,
}

/// What is asked of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// May it pass?
    Look,
    /// Its user is still there.
    Stay,
    /// Fresh tokens.
    Refresh,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 200.
    Passed,
    /// 401, and why.
    Refused(String),
    /// 503: the store is in trouble.
    StoreUnavailable,
    /// nginx's own 503, or no answer at all.
    Nobody,
    /// Any other.
    Other(u16, String),
}

/// What may come back.
struct Permitted {
    pass: bool,
    refusals: Vec<&'static str>,
    store: bool,
    nobody: bool,
}

impl Model {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, world: World::default(), sessions: Vec::new(), tally: Tally::default() }
    }

    /// Somebody has a new session.
    pub(super) fn signed_in(&mut self, span: Span, clock: (u64, u64)) -> SessionId {
        let (used_certainly, used_possibly) = clock;
        let (endings, uses) = (Vec::new(), Vec::new());
        self.sessions.push(Session { born: span, clock, endings, uses, used_certainly, used_possibly });
        SessionId(self.sessions.len() - 1)
    }

    /// A session was ended, or may have been.
    pub(super) fn ended(&mut self, session: SessionId, span: Span, way: Way, said: Said) {
        self.sessions[session.0].endings.push(Ending { span, way, said });
    }

    /// What was asked of a session has been answered.
    pub(super) fn used(&mut self, session: SessionId, asked: Asked, answer: &Answer) {
        let session = &mut self.sessions[session.0];
        session.used_possibly = session.used_possibly.max(asked.clock.1);
        if *answer == Answer::Passed {
            match asked.what {
                Question::Stay => session.used_certainly = session.used_certainly.max(asked.clock.0),
                Question::Look => session.uses.push(asked),
                Question::Refresh => {}
            }
        }
    }

    /// A step is over: whatever was used in it may have been written as used by now, and what had time enough to
    /// be written has been.
    pub(super) fn step_is_over(&mut self, used: &[SessionId], now: Duration, clock: u64) {
        for session in used {
            self.sessions[session.0].used_possibly = self.sessions[session.0].used_possibly.max(clock);
        }
        let (world, rules) = (&self.world, &self.rules);
        for session in &mut self.sessions {
            let (ripe, young) =
                session.uses.drain(..).partition::<Vec<_>, _>(|asked| asked.span.until + WRITTEN_WITHIN <= now);
            session.uses = young;
            for asked in ripe.iter().filter(|asked| written(world, asked)) {
                let at = asked.clock.0.saturating_sub(rules.idle / 10);
                session.used_certainly = session.used_certainly.max(at);
            }
            let pending = session.endings.iter_mut().filter(|ending| ending.said == Said::Pending);
            for ending in pending.filter(|ending| settled(world, rules, ending, now)) {
                *ending = Ending { span: Span::new(ending.span.from, now), way: Way::Nginx, said: Said::Done };
            }
        }
    }

    /// Whether an answer to somebody who shows a session's cookie was right.
    ///
    /// # Errors
    /// What would have been.
    pub(super) fn judge(&mut self, session: SessionId, asked: &Asked, answer: &Answer) -> Result<(), String> {
        let permitted = self.permitted(&self.sessions[session.0], asked);
        self.tally.answers += 1;
        let certain = !(permitted.store || permitted.nobody);
        self.tally.had_to_pass += usize::from(certain && permitted.refusals.is_empty());
        self.tally.had_to_be_refused += usize::from(certain && !permitted.pass);
        if permitted.holds(answer) || self.change_may(session, asked, answer) {
            return Ok(());
        }
        let session = &self.sessions[session.0];
        Err(format!("{answer:?} to {asked:?}, where {permitted} was right; of {session:?}"))
    }

    /// Whether an answer to somebody who shows no cookie, or one that nobody was given, was right.
    ///
    /// # Errors
    /// What would have been.
    pub(super) fn judge_stranger(
        &mut self,
        asked: &Asked,
        answer: &Answer,
        reason: &'static str,
    ) -> Result<(), String> {
        let nobody = self.world.lost_all(asked.way, asked.span);
        let permitted = Permitted { pass: false, refusals: vec![reason], store: false, nobody };
        self.tally.answers += 1;
        self.tally.had_to_be_refused += usize::from(!nobody);
        if permitted.holds(answer) {
            return Ok(());
        }
        Err(format!("{answer:?} to {asked:?} of a stranger, where {permitted} was right"))
    }

    /// Whether a sign-in may come to nothing.
    pub(super) fn sign_in_may_fail(&self, during: Span, clock: u64) -> bool {
        self.world.was_ill(Part::Store, during)
            || self.world.lost_a_replica(during)
            || self.world.provider_may_fail(during, clock)
    }

    /// Whether that may be said to somebody who signs out.
    pub(super) fn sign_out_may_say(&self, during: Span, way: Way, said: Said) -> bool {
        match said {
            Said::Done => true,
            Said::Pending => self.world.was_ill(Part::Store, during),
            Said::Nothing => self.world.lost(way, during),
        }
    }

    fn permitted(&self, session: &Session, asked: &Asked) -> Permitted {
        let once = asked.what == Question::Look;
        let world = &self.world;
        Permitted {
            pass: !self.is_over(session, asked),
            refusals: self.refusals(session, asked),
            store: world.was_ill(Part::Store, asked.span),
            nobody: if once { world.lost_all(asked.way, asked.span) } else { world.lost(asked.way, asked.span) },
        }
    }

    /// Whether it was certainly over before it was asked for.
    fn is_over(&self, session: &Session, asked: &Asked) -> bool {
        let idle = asked.clock.0 >= session.used_possibly + self.rules.idle;
        let expired = asked.clock.0 >= session.clock.1 + self.rules.absolute;
        let seen = |flush: &Span| self.world.silent_until(Span::new(flush.from, flush.until + self.rules.heard_within));
        let lost = |flush: &Span| session.born.until <= flush.from && seen(flush) <= asked.span.from;
        idle || expired
            || self.world.flushes.iter().any(lost)
            || session.endings.iter().any(|ending| self.has_ended(ending, asked))
    }

    fn has_ended(&self, ending: &Ending, asked: &Asked) -> bool {
        let since = asked.span.from;
        let same = ending.way == asked.way && ending.way != Way::Nginx;
        let whole_time = Span::new(ending.span.from, asked.span.until);
        match ending.said {
            Said::Nothing => false,
            Said::Pending => same && since >= ending.span.until && !self.world.lost(ending.way, whole_time),
            Said::Done => {
                let heard = ending.span.until + self.rules.heard_within;
                let heard = self.world.silent_until(Span::new(ending.span.from, heard));
                let here = same && since >= ending.span.until && !self.world.lost(ending.way, whole_time);
                here || since >= heard
            }
        }
    }

    /// The reasons by which it may be refused; none if it certainly lives.
    fn refusals(&self, session: &Session, asked: &Asked) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        let flushed = |flush: &Span| flush.from < asked.span.until && session.born.from < flush.until;
        let flushed = self.world.flushes.iter().any(flushed);
        if session.endings.iter().any(|ending| ending.span.from < asked.span.until) {
            reasons.push("session_ended");
        }
        if flushed {
            reasons.push("session_unknown");
        }
        if asked.clock.1 >= session.used_certainly + self.rules.idle {
            reasons.push("session_idle");
        }
        if asked.clock.1 >= session.clock.0 + self.rules.absolute {
            reasons.push("session_expired");
        }
        reasons
    }

    /// What a request that changes the session may bring beyond what every request may: it can find that somebody ended
    /// the session after it was let in, and no record where there was one.
    fn change_may(&self, session: SessionId, asked: &Asked, answer: &Answer) -> bool {
        let session = &self.sessions[session.0];
        let ended = session.endings.iter().any(|ending| ending.span.from < asked.span.until);
        match (asked.what, answer) {
            (Question::Look, _) => false,
            (_, Answer::Refused(reason)) if reason == "session_unknown" => ended,
            (Question::Refresh, Answer::Refused(reason)) if reason == "refresh_rejected" => ended,
            (Question::Refresh, Answer::Other(status, reason)) => self.refresh_may(session, asked, *status, reason),
            _ => false,
        }
    }

    fn refresh_may(&self, session: &Session, asked: &Asked, status: u16, reason: &str) -> bool {
        let lately = asked.span.widened(LEASE, Duration::ZERO);
        let ever = Span::new(session.born.from, asked.span.until);
        let world = &self.world;
        match (status, reason) {
            (400, "refresh_lost" | "refresh_token_missing") => {
                world.was_stormy(ever) || world.keys_were_doubtful_since(session.clock.0)
            }
            (503, "provider_unreachable") => world.provider_may_fail(asked.span, asked.clock.0),
            (503, "refresh_busy") => world.was_stormy(lately),
            _ => false,
        }
    }
}

/// Whether an allowed request's time of use was certainly written.
fn written(world: &World, asked: &Asked) -> bool {
    let meanwhile = asked.span.widened(WRITTEN_WITHIN, WRITTEN_WITHIN);
    !(world.was_ill(Part::Store, meanwhile) || world.lost_a_replica(meanwhile) || world.moved_the_clock(meanwhile))
}

/// Whether the store has certainly heard by now of an ending that it missed.
fn settled(world: &World, rules: &Rules, ending: &Ending, now: Duration) -> bool {
    let calm = Span::new(now.saturating_sub(rules.settled_within), now);
    calm.from >= ending.span.until
        && !world.was_ill(Part::Store, calm)
        && !world.lost(ending.way, Span::new(ending.span.from, now))
}

impl Permitted {
    fn holds(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Passed => self.pass,
            Answer::Refused(reason) => self.refusals.contains(&reason.as_str()),
            Answer::StoreUnavailable => self.store,
            Answer::Nobody => self.nobody,
            Answer::Other(..) => false,
        }
    }
}

impl std::fmt::Display for Permitted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = [(self.pass, "200"), (self.store, "503 store_unavailable"), (self.nobody, "no answer")];
        let plain = plain.into_iter().filter(|(may, _)| *may).map(|(_, what)| what.to_owned());
        let refusals = self.refusals.iter().map(|reason| format!("401 {reason}"));
        formatter.write_str(&plain.chain(refusals).collect::<Vec<_>>().join(" or "))
    }
}

/// How soon a time of use is written, unless something is in the way.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// How long somebody may wait for the refresh of a gateway that is gone.
const LEASE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
