//! What operators see.

use std::path::PathBuf;

/// How the log is written.
#[derive(Clone, Debug)]
pub struct Config {
    /// The form of a line.
    pub format: Format,
    /// Which lines: a `tracing` filter, such as `info` or `portcullis=debug`.
    pub filter: String,
    /// Where the audit log goes.
    pub audit: Audit,
    /// Whether allowed requests are in the audit log too.
    pub audit_allowed: bool,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Standard output, among the other lines, under the target `audit`.
    Stdout,
    /// A file that is only ever appended to.
    File(PathBuf),
}
