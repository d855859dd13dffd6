//! OpenID Connect, as the client of one provider at a time.
//!
//! The shell fetches: `provider` is what handlers call, `transport` sends its requests, `keys` decides when keys are
//! fetched anew. The pure parts decide: `discovery`, `request`, `token_answer`, `id_token` over `jwk`, `userinfo`,
//! `claims`, `logout_url`; `failure` is what all of them end in, `json` what the last ones read with.

pub mod claims;
pub mod discovery;
pub mod failure;
pub mod id_token;
pub mod json;
pub mod jwk;
pub mod keys;
pub mod logout_url;
pub mod provider;
pub mod request;
pub mod token_answer;
pub mod transport;
pub mod userinfo;

#[cfg(test)]
mod signing;
