//! Portcullis: a forward-auth gateway for nginx.
//!
//! A request's life: `hyper request → Inbound → Route → (verify | sign-in | account | …) → Answer → hyper response`.
//! `docs/ARCHITECTURE.md` has the chart, the invariants, and where to add what. The modules, in reading order:

// A connection's task is many futures deep.
#![recursion_limit = "256"]

// the way of a request
pub mod gateway;
pub mod server;
pub mod inbound;
pub mod route;
pub mod answer;
pub mod verify;
pub mod rules;
pub mod challenge;
pub mod account;
pub mod cors;
pub mod csp_report;
pub mod limits;
pub mod oidc;
pub mod fallback;

// what it needs on the way
pub mod session;
pub mod store;
pub mod seal;
pub mod pages;
pub mod outbound;
pub mod telemetry;
pub mod reason;

// what everything stands on
pub mod cli;
pub mod config;
pub mod drain;
pub mod origin;
pub mod secret;
pub mod clock;
pub mod random;
