//! Pure. Reads an authorization request (OpenID Connect Core 3.1.2.1, RFC 7636) and says where its answer goes. Until
//! client and redirect URI are known to belong together, nothing is sent anywhere.

use crate::{
    parameters::Parameters,
    settings::{Client, Person},
};

/// A request that may be granted.
#[derive(Debug, Clone)]
pub(crate) struct AuthorizationRequest {
    pub(crate) client: Client,
    pub(crate) scopes: Vec<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) challenge: String,
    pub(crate) max_age: Option<u64>,
    pub(crate) prompts: Vec<String>,
    pub(crate) login_hint: Option<String>,
}

/// Where the answer goes, right or wrong.
#[derive(Debug, Clone)]
pub(crate) struct ReturnAddress {
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    pub(crate) mode: ResponseMode,
}

/// How the answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseMode {
    Query,
    FormPost,
}

/// How strictly requests are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// A nonce and one scope with claims are required.
    Strict,
    /// Neither is.
    Lenient,
}

/// An OAuth error on its way back: code and description.
pub(crate) type Fault = (&'static str, &'static str);

/// The client and the address for its answer, or the text for a page.
pub(crate) fn return_address(parameters: &Parameters, client: Option<&Client>) -> Result<ReturnAddress, &'static str> {
    if parameters.repeated().is_some() {
        return Err("A parameter was sent twice.");
    }
    let client = client.ok_or("The client is not registered here.")?;
    let redirect_uri = parameters.value("redirect_uri").ok_or("There is no redirect URI.")?;
    if !client.redirect_uris.iter().any(|registered| registered == redirect_uri) {
        return Err("The redirect URI is not registered for this client.");
    }
    let mode = match parameters.value("response_mode") {
        None | Some("query") => ResponseMode::Query,
        Some("form_post") => ResponseMode::FormPost,
        Some(_) => return Err("The response mode is not supported."),
    };
    let state = parameters.value("state").map(str::to_owned);
    Ok(ReturnAddress { redirect_uri: redirect_uri.to_owned(), state, mode })
}

impl AuthorizationRequest {
    /// Reads the rest of the request, which may be refused to the client itself.
    pub(crate) fn read(parameters: &Parameters, client: Client, strictness: Strictness) -> Result<Self, Fault> {
        if parameters.value("response_type") != Some("code") {
            return Err(("unsupported_response_type", "only the code flow is offered"));
        }
        Ok(Self {
            client,
            scopes: scopes(parameters, strictness)?,
            nonce: nonce(parameters, strictness)?,
            challenge: challenge(parameters)?,
            max_age: max_age(parameters)?,
            prompts: prompts(parameters)?,
            login_hint: parameters.value("login_hint").map(str::to_owned),
        })
    }

    /// The person who is to be signed in without a page, as asked by `login_hint`.
    pub(crate) fn hinted(&self, people: &[Person]) -> Option<Person> {
        let hint = self.login_hint.as_deref()?;
        people.iter().find(|person| person.login == hint).cloned()
    }

    pub(crate) fn prompts_for(&self, prompt: &str) -> bool {
        self.prompts.iter().any(|asked| asked == prompt)
    }

    /// Whether a sign-on of this time is fresh enough.
    pub(crate) fn accepts_sign_on_of(&self, authenticated_at: u64, now: u64) -> bool {
        let fresh = self.max_age.is_none_or(|seconds| seconds > 0 && now.saturating_sub(authenticated_at) <= seconds);
        fresh && !self.prompts_for("login") && !self.prompts_for("select_account")
    }
}

fn scopes(parameters: &Parameters, strictness: Strictness) -> Result<Vec<String>, Fault> {
    let scopes = parameters.words("scope");
    if !scopes.iter().any(|scope| scope == "openid") {
        return Err(("invalid_scope", "the scope openid is missing"));
    }
    let with_claims = scopes.iter().any(|scope| CLAIM_SCOPES.contains(&scope.as_str()));
    if strictness == Strictness::Strict && !with_claims {
        return Err(("invalid_scope", "one scope of profile, email, phone and address is required"));
    }
    Ok(scopes)
}

fn nonce(parameters: &Parameters, strictness: Strictness) -> Result<Option<String>, Fault> {
    match (parameters.value("nonce"), strictness) {
        (None | Some(""), Strictness::Strict) => Err(("invalid_request", "a nonce is required")),
        (nonce, _) => Ok(nonce.map(str::to_owned)),
    }
}

fn challenge(parameters: &Parameters) -> Result<String, Fault> {
    if parameters.value("code_challenge_method") != Some("S256") {
        return Err(("invalid_request", "PKCE with S256 is required"));
    }
    let challenge = parameters.value("code_challenge").unwrap_or_default();
    let fits =
        challenge.len() == 43 && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if fits { Ok(challenge.to_owned()) } else { Err(("invalid_request", "the code_challenge is not one of S256")) }
}

fn max_age(parameters: &Parameters) -> Result<Option<u64>, Fault> {
    let parsed = parameters.value("max_age").map(str::parse).transpose();
    parsed.map_err(|_| ("invalid_request", "max_age is not a number of seconds"))
}

fn prompts(parameters: &Parameters) -> Result<Vec<String>, Fault> {
    let prompts = parameters.words("prompt");
    if prompts.len() > 1 && prompts.iter().any(|prompt| prompt == "none") {
        return Err(("invalid_request", "the prompt none stands alone"));
    }
    Ok(prompts)
}

const CLAIM_SCOPES: [&str; 4] = ["profile", "email", "phone", "address"];

#[cfg(test)]
mod tests {
    use super::*;

    const CALLBACK: &str = "https://app/callback";

    fn changed(changes: &[(&str, Option<&str>)]) -> Parameters {
        let challenge = "x".repeat(43);
        let mut pairs = vec![
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid email"),
            ("nonce", "n"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in changes {
            pairs.retain(|(known, _)| known != name);
            pairs.extend(value.map(|value| (*name, value)));
        }
        let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        Parameters::parse(encoded.as_bytes())
    }

    #[test]
    fn requests_are_read_strictly() {
        let check = |changes: &[(&str, Option<&str>)], expected: Option<&str>| {
            let read =
                AuthorizationRequest::read(&changed(changes), Client::public("app", CALLBACK), Strictness::Strict);
            assert_eq!(read.err().map(|(error, _)| error), expected, "{changes:?}");
        };
        check(&[], None);
        check(&[("max_age", Some("60"))], None);
        check(&[("response_type", Some("token"))], Some("unsupported_response_type"));
        check(&[("scope", Some("email"))], Some("invalid_scope"));
        check(&[("scope", Some("openid"))], Some("invalid_scope"));
        check(&[("nonce", None)], Some("invalid_request"));
        check(&[("code_challenge", None)], Some("invalid_request"));
        check(&[("code_challenge", Some("short"))], Some("invalid_request"));
        check(&[("code_challenge_method", Some("plain"))], Some("invalid_request"));
        check(&[("max_age", Some("soon"))], Some("invalid_request"));
        check(&[("prompt", Some("none login"))], Some("invalid_request"));
    }

    #[test]
    fn lenient_requests_need_neither_nonce_nor_claim_scope() {
        let parameters = changed(&[("nonce", None), ("scope", Some("openid"))]);
        let read = AuthorizationRequest::read(&parameters, Client::public("app", CALLBACK), Strictness::Lenient);
        assert!(read.is_ok());
    }

    #[test]
    fn answers_go_to_registered_addresses_alone() {
        let client = Client::public("app", CALLBACK);
        let check = |uri: Option<&str>, good| {
            let parameters = changed(&[("redirect_uri", uri)]);
            assert_eq!(return_address(&parameters, Some(&client)).is_ok(), good, "{uri:?}");
        };
        check(Some(CALLBACK), true);
        check(Some("https://app/callback/"), false);
        check(Some("https://app/callback?x=1"), false);
        check(Some("https://APP/callback"), false);
        check(None, false);
        assert!(return_address(&changed(&[]), None).is_err());
    }
}
