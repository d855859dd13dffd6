//! OpenID Connect, as the client of one provider at a time.
//!
//! The handlers (`sign_in`, `sign_out`, and `session::refresher`) look a `provider` up among the `providers`; it
//! fetches: `transport` sends its requests, `keys` decides when keys are fetched anew. The pure parts decide:
//! `transaction`, `callback`, `choice`, `profile`, `failed`; `discovery`, `request`, `token_answer`, `id_token` over `jwk`, `userinfo`, `claims`, `logout_url`; `failure` is what
//! all of them end in, `json` what the last ones read with.

pub mod sign_in;
pub mod sign_out;
pub mod transaction;
pub mod callback;
pub mod choice;
pub mod profile;
pub mod failed;

pub mod providers;
pub mod provider;
pub mod transport;
pub mod keys;

pub mod discovery;
pub mod request;
pub mod token_answer;
pub mod id_token;
pub mod jwk;
pub mod userinfo;
pub mod claims;
pub mod logout_url;
pub mod failure;
pub mod json;

#[cfg(test)]
mod signing;
