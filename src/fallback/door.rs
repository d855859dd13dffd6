//! Pure. The door: whether client certificates are accepted at all.
//!
//! Invariant: [`Open`] exists only where every condition holds, and without it no certificate is looked at.

use crate::reason::Reason;

/// Everything that the door depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The settings have a fallback.
    pub enabled: bool,
    /// How the switches stand.
    pub switches: Switches,
    /// Every provider of the asked policy is down.
    pub providers_down: bool,
}

/// How the switches stand at a moment.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, and every combination has its answer")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// They can be believed: neither broken nor contradicting each other.
    pub believed: bool,
    /// An operator has disabled the fallback.
    pub killed: bool,
    /// The door closed by itself.
    pub auto_closed: bool,
    /// An operator has armed it, and its time is not over; or it need not be armed.
    pub armed: bool,
}

/// Proof that the door is open, for one request.
///
/// ```compile_fail
/// // It cannot be made but by asking:
/// let open = portcullis::fallback::door::Open(());
/// ```
#[derive(Debug)]
pub struct Open(());

impl Conditions {
    /// The one place that says the door is open.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub const fn open(self) -> Result<Open, Reason> {
        let Switches { believed, killed, auto_closed, armed } = self.switches;
        if !self.enabled {
            return Err(Reason::FallbackDisabled);
        }
        if !believed {
            return Err(Reason::SwitchesInvalid);
        }
        if killed {
            return Err(Reason::KillSwitch);
        }
        if auto_closed {
            return Err(Reason::AutoClosed);
        }
        if !armed {
            return Err(Reason::FallbackNotArmed);
        }
        if !self.providers_down {
            return Err(Reason::IdpHealthy);
        }
        Ok(Open(()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// For tests of what comes after the door.
    pub(crate) const OPEN: Conditions = Conditions {
        enabled: true,
        switches: Switches { believed: true, killed: false, auto_closed: false, armed: true },
        providers_down: true,
    };

    #[test]
    fn of_all_combinations_exactly_one_opens_the_door() {
        let bit = |bits: u32, number: u32| bits & (1 << number) != 0;
        let opened: Vec<Conditions> = (0..1 << 6)
            .map(|bits| Conditions {
                enabled: bit(bits, 0),
                switches: Switches {
                    believed: bit(bits, 1),
                    killed: bit(bits, 2),
                    auto_closed: bit(bits, 3),
                    armed: bit(bits, 4),
                },
                providers_down: bit(bits, 5),
            })
            .filter(|conditions| conditions.open().is_ok())
            .collect();
        assert_eq!(opened, [OPEN]);
    }

    #[test]
    fn the_first_condition_that_fails_is_the_reason() {
        let check = |change: fn(&mut Conditions), expected| {
            let mut conditions = OPEN;
            change(&mut conditions);
            assert_eq!(conditions.open().err(), Some(expected));
        };
        check(|all| all.enabled = false, Reason::FallbackDisabled);
        check(|all| all.switches.believed = false, Reason::SwitchesInvalid);
        check(|all| all.switches.killed = true, Reason::KillSwitch);
        check(|all| all.switches.auto_closed = true, Reason::AutoClosed);
        check(|all| all.switches.armed = false, Reason::FallbackNotArmed);
        check(|all| all.providers_down = false, Reason::IdpHealthy);
        check(|all| (all.providers_down, all.enabled) = (false, false), Reason::FallbackDisabled);
        check(|all| (all.switches.armed, all.switches.killed) = (false, true), Reason::KillSwitch);
    }
}
