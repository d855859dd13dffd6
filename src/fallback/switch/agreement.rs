//! Pure. How a process knows which record of the switches counts, from what the store, its file and operators tell it.
//!
//! Invariants: the highest epoch wins, and what was learnt once is never unlearnt. A record that does not open, or two
//! different ones of one epoch, leave nothing to believe until there is one above all that was seen. Absent is closed.

use std::time::Duration;

use super::{Action, Base, By, ITSELF, Record, from_text, key_of};
use crate::{clock::Timestamp, fallback::door::Switches, seal::KeyRing, store::StoredSwitches};

/// An opened record, and the bytes it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it says.
    pub record: Record,
    /// As it is stored.
    pub sealed: StoredSwitches,
}

/// What one place says of the switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It could not be asked.
    Unknown,
    /// There is no record.
    Absent,
    /// A record of ours.
    Record(Kept),
    /// Something that is no record of ours.
    Broken {
        /// The epoch it bears in the open, if it bears one.
        epoch: Option<u64>,
        /// What the log may say of it.
        cause: &'static str,
    },
}

impl Said {
    /// What a stored record says.
    pub fn of_stored(ring: &KeyRing, stored: Option<StoredSwitches>) -> Self {
        let Some(sealed) = stored else {
            return Self::Absent;
        };
        match Record::open(ring, &sealed) {
            Ok(record) => Self::Record(Kept { record, sealed }),
            Err(_) => Self::Broken { epoch: Some(sealed.epoch), cause: "a record that no key of ours opens" },
        }
    }

    /// What a line of text says: a file's, or one that was sent.
    pub fn of_text(ring: &KeyRing, text: &[u8]) -> Self {
        match from_text(text) {
            Ok(stored) => Self::of_stored(ring, Some(stored)),
            Err(epoch) => Self::Broken { epoch, cause: "something that is no record" },
        }
    }
}

/// By which way a process learns of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It lay in the store.
    Stored,
    /// It lay in the process's file.
    Filed,
    /// An operator's command sent it, through the ops listener.
    Sent,
    /// The process made it.
    Made,
}

impl Source {
    /// The label in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stored => "store",
            Self::Filed => "file",
            Self::Sent => "ops",
            Self::Made => "itself",
        }
    }
}

/// Something that a process did not know before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The switches were thrown.
    Thrown {
        /// How they stand now.
        record: Record,
        /// By which way it is known.
        source: Source,
        /// The process has just begun, and it was so before.
        at_start: bool,
    },
    /// A place says something that cannot be believed.
    Invalid(Source, &'static str),
}

/// What a process holds of the switches in its memory.
#[derive(Debug, Default)]
pub struct Agreement {
    held: Option<(Kept, Source)>,
    /// Nothing up to this epoch is believed.
    doubt: Option<u64>,
    contradicted: Option<Contradiction>,
    store_is_broken: bool,
    /// What the store says now, it did not say all along.
    store_was_heard: bool,
    file_is_broken: bool,
    meeting: Meeting,
}

/// Two different records of one epoch.
#[derive(Clone, Copy, Debug)]
struct Contradiction {
    epoch: u64,
    killed: bool,
}

/// The time until a process that has just begun may take the store at its word: another one may know better, and is about
/// to mend a store that was rolled back.
#[derive(Debug, Default)]
struct Meeting {
    over: bool,
    asked: bool,
    /// The store could not be asked when the process began, so its own file counts.
    alone: bool,
    /// What the store said last, and since when it says so.
    seen: Option<(Option<StoredSwitches>, Duration)>,
}

impl Agreement {
    /// Looks on while the store says the same for [`SETTLE_TIME`]; `at` is the time since some fixed moment. A store that
    /// nobody shares needs no such time.
    pub fn meet(&mut self, store: &Said, is_shared: bool, at: Duration) {
        let meeting = &mut self.meeting;
        let says = match store {
            Said::Absent => Some(None),
            Said::Record(kept) => Some(Some(kept.sealed.clone())),
            Said::Unknown | Said::Broken { .. } => None,
        };
        meeting.alone |= !meeting.asked && *store == Said::Unknown;
        meeting.asked = true;
        meeting.over |= !is_shared;
        match (&meeting.seen, says) {
            (Some((before, since)), Some(now)) if *before == now => {
                meeting.over |= at.saturating_sub(*since) >= SETTLE_TIME;
            }
            (_, says) => meeting.seen = says.map(|says| (says, at)),
        }
    }

    /// Takes in what several places say at one time. `before` is [`Agreement::epoch`] as it was when they were asked: garbage
    /// that bears no epoch may be worth as much as all that was known then, or said beside it, but says nothing of what
    /// came later.
    pub fn hear(&mut self, mut said: Vec<(Source, Said)>, before: u64) -> Vec<News> {
        let records = said.iter().filter_map(|(_, said)| match said {
            Said::Record(kept) => Some(kept.record.epoch),
            Said::Unknown | Said::Absent | Said::Broken { .. } => None,
        });
        let known = records.fold(before, u64::max);
        said.sort_by_key(|(_, said)| matches!(said, Said::Broken { .. }));
        let hears = said.iter().any(|(source, said)| *source == Source::Stored && *said != Said::Unknown);
        let news = said.into_iter().filter_map(|(source, said)| self.learn(source, said, known)).collect();
        self.store_was_heard |= hears;
        news
    }

    fn learn(&mut self, source: Source, said: Said, known: u64) -> Option<News> {
        let is_broken = matches!(said, Said::Broken { .. });
        let was_broken = match source {
            _ if said == Said::Unknown => return None,
            Source::Stored => std::mem::replace(&mut self.store_is_broken, is_broken),
            Source::Filed => std::mem::replace(&mut self.file_is_broken, is_broken),
            Source::Sent | Source::Made => false,
        };
        match said {
            Said::Unknown | Said::Absent => None,
            Said::Record(kept) => self.weigh(source, kept),
            // It lay there before, and a record that came since outdoes it, though it could not be put in its place yet.
            Said::Broken { epoch: None, .. } if was_broken => None,
            Said::Broken { epoch, cause } => {
                self.doubts(epoch.unwrap_or(known)).then_some(News::Invalid(source, cause))
            }
        }
    }

    /// Takes in a record that an operator's command brings.
    ///
    /// # Errors
    /// [`NotTaken`]. One that closes is never too old.
    pub fn take(&mut self, kept: Kept, now: Timestamp) -> Result<Option<News>, NotTaken> {
        let again = self.doubt.is_none() && self.held().is_some_and(|held| held.sealed == kept.sealed);
        let old = !kept.record.closes() && now.since(kept.record.at) > COMMAND_TIME;
        match (again, kept.record.epoch > self.epoch()) {
            // It is the one that is held, and is trusted no more for being sent.
            (true, _) if old => Ok(None),
            (false, true) if old => Err(NotTaken::Old { epoch: self.epoch() }),
            (true, _) | (_, true) => Ok(self.weigh(Source::Sent, kept)),
            (false, false) => Err(NotTaken::Stale { epoch: self.epoch() }),
        }
    }

    /// Believes nothing that is known by now: a record that should follow could not be made.
    pub fn distrust(&mut self) {
        self.doubt = Some(self.epoch());
    }

    fn weigh(&mut self, source: Source, kept: Kept) -> Option<News> {
        let Some((held, from)) = &mut self.held else {
            return Some(self.take_over(source, kept));
        };
        if kept.record.epoch > held.record.epoch {
            return Some(self.take_over(source, kept));
        }
        if kept.sealed == held.sealed && source == Source::Sent {
            *from = source;
        }
        if kept.record.epoch < held.record.epoch || kept.sealed == held.sealed {
            return None;
        }
        if held.record.is_as_closed_as(&kept.record) {
            if source == Source::Stored {
                self.held = Some((kept, source));
            }
            return None;
        }
        let Record { epoch, killed, .. } = kept.record;
        self.contradicted = Some(Contradiction { epoch, killed: killed || held.record.killed });
        self.doubts(epoch).then_some(News::Invalid(source, "another record of the same epoch"))
    }

    fn take_over(&mut self, source: Source, kept: Kept) -> News {
        let record = kept.record.clone();
        let at_start = self.held.is_none()
            && match source {
                Source::Filed => true,
                Source::Stored => !self.store_was_heard,
                Source::Sent | Source::Made => false,
            };
        self.held = Some((kept, source));
        if self.doubt.is_some_and(|doubt| record.epoch > doubt) {
            self.doubt = None;
        }
        self.contradicted = self.contradicted.filter(|contradiction| contradiction.epoch >= record.epoch);
        News::Thrown { record, source, at_start }
    }

    /// Believes nothing up to that epoch; false if something above it is known, or if it is doubted already.
    fn doubts(&mut self, epoch: u64) -> bool {
        let held = self.held.as_ref().map_or(0, |(held, _)| held.record.epoch);
        let is_new = epoch >= held && self.doubt < Some(epoch);
        if is_new {
            self.doubt = Some(epoch);
        }
        is_new
    }

    /// The record that ends a contradiction, closed for all who do not know of it yet: one of the two may have been meant
    /// to close the door, and the process that holds the other one would keep it open.
    pub fn reconciliation(&self, now: Timestamp) -> Option<Record> {
        let Contradiction { epoch, killed } = self.contradicted?;
        Some(Record {
            epoch: epoch.checked_add(1)?,
            killed,
            auto_closed: true,
            armed_until: None,
            action: Action::AutoClose,
            at: now,
            operator: ITSELF.to_owned(),
            reason: format!("two different records of epoch {epoch}"),
        })
    }

    /// The record that is held with the next number, where it is believed and lies under a key that will not open it for
    /// long: how the switches stand must outlive the key.
    pub fn renewal(&self, ring: &KeyRing) -> Option<Record> {
        let under_old = |sealed: &StoredSwitches| key_of(sealed).is_some_and(|key| ring.is_old(key));
        let (held, _) = self.held.as_ref().filter(|_| self.settled().is_some_and(under_old))?;
        Some(Record { epoch: held.record.epoch.checked_add(1)?, ..held.record.clone() })
    }

    /// What the next change begins with.
    pub fn base(&self) -> Base<'_> {
        match (&self.held, self.doubt) {
            (_, Some(_)) => Base::Doubtful(self.epoch()),
            (None, None) => Base::Nothing,
            (Some((held, _)), None) => Base::Known(&held.record),
        }
    }

    /// Takes in a record that this process made.
    pub fn make(&mut self, kept: Kept) -> Option<News> {
        self.weigh(Source::Made, kept)
    }

    /// The record that closes the door by itself, where it may be open.
    pub fn auto_close(&self, reason: &str, now: Timestamp) -> Option<Record> {
        self.base().auto_close(&By::itself(reason), now).ok().flatten()
    }

    /// The highest epoch that was seen, believed or not; 0 if none was.
    pub fn epoch(&self) -> u64 {
        let held = self.held.as_ref().map_or(0, |(held, _)| held.record.epoch);
        held.max(self.doubt.unwrap_or(0))
    }

    /// The record with the highest epoch, if there is one.
    pub fn held(&self) -> Option<&Kept> {
        self.held.as_ref().map(|(held, _)| held)
    }

    /// How the switches stand.
    pub fn standing(&self, now: Timestamp, arming: Arming) -> Switches {
        let believed = self.doubt.is_none();
        let Some((Kept { record, .. }, _)) = &self.held else {
            return Switches { believed, killed: false, auto_closed: false, armed: false };
        };
        let in_time = !arming.required || arming.is_on(record, now);
        Switches {
            believed,
            killed: record.killed,
            auto_closed: record.auto_closed,
            armed: believed && !record.closes() && in_time && !self.waits(),
        }
    }

    /// What the store ought to have in place of what it says.
    pub fn owed_to_store(&self, store: &Said) -> Option<&StoredSwitches> {
        let owed = self.settled()?;
        let outdated = match store {
            Said::Unknown => false,
            Said::Absent => true,
            Said::Record(kept) => kept.sealed.epoch < owed.epoch,
            Said::Broken { epoch, .. } => epoch.is_none_or(|epoch| epoch < owed.epoch),
        };
        outdated.then_some(owed)
    }

    /// What the process's file ought to hold in place of what it says.
    pub fn owed_to_file(&self, file: &Said) -> Option<&StoredSwitches> {
        let owed = self.settled()?;
        let right = match file {
            Said::Unknown => true,
            Said::Record(kept) => kept.sealed == *owed,
            Said::Absent | Said::Broken { .. } => false,
        };
        (!right).then_some(owed)
    }

    /// The record that others may have from this process: it is believed, and nothing has to be waited for.
    fn settled(&self) -> Option<&StoredSwitches> {
        let believed = self.doubt.is_none() && !self.waits();
        self.held().filter(|_| believed).map(|held| &held.sealed)
    }

    /// Whether the door must not open yet for the record that is held.
    fn waits(&self) -> bool {
        let trusted = |source| match source {
            Source::Sent | Source::Made => true,
            Source::Filed => self.meeting.alone,
            Source::Stored => false,
        };
        !self.meeting.over
            && self.held.as_ref().is_some_and(|(held, source)| !held.record.closes() && !trusted(*source))
    }
}

/// A record that was sent was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// No key of ours opens it.
    #[error("it is no record of ours")]
    Broken,
    /// This process has seen one of this epoch or of a higher one.
    #[error("a record of epoch {epoch} is known already")]
    Stale {
        /// The highest epoch that this process has seen.
        epoch: u64,
    },
    /// It may open the door, and was not made just now: anybody who once saw it may have sent it again.
    #[error("it was made too long ago")]
    Old {
        /// The highest epoch that this process has seen.
        epoch: u64,
    },
}

/// What the process demands of an arming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arming {
    /// Whether the door opens only while it is armed.
    pub required: bool,
    /// The longest that counts, whatever the record says.
    pub longest: Duration,
}

impl Arming {
    /// Only from about when it was done until its end: a clock that was set back far must not arm what is long over.
    fn is_on(self, record: &Record, now: Timestamp) -> bool {
        let from = record.at.minus(CLOCK_SKEW);
        let latest = record.at.plus(self.longest);
        record.armed_until.is_some_and(|until| from <= now && now < until && until <= latest)
    }
}

impl Record {
    /// Doors that several processes close by themselves at one moment make different records that say the same.
    fn is_as_closed_as(&self, other: &Self) -> bool {
        let closed = |record: &Self| record.action == Action::AutoClose && record.auto_closed;
        closed(self) && closed(other) && self.killed == other.killed
    }
}

/// For how long the store must say the same to a process that has just begun.
pub const SETTLE_TIME: Duration = Duration::from_secs(2);

/// How far an operator's clock may be ahead of a process's for an arming to count.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// For how long a record that may open the door is taken from whoever sends it: sealed records are shown to all who ask.
pub const COMMAND_TIME: Duration = Duration::from_secs(2 * 60);

#[cfg(test)]
mod tests;
