//! Pure. Values that tell whether they are whole: each ends in its own length.
//!
//! What lies in Redis is sealed, so a value that was cut would be noticed when it does not open; but then it looks like
//! one that somebody altered, and its owner is sent to sign in. A value that is not whole is the store's trouble.

/// A value as it is written.
pub(super) fn marked(value: &[u8]) -> Vec<u8> {
    [value, &length(value)].concat()
}

/// The value that was written so; nothing if this is not all of it.
pub(super) fn unmarked(mut written: Vec<u8>) -> Option<Vec<u8>> {
    let (value, mark) = written.split_last_chunk()?;
    if *mark != length(value) {
        return None;
    }
    written.truncate(written.len() - mark.len());
    Some(written)
}

fn length(value: &[u8]) -> [u8; 4] {
    u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_comes_back_and_no_part_of_it_does(value in prop::collection::vec(any::<u8>(), 0..300)) {
            let written = marked(&value);
            for length in 0..written.len() {
                prop_assert_ne!(unmarked(written[..length].to_vec()), Some(value.clone()), "{}", length);
            }
            prop_assert_eq!(unmarked(written), Some(value));
        }
    }

    #[test]
    fn what_nobody_marked_is_not_whole() {
        for written in ["", "abc", "garbage", "{\"json\":true}", "\0\0\0\u{1}"] {
            assert_eq!(unmarked(written.into()), None, "{written:?}");
        }
    }
}
