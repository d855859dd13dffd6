//! The settings, once checked: every part's own configuration, and nothing that is wrong.
//!
//! A [`Config`] exists only if there was no problem at all. `raw` has every key as it is written, `check` turns that
//! into a [`Config`], `load` reads files and environment.

use crate::{gateway, server, telemetry};

mod check;
pub mod environment;
#[cfg(test)]
pub(crate) mod fixture;
pub mod given;
pub mod load;
mod problem;
mod raw;
#[cfg(test)]
mod shipped;

use given::Given;
pub use problem::{Problem, Problems};

/// Everything the process is told.
#[derive(Debug)]
pub struct Config {
    /// How strict the rules were.
    pub mode: Mode,
    /// Listeners and their limits.
    pub server: server::Config,
    /// The gateway itself.
    pub gateway: gateway::Config,
    /// The log.
    pub telemetry: telemetry::Config,
    /// All of it as it was given, to tell what other settings would change.
    pub given: Given,
}

/// How strict the rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything over https.
    Production,
    /// http and loopback are allowed, and nothing but loopback.
    Development,
}
