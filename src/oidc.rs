//! OpenID Connect: sign-in, callback, refresh, logout. The shell fetches, then asks the pure parts.

pub mod sign_in;
pub mod sign_out;
pub mod failed;
pub mod transaction;
pub mod profile;
pub mod provider;
pub mod claims;
pub mod json;
