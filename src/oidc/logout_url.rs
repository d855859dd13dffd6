//! Pure. Where a browser goes to sign out at the provider: OpenID Connect RP-Initiated Logout 1.0, section 2.

use url::Url;

use crate::secret::Secret;

/// The provider's logout, which sends the browser on to `return_to`.
///
/// `client_id` is always there, for providers that want it beside the hint or instead of it. A hint so long that the
/// URL would be refused for its length is left out; the provider then asks the user.
pub fn rp_initiated(end_session_endpoint: &Url, client_id: &str, id_token: Option<&Secret>, return_to: &Url) -> Url {
    let mut url = end_session_endpoint.clone();
    let hint = id_token.filter(|token| token.reveal().len() <= MAX_HINT_BYTES);
    let mut query = url.query_pairs_mut();
    if let Some(hint) = hint {
        query.append_pair("id_token_hint", hint.reveal());
    }
    query.append_pair("client_id", client_id).append_pair("post_logout_redirect_uri", return_to.as_str());
    drop(query);
    url
}

/// Servers commonly take 8 KiB of request line; this leaves room for the rest of it.
pub const MAX_HINT_BYTES: usize = 6 * 1024;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's own URLs")]

    use super::*;

    fn check(endpoint: &str, id_token: Option<&str>, expected: &str) {
        let url = rp_initiated(
            &Url::parse(endpoint).unwrap(),
            "c&d",
            id_token.map(Secret::new).as_ref(),
            &Url::parse("https://app.example/bye?x=1").unwrap(),
        );
        assert_eq!(url.as_str(), expected);
    }

    #[test]
    fn the_hint_is_there_unless_it_is_absent_or_too_long() {
        let rest = "client_id=c%26d&post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fbye%3Fx%3D1";
        let end = "https://op.example/end";
        check(end, Some("a.b.c"), &format!("{end}?id_token_hint=a.b.c&{rest}"));
        check(end, None, &format!("{end}?{rest}"));
        check(end, Some(&"x".repeat(MAX_HINT_BYTES + 1)), &format!("{end}?{rest}"));
        check("https://op.example/end?p=q", None, &format!("{end}?p=q&{rest}"));
    }
}
