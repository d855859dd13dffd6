//! What a token endpoint answers, success or error. Input: the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::oidc::{
    failure::{MAX_DESCRIPTION_CHARS, MAX_ERROR_CHARS, MAX_URI_BYTES},
    json,
    token_answer::{ErrorAnswer, MAX_TOKEN_BYTES, TokenAnswer},
};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let object = json::object(data);
    if let Ok(members) = &object {
        let own: Value = serde_json::from_slice(data).expect("it was read");
        assert_eq!(Some(members), own.as_object());
    }
    if let Ok(answer) = serde_json::from_slice::<TokenAnswer>(data) {
        let members = object.as_ref().expect("an unambiguous object");
        if let Ok(tokens) = answer.into_tokens() {
            let access = tokens.access.reveal();
            assert_eq!(members["access_token"], access);
            assert!(
                (1..=MAX_TOKEN_BYTES).contains(&access.len()) && access.bytes().all(|byte| byte.is_ascii_graphic())
            );
            assert!(tokens.refresh.is_none_or(|token| (1..=MAX_TOKEN_BYTES).contains(&token.reveal().len())));
        }
    }
    if let Ok(answer) = serde_json::from_slice::<ErrorAnswer>(data) {
        assert!(object.is_ok());
        let error = answer.cleaned();
        let told = [Some(error.error), error.description, error.uri].map(Option::unwrap_or_default);
        for (told, limit) in told.iter().zip([MAX_ERROR_CHARS, MAX_DESCRIPTION_CHARS, MAX_URI_BYTES]) {
            assert!(told.chars().count() <= limit && !told.contains(char::is_control), "{told:?}");
        }
    }
});
