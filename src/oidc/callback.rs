//! Pure. What a provider's answer to a sign-in says, as the browser brings it (RFC 6749 section 4.1.2, RFC 9207).
//!
//! Invariant: every parameter stands once, there is a `state`, and a code or an error; an error is cleaned before
//! anybody can show it. Whether the answer is to a question of ours is `transaction`'s to say.

use super::failure::ProviderError;
use crate::{inbound::Parameters, reason::Reason, secret::Secret};

/// The parameters of the provider's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderAnswer {
    /// Which sign-in it answers.
    pub state: Secret,
    /// What is exchanged for tokens.
    pub code: Option<Secret>,
    /// `iss`: who says that it answers.
    pub issuer: Option<String>,
    /// What went wrong there.
    pub error: Option<ProviderError>,
}

impl ProviderAnswer {
    /// Reads the query that came to a redirect URI.
    ///
    /// # Errors
    /// [`Reason::ParameterRepeated`], [`Reason::ParameterMalformed`], or [`Reason::ParameterMissing`] without `state`,
    /// or with neither `code` nor `error`.
    pub fn read(query: &Parameters<'_>) -> Result<Self, Reason> {
        let filled = |name| query.once(name).map(|value| value.filter(|text: &String| !text.is_empty()));
        let state = filled("state")?.map(Secret::new).ok_or(Reason::ParameterMissing)?;
        let issuer = query.once("iss")?;
        let code = filled("code")?.map(Secret::new);
        let error = match filled("error")? {
            Some(error) => Some(ProviderError::cleaned(
                &error,
                query.once("error_description")?.as_deref(),
                query.once("error_uri")?.as_deref(),
            )),
            None => None,
        };
        if code.is_none() && error.is_none() {
            return Err(Reason::ParameterMissing);
        }
        Ok(Self { state, code, issuer, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_a_sign_in_and_brings_a_code_or_an_error() {
        let check = |query: &str, expected: Option<Reason>| {
            assert_eq!(ProviderAnswer::read(&Parameters::of_form(query)).err(), expected, "{query}");
        };
        let (missing, repeated) = (Some(Reason::ParameterMissing), Some(Reason::ParameterRepeated));
        check("state=s&code=c", None);
        check("state=s&error=access_denied", None);
        check("state=s&code=c&iss=&session_state=x&scope=a+b", None);
        check("", missing);
        check("code=c", missing);
        check("state=&code=c", missing);
        check("state=s", missing);
        check("state=s&code=&error=", missing);
        for name in ["state", "code", "iss", "error", "error_description", "error_uri"] {
            check(&format!("state=s&code=c&error=e&{name}=1&{name}=1"), repeated);
        }
        check("state=s&code=%ff", Some(Reason::ParameterMalformed));
    }
}
