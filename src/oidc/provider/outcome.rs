//! Pure. What comes of asking a provider: the start of a sign-in, a user, new tokens.

use serde_json::{Map, Value};
use url::Url;

use crate::{clock::Timestamp, oidc::failure::Failure, secret::Secret};

/// The start of a sign-in: where the browser goes, and what its transaction must remember.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    /// Where the browser goes.
    pub url: Url,
    /// 256 random bits that come back with the browser.
    pub state: Secret,
    /// 256 random bits that come back in the ID token.
    pub nonce: Secret,
    /// 256 random bits that go with the code.
    pub verifier: Secret,
}

/// Which of the accounts that the browser may be signed in with at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Whichever the provider takes.
    Any,
    /// The user chooses, even when signed in already.
    Ask,
}

/// A user who signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who says so.
    pub issuer: String,
    /// Who it is, to that issuer.
    pub subject: String,
    /// The session at the provider, where it names one.
    pub sid: Option<String>,
    /// When the user authenticated there, where it says so.
    pub auth_time: Option<Timestamp>,
    /// The ID token's claims and, where the ID token has none of the name, userinfo's.
    pub claims: Map<String, Value>,
    /// The tokens.
    pub tokens: TokenSet,
}

/// The tokens of a sign-in.
#[derive(Clone, Debug)]
pub struct TokenSet {
    /// The access token.
    pub access: Secret,
    /// When it expires, where the provider says so.
    pub access_expires_at: Option<Timestamp>,
    /// The refresh token, where there is one.
    pub refresh: Option<Secret>,
    /// The ID token, verified.
    pub id: Secret,
}

/// Whose tokens are refreshed.
#[derive(Clone, Copy, Debug)]
pub struct Identified<'a> {
    /// The issuer of the sign-in.
    pub issuer: &'a str,
    /// The subject of the sign-in.
    pub subject: &'a str,
    /// The latest ID token, which this provider verified when it came; its claims stand where the refresh brings no new
    /// ID token, and its nonce is what a new one's must be.
    pub id_token: Option<&'a Secret>,
}

/// New tokens.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// The new access token.
    pub access: Secret,
    /// When it expires, where the provider says so.
    pub access_expires_at: Option<Timestamp>,
    /// The new refresh token; `None` means that the old one goes on.
    pub refresh: Option<Secret>,
    /// The new ID token, verified; `None` means that the old one goes on.
    pub id: Option<Secret>,
    /// All claims anew, to replace the old ones; `None` means that the old ones go on.
    pub claims: Option<Map<String, Value>>,
    /// Why userinfo could not be asked, where that is why the old claims go on.
    pub userinfo_failure: Option<Failure>,
}

/// Tokens to give back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Revocable<'a> {
    /// Given back first: with it, most providers end the whole grant.
    pub refresh: Option<&'a Secret>,
    /// Given back second.
    pub access: Option<&'a Secret>,
}
