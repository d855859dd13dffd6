//! Pure. What a provider is started with: where it listens, whom it knows, what it signs. The default is an honest
//! provider for the demo: three people and one public client.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde_json::{Map, Value};

/// Everything a provider is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; must be a loopback address. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How the provider calls itself.
    pub issuer: Issuer,
    /// Serve TLS with this certificate; plain HTTP without.
    pub tls: Option<Tls>,
    /// The registered clients.
    pub clients: Vec<Client>,
    /// The people who can sign in.
    pub people: Vec<Person>,
    /// How long an access token lives.
    pub access_token_lifetime: Duration,
    /// How long an ID token lives.
    pub id_token_lifetime: Duration,
    /// How long a refresh token may lie unused.
    pub refresh_token_lifetime: Duration,
    /// How long a browser stays signed in at the provider itself.
    pub sign_on_lifetime: Duration,
    /// What signs ID tokens of clients that name no algorithm of their own.
    pub algorithm: Algorithm,
    /// Whether ID tokens carry the claims of the granted scopes.
    pub id_token_claims: IdTokenClaims,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            issuer: Issuer::Address,
            tls: None,
            clients: vec![Client::public("portcullis-demo", "https://localhost:8443/auth/callback")],
            people: demo_people(),
            access_token_lifetime: Duration::from_secs(300),
            id_token_lifetime: Duration::from_secs(300),
            refresh_token_lifetime: Duration::from_secs(30 * 24 * 3600),
            sign_on_lifetime: Duration::from_secs(8 * 3600),
            algorithm: Algorithm::Rs256,
            id_token_claims: IdTokenClaims::OnlyUserinfo,
        }
    }
}

/// How the provider calls itself. Its endpoints live below the path of this URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuer {
    /// The scheme and the address it really listens on.
    Address,
    /// Another host name, with the scheme and port it really listens on. A path may follow:
    /// `op.test/tenant/` becomes `http://op.test:PORT/tenant/`.
    Host(String),
    /// This very URL, for a provider behind a proxy or on a known port.
    Url(String),
}

/// A certificate chain and its key, both as PEM text.
#[derive(Clone)]
pub struct Tls {
    /// The chain, leaf first.
    pub certificates_pem: String,
    /// The private key of the leaf.
    pub key_pem: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tls { .. }")
    }
}

/// A registered client.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// How it proves itself at the token and revocation endpoints. Any other method is refused.
    pub authentication: Authentication,
    /// Where codes may be sent; compared byte by byte.
    pub redirect_uris: Vec<String>,
    /// Where a browser may go after sign-out; compared byte by byte.
    pub post_logout_redirect_uris: Vec<String>,
    /// What signs its ID tokens, when not the provider's own choice.
    pub algorithm: Option<Algorithm>,
}

impl Client {
    /// A client without a secret: PKCE alone.
    pub fn public(id: &str, redirect_uri: &str) -> Self {
        Self::new(id, redirect_uri, Authentication::Public)
    }

    /// A client that sends its secret by HTTP Basic.
    pub fn basic(id: &str, secret: &str, redirect_uri: &str) -> Self {
        Self::new(id, redirect_uri, Authentication::SecretBasic(secret.to_owned()))
    }

    /// A client that sends its secret in the form.
    pub fn post(id: &str, secret: &str, redirect_uri: &str) -> Self {
        Self::new(id, redirect_uri, Authentication::SecretPost(secret.to_owned()))
    }

    /// The same client, allowed to return here after sign-out.
    #[must_use]
    pub fn returning_to(mut self, post_logout_redirect_uri: &str) -> Self {
        self.post_logout_redirect_uris.push(post_logout_redirect_uri.to_owned());
        self
    }

    /// The same client with ID tokens signed by this algorithm.
    #[must_use]
    pub fn signed_with(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    fn new(id: &str, redirect_uri: &str, authentication: Authentication) -> Self {
        Self {
            id: id.to_owned(),
            authentication,
            redirect_uris: vec![redirect_uri.to_owned()],
            post_logout_redirect_uris: Vec::new(),
            algorithm: None,
        }
    }
}

/// How a client proves itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Authentication {
    /// `none`: no secret.
    Public,
    /// `client_secret_basic`, both parts form-urlencoded first (RFC 6749 section 2.3.1).
    SecretBasic(String),
    /// `client_secret_post`.
    SecretPost(String),
}

impl Authentication {
    /// The shared secret, if there is one.
    pub(crate) fn secret(&self) -> Option<&str> {
        match self {
            Self::Public => None,
            Self::SecretBasic(secret) | Self::SecretPost(secret) => Some(secret),
        }
    }
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Public => "Public",
            Self::SecretBasic(_) => "SecretBasic(..)",
            Self::SecretPost(_) => "SecretPost(..)",
        })
    }
}

/// Somebody who can sign in.
#[derive(Debug, Clone)]
pub struct Person {
    /// What is clicked on the login page or sent as `login_hint`.
    pub login: String,
    /// The `sub` claim.
    pub subject: String,
    /// The `given_name` claim; `name` joins both.
    pub given_name: String,
    /// The `family_name` claim.
    pub family_name: String,
    /// The `email` claim.
    pub email: String,
    /// The `email_verified` claim.
    pub email_verified: bool,
    /// The `groups` claim.
    pub groups: Vec<String>,
    /// The roles: `https://example.com/roles` and `realm_access.roles`.
    pub roles: Vec<String>,
    /// More claims, released with the scope `profile`. They win over those above.
    pub more_claims: Map<String, Value>,
}

impl Person {
    /// Somebody at example.com with a verified address and no group.
    pub fn new(login: &str, family_name: &str) -> Self {
        Self {
            login: login.to_owned(),
            subject: format!("subject-of-{login}"),
            given_name: capitalised(login),
            family_name: family_name.to_owned(),
            email: format!("{login}@example.com"),
            email_verified: true,
            groups: Vec::new(),
            roles: Vec::new(),
            more_claims: Map::new(),
        }
    }

    /// The same person, member of these groups.
    #[must_use]
    pub fn in_groups(mut self, groups: &[&str]) -> Self {
        self.groups = groups.iter().map(ToString::to_string).collect();
        self
    }

    /// The same person with these roles.
    #[must_use]
    pub fn with_roles(mut self, roles: &[&str]) -> Self {
        self.roles = roles.iter().map(ToString::to_string).collect();
        self
    }

    /// The same person with one more claim.
    #[must_use]
    pub fn with_claim(mut self, name: &str, value: Value) -> Self {
        self.more_claims.insert(name.to_owned(), value);
        self
    }

    /// The `name` claim.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.given_name, self.family_name)
    }
}

/// The signature algorithm of ID tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSA PKCS #1 1.5 with SHA-256.
    Rs256,
    /// RSA PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384. Its key is in the key set only when somebody uses it.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The name in a JWS header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Whether ID tokens carry the claims of the granted scopes. Userinfo always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdTokenClaims {
    /// ID tokens say who, not what: name, e-mail and groups come from userinfo alone.
    OnlyUserinfo,
    /// ID tokens carry the claims too.
    AlsoIdToken,
}

fn demo_people() -> Vec<Person> {
    let mut carol = Person::new("carol", "Clark");
    carol.email_verified = false;
    vec![
        Person::new("alice", "Adams").in_groups(&["staff", "admins"]).with_roles(&["admin", "editor"]),
        Person::new("bob", "Brown").in_groups(&["staff"]).with_roles(&["reader"]),
        carol,
    ]
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
