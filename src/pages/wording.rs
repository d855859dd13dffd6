//! Pure. What each page is called and says first, for somebody who did nothing wrong and wants to get on.
//!
//! No internals, no blame: the reason code at the foot of the page is for whoever runs the service.

use super::Page;
use crate::reason::Reason;

/// A page's title, what happened, and what can be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wording {
    /// The title and heading.
    pub title: &'static str,
    /// What happened.
    pub happened: &'static str,
    /// What can be done now; empty where the page's own template says it.
    pub now: &'static str,
}

pub(super) const fn of(page: &Page) -> Wording {
    match page {
        Page::ChooseProvider { .. } => CHOOSE_PROVIDER,
        Page::SignedIn { .. } => SIGNED_IN,
        Page::SignedOut { .. } => SIGNED_OUT,
        Page::ConfirmSignOut { .. } => CONFIRM_SIGN_OUT,
        Page::ProviderDown { .. } => PROVIDER_DOWN,
        Page::CertificateRefused { reason } if reason.closes_the_door() => CERTIFICATE_REFUSED,
        Page::CertificateRefused { reason } => for_reason(*reason),
        Page::Forbidden { reason, .. } | Page::Error { reason, .. } | Page::TryAgain { reason, .. } => {
            for_reason(*reason)
        }
        Page::TooManyRequests { .. } => for_reason(Reason::RateLimited),
        Page::NotFound { .. } => for_reason(Reason::NotFound),
    }
}

/// The words for a reason; every reason has its own on purpose or shares them on purpose.
pub const fn for_reason(reason: Reason) -> Wording {
    match reason {
        Reason::NoSession
        | Reason::SessionMalformed
        | Reason::SessionUnknown
        | Reason::SessionEnded
        | Reason::SessionExpired
        | Reason::SessionIdle
        | Reason::SessionUnreadable
        | Reason::SessionWrongSite
        | Reason::SessionWrongProvider
        | Reason::BindingAddress
        | Reason::BindingUserAgent
        | Reason::NoCertificate
        | Reason::RefreshRejected => SIGN_IN_AGAIN,
        Reason::PolicyDenied | Reason::AccessDenied => NO_ACCESS,
        Reason::PolicyMissing
        | Reason::PolicyMalformed
        | Reason::PolicyUnknown
        | Reason::PolicyUnmatched
        | Reason::UntrustedPeer
        | Reason::FactsMalformed
        | Reason::IdentityForged => NOT_SET_UP,
        Reason::HostUnknown => WRONG_ADDRESS,
        Reason::AmbiguousTarget => UNCLEAR_ADDRESS,
        Reason::CrossSite => FROM_ANOTHER_SITE,
        Reason::StoreUnavailable | Reason::Overloaded | Reason::RefreshBusy => TRY_AGAIN,
        Reason::RateLimited => TOO_MANY,
        Reason::NotFound => NOT_FOUND,
        Reason::MethodNotAllowed
        | Reason::BodyTooLarge
        | Reason::ParameterMissing
        | Reason::ParameterRepeated
        | Reason::ParameterMalformed
        | Reason::ReportMalformed
        | Reason::ProviderUnknown => INCOMPLETE_LINK,
        Reason::TransactionMissing | Reason::TransactionUnreadable => STARTED_ELSEWHERE,
        Reason::TransactionExpired => TOOK_TOO_LONG,
        Reason::TransactionUsed => ALREADY_FINISHED,
        Reason::ProviderUnreachable | Reason::ProviderMetadataInvalid | Reason::IdpDown => PROVIDER_DOWN,
        Reason::FallbackDisabled | Reason::IdpHealthy => CERTIFICATE_NOT_NEEDED,
        Reason::SwitchesInvalid | Reason::KillSwitch | Reason::AutoClosed | Reason::FallbackNotArmed => DOOR_CLOSED,
        Reason::NotYetValid | Reason::Expired | Reason::LifetimeTooLong => CERTIFICATE_OUT_OF_TIME,
        Reason::CrlUnavailable | Reason::CrlInvalid | Reason::CrlStale => CERTIFICATE_NOT_CHECKED,
        Reason::MalformedCertificate
        | Reason::UntrustedChain
        | Reason::NginxVerifyFailed
        | Reason::Revoked
        | Reason::NameNotAllowed => CERTIFICATE_REFUSED,
        Reason::ProviderError | Reason::ProviderFault => PROVIDER_REFUSED,
        Reason::IssuerMismatch
        | Reason::IssuerMissing
        | Reason::CodeRejected
        | Reason::TokenResponseInvalid
        | Reason::IdTokenMissing
        | Reason::IdTokenMalformed
        | Reason::IdTokenAlgorithm
        | Reason::IdTokenKey
        | Reason::IdTokenSignature
        | Reason::IdTokenIssuer
        | Reason::IdTokenAudience
        | Reason::IdTokenAuthorizedParty
        | Reason::IdTokenExpired
        | Reason::IdTokenNotYetValid
        | Reason::IdTokenIssuedAt
        | Reason::IdTokenSubject
        | Reason::IdTokenNonce
        | Reason::IdTokenAccessTokenHash
        | Reason::IdTokenAuthTime
        | Reason::UserinfoInvalid
        | Reason::UserinfoSubject
        | Reason::ClaimsTooLarge => NOT_CONFIRMED,
        Reason::RefreshTokenMissing | Reason::RefreshLost => NOT_EXTENDED,
        Reason::Internal => OUR_FAULT,
    }
}

/// A span of time as people say it; never shorter than it is.
pub(super) fn span(seconds: u32) -> String {
    match seconds {
        0..=1 => "a second".to_owned(),
        2..=90 => format!("{seconds} seconds"),
        91..=5_400 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3_600)),
    }
}
const CHOOSE_PROVIDER: Wording = Wording { title: "Sign in", happened: "Choose where your account is.", now: "" };

const SIGNED_IN: Wording =
    Wording { title: "You are signed in", happened: "One moment: your page is opening.", now: "" };

const SIGNED_OUT: Wording = Wording { title: "You are signed out", happened: "", now: "" };

const CONFIRM_SIGN_OUT: Wording = Wording {
    title: "Do you want to sign out?",
    happened: "Another site sent you here to sign out. Nothing has happened yet.",
    now: "",
};

const SIGN_IN_AGAIN: Wording = Wording {
    title: "Please sign in again",
    happened: "Your session is over.",
    now: "Sign in to go on where you were.",
};

const NO_ACCESS: Wording = Wording {
    title: "This account has no access",
    happened: "",
    now: "If you have another account, use that one. If this one should have access, ask the people who run this \
          service to add it.",
};

const NOT_SET_UP: Wording = Wording {
    title: "This page cannot be opened",
    happened: "The request was stopped because of how this service is set up. You did nothing wrong, and signing in \
               again will not change it.",
    now: "Please tell the people who run this service, and give them the request ID below.",
};

const WRONG_ADDRESS: Wording = Wording {
    title: "Nothing is served at this address",
    happened: "The name in your browser’s address bar is not one this service knows.",
    now: "Check the address, or open the service from your usual link.",
};

const UNCLEAR_ADDRESS: Wording = Wording {
    title: "This address cannot be opened as it is written",
    happened: "It could be read in two ways, so it was stopped. You did nothing wrong.",
    now: "Check the address, or open the page from your usual link. If that link led here, tell the people who run this \
          service.",
};

const FROM_ANOTHER_SITE: Wording = Wording {
    title: "This was stopped to protect you",
    happened: "The request seems to have come from another site, so it was not carried out. Nothing has changed.",
    now: "If you meant to do this, open the page here and do it once more.",
};

const TRY_AGAIN: Wording =
    Wording { title: "Please try again in a moment", happened: "We cannot check your sign-in just now.", now: "" };

const TOO_MANY: Wording = Wording {
    title: "Please wait a little",
    happened: "There were too many requests from your network, or from this session, in a short time.",
    now: "",
};

const NOT_FOUND: Wording =
    Wording { title: "There is no such page", happened: "The link may be old, or the address mistyped.", now: "" };

const INCOMPLETE_LINK: Wording = Wording {
    title: "That did not work",
    happened: "The link or form that led here is incomplete or out of date.",
    now: "Go back and start once more.",
};

const STARTED_ELSEWHERE: Wording = Wording {
    title: "This sign-in cannot be finished here",
    happened: "It was started in another browser or window, or this browser no longer remembers it.",
    now: "Start again here; it only takes a moment.",
};

const TOOK_TOO_LONG: Wording = Wording {
    title: "This sign-in took too long",
    happened: "For your safety, a sign-in must be finished within a few minutes.",
    now: "Start again; it only takes a moment.",
};

const ALREADY_FINISHED: Wording = Wording {
    title: "This sign-in is already finished",
    happened: "The page was opened a second time, perhaps with the back button or by reloading.",
    now: "You are probably signed in already. If not, start again.",
};

const PROVIDER_DOWN: Wording = Wording { title: "Signing in is not possible just now", happened: "", now: "" };

const CERTIFICATE_NOT_NEEDED: Wording = Wording {
    title: "Please sign in as usual",
    happened: "Your browser showed a client certificate. Certificates are not how people sign in here just now.",
    now: "Sign in with your account. If you never wanted to show a certificate, close the browser and choose none when it \
          asks.",
};

const DOOR_CLOSED: Wording = Wording {
    title: "Client certificates are not accepted just now",
    happened: "Signing in with a certificate is for administrators in an emergency, and it has to be opened first.",
    now: "The people on duty can open it. Who is signed in already can go on working.",
};

const CERTIFICATE_OUT_OF_TIME: Wording = Wording {
    title: "Your client certificate is out of date",
    happened: "Its time is over, has not begun, or is longer than allowed, so it was refused.",
    now: "Ask the people who issue certificates for a new one, and close the browser before you use it.",
};

const CERTIFICATE_NOT_CHECKED: Wording = Wording {
    title: "Your client certificate could not be checked",
    happened: "Whether it was revoked is not known just now, and so it was refused.",
    now: "Try again in a few minutes. If it stays so, tell the people who run this service, and give them the request ID \
          below.",
};

const CERTIFICATE_REFUSED: Wording = Wording {
    title: "Your client certificate was refused",
    happened: "It is not one that administrators of this service use.",
    now: "Close the browser, and choose another certificate, or none, when it asks. If it should have been accepted, tell \
          the people who run this service, and give them the request ID below.",
};

const PROVIDER_REFUSED: Wording = Wording {
    title: "You were not signed in",
    happened: "The identity provider ended the sign-in with this answer:",
    now: "You can start again. If it happens once more, the answer above helps whoever looks after your account.",
};

const NOT_CONFIRMED: Wording = Wording {
    title: "Your sign-in could not be confirmed",
    happened: "The identity provider’s answer did not pass our checks, so you were not signed in.",
    now: "Start again. If it happens once more, tell the people who run this service, and give them the request ID \
          below.",
};

const NOT_EXTENDED: Wording = Wording {
    title: "Your session could not be extended",
    happened: "You stay signed in until it ends, and are then asked to sign in again.",
    now: "Save your work before then, or sign in again now.",
};

const OUR_FAULT: Wording = Wording {
    title: "Something went wrong on our side",
    happened: "Your request was not completed. It was nothing you did.",
    now: "Please try again. If it keeps happening, tell the people who run this service, and give them the request \
          ID below.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_words_and_never_too_short() {
        let check = |seconds, expected: &str| assert_eq!(span(seconds), expected);
        check(1, "a second");
        check(60, "60 seconds");
        check(90, "90 seconds");
        check(91, "2 minutes");
        check(1_800, "30 minutes");
        check(5_401, "2 hours");
        check(86_400, "24 hours");
    }

    #[test]
    fn every_reason_has_a_title_and_ends_its_sentences() {
        for reason in Reason::ALL {
            let Wording { title, happened, now } = for_reason(*reason);
            assert!(!title.is_empty() && !title.ends_with('.'), "{reason:?}");
            assert!(happened.is_empty() || happened.ends_with(['.', ':']), "{reason:?}");
            assert!(now.is_empty() || now.ends_with('.'), "{reason:?}");
        }
    }
}
