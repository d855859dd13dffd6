//! One measurement of a round: what is asked, and who works for it.

use crate::{load::Load, process::Watched, servers::Store};

/// One measurement.
pub(crate) struct Row {
    /// Its letter in docs/performance.md.
    pub(crate) letter: &'static str,
    /// What is asked.
    pub(crate) what: &'static str,
    /// Where the answer comes from.
    pub(crate) store: Store,
    /// What is sent.
    pub(crate) load: Load,
    /// Who works for it.
    pub(crate) watched: Vec<Watched>,
}

/// A header of a request.
pub(crate) type Header = (String, String);

pub(crate) fn header(name: &str, value: &str) -> Header {
    (name.to_owned(), value.to_owned())
}
