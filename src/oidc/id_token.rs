//! Pure. Whether an ID token may be believed: OpenID Connect Core sections 3.1.3.7 and 12.2, RFC 7519, RFC 8725.
//!
//! Nothing in a token counts before its signature does, by a key of the provider that fits an allowed algorithm. Every
//! rule has its own reason. It does not know where keys come from, nor what time it is.
//!
//! Decided here: an `aud` that names strangers beside us is believed only if `azp` says that the token was issued to
//! us. A refreshed token needs no nonce; one that it has must be the first token's, as far as that is still known.
//! `auth_time` may move on a refresh, because some providers move it when the user signs in elsewhere.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    json,
    jwk::{Algorithm, KeySet},
};
use crate::{clock::Timestamp, reason::Reason, secret::Secret};

/// What a token must say to be believed.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The provider, exactly.
    pub issuer: &'a str,
    /// Us, as `aud`.
    pub client_id: &'a str,
    /// The algorithms that may sign.
    pub algorithms: &'a [Algorithm],
    /// The access token that came with it.
    pub access_token: &'a Secret,
    /// How far the provider's clock may be from ours.
    pub clock_skew: Duration,
    /// What the token was asked for.
    pub occasion: Occasion<'a>,
}

/// What a token was asked for.
#[derive(Clone, Copy, Debug)]
pub enum Occasion<'a> {
    /// A sign-in that was started with this nonce.
    SignIn {
        /// What the token must repeat.
        nonce: &'a Secret,
        /// How long ago the user may have authenticated, where that was asked for.
        max_age: Option<Duration>,
    },
    /// A refresh of tokens that are this user's.
    Refresh {
        /// Who the token must be about.
        subject: &'a str,
        /// The nonce of the earlier token, where it is known.
        nonce: Option<&'a str>,
    },
}

/// A token that is believed.
#[derive(Clone, Debug, PartialEq)]
pub struct IdToken {
    /// `sub`: who it is about.
    pub subject: String,
    /// `sid`: the session at the provider.
    pub sid: Option<String>,
    /// `auth_time`: when the user authenticated.
    pub auth_time: Option<Timestamp>,
    /// Every claim, as it came.
    pub claims: Map<String, Value>,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The code.
    pub reason: Reason,
    /// What exactly was wrong; holds nothing of the token.
    pub cause: &'static str,
    /// Whether a key that the provider may have published since could change the verdict.
    pub newer_keys_might_help: bool,
}

/// Checks a token, signature first.
///
/// # Errors
/// [`Rejection`], by the first rule that it breaks.
pub fn verify(token: &str, keys: &KeySet, expected: &Expected<'_>, now: Timestamp) -> Result<IdToken, Rejection> {
    let unverified = Unverified::parse(token, expected.algorithms)?;
    unverified.check_signature(keys, expected.issuer)?;
    let claims = members(unverified.payload)?;
    check_issuer(&claims, expected.issuer)?;
    check_audience(&claims, expected.client_id)?;
    check_times(&claims, expected.clock_skew, now)?;
    check_access_token_hash(&claims, unverified.algorithm, expected.access_token)?;
    let token =
        IdToken { subject: subject(&claims)?, sid: sid(&claims)?, auth_time: date(&claims, "auth_time")?, claims };
    check_occasion(&token, expected, now)?;
    Ok(token)
}

/// The claims of a token that was verified before and has been in safe hands since.
pub fn claims_of_verified(token: &Secret) -> Option<Map<String, Value>> {
    members(token.reveal().split('.').nth(1)?).ok()
}

/// A token in its three parts, whose header names an allowed algorithm.
struct Unverified<'t> {
    signed: &'t str,
    payload: &'t str,
    signature: &'t str,
    algorithm: Algorithm,
    kid: Option<String>,
}

impl<'t> Unverified<'t> {
    fn parse(token: &'t str, allowed: &[Algorithm]) -> Result<Self, Rejection> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(malformed("it is longer than its limit"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(NOT_A_JWS)?;
        let (header, payload) = signed.split_once('.').ok_or(NOT_A_JWS)?;
        if payload.contains('.') {
            return Err(NOT_A_JWS);
        }
        let header = members(header)?;
        let algorithm = algorithm(&header, allowed)?;
        check_header(&header)?;
        Ok(Self { signed, payload, signature, algorithm, kid: text(&header, "kid")?.map(str::to_owned) })
    }

    fn check_signature(&self, keys: &KeySet, issuer: &str) -> Result<(), Rejection> {
        let mut any_key = false;
        for key in keys.candidates(self.algorithm, self.kid.as_deref(), issuer) {
            any_key = true;
            let (message, algorithm) = (self.signed.as_bytes(), self.algorithm.implementation());
            let verdict = jsonwebtoken::crypto::verify(self.signature, message, key, algorithm);
            if matches!(verdict, Ok(true)) {
                return Ok(());
            }
        }
        if any_key {
            let cause = "no key that fits made the signature";
            let mut rejection = rejected(Reason::IdTokenSignature, cause);
            rejection.newer_keys_might_help = self.kid.is_none();
            return Err(rejection);
        }
        let mut rejection = rejected(Reason::IdTokenKey, "no key fits its alg and kid");
        rejection.newer_keys_might_help = true;
        Err(rejection)
    }
}

fn algorithm(header: &Map<String, Value>, allowed: &[Algorithm]) -> Result<Algorithm, Rejection> {
    let name = text(header, "alg")?.ok_or(malformed("its header has no alg"))?;
    Algorithm::from_name(name)
        .filter(|algorithm| allowed.contains(algorithm))
        .ok_or(rejected(Reason::IdTokenAlgorithm, "its alg is not an allowed one"))
}

/// A token typed for another use is not an ID token (RFC 8725 section 3.11), and `crit` names what must be understood
/// (RFC 7515 section 4.1.11). `zip` is for encrypted tokens, and nothing is inflated here.
fn check_header(header: &Map<String, Value>) -> Result<(), Rejection> {
    if header.contains_key("zip") {
        return Err(malformed("its header has zip"));
    }
    if header.contains_key("crit") {
        return Err(malformed("its header has crit"));
    }
    let kind = text(header, "typ")?.unwrap_or_default().to_ascii_lowercase();
    if kind.ends_with("+jwt") {
        return Err(malformed("its typ is that of another kind of token"));
    }
    Ok(())
}

fn check_issuer(claims: &Map<String, Value>, issuer: &str) -> Result<(), Rejection> {
    match text(claims, "iss")? {
        Some(own) if own == issuer => Ok(()),
        Some(_) => Err(rejected(Reason::IdTokenIssuer, "iss is another issuer")),
        None => Err(rejected(Reason::IdTokenIssuer, "iss is missing")),
    }
}

fn check_audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), Rejection> {
    let audience = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(items)) => items
            .iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .ok_or(malformed("aud holds something other than texts"))?,
        Some(_) => return Err(malformed("aud is neither text nor array")),
        None => return Err(rejected(Reason::IdTokenAudience, "aud is missing")),
    };
    if !audience.contains(&client_id) {
        return Err(rejected(Reason::IdTokenAudience, "aud does not name us"));
    }
    let strangers = audience.iter().any(|name| *name != client_id);
    match text(claims, "azp")? {
        Some(party) if party == client_id => Ok(()),
        Some(_) => Err(rejected(Reason::IdTokenAuthorizedParty, "azp is somebody else")),
        None if strangers => {
            Err(rejected(Reason::IdTokenAudience, "aud names strangers, and no azp says that it was issued to us"))
        }
        None => Ok(()),
    }
}

fn check_times(claims: &Map<String, Value>, skew: Duration, now: Timestamp) -> Result<(), Rejection> {
    let (earliest, latest) = (now.minus(skew), now.plus(skew));
    match date(claims, "exp")? {
        None => return Err(rejected(Reason::IdTokenExpired, "exp is missing")),
        Some(expires) if expires <= earliest => {
            return Err(rejected(Reason::IdTokenExpired, "exp is past"));
        }
        Some(_) => {}
    }
    match date(claims, "iat")? {
        None => return Err(rejected(Reason::IdTokenIssuedAt, "iat is missing")),
        Some(issued) if issued > latest => {
            return Err(rejected(Reason::IdTokenIssuedAt, "iat is in the future"));
        }
        Some(_) => {}
    }
    if date(claims, "nbf")?.is_some_and(|begins| begins > latest) {
        return Err(rejected(Reason::IdTokenNotYetValid, "nbf is in the future"));
    }
    Ok(())
}

/// OpenID Connect Core section 3.1.3.6: the left half of the access token's digest, by the hash of `alg`.
fn check_access_token_hash(
    claims: &Map<String, Value>,
    algorithm: Algorithm,
    access_token: &Secret,
) -> Result<(), Rejection> {
    let Some(claimed) = text(claims, "at_hash")? else {
        return Ok(());
    };
    let digest = digest::digest(hash_of(algorithm), access_token.reveal().as_bytes());
    let (left, _) = digest.as_ref().split_at(digest.as_ref().len() / 2);
    if URL_SAFE_NO_PAD.encode(left) == claimed {
        return Ok(());
    }
    Err(rejected(Reason::IdTokenAccessTokenHash, "at_hash is another access token's"))
}

fn hash_of(algorithm: Algorithm) -> &'static digest::Algorithm {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Es256 | Algorithm::Ps256 => &digest::SHA256,
        Algorithm::Es384 => &digest::SHA384,
        Algorithm::EdDsa => &digest::SHA512,
    }
}

fn subject(claims: &Map<String, Value>) -> Result<String, Rejection> {
    match text(claims, "sub")? {
        None | Some("") => Err(rejected(Reason::IdTokenSubject, "sub is missing or empty")),
        Some(subject) if !is_identifier(subject) => Err(malformed("sub is not an identifier")),
        Some(subject) => Ok(subject.to_owned()),
    }
}

fn sid(claims: &Map<String, Value>) -> Result<Option<String>, Rejection> {
    match text(claims, "sid")? {
        Some(sid) if !is_identifier(sid) => Err(malformed("sid is not an identifier")),
        sid => Ok(sid.map(str::to_owned)),
    }
}

fn check_occasion(token: &IdToken, expected: &Expected<'_>, now: Timestamp) -> Result<(), Rejection> {
    let nonce = text(&token.claims, "nonce")?;
    match expected.occasion {
        Occasion::SignIn { nonce: asked, max_age } => {
            check_nonce(nonce, asked)?;
            check_age(token.auth_time, max_age, now.minus(expected.clock_skew))
        }
        Occasion::Refresh { subject, .. } if token.subject != subject => {
            Err(rejected(Reason::IdTokenSubject, "sub is another than before"))
        }
        Occasion::Refresh { nonce: earlier, .. } => match (nonce, earlier) {
            (Some(nonce), Some(earlier)) => check_nonce(Some(nonce), &Secret::new(earlier)),
            _ => Ok(()),
        },
    }
}

fn check_nonce(claimed: Option<&str>, asked: &Secret) -> Result<(), Rejection> {
    match claimed {
        Some(nonce) if Secret::new(nonce) == *asked => Ok(()),
        Some(_) => Err(rejected(Reason::IdTokenNonce, "nonce is another one")),
        None => Err(rejected(Reason::IdTokenNonce, "nonce is missing")),
    }
}

fn check_age(
    authenticated: Option<Timestamp>,
    max_age: Option<Duration>,
    earliest_now: Timestamp,
) -> Result<(), Rejection> {
    match (max_age, authenticated) {
        (Some(_), None) => Err(rejected(Reason::IdTokenAuthTime, "auth_time is missing")),
        (Some(age), Some(at)) if at.plus(age) < earliest_now => {
            Err(rejected(Reason::IdTokenAuthTime, "auth_time is older than asked for"))
        }
        (None, _) | (Some(_), Some(_)) => Ok(()),
    }
}

fn members(part: &str) -> Result<Map<String, Value>, Rejection> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("a part of it is not base64url"))?;
    json::object(&bytes).map_err(|_| malformed("a part of it is not one unambiguous JSON object"))
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Rejection> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(malformed("a member that must be text is not")),
    }
}

/// A `NumericDate` (RFC 7519 section 2). Fractions count; a number so large that it is no exact integer any more is
/// refused, and what lies beyond the year 9999 is taken for its end.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Rejection> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let since_epoch = value
        .as_f64()
        .filter(|seconds| *seconds <= MAX_EXACT_INTEGER)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or(malformed("a date is not a number of seconds"))?;
    let date = Timestamp::from_millis(0).plus(since_epoch);
    Ok(Some(date.min(Timestamp::from_seconds(LAST_SECOND))))
}

fn is_identifier(text: &str) -> bool {
    (1..=MAX_IDENTIFIER_CHARS).contains(&text.chars().count()) && !text.contains(char::is_control)
}

const fn rejected(reason: Reason, cause: &'static str) -> Rejection {
    Rejection { reason, cause, newer_keys_might_help: false }
}

const fn malformed(cause: &'static str) -> Rejection {
    rejected(Reason::IdTokenMalformed, cause)
}

const NOT_A_JWS: Rejection = malformed("it does not have three parts");

/// The longest token that is looked at.
pub const MAX_TOKEN_BYTES: usize = 128 * 1024;
/// The longest `sub` (OpenID Connect Core section 2) and `sid`.
pub const MAX_IDENTIFIER_CHARS: usize = 255;
/// 2^53: beyond it, JSON numbers lose their units.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;
/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests;
