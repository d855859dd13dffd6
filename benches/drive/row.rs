//! One measurement of a round: what is asked, and who works for it.

use std::path::PathBuf;

use crate::{load::Load, process::Watched, servers::Store};

/// One measurement.
pub(crate) struct Row {
    /// Its letter in docs/performance.md.
    pub(crate) letter: &'static str,
    /// What is asked.
    pub(crate) what: String,
    /// Where the answer comes from.
    pub(crate) store: Store,
    /// Of how many sessions one is asked for, where that is what is measured.
    pub(crate) sessions: Option<u32>,
    /// What is sent.
    pub(crate) load: Load,
    /// Who works for it.
    pub(crate) watched: Vec<Watched>,
    /// The Redis whose commands are counted.
    pub(crate) counted: Option<PathBuf>,
}

impl Row {
    /// A measurement without a Redis.
    pub(crate) fn new(letter: &'static str, what: &str, store: Store, load: Load, watched: Vec<Watched>) -> Self {
        Self { letter, what: what.to_owned(), store, sessions: None, load, watched, counted: None }
    }
}

/// A header of a request.
pub(crate) type Header = (String, String);

pub(crate) fn header(name: &str, value: &str) -> Header {
    (name.to_owned(), value.to_owned())
}
