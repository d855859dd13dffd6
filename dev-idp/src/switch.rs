//! Pure. The misbehaviours by name. A provider with none switched on is honest; each one bends exactly one thing.

use std::collections::BTreeSet;

/// Declares the switches once: variant, name over HTTP, and what it does.
macro_rules! switches {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// One misbehaviour. Those named `IdToken…` and `Signature…` bend every ID token, at sign-in and at refresh.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Switch {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Switch {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name used by `POST /dev/switch/NAME` and by `--switch`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

switches! {
    /// `iss` is the issuer followed by `1`.
    IdTokenWrongIssuer = "id-token-wrong-issuer",
    /// No `iss`.
    IdTokenMissingIssuer = "id-token-missing-issuer",
    /// No `sub`.
    IdTokenMissingSubject = "id-token-missing-subject",
    /// `aud` is the client id followed by `1`.
    IdTokenWrongAudience = "id-token-wrong-audience",
    /// No `aud`.
    IdTokenMissingAudience = "id-token-missing-audience",
    /// `aud` is an array of the client id and a stranger, without `azp`.
    IdTokenStrangerInAudience = "id-token-stranger-in-audience",
    /// `aud` is an array that holds the client id alone. A client must accept this.
    IdTokenAudienceArray = "id-token-audience-array",
    /// `azp` is the client id followed by `1`.
    IdTokenWrongAuthorizedParty = "id-token-wrong-authorized-party",
    /// No `iat`.
    IdTokenMissingIssuedAt = "id-token-missing-issued-at",
    /// `iat` is an hour ahead (and `exp` with it).
    IdTokenIssuedInFuture = "id-token-issued-in-future",
    /// `exp` is an hour ago.
    IdTokenExpired = "id-token-expired",
    /// No `exp`.
    IdTokenMissingExpiry = "id-token-missing-expiry",
    /// `nbf` is an hour ahead.
    IdTokenNotYetValid = "id-token-not-yet-valid",
    /// `nonce` is the one asked for followed by `1`.
    IdTokenWrongNonce = "id-token-wrong-nonce",
    /// No `nonce`.
    IdTokenMissingNonce = "id-token-missing-nonce",
    /// `at_hash` is the hash of another access token.
    IdTokenWrongAccessTokenHash = "id-token-wrong-access-token-hash",
    /// No `auth_time` although `max_age` was asked.
    IdTokenMissingAuthTime = "id-token-missing-auth-time",
    /// `auth_time` lies a day back although `max_age` was asked.
    IdTokenOldAuthTime = "id-token-old-auth-time",
    /// The token answer of the sign-in holds no ID token.
    IdTokenMissing = "id-token-missing",

    /// No `kid` in the header; the key set holds one key per type, without `kid` and `alg`. A client must accept this.
    KeyIdAbsentSingleKeys = "key-id-absent-single-keys",
    /// No `kid` in the header; the key set holds three keys per type, without `kid`; the third one signs.
    KeyIdAbsentManyKeys = "key-id-absent-many-keys",
    /// The header's `kid` is in no key set.
    SignatureUnknownKey = "signature-unknown-key",
    /// `alg` is `none`, without a signature.
    SignatureNone = "signature-none",
    /// RS256, each byte of the signature XOR 0x5A.
    SignatureBrokenRs256 = "signature-broken-rs256",
    /// ES256, each byte of the signature XOR 0x5A.
    SignatureBrokenEs256 = "signature-broken-es256",
    /// HS256 keyed with the client secret (with the client id where there is no secret).
    SignatureHs256 = "signature-hs256",
    /// A right signature by another announced algorithm than the one registered: ES256 for RSA clients, else RS256.
    SignatureOtherAlgorithm = "signature-other-algorithm",
    /// All keys are replaced inside the token request, just before signing. A client must accept this.
    KeysRotatedBeforeSigning = "keys-rotated-before-signing",
    /// The key set begins with keys no client can read. A client must get along with the others.
    KeySetWithBrokenKeys = "key-set-with-broken-keys",
    /// The key set ends with the keys of the last few rotations, so that tokens on their way are still believed.
    KeySetWithEarlierKeys = "key-set-with-earlier-keys",
    /// The key set has keys that no client can read, and no other.
    KeySetUnusable = "key-set-unusable",

    /// Discovery names the issuer followed by `INVALID`.
    DiscoveryWrongIssuer = "discovery-wrong-issuer",
    /// Discovery offers RS256 only, and RS256 signs.
    DiscoveryRs256Only = "discovery-rs256-only",
    /// Discovery has no `end_session_endpoint`.
    DiscoveryWithoutEndSession = "discovery-without-end-session",
    /// Discovery has no `userinfo_endpoint`.
    DiscoveryWithoutUserinfo = "discovery-without-userinfo",
    /// Discovery announces no PKCE, and no verifier is looked at. A client must stay safe by `state` and `nonce`.
    DiscoveryWithoutPkce = "discovery-without-pkce",
    /// The key set is at a path that only discovery tells, and not at `/jwks`. A client must accept this.
    DiscoveryKeysElsewhere = "discovery-keys-elsewhere",
    /// Discovery is a page of HTML, with 200.
    DiscoveryGarbage = "discovery-garbage",
    /// Discovery is eight megabytes long.
    DiscoveryOversized = "discovery-oversized",
    /// Discovery redirects, to itself.
    DiscoveryRedirects = "discovery-redirects",

    /// The authorization answer's `iss` is the issuer followed by `1`.
    AuthorizationWrongIssuer = "authorization-wrong-issuer",
    /// The authorization answer has no `iss`, although discovery promises one.
    AuthorizationMissingIssuer = "authorization-missing-issuer",
    /// The authorization answer's `state` is the one sent followed by `1`.
    AuthorizationWrongState = "authorization-wrong-state",
    /// The authorization answer has no `state`.
    AuthorizationMissingState = "authorization-missing-state",
    /// Every authorization is answered with `error=server_error` and a description that holds a script.
    AuthorizationError = "authorization-error",

    /// `token_type` in inverted case. A client must accept this.
    TokenTypeInverted = "token-type-inverted",
    /// No `expires_in`. A client must accept this.
    TokenWithoutExpiresIn = "token-without-expires-in",
    /// `expires_in` as a string of digits. A client must accept this.
    TokenExpiresInString = "token-expires-in-string",
    /// The token endpoint answers with text that is not JSON.
    TokenAnswerNotJson = "token-answer-not-json",

    /// A refresh returns no refresh token and leaves the old one good.
    RefreshWithoutRefreshToken = "refresh-without-refresh-token",
    /// A refresh returns no ID token.
    RefreshWithoutIdToken = "refresh-without-id-token",
    /// The ID token of a refresh has the issuer followed by `1`.
    RefreshIdTokenWrongIssuer = "refresh-id-token-wrong-issuer",
    /// The ID token of a refresh has the subject followed by `1`.
    RefreshIdTokenWrongSubject = "refresh-id-token-wrong-subject",
    /// The ID token of a refresh repeats the nonce of the sign-in (honest: none).
    RefreshIdTokenWithNonce = "refresh-id-token-with-nonce",
    /// The ID token of a refresh has the nonce of the sign-in followed by `1`.
    RefreshIdTokenWrongNonce = "refresh-id-token-wrong-nonce",
    /// A refresh is performed, the token rotated, and the connection dropped without an answer.
    RefreshAnswerLost = "refresh-answer-lost",

    /// Userinfo's `sub` is the right one followed by `invalid`.
    UserinfoWrongSubject = "userinfo-wrong-subject",
    /// Userinfo has no `sub`.
    UserinfoMissingSubject = "userinfo-missing-subject",
    /// Userinfo answers with its claims inside a JSON array.
    UserinfoArray = "userinfo-array",
    /// Userinfo refuses every token.
    UserinfoRefuses = "userinfo-refuses",

    /// The `state` that comes back from sign-out is the one sent followed by `_INVALID`.
    LogoutWrongState = "logout-wrong-state",
    /// No `state` comes back from sign-out.
    LogoutMissingState = "logout-missing-state",

    /// Every endpoint answers 503.
    Outage = "outage",
    /// Authorization requests pass without a nonce and with no scope but `openid`.
    LenientRequests = "lenient-requests",
}

impl Switch {
    /// The switch of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|switch| switch.name() == name)
    }
}

/// The switches that are on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switches(BTreeSet<Switch>);

impl Switches {
    pub(crate) fn on(&self, switch: Switch) -> bool {
        self.0.contains(&switch)
    }

    pub(crate) fn set(&mut self, switch: Switch) {
        self.0.insert(switch);
    }

    pub(crate) fn clear(&mut self, switch: Switch) {
        self.0.remove(&switch);
    }

    pub(crate) fn clear_all(&mut self) {
        self.0.clear();
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|switch| switch.name()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_unique_and_leads_back_to_its_switch() {
        let names: BTreeSet<_> = Switch::ALL.iter().map(|switch| switch.name()).collect();
        assert_eq!(names.len(), Switch::ALL.len());
        for switch in Switch::ALL {
            assert_eq!(Switch::named(switch.name()), Some(*switch));
        }
        assert_eq!(Switch::named("no-such-switch"), None);
    }
}
