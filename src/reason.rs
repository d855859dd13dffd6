//! Pure. The closed list of reasons for a refusal: what the log, the metrics and `X-Portcullis-Reason` say.
//!
//! A new reason is one line in the table below; the compiler shows the rest, and `docs/reasons.md` is checked
//! against it.

/// What kind of refusal a reason is; decides the status and the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nobody we know: 401, sign in.
    SignIn,
    /// Somebody or something we refuse: 403.
    Forbidden,
    /// A request that cannot be meant: 400.
    BadRequest,
    /// Nothing is here: 404.
    NotFound,
    /// More than we take just now: 429.
    TooMany,
    /// The provider cannot be reached or does not answer usefully: 503.
    ProviderDown,
    /// We cannot decide just now: 503.
    Unavailable,
    /// Our own fault: 500.
    Internal,
}

macro_rules! reasons {
    ($($variant:ident $code:literal $kind:ident $meaning:literal;)+) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code that log, metrics and headers carry.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The kind of refusal.
            pub const fn kind(self) -> Kind {
                match self {
                    $(Self::$variant => Kind::$kind,)+
                }
            }

            /// What it means, for operators.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                }
            }
        }
    };
}

reasons! {
    // verify: nobody we know
    NoSession "no_session" SignIn "The request carries no session cookie.";
    SessionMalformed "session_malformed" SignIn "The session cookie was not made by this gateway, or under a key it no longer has.";
    SessionUnknown "session_unknown" SignIn "The store has no session of that name.";
    SessionEnded "session_ended" SignIn "The session was ended by a logout, a revocation or a newer sign-in.";
    SessionExpired "session_expired" SignIn "The session is past its absolute lifetime.";
    SessionIdle "session_idle" SignIn "The session was not used for longer than the idle time-out.";
    SessionUnreadable "session_unreadable" SignIn "The stored session does not open: it was altered or swapped.";
    SessionWrongSite "session_wrong_site" SignIn "The session belongs to another site.";
    SessionWrongProvider "session_wrong_provider" SignIn "The site does not sign people in with the session's provider any more, or another has taken its name.";
    BindingAddress "binding_address" SignIn "The session is bound to another client address.";
    BindingUserAgent "binding_user_agent" SignIn "The session is bound to another User-Agent.";
    // verify: somebody or something we refuse
    PolicyMissing "policy_missing" Forbidden "The location named no policy, and the settings have no rules by host, path and method.";
    PolicyMalformed "policy_malformed" Forbidden "The location's policy parameter is empty, repeated, misspelt or badly escaped.";
    PolicyUnknown "policy_unknown" Forbidden "The settings have no policy of that name.";
    PolicyUnmatched "policy_unmatched" Forbidden "The location named no policy, and no rule by host, path and method fits the request.";
    AmbiguousTarget "ambiguous_target" Forbidden "The request's path or method can be read in two ways, so no rule by host, path and method may decide on it.";
    PolicyDenied "policy_denied" Forbidden "The user is known, and no rule of the policy lets them in.";
    UntrustedPeer "untrusted_peer" Forbidden "The connection did not come from a trusted nginx.";
    FactsMalformed "facts_malformed" Forbidden "A fact header that nginx always sets is missing, repeated, or not what it must be.";
    IdentityForged "identity_forged" Forbidden "The client sent a header of its own that the settings give to a claim.";
    HostUnknown "host_unknown" Forbidden "The host is none of the configured ones.";
    CrossSite "cross_site" Forbidden "A state-changing request without proof that it came from one of our own pages.";
    // verify: the door for administrators, and their certificates, in the order in which they are looked at
    FallbackDisabled "fallback_disabled" Forbidden "A client certificate was shown, and the settings have no administrator fallback.";
    SwitchesInvalid "switches_invalid" Forbidden "The fallback's switches are broken, or contradict each other, so its door is closed.";
    KillSwitch "kill_switch" Forbidden "An operator has disabled the fallback.";
    AutoClosed "auto_closed" Forbidden "The fallback's door closed by itself: too many different certificates of the admin CA were refused.";
    FallbackNotArmed "fallback_not_armed" Forbidden "Nobody has armed the fallback, or its time is over.";
    IdpHealthy "idp_healthy" Forbidden "A client certificate was shown, and a provider of the policy works: sign in there.";
    NoCertificate "no_certificate" SignIn "The fallback's door is open, and the client showed neither session nor certificate.";
    MalformedCertificate "malformed_certificate" Forbidden "What nginx passed on is not one certificate, or longer than its limit.";
    NotYetValid "not_yet_valid" Forbidden "The client certificate's time has not begun.";
    Expired "expired" Forbidden "The client certificate's time is over.";
    UntrustedChain "untrusted_chain" Forbidden "No path for clients leads from the certificate to the admin CA.";
    NginxVerifyFailed "nginx_verify_failed" Forbidden "nginx did not verify the client certificate itself.";
    LifetimeTooLong "lifetime_too_long" Forbidden "The client certificate lives longer than the settings allow.";
    CrlUnavailable "crl_unavailable" Forbidden "There is no revocation list in force of an issuer in the certificate's path.";
    CrlInvalid "crl_invalid" Forbidden "A revocation list is not its issuer's, or not of the one kind that is understood.";
    CrlStale "crl_stale" Forbidden "A revocation list is too old, or older than one seen before.";
    Revoked "revoked" Forbidden "The client certificate, or one above it, was revoked.";
    NameNotAllowed "name_not_allowed" Forbidden "The client certificate is nobody's on the list of administrators.";
    // we cannot decide
    StoreUnavailable "store_unavailable" Unavailable "The session store did not answer in time, or not with what we wrote.";
    Overloaded "overloaded" Unavailable "A named limit on concurrent work is reached.";
    RateLimited "rate_limited" TooMany "There were more requests of that kind than the limits allow.";
    // routes
    NotFound "not_found" NotFound "There is no such page, or not for this caller.";
    MethodNotAllowed "method_not_allowed" BadRequest "The page does not take that method.";
    BodyTooLarge "body_too_large" BadRequest "The request body is larger than the limit.";
    ParameterMissing "parameter_missing" BadRequest "A required parameter is missing or empty.";
    ParameterRepeated "parameter_repeated" BadRequest "A parameter that must come once was repeated.";
    ParameterMalformed "parameter_malformed" BadRequest "A parameter is not valid, or longer than its limit.";
    ReportMalformed "report_malformed" BadRequest "The body is no report in either of the forms that browsers send.";
    // sign-in: the transaction
    TransactionMissing "transaction_missing" BadRequest "This browser did not start the sign-in, or its cookie is gone.";
    TransactionUnreadable "transaction_unreadable" BadRequest "The sign-in cookie was altered.";
    TransactionExpired "transaction_expired" BadRequest "The sign-in took longer than its limit.";
    TransactionUsed "transaction_used" BadRequest "The sign-in was already completed once.";
    // sign-in: the provider
    ProviderUnknown "provider_unknown" BadRequest "The settings have no provider of that name.";
    ProviderUnreachable "provider_unreachable" ProviderDown "The provider did not answer in time, or answered with a server error.";
    IdpDown "idp_down" ProviderDown "The health monitor has found the provider down.";
    ProviderMetadataInvalid "provider_metadata_invalid" ProviderDown "The provider's discovery document or key set is not usable.";
    ProviderError "provider_error" BadRequest "The provider answered the sign-in with an error.";
    ProviderFault "provider_fault" BadRequest "The provider answered the sign-in with an error of its own making.";
    IssuerMismatch "issuer_mismatch" BadRequest "The answer's iss is another issuer's (RFC 9207), or it came to another provider's redirect URI.";
    IssuerMissing "issuer_missing" BadRequest "The provider announces iss in its answers, and it is missing (RFC 9207).";
    CodeRejected "code_rejected" BadRequest "The provider refused the authorization code.";
    TokenResponseInvalid "token_response_invalid" BadRequest "The token endpoint's answer is not usable.";
    // sign-in: the ID token
    IdTokenMissing "id_token_missing" BadRequest "The token response has no ID token.";
    IdTokenMalformed "id_token_malformed" BadRequest "The ID token, or one of its claims, is not of the right shape.";
    IdTokenAlgorithm "id_token_algorithm" BadRequest "The ID token's alg is not one that is allowed.";
    IdTokenKey "id_token_key" BadRequest "No key of the provider fits the ID token.";
    IdTokenSignature "id_token_signature" BadRequest "The ID token's signature is wrong.";
    IdTokenIssuer "id_token_issuer" BadRequest "The ID token's iss is not the provider.";
    IdTokenAudience "id_token_audience" BadRequest "The ID token's aud is not us, or names strangers.";
    IdTokenAuthorizedParty "id_token_authorized_party" BadRequest "The ID token's azp is not us.";
    IdTokenExpired "id_token_expired" BadRequest "The ID token's exp is missing or past.";
    IdTokenNotYetValid "id_token_not_yet_valid" BadRequest "The ID token's nbf is in the future.";
    IdTokenIssuedAt "id_token_issued_at" BadRequest "The ID token's iat is missing or in the future.";
    IdTokenSubject "id_token_subject" BadRequest "The ID token's sub is missing, or another than before.";
    IdTokenNonce "id_token_nonce" BadRequest "The ID token's nonce is missing or another one.";
    IdTokenAccessTokenHash "id_token_access_token_hash" BadRequest "The ID token's at_hash is not that of the access token.";
    IdTokenAuthTime "id_token_auth_time" BadRequest "The ID token's auth_time is missing or older than asked for.";
    // sign-in: the user
    UserinfoInvalid "userinfo_invalid" BadRequest "The userinfo answer is not a JSON object of claims.";
    UserinfoSubject "userinfo_subject" BadRequest "The userinfo answer is about another subject.";
    ClaimsTooLarge "claims_too_large" BadRequest "The user's claims or tokens are larger than a session may hold.";
    AccessDenied "access_denied" Forbidden "The user signed in, and the access rules give them no session.";
    // refresh
    RefreshTokenMissing "refresh_token_missing" BadRequest "The session has no refresh token.";
    RefreshRejected "refresh_rejected" SignIn "The provider refused the refresh token; the session is over.";
    RefreshLost "refresh_lost" BadRequest "An earlier refresh went through but its answer was lost; the session lives on without tokens.";
    RefreshBusy "refresh_busy" Unavailable "Others kept refreshing or changing this session for too long.";
    // our own
    Internal "internal_error" Internal "The gateway failed; the log has the cause under the request id.";
}

impl Reason {
    /// Whether it says why client certificates are not accepted just now, whosever they are.
    pub const fn closes_the_door(self) -> bool {
        matches!(
            self,
            Self::FallbackDisabled
                | Self::SwitchesInvalid
                | Self::KillSwitch
                | Self::AutoClosed
                | Self::FallbackNotArmed
                | Self::IdpHealthy
        )
    }

    /// The reason with that code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_again_and_stands_once() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
    }

    #[test]
    fn an_unknown_code_is_nothing() {
        assert_eq!(Reason::from_code("no_such_reason"), None);
    }
}
