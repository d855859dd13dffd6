//! Pure. Which identity the gate passed on: every `X-Auth-Request-…` header of a request, in order of its name.

use std::collections::BTreeMap;

use http::HeaderMap;

/// Header names and their values; several values of one name are joined by `, `, so that a forged twin shows.
pub(crate) fn identity(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut found = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        if name.as_str().starts_with(PREFIX) {
            let value = String::from_utf8_lossy(value.as_bytes());
            found
                .entry(name.to_string())
                .and_modify(|values| *values = format!("{values}, {value}"))
                .or_insert_with(|| value.into_owned());
        }
    }
    found
}

const PREFIX: &str = "x-auth-request-";

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_identity_headers_are_found_and_twins_show() {
        let mut headers = HeaderMap::new();
        headers.append("x-auth-request-user", HeaderValue::from_static("alice"));
        headers.append("x-auth-request-user", HeaderValue::from_static("mallory"));
        headers.append("x-auth-request-groups", HeaderValue::from_static("staff"));
        headers.append("cookie", HeaderValue::from_static("a=b"));
        let expected = [("x-auth-request-groups", "staff"), ("x-auth-request-user", "alice, mallory")];
        assert_eq!(identity(&headers), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
}
