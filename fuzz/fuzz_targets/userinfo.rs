//! What a userinfo endpoint answers. Input: the content type, a line end, the body.

#![no_main]

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;
use portcullis::{oidc::userinfo, reason::Reason};
use portcullis_fuzz::line_and_rest;
use serde_json::{Map, Value};

const SUBJECT: &str = "alice";

fuzz_target!(|data: &[u8]| {
    let (kind, body) = line_and_rest(data);
    let Ok(kind) = HeaderValue::from_bytes(kind) else { return };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.clone())]);
    match userinfo::claims(&headers, body, SUBJECT) {
        Ok(claims) => {
            assert_eq!(claims["sub"], SUBJECT);
            assert_eq!(serde_json::from_slice::<Map<String, Value>>(body).ok(), Some(claims));
            assert!(!kind.as_bytes().to_ascii_lowercase().starts_with(b"application/jwt"));
        }
        Err(failure) => assert!(matches!(failure.reason, Reason::UserinfoInvalid | Reason::UserinfoSubject)),
    }
});
