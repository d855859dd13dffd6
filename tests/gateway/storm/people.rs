//! The people in a storm: what they do, and what comes of it.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use reqwest::Method;

use super::{
    bound,
    model::{Answer, Asked, Question, Said, SessionId},
    scene::Watched,
    schedule::{Act, Way, What},
    world::Span,
};
use crate::support::Visitor;

/// Somebody, with the session that they have and those that they had.
pub(super) struct Person {
    number: usize,
    session: Option<(SessionId, String)>,
    old: Vec<(SessionId, String)>,
}

/// What came of an act.
pub(super) enum Did {
    /// Something was asked of a session; of nobody's, with the reason that must be given.
    Asked { person: usize, session: Option<SessionId>, reason: &'static str, asked: Asked, answer: Answer },
    /// Somebody signed in, if there is a cookie.
    SignedIn {
        person: usize,
        before: Option<SessionId>,
        span: Span,
        clock: (u64, u64),
        cookie: Option<String>,
        reply: (u16, String),
    },
    /// Somebody signed out.
    SignedOut { person: usize, session: SessionId, span: Span, way: Way, said: Result<Said, String> },
}

impl Person {
    pub(super) fn new(number: usize) -> Self {
        Self { number, session: None, old: Vec::new() }
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        self.session.as_ref().map(|(session, _)| *session)
    }

    /// From now on this is the session that they have.
    pub(super) fn has(&mut self, session: SessionId, cookie: String) {
        self.session = Some((session, cookie));
    }

    /// That session is one that they had, and its cookie is shown only to see that it is refused.
    pub(super) fn leaves(&mut self, session: SessionId) {
        if let Some(left) = self.session.take_if(|(current, _)| *current == session) {
            self.old.push(left);
        }
    }

    /// An act, to be done beside others; none where there is nothing to do it with.
    pub(super) fn does(&self, scene: &Arc<Watched>, act: Act) -> Option<impl Future<Output = Did> + Send + 'static> {
        let scene = Arc::clone(scene);
        let (number, session) = (self.number, self.session.clone());
        let old = || {
            let back = usize::try_from(act.after_millis).unwrap_or(0) % self.old.len().clamp(1, OLD_COOKIES);
            self.old.iter().rev().nth(back).cloned()
        };
        let shown = match act.what {
            What::LookWithOldCookie(_) => Some(old()?),
            What::LookWithMadeUpCookie(_) => None,
            What::SignOut(_) | What::Refresh | What::Stay => Some(session?),
            What::SignIn | What::Look(_) => session,
        };
        Some(async move {
            tokio::time::sleep(Duration::from_millis(act.after_millis)).await;
            let errand = Errand { scene, person: number, shown };
            match act.what {
                What::SignIn => errand.sign_in().await,
                What::SignOut(way) => errand.sign_out(way).await,
                What::Look(way) | What::LookWithOldCookie(way) => errand.asks(Question::Look, way, "no_session").await,
                What::LookWithMadeUpCookie(way) => errand.asks(Question::Look, way, "session_malformed").await,
                What::Stay => errand.asks(Question::Stay, Way::Nginx, "").await,
                What::Refresh => errand.asks(Question::Refresh, Way::Nginx, "").await,
            }
        })
    }
}

/// Somebody on their way, with the cookie that they show.
struct Errand {
    scene: Arc<Watched>,
    person: usize,
    shown: Option<(SessionId, String)>,
}

impl Errand {
    async fn asks(self, what: Question, way: Way, reason: &'static str) -> Did {
        let made_up = "__Host-portcullis=bWFkZSB1cA".to_owned();
        let cookie = match &self.shown {
            Some((_, cookie)) => cookie.clone(),
            None if reason == "session_malformed" => made_up,
            None => String::new(),
        };
        let (from, clock) = (self.scene.now(), self.scene.clock());
        let answer = match way {
            Way::Replica(number) => self.scene.direct[number]
                .verify_if_there("staff", &cookie)
                .await
                .map_or(Answer::Nobody, |(status, reason)| Answer::of(status, &reason)),
            Way::Nginx => self.asks_nginx(what, &cookie).await,
        };
        let asked = Asked { span: Span::new(from, self.scene.now()), clock: (clock, self.scene.clock()), way, what };
        let session = self.shown.map(|(session, _)| session);
        Did::Asked { person: self.person, session, reason, asked, answer }
    }

    async fn asks_nginx(&self, what: Question, cookie: &str) -> Answer {
        let (method, path) = match what {
            Question::Look => (Method::GET, "/api/whoami"),
            Question::Stay => (Method::POST, "/auth/check"),
            Question::Refresh => (Method::POST, "/auth/refresh"),
        };
        let reply = self.scene.messenger.ask(method, path, &headers(cookie)).await;
        let (status, reason) = reply.refusal();
        let somebody_else = what == Question::Look && status == 200 && !reply.body.contains(&subject(self.person));
        if somebody_else { Answer::Other(200, reply.body.clone()) } else { Answer::of(status, reason) }
    }

    async fn sign_in(self) -> Did {
        let visitor = Visitor::new(&self.scene.stage);
        if let Some((_, cookie)) = &self.shown {
            visitor.plant(cookie);
        }
        let shown = visitor.session();
        let (from, clock) = (self.scene.now(), self.scene.clock());
        let reply = visitor.get("/auth/login?rd=/api/whoami&anyway=yes").await;
        let reply = visitor.follow(reply, login(self.person)).await;
        let cookie = visitor.session().filter(|cookie| Some(cookie) != shown.as_ref());
        Did::SignedIn {
            person: self.person,
            before: self.shown.map(|(session, _)| session),
            span: Span::new(from, self.scene.now()),
            clock: (clock, self.scene.clock()),
            cookie: cookie.map(|cookie| format!("__Host-portcullis={cookie}")),
            reply: (reply.status, format!("{} {}", reply.url.path(), reply.refusal().1)),
        }
    }

    async fn sign_out(self, way: Way) -> Did {
        let (session, cookie) = self.shown.clone().unwrap();
        let from = self.scene.now();
        let answer = match way {
            Way::Nginx => {
                let reply = self.scene.messenger.ask(Method::POST, "/auth/logout", &headers(&cookie)).await;
                Some((reply.status, reply.refusal().1.to_owned(), reply.body))
            }
            Way::Replica(number) => {
                self.scene.direct[number].script_if_there(Method::POST, "/auth/logout", &cookie).await
            }
        };
        let said = match answer {
            Some((200, _, body)) if body.contains(r#""pending":false"#) => Ok(Said::Done),
            Some((200, _, body)) if body.contains(r#""pending":true"#) => Ok(Said::Pending),
            Some((503, reason, _)) if reason.is_empty() => Ok(Said::Nothing),
            None => Ok(Said::Nothing),
            Some(other) => Err(format!("a sign-out came to {other:?}")),
        };
        Did::SignedOut { person: self.person, session, span: Span::new(from, self.scene.now()), way, said }
    }
}

impl Answer {
    fn of(status: u16, reason: &str) -> Self {
        match (status, reason) {
            (200, "") => Self::Passed,
            (401, reason) => Self::Refused(reason.to_owned()),
            (503, "store_unavailable") => Self::StoreUnavailable,
            (503, "") => Self::Nobody,
            (status, reason) => Self::Other(status, reason.to_owned()),
        }
    }
}

impl Did {
    pub(super) const fn span(&self) -> Span {
        match self {
            Self::Asked { asked: Asked { span, .. }, .. }
            | Self::SignedIn { span, .. }
            | Self::SignedOut { span, .. } => *span,
        }
    }

    /// How long it may take.
    pub(super) const fn bound(&self) -> Duration {
        match self {
            Self::Asked { asked, .. } => bound(asked.what, asked.way),
            Self::SignedIn { .. } => SIGN_IN,
            Self::SignedOut { way, .. } => bound(Question::Look, *way),
        }
    }
}

impl fmt::Display for Did {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { from, until } = self.span();
        write!(formatter, "{from:?} to {until:?}: ")?;
        match self {
            Self::Asked { person, session, asked, answer, .. } => {
                write!(formatter, "{person} {session:?} {:?} {:?}: {answer:?}", asked.what, asked.way)
            }
            Self::SignedIn { person, before, cookie, reply, .. } => {
                let done = if cookie.is_some() { "signed in" } else { "did not sign in" };
                write!(formatter, "{person} {done}, before {before:?}: {reply:?}")
            }
            Self::SignedOut { person, session, way, said, .. } => {
                write!(formatter, "{person} {session:?} signed out {way:?}: {said:?}")
            }
        }
    }
}

fn headers(cookie: &str) -> [(&'static str, &str); 4] {
    [("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin"), ("cookie", cookie)]
}

fn login(person: usize) -> &'static str {
    ["alice", "bob"][person % 2]
}

fn subject(person: usize) -> String {
    format!("subject-of-{}", login(person))
}

/// Of so many earlier sessions cookies are still shown.
const OLD_COOKIES: usize = 8;
/// A sign-in asks the provider and the store several times, and the provider may be slow.
const SIGN_IN: Duration = Duration::from_secs(12);
