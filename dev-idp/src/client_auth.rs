//! Pure. Which client is calling (RFC 6749 section 2.3): exactly the method it is registered with, and Basic parsed
//! strictly, so that a client that forgets to form-urlencode is found out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};

use crate::{
    log::authorization,
    parameters::{Parameters, decoded_strictly},
    reply::Refusal,
    settings::{Authentication, Client},
};

/// The client that proves itself with these headers and this form.
pub(crate) fn authenticated(headers: &HeaderMap, form: &Parameters, clients: &[Client]) -> Result<Client, Refusal> {
    let (id, presented) = presented(headers, form)?;
    clients
        .iter()
        .find(|client| client.id == id && client.authentication == presented)
        .cloned()
        .ok_or_else(|| unknown("no client is registered with this id, method and secret"))
}

fn presented(headers: &HeaderMap, form: &Parameters) -> Result<(String, Authentication), Refusal> {
    let (id, secret) = (form.value("client_id"), form.value("client_secret"));
    if headers.contains_key(AUTHORIZATION) {
        let (user, password) = basic(headers)?;
        if secret.is_some() || id.is_some_and(|id| id != user) {
            return Err(Refusal::client("invalid_request", "two ways of client authentication at once"));
        }
        return Ok((user, Authentication::SecretBasic(password)));
    }
    let id = id.ok_or_else(|| unknown("no client authentication"))?.to_owned();
    Ok((id, secret.map_or(Authentication::Public, |secret| Authentication::SecretPost(secret.to_owned()))))
}

/// Two parts around one colon, each form-urlencoded.
fn basic(headers: &HeaderMap) -> Result<(String, String), Refusal> {
    let malformed = || unknown("malformed Basic credentials");
    let credentials = authorization(headers, "Basic ").ok_or_else(malformed)?;
    let decoded = STANDARD.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or_else(malformed)?;
    let parts: Vec<_> = decoded.split(':').map(decoded_strictly).collect();
    match parts.as_slice() {
        [Some(user), Some(password)] => Ok((user.clone(), password.clone())),
        _ => Err(malformed()),
    }
}

const fn unknown(description: &'static str) -> Refusal {
    Refusal::Client { status: StatusCode::UNAUTHORIZED, error: "invalid_client", description }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn check(user_and_password: Option<&str>, form: &str, expected: Option<&str>) {
        let clients =
            [Client::public("app", ""), Client::basic("conf", "a:b%c+d", ""), Client::post("form", "fake", "")];
        let mut headers = HeaderMap::new();
        if let Some(text) = user_and_password {
            let value = format!("Basic {}", STANDARD.encode(text));
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        let found = authenticated(&headers, &Parameters::parse(form.as_bytes()), &clients);
        assert_eq!(found.ok().map(|client| client.id).as_deref(), expected, "{user_and_password:?} {form}");
    }

    #[test]
    fn a_client_must_use_the_method_it_is_registered_with() {
        check(None, "client_id=app", Some("app"));
        check(None, "client_id=form&client_secret=fake", Some("form"));
        check(Some("conf:a%3Ab%25c%2Bd"), "", Some("conf"));
        check(Some("conf:a%3Ab%25c%2Bd"), "client_id=conf", Some("conf"));
        check(None, "client_id=conf&client_secret=a%3Ab%25c%2Bd", None);
        check(Some("form:fake"), "", None);
        check(None, "client_id=conf", None);
        check(None, "client_id=form&client_secret=wrong", None);
        check(None, "client_id=stranger", None);
        check(None, "", None);
    }

    #[test]
    fn basic_credentials_that_were_not_urlencoded_are_refused() {
        check(Some("conf:a:b%c+d"), "", None);
        check(Some("conf:a%3Ab%c%2Bd"), "", None);
        check(Some("conf"), "", None);
    }

    #[test]
    fn two_ways_at_once_are_refused() {
        check(Some("conf:a%3Ab%25c%2Bd"), "client_secret=x", None);
        check(Some("conf:a%3Ab%25c%2Bd"), "client_id=app", None);
    }
}
