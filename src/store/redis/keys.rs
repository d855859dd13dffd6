//! Pure. What things are called in Redis, and when they are said to expire.
//!
//! Sessions are spread over 64 shards by the first digit of their names. A session's record, its tombstone and the set of
//! the shard's living sessions share the hash tag, so that one script may touch all three in a cluster; so do a sliding window
//! and its bar.

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
        key.push(shard(name));
        key.push_str("}:");
        name.encode_onto(&mut key);
        key
    }

    pub(super) fn ended(&self, name: &Name) -> String {
        format!("{}:ended:{{{}}}:{}", self.0, shard(name), name.encoded())
    }

    /// The set that has the session's name and when it is forgotten.
    pub(super) fn live(&self, name: &Name) -> String {
        self.live_in(shard(name))
    }

    /// All those sets.
    pub(super) fn shards(&self) -> impl Iterator<Item = String> {
        DIGITS.iter().map(|digit| self.live_in(char::from(*digit)))
    }

    fn live_in(&self, shard: char) -> String {
        format!("{}:live:{{{shard}}}", self.0)
    }

    pub(super) fn group(&self, name: &Name) -> String {
        format!("{}:group:{}", self.0, name.encoded())
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

    /// The same for the nodes of a cluster: a key in each shard.
    pub(super) fn marks(&self) -> impl Iterator<Item = String> {
        DIGITS.iter().map(|digit| format!("{}:mark:{{{}}}", self.0, char::from(*digit)))
    }

    pub(super) fn switches(&self) -> String {
        format!("{}:switches", self.0)
    }
}

/// The first digit of a name as it is written: its first six bits.
fn shard(name: &Name) -> char {
    let [first, ..] = name.as_bytes();
    DIGITS.get(usize::from(first >> 2)).copied().map_or('A', char::from)
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
const SESSION_KEY_BYTES: usize = ":session:{x}:".len() + 43;

/// The digits of base64url, in their order.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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
    fn record_tombstone_and_living_sessions_share_one_hash_tag() {
        let keys = Keys("p".to_owned());
        for (first, tag) in [(0, 'A'), (3, 'A'), (4, 'B'), (26 << 2, 'a'), (52 << 2, '0'), (62 << 2, '-'), (255, '_')] {
            let name = Name::new([first; 32]);
            assert!(name.encoded().starts_with(tag), "{first}");
            assert_eq!(keys.session(&name), format!("p:session:{{{tag}}}:{}", name.encoded()));
            assert_eq!(keys.ended(&name), format!("p:ended:{{{tag}}}:{}", name.encoded()));
            assert_eq!(keys.live(&name), format!("p:live:{{{tag}}}"));
            assert!(keys.shards().any(|shard| shard == keys.live(&name)));
        }
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
