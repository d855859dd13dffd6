//! Pure. The decision: may this request pass?
//!
//! Invariant: an [`Allow`] is made of proofs. [`Authenticated`] says that a session
//! lives, [`Permitted`] that a rule lets its user in; neither can be made anywhere but where it was checked, and
//! without both there is no 200. Asking changes nothing.

use std::net::IpAddr;

use crate::{
    clock::Timestamp,
    reason::Reason,
    session::Authenticated,
    verify::policy::{Permitted, Policies},
};

pub mod identity;
pub mod matching;
pub mod policy;
pub mod target;

/// A request may pass. The only way to a 200.
///
/// ```compile_fail
/// // An `Allow` cannot be written down, not even around a permission:
/// fn forge(permitted: portcullis::verify::policy::Permitted) -> portcullis::verify::Allow {
///     portcullis::verify::Allow { permitted }
/// }
/// ```
///
/// ```
/// // What each of the others lacks: the way that is open.
/// fn allow(permitted: portcullis::verify::policy::Permitted) -> portcullis::verify::Allow {
///     portcullis::verify::Allow::new(permitted)
/// }
/// ```
///
/// ```compile_fail
/// // A session alone is no permission:
/// fn open(session: portcullis::session::Authenticated) -> portcullis::verify::Allow {
///     portcullis::verify::Allow::new(session)
/// }
/// ```
///
/// ```compile_fail
/// // Nor can a permission be made up without a rule that was asked:
/// use portcullis::{session::Authenticated, verify::policy::{Permitted, PolicyName}};
/// fn permit(session: Authenticated, policy: PolicyName) -> Permitted {
///     Permitted { session, policy, rule: 0 }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Allow {
    permitted: Permitted,
}

impl Allow {
    /// Takes the permission, which holds the proof of the session that it was given to.
    pub const fn new(permitted: Permitted) -> Self {
        Self { permitted }
    }

    /// Whose session it is.
    pub const fn session(&self) -> &Authenticated {
        self.permitted.session()
    }

    /// The policy and the number of its rule that let the request pass.
    pub fn rule(&self) -> (&str, usize) {
        self.permitted.rule()
    }
}

/// Decides about a live session under a policy, for a client at that address.
///
/// # Errors
/// The reason for the refusal.
pub fn decide(
    session: Authenticated,
    policies: &Policies,
    policy: &str,
    client: IpAddr,
    now: Timestamp,
) -> Result<Allow, Reason> {
    policies.named(policy)?.permit(session, client, now).map(Allow::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        session::tests::authenticated,
        verify::policy::tests::{CLIENT, policies},
    };

    #[test]
    fn only_a_rule_that_allows_lets_a_session_pass() {
        let check = |policy: &str, expected: Result<(&str, usize), Reason>| {
            let decision = decide(authenticated(), &policies(), policy, CLIENT, Timestamp::from_seconds(1_000_000));
            assert_eq!(decision.as_ref().map(Allow::rule).map_err(|reason| *reason), expected, "{policy}");
        };
        check("staff", Ok(("staff", 0)));
        check("admins", Err(Reason::PolicyDenied));
        check("none", Err(Reason::PolicyDenied));
        check("not-alice", Err(Reason::PolicyDenied));
        check("missing", Err(Reason::PolicyUnknown));
    }
}
