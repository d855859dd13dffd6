//! The provider over real HTTP: the honest flow, its refusals, and what each switch bends.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod controls;
mod honest;
mod logout;
mod refresh;
mod refusals;
mod relying_party;
mod switches;
mod troubles;
