//! The store's promises, kept by both stores: memory, and a real Redis that each test starts for itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod behaviour;
mod bus;
mod layout;
mod login;
mod outage;
mod support;
mod switches;
mod trouble;
mod windows;
