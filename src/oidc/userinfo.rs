//! Pure. What a userinfo endpoint answers (OpenID Connect Core section 5.3.2), and whether it is about the same user.
//!
//! A signed answer (`application/jwt`) is refused rather than believed unchecked.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::{failure::Failure, json};
use crate::reason::Reason;

/// The claims of a successful answer about that subject.
///
/// # Errors
/// [`Reason::UserinfoInvalid`] when it is no plain JSON object; [`Reason::UserinfoSubject`] when its `sub` is not
/// exactly the ID token's.
pub fn claims(headers: &HeaderMap, body: &[u8], subject: &str) -> Result<Map<String, Value>, Failure> {
    if is_signed(headers) {
        let cause = "the userinfo answer is a JWT, which is not supported";
        return Err(Failure::new(Reason::UserinfoInvalid, cause));
    }
    let claims =
        json::object(body).map_err(|error| Failure::new(Reason::UserinfoInvalid, format!("userinfo: {error}")))?;
    match claims.get("sub") {
        Some(Value::String(own)) if own == subject => Ok(claims),
        _ => Err(Failure::new(Reason::UserinfoSubject, "sub of the userinfo answer is not that of the ID token")),
    }
}

fn is_signed(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/jwt")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own headers")]

    use super::*;

    #[track_caller]
    fn check(kind: &str, body: &str, expected: Option<Reason>) {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_bytes(kind.as_bytes()).unwrap())]);
        let verdict = claims(&headers, body.as_bytes(), "user");
        assert_eq!(verdict.err().map(|failure| failure.reason), expected, "{kind} {body:.40}");
    }

    #[test]
    fn only_a_plain_object_about_the_same_subject_is_believed() {
        let (invalid, other) = (Some(Reason::UserinfoInvalid), Some(Reason::UserinfoSubject));
        let honest = r#"{"sub":"user","email":"u@example.com"}"#;
        check("application/json; charset=utf-8", honest, None);
        check("text/plain", honest, None);
        check("application/jwt", honest, invalid);
        check("Application/JWT; x=y", honest, invalid);
        check("application/jwt; x=\u{e9}", honest, invalid);
        let deep = format!("{{\"sub\":\"user\",\"a\":{}", "[".repeat(10_000));
        for body in ["[{\"sub\":\"user\"}]", "\"x\"", "null", "", "<html>", r#"{"sub":"user","sub":"user"}"#, &deep] {
            check("application/json", body, invalid);
        }
        for body in [r#"{"sub":"userinvalid"}"#, r#"{"sub":["user"]}"#, "{}", r#"{"SUB":"user"}"#] {
            check("application/json", body, other);
        }
    }
}
