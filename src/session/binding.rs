//! Pure. What a session is bound to: the client's address and its `User-Agent`, as far as the settings ask for it.
//!
//! The record keeps the address's network prefix and a hash of the `User-Agent`, never the text.

use std::net::IpAddr;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// The client that signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    address: IpAddr,
    user_agent: [u8; 16],
}

/// What is compared, and what a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingRules {
    /// What another address means.
    pub address: Strictness,
    /// Whether addresses are compared whole, or only by their network (/24, /64).
    pub exact_address: bool,
    /// What another `User-Agent` means.
    pub user_agent: Strictness,
}

/// What a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Nothing.
    Off,
    /// A line in the log and a count.
    Log,
    /// That request is refused.
    Strict,
}

impl Binding {
    /// Binds to a client.
    pub fn of(address: IpAddr, user_agent: &[u8]) -> Self {
        Self { address: address.to_canonical(), user_agent: fingerprint(user_agent) }
    }

    /// Compares with the client that shows the cookie now, of which `is_agent` tells whether its `User-Agent` is the one; gives back a difference that is only to be logged.
    ///
    /// # Errors
    /// The reason, where a difference refuses the request.
    pub fn compare(
        &self,
        rules: &BindingRules,
        address: IpAddr,
        is_agent: impl FnOnce() -> bool,
    ) -> Result<Option<Reason>, Reason> {
        let same_agent = rules.user_agent == Strictness::Off || is_agent();
        let same_address = rules.address == Strictness::Off || self.same_address(rules.exact_address, address);
        let agent = judge(same_agent, rules.user_agent, Reason::BindingUserAgent)?;
        let network = judge(same_address, rules.address, Reason::BindingAddress)?;
        Ok(agent.or(network))
    }

    /// Whether it is bound to that `User-Agent`.
    pub fn is_agent(&self, user_agent: &[u8]) -> bool {
        fingerprint(user_agent) == self.user_agent
    }

    fn same_address(&self, exact: bool, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if exact { self.address == address } else { network(self.address) == network(address) }
    }
}

/// The network an address is counted under: /24 or /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

fn judge(same: bool, strictness: Strictness, reason: Reason) -> Result<Option<Reason>, Reason> {
    match strictness {
        _ if same => Ok(None),
        Strictness::Off => Ok(None),
        Strictness::Log => Ok(Some(reason)),
        Strictness::Strict => Err(reason),
    }
}

fn fingerprint(user_agent: &[u8]) -> [u8; 16] {
    let hash = digest::digest(&digest::SHA256, user_agent);
    let mut short = [0; 16];
    short.copy_from_slice(&hash.as_ref()[..16]);
    short
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::{
        Strictness::{Log, Off, Strict},
        *,
    };

    fn compare(rules: BindingRules, bound: &str, shown: &str, agent: &[u8]) -> Result<Option<Reason>, Reason> {
        let binding = Binding::of(bound.parse().unwrap(), b"Browser/1");
        binding.compare(&rules, shown.parse().unwrap(), || binding.is_agent(agent))
    }

    #[test]
    fn strict_rules_refuse_another_client_and_lenient_ones_tell() {
        let check = |address, user_agent, shown: &str, agent: &[u8], expected| {
            let rules = BindingRules { address, exact_address: true, user_agent };
            assert_eq!(compare(rules, "192.0.2.7", shown, agent), expected);
        };
        let (same, other) = (b"Browser/1".as_slice(), b"Browser/2".as_slice());
        check(Strict, Strict, "192.0.2.7", same, Ok(None));
        check(Strict, Strict, "192.0.2.8", same, Err(Reason::BindingAddress));
        check(Strict, Strict, "192.0.2.7", other, Err(Reason::BindingUserAgent));
        check(Log, Log, "192.0.2.8", same, Ok(Some(Reason::BindingAddress)));
        check(Log, Log, "192.0.2.7", other, Ok(Some(Reason::BindingUserAgent)));
        check(Off, Off, "2001:db8::1", other, Ok(None));
        check(Strict, Log, "192.0.2.8", other, Err(Reason::BindingAddress));
    }

    #[test]
    fn networks_are_24_and_64_bits_wide_and_mapped_addresses_are_ipv4() {
        let check = |bound: &str, shown: &str, same: bool| {
            let rules = BindingRules { address: Strict, exact_address: false, user_agent: Off };
            assert_eq!(compare(rules, bound, shown, b"").is_ok(), same, "{bound} {shown}");
        };
        check("192.0.2.7", "192.0.2.250", true);
        check("192.0.2.7", "192.0.3.7", false);
        check("192.0.2.7", "::ffff:192.0.2.9", true);
        check("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", true);
        check("2001:db8:0:1::1", "2001:db8:0:2::1", false);
    }
}
