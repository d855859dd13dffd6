//! The requests to one provider, and what their outcomes are called. It sends and reads; it believes nothing.

use std::{borrow::Cow, pin::Pin};

use http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION},
};
use openidconnect::{
    AccessToken, AsyncHttpClient, AuthorizationCode, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl,
    RefreshToken, RequestTokenError, RevocationUrl, core::CoreRevocableToken,
};
use url::Url;

use super::{
    failure::{Failure, ProviderError},
    request::Client,
    token_answer::{ErrorAnswer, TokenAnswer, Tokens, UnusableAnswer},
};
use crate::{
    outbound::{Outbound, OutboundError, destination::Reachable},
    reason::Reason,
    secret::Secret,
};

/// The way to one provider.
#[derive(Clone, Debug)]
pub struct Transport {
    outbound: Outbound,
    reachable: Reachable,
}

/// The outcome of a token request that did not bring tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFailure {
    /// The provider cannot have acted on the request.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The provider may have acted on the request, and its answer is lost.
    #[error("answer lost: {0}")]
    Lost(String),
    /// The provider answered with an OAuth error.
    #[error("{}", .0.error)]
    Error(ProviderError),
    /// The provider answered with something else.
    #[error("{0}")]
    Unusable(String),
}

impl Transport {
    /// A way that leads only to those origins.
    pub const fn new(outbound: Outbound, reachable: Reachable) -> Self {
        Self { outbound, reachable }
    }

    /// Fetches a public document.
    ///
    /// # Errors
    /// [`Reason::ProviderUnreachable`] when it does not come, [`Reason::ProviderMetadataInvalid`] when something else
    /// comes in its place.
    pub async fn document(&self, url: &Url) -> Result<Vec<u8>, Failure> {
        let answer = self.get(url, HeaderMap::new()).await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer.into_body());
        }
        let cause = format!("{} answered {}", url.path(), answer.status());
        Err(Failure::new(Reason::ProviderMetadataInvalid, cause))
    }

    /// Asks for the claims that this access token opens; the token is in the header and nowhere else.
    ///
    /// # Errors
    /// [`Reason::ProviderUnreachable`] when no answer comes, [`Reason::UserinfoInvalid`] when it is a refusal.
    pub async fn userinfo(&self, url: &Url, access: &Secret) -> Result<HttpResponse, Failure> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", access.reveal()))
            .map_err(|_| Failure::new(Reason::TokenResponseInvalid, UnusableAnswer::AccessToken.to_string()))?;
        bearer.set_sensitive(true);
        let answer = self.get(url, HeaderMap::from_iter([(AUTHORIZATION, bearer)])).await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let cause = format!("the userinfo endpoint answered {}", answer.status());
        Err(Failure::new(Reason::UserinfoInvalid, cause))
    }

    /// Exchanges a code.
    ///
    /// # Errors
    /// [`TokenFailure`].
    pub async fn exchange_code(
        &self,
        client: &Client,
        code: &Secret,
        redirect_uri: &Url,
        verifier: &Secret,
    ) -> Result<Tokens, TokenFailure> {
        let answer = client
            .exchange_code(AuthorizationCode::new(code.reveal().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.reveal().to_owned()))
            .set_redirect_uri(Cow::Owned(RedirectUrl::from_url(redirect_uri.clone())))
            .request_async(&Sender { transport: self, instead: None })
            .await;
        tokens(answer, &[code, verifier])
    }

    /// Exchanges a refresh token.
    ///
    /// # Errors
    /// [`TokenFailure`].
    pub async fn refresh(&self, client: &Client, token: &Secret) -> Result<Tokens, TokenFailure> {
        let refresh = RefreshToken::new(token.reveal().to_owned());
        let answer =
            client.exchange_refresh_token(&refresh).request_async(&Sender { transport: self, instead: None }).await;
        tokens(answer, &[token])
    }

    /// Gives a refresh token back (RFC 7009).
    ///
    /// # Errors
    /// [`TokenFailure`].
    pub async fn revoke_refresh(&self, client: &Client, endpoint: &Url, token: &Secret) -> Result<(), TokenFailure> {
        let revocable = RefreshToken::new(token.reveal().to_owned()).into();
        self.revoke(client, endpoint, revocable, token).await
    }

    /// Gives an access token back (RFC 7009).
    ///
    /// # Errors
    /// [`TokenFailure`].
    pub async fn revoke_access(&self, client: &Client, endpoint: &Url, token: &Secret) -> Result<(), TokenFailure> {
        let revocable = AccessToken::new(token.reveal().to_owned()).into();
        self.revoke(client, endpoint, revocable, token).await
    }

    /// `openidconnect` writes revocations for https only, and development has a provider on loopback http: so it
    /// writes one for the https twin of the endpoint, which is sent to the endpoint itself. Whether http is in order
    /// was decided with the discovery document, and `Outbound` decides again.
    async fn revoke(
        &self,
        client: &Client,
        endpoint: &Url,
        revocable: CoreRevocableToken,
        token: &Secret,
    ) -> Result<(), TokenFailure> {
        let twin = RevocationUrl::new(endpoint.as_str().replacen("http://", "https://", 1));
        let twin = twin.map_err(|error| TokenFailure::NotSent(error.to_string()))?;
        let send = Sender { transport: self, instead: Some(endpoint) };
        let client = client.clone().set_revocation_url(twin);
        let request = client.revoke_token(revocable);
        let request = request.map_err(|error| TokenFailure::NotSent(error.to_string()))?;
        let outcome = request.request_async(&send).await;
        outcome.map_err(|error| outcome_of(error, &[token]))
    }

    async fn get(&self, url: &Url, mut headers: HeaderMap) -> Result<HttpResponse, Failure> {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = uri(url).map_err(|error| unreachable(url, &error))?;
        *request.headers_mut() = headers;
        self.send(request).await.map_err(|error| unreachable(url, &error))
    }

    /// A server error is no answer: nothing says what the server did before it failed.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, SendError> {
        let answer = self.outbound.call(request, &self.reachable).await?;
        let status = answer.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(SendError::Status(status));
        }
        Ok(answer)
    }
}

/// What `openidconnect` sends its requests by: this transport, to another endpoint where one is named.
struct Sender<'a> {
    transport: &'a Transport,
    instead: Option<&'a Url>,
}

impl<'c> AsyncHttpClient<'c> for Sender<'_> {
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, SendError>> + Send + 'c>>;

    fn call(&'c self, mut request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            if let Some(url) = self.instead {
                *request.uri_mut() = uri(url)?;
            }
            self.transport.send(request).await
        })
    }
}

/// Why a request has no answer that could be read.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("the provider answered {0}")]
    Status(StatusCode),
}

impl SendError {
    fn may_have_acted(&self) -> bool {
        match self {
            Self::Outbound(error) => error.may_have_arrived(),
            Self::Status(status) => *status != StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

fn uri(url: &Url) -> Result<Uri, OutboundError> {
    Uri::try_from(url.as_str()).map_err(|error| OutboundError::Malformed(error.to_string()))
}

fn unreachable(url: &Url, error: &impl ToString) -> Failure {
    let cause = format!("{}: {}", url.path(), error.to_string());
    Failure::new(Reason::ProviderUnreachable, cause)
}

fn tokens(
    answer: Result<TokenAnswer, RequestTokenError<SendError, ErrorAnswer>>,
    sent: &[&Secret],
) -> Result<Tokens, TokenFailure> {
    answer
        .map_err(|error| outcome_of(error, sent))?
        .into_tokens()
        .map_err(|error| TokenFailure::Unusable(error.to_string()))
}

/// Names the place in an answer that did not parse and never what stands there: it may be a token.
fn outcome_of(error: RequestTokenError<SendError, ErrorAnswer>, sent: &[&Secret]) -> TokenFailure {
    match error {
        RequestTokenError::ServerResponse(answer) => TokenFailure::Error(answer.cleaned().without(sent)),
        RequestTokenError::Request(error) if error.may_have_acted() => TokenFailure::Lost(error.to_string()),
        RequestTokenError::Request(error) => TokenFailure::NotSent(error.to_string()),
        RequestTokenError::Parse(error, body) => TokenFailure::Unusable(format!(
            "{} bytes that are not the JSON they must be, at line {} column {}",
            body.len(),
            error.inner().line(),
            error.inner().column()
        )),
        RequestTokenError::Other(cause) => TokenFailure::Unusable(cause),
    }
}
