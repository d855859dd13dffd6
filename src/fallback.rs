//! Administrators with client certificates, while the identity provider is down.
//!
//! Two things are kept apart: whether a provider is *down*, which [`health`] decides, and whether the *door* is open,
//! which [`door`] decides. Invariant: every part fails closed.

pub mod administrators;
pub mod admission;
pub mod certificate;
pub mod chain;
pub mod crl;
pub mod door;
pub mod fetcher;
#[cfg(test)]
pub(crate) mod fixture;
pub mod health;
pub mod monitor;
pub mod ops;
pub mod revocation;
pub mod switch;
pub mod switches;
