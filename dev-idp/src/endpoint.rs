//! Pure. The endpoints, their paths below the issuer, and their names. Each has its own file.

pub(crate) mod authorize;
pub(crate) mod dev;
pub(crate) mod end_session;
pub(crate) mod metadata;
pub(crate) mod revoke;
pub(crate) mod token;
pub(crate) mod userinfo;

use serde::Serialize;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `/.well-known/openid-configuration`
    Discovery,
    /// `/jwks`
    Jwks,
    /// `/authorize`
    Authorize,
    /// `/login`, where the login page's form goes
    Login,
    /// `/token`
    Token,
    /// `/userinfo`
    Userinfo,
    /// `/end_session`
    EndSession,
    /// `/revoke`
    Revoke,
    /// Any other path
    Unknown,
}

impl Endpoint {
    /// The path below the issuer. [`Endpoint::Unknown`] has none.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Discovery => "/.well-known/openid-configuration",
            Self::Jwks => "/jwks",
            Self::Authorize => "/authorize",
            Self::Login => "/login",
            Self::Token => "/token",
            Self::Userinfo => "/userinfo",
            Self::EndSession => "/end_session",
            Self::Revoke => "/revoke",
            Self::Unknown => "",
        }
    }

    /// The endpoint at this path below the issuer.
    pub(crate) fn at(path: &str) -> Self {
        KNOWN.into_iter().find(|endpoint| endpoint.path() == path).unwrap_or(Self::Unknown)
    }

    /// The endpoint of this name, as in `/dev/trouble/NAME`: the last segment of its path, `discovery` for discovery.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "discovery" => Some(Self::Discovery),
            _ => KNOWN.into_iter().find(|endpoint| endpoint.path().strip_prefix('/') == Some(name)),
        }
    }
}

const KNOWN: [Endpoint; 8] = [
    Endpoint::Discovery,
    Endpoint::Jwks,
    Endpoint::Authorize,
    Endpoint::Login,
    Endpoint::Token,
    Endpoint::Userinfo,
    Endpoint::EndSession,
    Endpoint::Revoke,
];
