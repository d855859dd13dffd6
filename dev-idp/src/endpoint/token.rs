//! The token endpoint: codes for tokens (OpenID Connect Core 3.1.3, RFC 7636) and refresh with rotation (RFC 9700
//! section 4.14). All checks come before anything is used up or issued.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    claims, client_auth,
    id_token::{self, Facts, Occasion},
    jws::Signer,
    ledger::{Grant, IssuedIdToken, Unusable},
    parameters::Parameters,
    provider::{Incoming, Provider},
    random,
    reply::{Refusal, Reply},
    settings::{Client, IdTokenClaims},
    switch::{Switch, Switches},
};

/// `POST /token`
pub(crate) fn token(provider: &Provider, incoming: &Incoming) -> Result<Reply, Refusal> {
    let client = caller(provider, incoming)?;
    match incoming.form.value("grant_type") {
        Some("authorization_code") => code_grant(provider, &client, &incoming.form),
        Some("refresh_token") => refresh_grant(provider, &client, &incoming.form),
        _ => Err(Refusal::client("unsupported_grant_type", "neither authorization_code nor refresh_token")),
    }
}

/// The client that sends a form to us, proven.
pub(crate) fn caller(provider: &Provider, incoming: &Incoming) -> Result<Client, Refusal> {
    if incoming.method != Method::POST {
        return Err(Refusal::client("invalid_request", "only POST is understood here"));
    }
    if !incoming.query.pairs().is_empty() {
        return Err(Refusal::client("invalid_request", "parameters belong into the form"));
    }
    if incoming.form.repeated().is_some() {
        return Err(Refusal::client("invalid_request", "a parameter was sent twice"));
    }
    client_auth::authenticated(&incoming.headers, &incoming.form, &provider.clients())
}

fn code_grant(provider: &Provider, client: &Client, form: &Parameters) -> Result<Reply, Refusal> {
    let code = required(form, "code")?;
    let verifier = required(form, "code_verifier")?;
    let redirect_uri = required(form, "redirect_uri")?;
    let (code, grant) = provider.ledger().redeem(code, &client.id, provider.clock.now()).map_err(invalid_grant)?;
    if code.redirect_uri != redirect_uri {
        return Err(Refusal::client("invalid_grant", "the redirect_uri is not that of the authorization request"));
    }
    if !fits(verifier, &code.challenge) && !provider.is_on(Switch::DiscoveryWithoutPkce) {
        return Err(Refusal::client("invalid_grant", "the code_verifier does not fit the code_challenge"));
    }
    let issue = Issue { provider, client, id: &code.grant, grant: &grant, scopes: &grant.scopes };
    let mut answer = issue.answer(Occasion::SignIn)?;
    if grant.scopes.iter().any(|scope| scope == "offline_access") {
        answer.insert("refresh_token".to_owned(), json!(issue.refresh_token()?));
    }
    Ok(sent(provider, answer))
}

fn refresh_grant(provider: &Provider, client: &Client, form: &Parameters) -> Result<Reply, Refusal> {
    let old = required(form, "refresh_token")?;
    let rotates = !provider.is_on(Switch::RefreshWithoutRefreshToken);
    let (id, grant, scopes) = taken(provider, client, old, form.words("scope"), rotates)?;
    let issue = Issue { provider, client, id: &id, grant: &grant, scopes: &scopes };
    let mut answer = issue.answer(Occasion::Refresh)?;
    if rotates {
        answer.insert("refresh_token".to_owned(), json!(issue.refresh_token()?));
    }
    if provider.is_on(Switch::RefreshAnswerLost) {
        return Ok(Reply::Dropped);
    }
    Ok(sent(provider, answer))
}

/// Checks a refresh token and uses it up in one step, so that of two refreshes at once one is a reuse.
fn taken(
    provider: &Provider,
    client: &Client,
    token: &str,
    asked: Vec<String>,
    rotates: bool,
) -> Result<(String, Grant, Vec<String>), Refusal> {
    let mut ledger = provider.ledger();
    let (id, grant) = ledger.refreshable(token, &client.id, provider.clock.now()).map_err(invalid_grant)?;
    if !asked.iter().all(|scope| grant.scopes.contains(scope)) {
        return Err(Refusal::client("invalid_scope", "a refresh cannot widen the scope"));
    }
    if rotates {
        ledger.spend(token);
    }
    let scopes = if asked.is_empty() { grant.scopes.clone() } else { asked };
    Ok((id, grant, scopes))
}

/// What tokens are issued from.
struct Issue<'a> {
    provider: &'a Provider,
    client: &'a Client,
    id: &'a str,
    grant: &'a Grant,
    scopes: &'a [String],
}

impl Issue<'_> {
    /// A new access token, and the ID token beside it.
    fn answer(&self, occasion: Occasion) -> Result<Map<String, Value>, Refusal> {
        let provider = self.provider;
        let lifetime = provider.settings.access_token_lifetime.as_secs();
        let access = random::token()?;
        let expires_at = provider.clock.now() + lifetime;
        provider.ledger().issue_access(access.clone(), self.id, self.scopes.to_vec(), expires_at);
        let mut answer = Map::new();
        if !provider.is_on(left_out(occasion)) {
            answer.insert("id_token".to_owned(), json!(self.id_token(&access, occasion)?));
        }
        answer.insert("access_token".to_owned(), json!(access));
        answer.insert("token_type".to_owned(), json!("Bearer"));
        answer.insert("expires_in".to_owned(), json!(lifetime));
        answer.insert("scope".to_owned(), json!(self.scopes.join(" ")));
        Ok(answer)
    }

    fn refresh_token(&self) -> Result<String, Refusal> {
        let token = random::token()?;
        let expires_at = self.provider.clock.now() + self.provider.settings.refresh_token_lifetime.as_secs();
        self.provider.ledger().issue_refresh(token.clone(), self.id, expires_at);
        Ok(token)
    }

    fn id_token(&self, access_token: &str, occasion: Occasion) -> Result<String, Refusal> {
        let provider = self.provider;
        if provider.is_on(Switch::KeysRotatedBeforeSigning) {
            provider.rotate_keys();
        }
        let switches = provider.switches().clone();
        let keys = provider.keys()?;
        let secret = self.client.authentication.secret().unwrap_or(&self.client.id);
        let signer = Signer::new(&keys, provider.algorithm(self.client), &switches, secret);
        let claims = self.claims(signer.half_hash(access_token), occasion, &switches)?;
        let token = signer.sign(&claims)?;
        let issued = IssuedIdToken { client: self.client.id.clone(), session: self.grant.session.clone() };
        provider.ledger().issue_id_token(token.clone(), issued);
        Ok(token)
    }

    fn claims(
        &self,
        access_token_hash: String,
        occasion: Occasion,
        switches: &Switches,
    ) -> Result<Map<String, Value>, Refusal> {
        let (provider, grant) = (self.provider, self.grant);
        let gone = || Refusal::client("invalid_grant", "the person is gone");
        let person = provider.person(&grant.login).ok_or_else(gone)?;
        let facts = Facts {
            issuer: &provider.issuer,
            client: &self.client.id,
            subject: &person.subject,
            nonce: grant.nonce.as_deref(),
            session: &grant.session,
            authenticated_at: grant.tells_time.then_some(grant.authenticated_at),
            access_token_hash,
            now: provider.clock.now(),
            lifetime_seconds: provider.settings.id_token_lifetime.as_secs(),
            claims: match provider.settings.id_token_claims {
                IdTokenClaims::OnlyUserinfo => Map::new(),
                IdTokenClaims::AlsoIdToken => claims::released(&person, self.scopes),
            },
            occasion,
        };
        Ok(id_token::claims(&facts, switches))
    }
}

/// Puts the answer on the wire, as the switches want it.
fn sent(provider: &Provider, mut answer: Map<String, Value>) -> Reply {
    let switches = provider.switches().clone();
    if switches.on(Switch::TokenTypeInverted) {
        answer.insert("token_type".to_owned(), json!("bEARER"));
    }
    if switches.on(Switch::TokenExpiresInString) {
        let seconds = provider.settings.access_token_lifetime.as_secs().to_string();
        answer.insert("expires_in".to_owned(), json!(seconds));
    }
    if switches.on(Switch::TokenWithoutExpiresIn) {
        answer.remove("expires_in");
    }
    if switches.on(Switch::TokenAnswerNotJson) {
        return Reply::text(StatusCode::OK, "application/json", "{\"access_token\": oops".to_owned());
    }
    Reply::json(StatusCode::OK, &Value::Object(answer))
}

/// The switch that leaves the ID token out.
const fn left_out(occasion: Occasion) -> Switch {
    match occasion {
        Occasion::SignIn => Switch::IdTokenMissing,
        Occasion::Refresh => Switch::RefreshWithoutIdToken,
    }
}

fn required<'a>(form: &'a Parameters, name: &str) -> Result<&'a str, Refusal> {
    form.value(name).ok_or_else(|| Refusal::client("invalid_request", "a required parameter is missing"))
}

/// RFC 7636 section 4.6, with its alphabet and lengths.
fn fits(verifier: &str, challenge: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let shaped = (43..=128).contains(&verifier.len()) && verifier.bytes().all(allowed);
    shaped && URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())) == challenge
}

fn invalid_grant(unusable: Unusable) -> Refusal {
    Refusal::client(
        "invalid_grant",
        match unusable {
            Unusable::Unknown => "nobody knows this code or token",
            Unusable::OtherClient => "it was issued to another client",
            Unusable::Reused => "it was used before; the grant is revoked",
            Unusable::Revoked => "the grant was revoked",
            Unusable::Expired => "its time is over",
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_verifier_fits() {
        // The pair of RFC 7636 appendix B.
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let check = |verifier: &str, expected| {
            assert_eq!(fits(verifier, challenge), expected, "{verifier}");
        };
        check("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", true);
        check("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK", false);
        check("short", false);
        check(&"x".repeat(129), false);
    }
}
