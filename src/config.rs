//! The settings, once checked: every part's own configuration, and nothing that is wrong.
//!
//! A [`Config`] exists only if there was no problem at all. `raw` has every key as it is written, `check` turns that
//! into a [`Config`], `load` reads files and environment.

use crate::{
    oidc::{provider, sign_in},
    origin::Site,
    outbound,
    pages::SiteLook,
    route::Prefix,
    server,
    session::keeper,
    store, telemetry,
    verify::{identity, policy::Policies},
};

mod check;
mod environment;
#[cfg(test)]
mod fixture;
mod load;
mod problem;
mod raw;
#[cfg(test)]
mod shipped;

pub use environment::{Environment, SETTINGS_FILE};
pub use load::load;
pub use problem::{Problem, Problems};

/// Everything the gateway is told.
#[derive(Debug)]
pub struct Config {
    /// How strict the rules are.
    pub mode: Mode,
    /// Listeners and their limits.
    pub server: server::Config,
    /// The path that the gateway's public pages are under.
    pub prefix: Prefix,
    /// The sites; this version has exactly one.
    pub sites: Vec<Site>,
    /// The providers; this version has exactly one.
    pub providers: Vec<provider::Config>,
    /// The HTTP client that speaks to them.
    pub outbound: outbound::Config,
    /// Signing in, and who may have a session at all.
    pub sign_in: sign_in::Config,
    /// Cookie, lifetimes and keys of sessions.
    pub session: keeper::Config,
    /// Where sessions live.
    pub store: Store,
    /// Who may pass where.
    pub policies: Policies,
    /// What upstreams are told.
    pub identity: identity::Config,
    /// The log.
    pub telemetry: telemetry::Config,
    /// The gateway's own pages.
    pub pages: Pages,
}

/// How strict the rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything over https.
    Production,
    /// http and loopback are allowed, and nothing but loopback.
    Development,
}

/// Where sessions live.
#[derive(Clone, Debug)]
pub enum Store {
    /// In this process.
    Memory(store::memory::Config),
    /// In Redis or Valkey.
    Redis(store::redis::Config),
}

/// The gateway's own pages.
#[derive(Clone, Debug)]
pub struct Pages {
    /// How they present themselves.
    pub look: SiteLook,
    /// Browsers report what breaks the content security policy, and let it be.
    pub csp_report_only: bool,
}
