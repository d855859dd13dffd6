//! Pure. What things are called in Redis, and when they are said to expire.
//!
//! A session's record and its tombstone share the hash tag `{hash}`, so that one script may touch both in a cluster; so
//! do a sliding window and its bar.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    store::{Name, window::Window},
};

/// A prefix that all our keys begin with; without braces, which would move the hash tag.
#[derive(Clone, Debug)]
pub(super) struct Keys(String);

impl Keys {
    /// Takes a prefix of 1 to [`MAX_PREFIX`] letters, digits, `_`, `-`, `.` and `:`; nothing else.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        let fits = (1..=MAX_PREFIX).contains(&prefix.len()) && prefix.bytes().all(allowed);
        fits.then(|| Self(prefix.to_owned()))
    }

    /// Put together without ado: every verify asks for one.
    pub(super) fn session(&self, name: &Name) -> String {
        let mut key = String::with_capacity(self.0.len() + SESSION_KEY_BYTES);
        key.push_str(&self.0);
        key.push_str(":session:{");
        name.encode_onto(&mut key);
        key.push('}');
        key
    }

    pub(super) fn ended(&self, name: &Name) -> String {
        format!("{}:ended:{{{}}}", self.0, name.encoded())
    }

    pub(super) fn group(&self, name: &Name) -> String {
        format!("{}:group:{}", self.0, name.encoded())
    }

    pub(super) fn live(&self) -> String {
        format!("{}:live", self.0)
    }

    pub(super) fn once(&self, name: &Name) -> String {
        format!("{}:once:{}", self.0, name.encoded())
    }

    pub(super) fn lock(&self, name: &Name) -> String {
        format!("{}:lock:{}", self.0, name.encoded())
    }

    pub(super) fn window(&self, window: Window) -> String {
        format!("{}:window:{}:{{{}}}", self.0, window.kind.label(), window.name.encoded())
    }

    pub(super) fn barred(&self, window: Window) -> String {
        format!("{}:barred:{}:{{{}}}", self.0, window.kind.label(), window.name.encoded())
    }

    /// The channel on which gateways hear each other.
    pub(super) fn bus(&self) -> String {
        format!("{}:bus", self.0)
    }

    /// What the store bears for as long as it has its data.
    pub(super) fn mark(&self) -> String {
        format!("{}:mark", self.0)
    }

    pub(super) fn switches(&self) -> String {
        format!("{}:switches", self.0)
    }
}

/// A moment in milliseconds as Redis takes it: at least 1, and exact in a score.
pub(super) fn moment(until: Timestamp) -> u64 {
    until.millis().clamp(1, LAST_MOMENT)
}

/// A lease in milliseconds as Redis takes it: at least 1.
pub(super) fn lease(lease: Duration) -> u64 {
    u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).clamp(1, LAST_MOMENT)
}

/// An epoch in as many digits as the largest takes: texts of one length compare as the numbers do, and Lua's own numbers
/// are exact up to 2^53 only.
pub(super) fn epoch(number: u64) -> String {
    format!("{number:0EPOCH_DIGITS$}")
}

/// Digits of the largest epoch.
pub(super) const EPOCH_DIGITS: usize = 20;

/// A session's key without the prefix.
const SESSION_KEY_BYTES: usize = ":session:{}".len() + 43;

/// Longest prefix.
pub(super) const MAX_PREFIX: usize = 64;

/// Redis keeps scores as doubles; beyond 2^53, over 280,000 years from now, they are no longer exact.
const LAST_MOMENT: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_nothing_that_could_move_the_hash_tag_or_the_parts() {
        let check = |prefix: &str, expected: bool| {
            assert_eq!(Keys::new(prefix).is_some(), expected, "{prefix:?}");
        };
        check("portcullis", true);
        check("app:auth_2.x-y", true);
        check("", false);
        check("a{b}", false);
        check("a b", false);
        check("a\r\n", false);
        check("ä", false);
        check(&"p".repeat(MAX_PREFIX), true);
        check(&"p".repeat(MAX_PREFIX + 1), false);
    }

    #[test]
    fn record_and_tombstone_share_one_hash_tag() {
        let name = Name::new([0; 32]);
        let tag = format!("{{{}}}", name.encoded());
        let keys = Keys("p".to_owned());
        assert_eq!(keys.session(&name), format!("p:session:{tag}"));
        assert_eq!(keys.ended(&name), format!("p:ended:{tag}"));
    }

    #[test]
    fn epochs_compare_as_texts() {
        let numbers = [0, 1, 9, 10, 99, 1 << 53, (1 << 53) + 1, u64::MAX - 1, u64::MAX];
        assert!(numbers.map(epoch).is_sorted_by(|a, b| a < b));
        assert!(numbers.map(epoch).iter().all(|text| text.len() == EPOCH_DIGITS));
    }

    #[test]
    fn moments_and_leases_stay_where_redis_takes_them() {
        assert_eq!(moment(Timestamp::from_millis(0)), 1);
        assert_eq!(moment(Timestamp::from_millis(7)), 7);
        assert_eq!(moment(Timestamp::from_millis(u64::MAX)), LAST_MOMENT);
        assert_eq!(lease(Duration::ZERO), 1);
        assert_eq!(lease(Duration::MAX), LAST_MOMENT);
    }
}
