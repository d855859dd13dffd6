//! The query that comes to a redirect URI. Input: the query.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::{
    inbound::Parameters,
    oidc::{
        callback::ProviderAnswer,
        failure::{MAX_DESCRIPTION_CHARS, MAX_ERROR_CHARS, MAX_URI_BYTES},
    },
    reason::Reason,
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let query = Parameters::of_form(text);
    let values = |name: &str| query.pairs().filter(|(own, _)| own == name).map(|(_, value)| value).collect::<Vec<_>>();
    let answer = match ProviderAnswer::read(&query) {
        Ok(answer) => answer,
        Err(reason) => {
            let known = [Reason::ParameterMissing, Reason::ParameterRepeated, Reason::ParameterMalformed];
            return assert!(known.contains(&reason));
        }
    };
    assert_eq!(values("state"), [answer.state.reveal()]);
    assert!(!answer.state.is_empty() && (answer.code.is_some() || answer.error.is_some()));
    for name in ["code", "iss", "error"] {
        assert!(values(name).len() <= 1, "{name} stands twice");
    }
    if let Some(code) = &answer.code {
        assert_eq!(values("code"), [code.reveal()]);
    }
    if let Some(issuer) = &answer.issuer {
        assert_eq!(values("iss"), [issuer.as_str()]);
    }
    if let Some(error) = answer.error {
        let told = [Some(error.error), error.description, error.uri].map(Option::unwrap_or_default);
        let limits = [MAX_ERROR_CHARS, MAX_DESCRIPTION_CHARS, MAX_URI_BYTES];
        for (told, limit) in told.iter().zip(limits) {
            assert!(told.chars().count() <= limit && !told.contains(char::is_control), "{told:?}");
        }
        assert!(!told[0].is_empty() && told[0].bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(told[2].is_empty() || told[2].starts_with("https://") || told[2].starts_with("http://"));
    }
});
