//! A scriptable OpenID provider for tests and the demo. It is a real HTTP server with real keys: honest unless told
//! otherwise, and each misbehaviour is a [`Switch`] with a name. Never a dependency of the product.
//!
//! ```no_run
//! # async fn example() -> Result<(), dev_idp::StartError> {
//! use dev_idp::{Client, Endpoint, Settings, Switch};
//!
//! let idp = dev_idp::start(Settings {
//!     clients: vec![Client::basic("app", "not-a-real-secret", "https://app.test/auth/callback")],
//!     ..Settings::default()
//! })
//! .await?;
//! idp.set(Switch::IdTokenWrongNonce);
//! // … the application under test tries to sign somebody in at `idp.issuer()` …
//! assert!(idp.requests_to(Endpoint::Userinfo).is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Three ways to sign in at `/authorize`: a browser presses a person's button on the login page; a client without one
//! adds `login_hint=alice` to the request and is redirected at once; a browser that signed in before has the provider's
//! own cookie and sees no page. Everything the provider remembers is bounded, and it listens on loopback addresses only.

mod settings;
mod switch;
mod trouble;

mod start;

mod server;

mod provider;

mod endpoint;

mod authorization_request;
mod claims;
mod client_auth;
mod id_token;
mod jws;
mod page;
mod parameters;
mod reply;

mod bounded;
mod clock;
mod keys;
mod ledger;
mod log;
mod random;

pub use endpoint::Endpoint;
pub use ledger::Issued;
pub use log::{Presented, Record};
pub use settings::{Algorithm, Authentication, Client, IdTokenClaims, Issuer, Person, Settings, Tls};
pub use start::{DevIdp, StartError, start};
pub use switch::Switch;
pub use trouble::Trouble;
