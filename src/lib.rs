//! Portcullis: a forward-auth gateway for nginx.
//!
//! A request's life: `hyper request → Inbound → Route → (verify | sign-in | account | …) → Answer → hyper response`.
//! `docs/ARCHITECTURE.md` has the chart, the invariants, and where to add what. The modules, in reading order:

pub mod clock;
pub mod oidc;
pub mod outbound;
pub mod random;
pub mod reason;
pub mod seal;
pub mod secret;
pub mod store;
