//! Pure. Somebody who proved who they are, and how: what policies judge and upstreams are told of.
//!
//! Invariant: it holds a proof, which only the file that checks can make: a live session, or an administrator's
//! certificate at an open door.

use compact_str::CompactString;

use crate::{
    clock::Timestamp,
    fallback::admission::Admitted,
    session::{Authenticated, Depth, Facts, Method, User},
};

/// Who it is, with the proof of it.
#[derive(Clone, Debug)]
pub struct Proven(Proof);

#[derive(Clone, Debug)]
enum Proof {
    Session(Authenticated),
    Certificate(Box<Administrator>),
}

#[derive(Clone, Debug)]
struct Administrator {
    admitted: Admitted,
    user: User,
}

impl Proven {
    /// The user.
    pub fn user(&self) -> &User {
        match &self.0 {
            Proof::Session(session) => &session.facts().user,
            Proof::Certificate(administrator) => &administrator.user,
        }
    }

    /// How they proved it.
    pub fn method(&self) -> Method {
        match &self.0 {
            Proof::Session(session) => session.facts().method,
            Proof::Certificate(_) => Method::ClientCertificate,
        }
    }

    /// When they did; a certificate is shown with each request.
    pub fn signed_in_at(&self) -> Option<Timestamp> {
        match &self.0 {
            Proof::Session(session) => Some(session.facts().signed_in_at),
            Proof::Certificate(_) => None,
        }
    }

    /// The provider that vouches for them; nobody vouches for a certificate.
    pub fn provider(&self) -> Option<&str> {
        self.session().map(|facts| facts.provider.as_str())
    }

    /// The session, where that is the proof.
    pub fn session(&self) -> Option<&Facts> {
        self.authenticated().map(Authenticated::facts)
    }

    /// Whether they may have claims that were not opened.
    pub fn lacks_claims(&self) -> bool {
        self.authenticated().is_some_and(|session| session.opened().depth() < Depth::Whole)
    }

    /// The proof itself, where it is a session.
    pub const fn authenticated(&self) -> Option<&Authenticated> {
        match &self.0 {
            Proof::Session(session) => Some(session),
            Proof::Certificate(_) => None,
        }
    }

    /// The administrator's certificate, where that is the proof.
    pub const fn certificate(&self) -> Option<&Admitted> {
        match &self.0 {
            Proof::Session(_) => None,
            Proof::Certificate(administrator) => Some(&administrator.admitted),
        }
    }
}

impl From<Authenticated> for Proven {
    fn from(session: Authenticated) -> Self {
        Self(Proof::Session(session))
    }
}

impl From<Admitted> for Proven {
    fn from(admitted: Admitted) -> Self {
        let user = certificate_user(admitted.user(), admitted.groups());
        Self(Proof::Certificate(Box::new(Administrator { admitted, user })))
    }
}

/// The user that a certificate's owner becomes.
pub(super) fn certificate_user(name: &str, groups: &[String]) -> User {
    User {
        id: name.into(),
        preferred_username: name.into(),
        groups: groups.iter().map(CompactString::from).collect(),
        ..User::default()
    }
}
