//! Pure. The decision: may this request pass?
//!
//! Invariant: an [`Allow`] is made of proofs. [`Proven`] says who it is, by a live session or by an administrator's
//! certificate at an open door; [`Permitted`] that a rule lets them in. Neither can be made anywhere but where it was
//! checked, and without both there is no 200. Asking changes nothing.

use std::net::IpAddr;

use crate::{
    clock::Timestamp,
    reason::Reason,
    verify::{
        policy::{Permitted, Policies},
        proven::Proven,
    },
};

pub mod identity;
pub mod matching;
pub mod policy;
pub mod proven;
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
///     Permitted { who: session.into(), policy, rule: 0 }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Allow {
    permitted: Permitted,
}

impl Allow {
    /// Takes the permission, which holds the proof of who it was given to.
    pub const fn new(permitted: Permitted) -> Self {
        Self { permitted }
    }

    /// Who it is.
    pub const fn who(&self) -> &Proven {
        self.permitted.who()
    }

    /// The policy and the number of its rule that let the request pass.
    pub fn rule(&self) -> (&str, usize) {
        self.permitted.rule()
    }
}

/// Decides about somebody under a policy, for a client at that address.
///
/// # Errors
/// The reason for the refusal.
pub fn decide(
    who: impl Into<Proven>,
    policies: &Policies,
    policy: &str,
    client: IpAddr,
    now: Timestamp,
) -> Result<Allow, Reason> {
    policies.named(policy)?.permit(who, client, now).map(Allow::new)
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
