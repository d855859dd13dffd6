//! A visitor with a cookie jar, who follows no redirect unasked.

use std::net::{IpAddr, SocketAddr};

use reqwest::{
    Certificate, Client, ClientBuilder, Method, StatusCode,
    cookie::{CookieStore, Jar},
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use serde_json::Value;
use url::Url;

use super::{APP, Stage, admin_ca::Identity};

/// The `User-Agent` of all visitors who do not say otherwise.
pub(crate) const USER_AGENT: &str = "Journey/1.0 Firefox/140.0";

/// One browser, more or less.
pub(crate) struct Visitor {
    pub(crate) client: Client,
    pub(crate) jar: std::sync::Arc<Jar>,
    base: Url,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) url: Url,
}

impl Visitor {
    pub(crate) fn new(stage: &Stage) -> Self {
        Self::calling_themselves(stage, USER_AGENT)
    }

    pub(crate) fn calling_themselves(stage: &Stage, user_agent: &str) -> Self {
        Self::with(stage, |client| client.user_agent(user_agent))
    }

    /// From another of this machine's own addresses, so that nginx sees another client.
    pub(crate) fn coming_from(stage: &Stage, address: [u8; 4]) -> Self {
        Self::with(stage, |client| client.user_agent(USER_AGENT).local_address(IpAddr::from(address)))
    }

    /// A browser that shows a client certificate, on a connection of its own for each request.
    pub(crate) fn showing(stage: &Stage, identity: &Identity) -> Self {
        let identity = reqwest::Identity::from_pem(&identity.pem()).unwrap();
        Self::with(stage, |client| client.user_agent(USER_AGENT).identity(identity).pool_max_idle_per_host(0))
    }

    fn with(stage: &Stage, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        let jar = std::sync::Arc::new(Jar::default());
        let ca = Certificate::from_pem(&std::fs::read(&stage.certificates.ca).unwrap()).unwrap();
        let client = change(Client::builder())
            .cookie_provider(std::sync::Arc::clone(&jar))
            .redirect(Policy::none())
            .tls_certs_only([ca])
            .no_proxy()
            .resolve(APP, SocketAddr::from(([127, 0, 0, 1], 0)))
            .build()
            .unwrap();
        Self { client, jar, base: stage.url("/").parse().unwrap() }
    }

    /// Opens a page as somebody who types its address.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.open(&self.url(path)).await
    }

    async fn open(&self, url: &Url) -> Reply {
        let headers = [
            ("accept", "text/html"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-site", "none"),
        ];
        self.send(Method::GET, url, &headers).await
    }

    /// Asks as a script of the application's own page does.
    pub(crate) async fn fetch(&self, method: Method, path: &str) -> Reply {
        let headers = [
            ("accept", "*/*"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.send(method, &self.url(path), &headers).await
    }

    /// Asks with exactly these headers beside cookies and `User-Agent`.
    pub(crate) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(method, &self.url(path), headers).await
    }

    pub(crate) async fn send(&self, method: Method, url: &Url, headers: &[(&str, &str)]) -> Reply {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let response = self.client.request(method, url.clone()).headers(map).send().await.unwrap();
        Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            url: response.url().clone(),
            body: response.text().await.unwrap(),
        }
    }

    /// Opens a page and follows every redirect, signing in at the provider as `login` on the way.
    pub(crate) async fn sign_in(&self, login: &str, path: &str) -> Reply {
        let reply = self.get(path).await;
        self.follow(reply, login).await
    }

    /// Follows redirects, signing in at the provider as `login` on the way.
    pub(crate) async fn follow(&self, mut reply: Reply, login: &str) -> Reply {
        for _ in 0..REDIRECTS {
            let Some(next) = reply.location() else {
                return reply;
            };
            reply = self.open(&hinted(next, login)).await;
        }
        panic!("more than {REDIRECTS} redirects: {reply:?}");
    }

    /// Begins a sign-in and stops where the provider sends the browser back: gives the callback's URL.
    pub(crate) async fn up_to_callback(&self, login: &str, path: &str) -> Url {
        let mut reply = self.get(path).await;
        for _ in 0..REDIRECTS {
            let next = reply.location().unwrap_or_else(|| panic!("no redirect: {reply:?}"));
            if next.path().starts_with("/auth/callback") {
                return next;
            }
            reply = self.open(&hinted(next, login)).await;
        }
        panic!("more than {REDIRECTS} redirects: {reply:?}");
    }

    /// Opens a whole URL.
    pub(crate) async fn visit(&self, url: &Url) -> Reply {
        self.open(url).await
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}{}", self.base.as_str().trim_end_matches('/'), path)).unwrap()
    }

    /// The cookies that go to the application, as the header has them.
    pub(crate) fn cookies(&self) -> String {
        let header = self.jar.cookies(&self.base);
        header.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    /// The value of one cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.cookies();
        let found = cookies.split("; ").find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned)
    }

    /// The session cookie's value.
    pub(crate) fn session(&self) -> Option<String> {
        self.cookie("__Host-portcullis")
    }

    /// Plants a cookie for the application's host.
    pub(crate) fn plant(&self, cookie: &str) {
        self.jar.add_cookie_str(&format!("{cookie}; Secure; Path=/"), &self.base);
    }
}

impl Reply {
    /// Where it redirects to.
    pub(crate) fn location(&self) -> Option<Url> {
        let redirects = StatusCode::from_u16(self.status).unwrap().is_redirection();
        let location = self.headers.get("location")?.to_str().unwrap();
        redirects.then(|| self.url.join(location).unwrap())
    }

    /// The header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and reason of a refusal.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status, self.header("x-portcullis-reason"))
    }
}

fn hinted(mut url: Url, login: &str) -> Url {
    if url.path().ends_with("/authorize")
        || url.path().ends_with("/auth") && url.query().is_some_and(|query| query.contains("client_id="))
    {
        url.query_pairs_mut().append_pair("login_hint", login);
    }
    url
}

const REDIRECTS: usize = 12;
