//! Pure. The record of the fallback's switches: what it says, how it is sealed, and which record may follow it.
//!
//! One record is the whole state. Its epoch goes up with every change, and the highest one counts. Only who has the
//! master key can make one: it is sealed, its epoch stands before it in the open too, and the two must be the same.

use std::{fmt, ops::RangeInclusive, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    seal::{KEY_ID_BYTES, KeyId, KeyRing, NONCE_BYTES, Purpose, Unsealable},
    store::StoredSwitches,
};

pub mod agreement;

/// The switches, as somebody left them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number; the first one is 1.
    pub epoch: u64,
    /// An operator has disabled the fallback.
    pub killed: bool,
    /// The door closed by itself.
    pub auto_closed: bool,
    /// Until when an operator has armed it.
    pub armed_until: Option<Timestamp>,
    /// What was done.
    pub action: Action,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub operator: String,
    /// Why.
    pub reason: String,
}

/// What can be done with the switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// An operator lets the door open for some time.
    Arm,
    /// The kill switch: an operator closes the door until it is enabled.
    Disable,
    /// Takes the kill switch, and a door that closed by itself, back. Arms nothing.
    Enable,
    /// The door closes by itself.
    AutoClose,
}

impl Action {
    /// The label in logs, metrics and answers.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Arm => "arm",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::AutoClose => "auto_close",
        }
    }
}

impl Record {
    /// Whether it keeps the door shut, whatever the time.
    pub const fn closes(&self) -> bool {
        self.killed || self.auto_closed
    }

    /// Seals it under the ring's sealing key.
    ///
    /// # Errors
    /// [`Unsealable`] if it cannot be encoded.
    pub fn seal(&self, ring: &KeyRing, nonce: [u8; NONCE_BYTES]) -> Result<StoredSwitches, Unsealable> {
        let plain = postcard::to_stdvec(self).map_err(|_| Unsealable)?;
        let key = ring.sealing();
        let sealed = key.purpose(Purpose::Switches).seal(nonce, &[], &plain)?;
        Ok(StoredSwitches { epoch: self.epoch, sealed: [key.id().0.as_slice(), &sealed].concat() })
    }

    /// Opens it under whichever key of the ring sealed it.
    ///
    /// # Errors
    /// [`Unsealable`] for anything else, an epoch in the open that is not the sealed one included.
    pub fn open(ring: &KeyRing, stored: &StoredSwitches) -> Result<Self, Unsealable> {
        let (id, sealed) = stored.sealed.split_first_chunk::<KEY_ID_BYTES>().ok_or(Unsealable)?;
        let key = ring.by_id(KeyId(*id)).ok_or(Unsealable)?;
        let plain = key.purpose(Purpose::Switches).open(&[], sealed)?;
        let record: Self = postcard::from_bytes(&plain).map_err(|_| Unsealable)?;
        if record.epoch == stored.epoch { Ok(record) } else { Err(Unsealable) }
    }
}

/// Which master key a record is under.
pub fn key_of(stored: &StoredSwitches) -> Option<KeyId> {
    stored.sealed.first_chunk::<KEY_ID_BYTES>().copied().map(KeyId)
}

/// A sealed record as one line of text, for files and for the way between processes: its epoch, a dot, base64url.
pub fn to_text(stored: &StoredSwitches) -> String {
    format!("{}.{}", stored.epoch, URL_SAFE_NO_PAD.encode(&stored.sealed))
}

/// Reads such a line. It opens nothing, and believes nothing.
///
/// # Errors
/// The epoch as far as there is one, when the rest is no record.
pub fn from_text(text: &[u8]) -> Result<StoredSwitches, Option<u64>> {
    if text.len() > MAX_RECORD_BYTES {
        return Err(None);
    }
    let text = str::from_utf8(text.trim_ascii()).map_err(|_| None)?;
    let (digits, sealed) = text.split_once('.').ok_or(None)?;
    let epoch = digits.parse().ok().filter(|epoch: &u64| epoch.to_string() == digits).ok_or(None)?;
    let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Some(epoch))?;
    Ok(StoredSwitches { epoch, sealed })
}

/// Who changes the switches, and why. Neither is empty, very long, or holds what is not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    operator: String,
    reason: String,
}

impl By {
    /// Takes both as they were given, without blanks around them.
    ///
    /// # Errors
    /// [`WordsError`] names the one that will not do.
    pub fn new(operator: &str, reason: &str) -> Result<Self, WordsError> {
        Ok(Self {
            operator: words("operator", operator, MAX_OPERATOR_CHARS)?,
            reason: words("reason", reason, MAX_REASON_CHARS)?,
        })
    }

    /// The gateway, where nobody else did it. A reason that is too long is cut.
    pub fn itself(reason: &str) -> Self {
        let reason = reason.chars().filter(|letter| !is_hidden(*letter)).take(MAX_REASON_CHARS).collect();
        Self { operator: ITSELF.to_owned(), reason }
    }
}

fn words(what: &'static str, given: &str, most: usize) -> Result<String, WordsError> {
    let given = given.trim();
    if given.is_empty() {
        return Err(WordsError::Empty(what));
    }
    if given.chars().count() > most {
        return Err(WordsError::TooLong(what, most));
    }
    if given.chars().any(is_hidden) {
        return Err(WordsError::Control(what));
    }
    Ok(given.to_owned())
}

/// Whether it could forge a line, or turn around how one reads: Unicode's Cc, Cf, Zl and Zp.
fn is_hidden(letter: char) -> bool {
    letter.is_control() || HIDDEN.iter().any(|hidden| hidden.contains(&letter))
}

/// Why an operator's name or reason is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// There is none.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// It would not fit.
    #[error("the {0} is longer than {1} characters")]
    TooLong(&'static str, usize),
    /// It could forge a line of the log.
    #[error("the {0} holds control characters, or others that are not seen")]
    Control(&'static str),
}

/// What a change of the switches begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base<'a> {
    /// Nobody ever threw them.
    Nothing,
    /// The record that counts.
    Known(&'a Record),
    /// None can be believed; whatever comes next must be above this epoch.
    Doubtful(u64),
}

/// A change, or none because it is so already.
pub type Next = Option<Record>;

impl Base<'_> {
    /// Lets the door open for some time from now on.
    ///
    /// # Errors
    /// [`Refused`]; while killed, or while it is not known whether it is killed, it must be enabled first.
    pub fn arm(self, lasts: Duration, longest: Duration, by: &By, now: Timestamp) -> Result<Record, Refused> {
        match self {
            Self::Known(Record { killed: true, .. }) => return Err(Refused::Killed),
            Self::Doubtful(_) => return Err(Refused::Doubtful),
            Self::Known(_) | Self::Nothing => {}
        }
        if lasts.is_zero() || lasts > longest {
            return Err(Refused::Time { longest });
        }
        let next = self.next(Action::Arm, by, now)?;
        Ok(Record { armed_until: Some(now.plus(lasts)), ..next })
    }

    /// The kill switch.
    ///
    /// # Errors
    /// [`Refused::Last`].
    pub fn disable(self, by: &By, now: Timestamp) -> Result<Next, Refused> {
        match self {
            Self::Known(Record { killed: true, .. }) => Ok(None),
            _ => Ok(Some(Record { killed: true, ..self.next(Action::Disable, by, now)? })),
        }
    }

    /// The kill switch where the store could not be asked: high enough above all that is known to be above what it holds. A
    /// new record though it is known to be killed, because the store may hold one that took that back.
    ///
    /// # Errors
    /// [`Refused::Last`].
    pub fn disable_unseen(self, by: &By, now: Timestamp) -> Result<Next, Refused> {
        if let Self::Known(Record { killed: true, epoch: u64::MAX, .. }) = self {
            return Ok(None);
        }
        let next = self.next(Action::Disable, by, now)?;
        Ok(Some(Record { killed: true, epoch: next.epoch.saturating_add(UNSEEN_EPOCHS), ..next }))
    }

    /// Takes back what keeps the door shut.
    ///
    /// # Errors
    /// [`Refused::Last`].
    pub fn enable(self, by: &By, now: Timestamp) -> Result<Next, Refused> {
        match self {
            Self::Known(record) if !record.closes() => Ok(None),
            _ => self.next(Action::Enable, by, now).map(Some),
        }
    }

    /// Closes the door where it may be open.
    ///
    /// # Errors
    /// [`Refused::Last`].
    pub fn auto_close(self, by: &By, now: Timestamp) -> Result<Next, Refused> {
        match self {
            Self::Known(record) if !record.closes() => {
                Ok(Some(Record { auto_closed: true, ..self.next(Action::AutoClose, by, now)? }))
            }
            _ => Ok(None),
        }
    }

    /// A record after this one, in which nothing is switched on.
    fn next(self, action: Action, by: &By, now: Timestamp) -> Result<Record, Refused> {
        let epoch = self.epoch().checked_add(1).ok_or(Refused::Last)?;
        let By { operator, reason } = by.clone();
        Ok(Record { epoch, killed: false, auto_closed: false, armed_until: None, action, at: now, operator, reason })
    }

    /// The epoch that the next record must be above.
    pub const fn epoch(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Known(record) => record.epoch,
            Self::Doubtful(epoch) => epoch,
        }
    }
}

/// Why the switches are not thrown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The kill switch stands.
    #[error("the fallback is disabled: enable it first")]
    Killed,
    /// Nobody knows how the switches stand.
    #[error("the switches are broken or contradict each other: disable or enable the fallback first")]
    Doubtful,
    /// Armed for no time at all, or for too long.
    #[error("the fallback is armed for more than nothing and at most {}", Shown(.longest))]
    Time {
        /// The longest that is possible.
        longest: Duration,
    },
    /// There is no higher epoch.
    #[error("a record with the highest epoch there is lies in the store or a file: take it away by hand, then restart")]
    Last,
}

/// A duration as people write it.
struct Shown<'a>(&'a Duration);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(*self.0).fmt(formatter)
    }
}

/// Format characters (Cf), and separators of lines and paragraphs (Zl, Zp).
const HIDDEN: [RangeInclusive<char>; 21] = [
    '\u{ad}'..='\u{ad}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{2064}',
    '\u{2066}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0001}'..='\u{e0001}',
    '\u{e0020}'..='\u{e007f}',
];

/// Changes that a store may hold, and no process may know of, when a kill switch is thrown without it.
pub const UNSEEN_EPOCHS: u64 = 1_000;

/// The operator's name where the gateway itself acted.
pub const ITSELF: &str = "portcullis";

/// Longest name of an operator.
pub const MAX_OPERATOR_CHARS: usize = 128;

/// Longest reason.
pub const MAX_REASON_CHARS: usize = 500;

/// Longest line of text that is read as a sealed record; one with the longest words fits.
pub const MAX_RECORD_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests;
