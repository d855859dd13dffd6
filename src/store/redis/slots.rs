//! Pure. Which of a cluster's slots a key belongs to, and who serves which.

use super::client::Host;

/// The slot of a key: by the first part of it in braces, if that is not empty, or else by all of it.
pub(super) fn slot(key: &[u8]) -> u16 {
    checksum(tag(key).unwrap_or(key)) % SLOTS
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let inside = key.get(open + 1..)?;
    let close = inside.iter().position(|byte| *byte == b'}')?;
    inside.get(..close).filter(|tag| !tag.is_empty())
}

/// CRC-16/XMODEM.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum: u16, byte| {
        let mixed = sum ^ (u16::from(*byte) << 8);
        (0..8).fold(mixed, |sum, _| if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 })
    })
}

/// Slots that one node serves, and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) primary: Host,
    pub(super) replicas: Vec<Host>,
}

/// A server that says where else to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    /// Without a name it is the host that said so.
    pub(super) host: Host,
    /// For this question only: the slot is on its way there.
    pub(super) asking: bool,
}

/// As many slots as every cluster has.
pub(super) const SLOTS: u16 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        let check = |key: &str, expected: u16| assert_eq!(slot(key.as_bytes()), expected, "{key}");
        // As `CLUSTER KEYSLOT` says.
        check("", 0);
        check("123456789", 12_739);
        check("foo", 12_182);
        check("{foo}:bar", 12_182);
        check("a{foo}{bar}", 12_182);
        check("foo{}", 5_542);
        check("foo{{bar}}", 4_015);
        check("foo}{", slot(b"foo}{"));
    }
}
