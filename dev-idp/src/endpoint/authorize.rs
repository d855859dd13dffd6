//! Authorization: who is signing in, and the answer to the client (OpenID Connect Core 3.1.2, RFC 9207). Somebody named
//! by `login_hint` is signed in at once, which is how tests without a browser do it.

use http::{
    HeaderMap, Method, StatusCode,
    header::{COOKIE, SET_COOKIE},
};
use url::Url;

use crate::{
    authorization_request::{AuthorizationRequest, Fault, ResponseMode, ReturnAddress, Strictness, return_address},
    endpoint::Endpoint,
    ledger::{Code, Grant, GrantState, SignOn},
    page::Page,
    parameters::Parameters,
    provider::{Incoming, Provider},
    random,
    reply::{Refusal, Reply},
    settings::Person,
    switch::Switch,
};

/// `GET|POST /authorize`
pub(crate) fn authorize(provider: &Provider, incoming: &Incoming) -> Result<Reply, Refusal> {
    let parameters = incoming.query.clone().joined(incoming.form.clone());
    let (request, address) = read(provider, &parameters)?;
    let now = provider.clock.now();
    let known = sign_on_of(provider, &incoming.headers, now);
    if let Some(person) = request.hinted(&provider.people()) {
        return signed_in(provider, &request, &address, &person);
    }
    match known.filter(|sign_on| request.accepts_sign_on_of(sign_on.authenticated_at, now)) {
        Some(sign_on) => code_answer(provider, &request, &address, &sign_on),
        None if request.prompts_for("none") => {
            answer(provider, &address, fault_pairs(("login_required", "nobody is signed in")))
        }
        None => Ok(login_page(provider, &request, &parameters)),
    }
}

/// `POST /login?REQUEST`: the login page's form, with `login` or `cancel`.
pub(crate) fn login(provider: &Provider, incoming: &Incoming) -> Result<Reply, Refusal> {
    if incoming.method != Method::POST {
        return Err(Refusal::Page("Sign-in starts at the application."));
    }
    let (request, address) = read(provider, &incoming.query)?;
    if incoming.form.value("cancel").is_some() {
        return answer(provider, &address, fault_pairs(("access_denied", "the person cancelled")));
    }
    let person = incoming.form.value("login").and_then(|login| provider.person(login));
    signed_in(provider, &request, &address, &person.ok_or(Refusal::Page("There is no such person."))?)
}

/// The name of the browser's sign-on, from its cookie.
pub(crate) fn sign_on_cookie(provider: &Provider, headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == provider.cookie).map(|(_, value)| value.to_owned())
}

/// The cookie that carries a sign-on; an empty one takes it away.
pub(crate) fn set_cookie(provider: &Provider, value: &str) -> String {
    let secure = if provider.issuer.starts_with("https:") { "; Secure" } else { "" };
    let end = if value.is_empty() { "; Max-Age=0" } else { "" };
    format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{end}", provider.cookie)
}

fn sign_on_of(provider: &Provider, headers: &HeaderMap, now: u64) -> Option<SignOn> {
    let cookie = sign_on_cookie(provider, headers)?;
    provider.ledger().signed_on(&cookie, now).cloned()
}

fn read(provider: &Provider, parameters: &Parameters) -> Result<(AuthorizationRequest, ReturnAddress), Refusal> {
    let client = parameters.value("client_id").and_then(|id| provider.client(id));
    let address = return_address(parameters, client.as_ref()).map_err(Refusal::Page)?;
    let client = client.ok_or(Refusal::Page("The client is not registered here."))?;
    let lenient = provider.is_on(Switch::LenientRequests);
    let strictness = if lenient { Strictness::Lenient } else { Strictness::Strict };
    let fault = if provider.is_on(Switch::AuthorizationError) {
        SCRIPT_FAULT
    } else {
        match AuthorizationRequest::read(parameters, client, strictness) {
            Ok(request) => return Ok((request, address)),
            Err(fault) => fault,
        }
    };
    Err(Refusal::Ready(Box::new(answer(provider, &address, fault_pairs(fault))?)))
}

fn login_page(provider: &Provider, request: &AuthorizationRequest, parameters: &Parameters) -> Reply {
    let action = format!("{}{}?{}", provider.base, Endpoint::Login.path(), parameters.encoded());
    Reply::page(StatusCode::OK, Page::login(&provider.people(), &request.client.id, &action))
}

/// Signs a person on in this browser and answers the client.
fn signed_in(
    provider: &Provider,
    request: &AuthorizationRequest,
    address: &ReturnAddress,
    person: &Person,
) -> Result<Reply, Refusal> {
    let now = provider.clock.now();
    let sign_on = SignOn {
        login: person.login.clone(),
        session: random::token()?,
        authenticated_at: now,
        expires_at: now + provider.settings.sign_on_lifetime.as_secs(),
    };
    let cookie = random::token()?;
    provider.ledger().sign_on(cookie.clone(), sign_on.clone());
    let reply = code_answer(provider, request, address, &sign_on)?;
    Ok(reply.with_header(SET_COOKIE, &set_cookie(provider, &cookie)))
}

fn code_answer(
    provider: &Provider,
    request: &AuthorizationRequest,
    address: &ReturnAddress,
    sign_on: &SignOn,
) -> Result<Reply, Refusal> {
    let (code, id) = (random::token()?, random::token()?);
    let carried = Code {
        grant: id.clone(),
        redirect_uri: address.redirect_uri.clone(),
        challenge: request.challenge.clone(),
        expires_at: provider.clock.now() + CODE_LIFETIME_SECONDS,
        uses: 0,
    };
    provider.ledger().grant(id, grant(request, sign_on), code.clone(), carried);
    answer(provider, address, vec![("code".to_owned(), code)])
}

fn grant(request: &AuthorizationRequest, sign_on: &SignOn) -> Grant {
    Grant {
        client: request.client.id.clone(),
        login: sign_on.login.clone(),
        scopes: request.scopes.clone(),
        nonce: request.nonce.clone(),
        session: sign_on.session.clone(),
        authenticated_at: sign_on.authenticated_at,
        tells_time: request.max_age.is_some(),
        state: GrantState::Live,
    }
}

/// Sends an answer to the client, with `state` and `iss`.
fn answer(provider: &Provider, address: &ReturnAddress, mut pairs: Vec<(String, String)>) -> Result<Reply, Refusal> {
    pairs.extend(state(provider, address).map(|state| ("state".to_owned(), state)));
    pairs.extend(issuer(provider).map(|issuer| ("iss".to_owned(), issuer)));
    match address.mode {
        ResponseMode::Query => {
            let mut location = Url::parse(&address.redirect_uri)
                .map_err(|_| Refusal::Page("The registered redirect URI is no URL."))?;
            location.query_pairs_mut().extend_pairs(&pairs);
            Ok(Reply::redirect(location.as_str()))
        }
        ResponseMode::FormPost => {
            let page = Page::form_post(&address.redirect_uri, &pairs, &random::token()?);
            Ok(Reply::page(StatusCode::OK, page))
        }
    }
}

fn state(provider: &Provider, address: &ReturnAddress) -> Option<String> {
    let state = address.state.clone()?;
    if provider.is_on(Switch::AuthorizationMissingState) {
        return None;
    }
    let suffix = if provider.is_on(Switch::AuthorizationWrongState) { "1" } else { "" };
    Some(format!("{state}{suffix}"))
}

fn issuer(provider: &Provider) -> Option<String> {
    if provider.is_on(Switch::AuthorizationMissingIssuer) {
        return None;
    }
    let suffix = if provider.is_on(Switch::AuthorizationWrongIssuer) { "1" } else { "" };
    Some(format!("{}{suffix}", provider.issuer))
}

fn fault_pairs((error, description): Fault) -> Vec<(String, String)> {
    vec![("error".to_owned(), error.to_owned()), ("error_description".to_owned(), description.to_owned())]
}

/// A code lives this long.
const CODE_LIFETIME_SECONDS: u64 = 60;

/// What [`Switch::AuthorizationError`] answers.
const SCRIPT_FAULT: Fault = ("server_error", "<script>alert('from the provider')</script>");
