//! Pure. What gateways tell each other through a store that they share.
//!
//! Invariant: a notice is a hint, or proves itself. Who hears of a session or of the switches forgets what it has read before
//! and asks the store again, so a forged or repeated one costs a read and opens nothing. A key speaks for itself, and for good.

use crate::store::{Name, Token};

/// Something that the others should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A session has ended or changed.
    Session(Name),
    /// The fallback's switches were thrown.
    Switches,
    /// A master key opens nothing any more. The one notice that is a fact: the key itself vouches for it.
    KeyDropped {
        /// Its name.
        key: [u8; 4],
        /// Its own word for it.
        proof: [u8; 16],
    },
    /// A sign of life that a gateway sends to itself: who hears it has heard all that was said before.
    Beat(Beat),
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Who sent it.
    pub by: Token,
    /// Counts those that it sent.
    pub number: u64,
}

impl Notice {
    /// The form it travels in.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Session(name) => [&[SESSION], name.as_bytes().as_slice()].concat(),
            Self::Switches => vec![SWITCHES],
            Self::KeyDropped { key, proof } => [&[KEY], key.as_slice(), &proof].concat(),
            Self::Beat(Beat { by, number }) => [&[BEAT], by.0.as_slice(), &number.to_be_bytes()].concat(),
        }
    }

    /// Reads one; nothing if it is none that we know.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            SESSION => rest.try_into().ok().map(|name| Self::Session(Name::new(name))),
            SWITCHES => rest.is_empty().then_some(Self::Switches),
            KEY => {
                let (key, proof) = rest.split_first_chunk()?;
                Some(Self::KeyDropped { key: *key, proof: proof.try_into().ok()? })
            }
            BEAT => {
                let (by, number) = rest.split_first_chunk()?;
                let number = u64::from_be_bytes(number.try_into().ok()?);
                Some(Self::Beat(Beat { by: Token(*by), number }))
            }
            _ => None,
        }
    }
}

const SESSION: u8 = b's';
const SWITCHES: u8 = b'w';
const KEY: u8 = b'k';
const BEAT: u8 = b'b';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_notice() -> impl Strategy<Value = Notice> {
        prop_oneof![
            any::<[u8; 32]>().prop_map(|name| Notice::Session(Name::new(name))),
            Just(Notice::Switches),
            any::<([u8; 4], [u8; 16])>().prop_map(|(key, proof)| Notice::KeyDropped { key, proof }),
            any::<([u8; 16], u64)>().prop_map(|(by, number)| Notice::Beat(Beat { by: Token(by), number })),
        ]
    }

    proptest! {
        #[test]
        fn a_notice_is_heard_as_it_was_said_and_no_part_of_it_is_one(notice in any_notice(), more in any::<u8>()) {
            let bytes = notice.to_bytes();
            prop_assert_eq!(Notice::parse(&bytes), Some(notice));
            for length in 0..bytes.len() {
                prop_assert_eq!(Notice::parse(&bytes[..length]), None);
            }
            prop_assert_eq!(Notice::parse(&[bytes.as_slice(), &[more]].concat()), None);
        }

        #[test]
        fn anything_else_is_no_notice_or_says_itself(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(notice) = Notice::parse(&bytes) {
                prop_assert_eq!(notice.to_bytes(), bytes);
            }
        }
    }
}
