//! Serves pages under the headers they are really sent with, and remembers what was asked for.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// A page to look at.
pub(crate) struct Exhibit {
    /// Its path, and its picture's name.
    pub(crate) name: &'static str,
    /// The document.
    pub(crate) html: String,
    /// Its `Content-Security-Policy`; nginx's own page has none.
    pub(crate) policy: Option<String>,
}

/// A server of exhibits on a free loopback port, for as long as the program runs.
pub(crate) struct Server {
    url: Url,
    posts: Arc<Mutex<Vec<HeaderMap>>>,
}

/// What each connection needs.
struct Shop {
    exhibits: Vec<Exhibit>,
    after_post: Option<Url>,
    posts: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Server {
    /// Serves; every `POST` is answered with a redirect to `after_post`.
    pub(crate) async fn start(exhibits: Vec<Exhibit>, after_post: Option<Url>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
        let posts = Arc::default();
        let shop = Arc::new(Shop { exhibits, after_post, posts: Arc::clone(&posts) });
        tokio::spawn(accept(listener, shop));
        Ok(Self { url, posts })
    }

    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn page(&self, name: &str) -> anyhow::Result<Url> {
        self.url.join(name).context("a page's name is a path")
    }

    /// The headers of the forms sent here since the last call.
    pub(crate) fn take_posts(&self) -> Vec<HeaderMap> {
        std::mem::take(&mut *self.posts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn accept(listener: TcpListener, shop: Arc<Shop>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&shop)));
    }
}

async fn serve(stream: TcpStream, shop: Arc<Shop>) {
    let service = service_fn(|request| {
        let response = answer(&request, &shop);
        async { Ok::<_, Infallible>(response) }
    });
    // The browser hangs up when it likes; a page it could not read shows as a failed look.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, shop: &Shop) -> Response<Full<Bytes>> {
    let response = match (request.method(), &shop.after_post) {
        (&Method::POST, Some(target)) => {
            let mut posts = shop.posts.lock().unwrap_or_else(PoisonError::into_inner);
            posts.push(request.headers().clone());
            Response::builder().status(StatusCode::SEE_OTHER).header(LOCATION, target.as_str()).body(Full::default())
        }
        _ => page(request.uri().path(), &shop.exhibits),
    };
    response.unwrap_or_default()
}

fn page(path: &str, exhibits: &[Exhibit]) -> http::Result<Response<Full<Bytes>>> {
    let Some(exhibit) = exhibits.iter().find(|exhibit| path.strip_prefix('/') == Some(exhibit.name)) else {
        return Response::builder().status(StatusCode::NOT_FOUND).body(Full::default());
    };
    let mut response =
        Response::builder().header(CONTENT_TYPE, "text/html; charset=utf-8").header(REFERRER_POLICY, "no-referrer");
    if let Some(policy) = &exhibit.policy {
        response = response.header(CONTENT_SECURITY_POLICY, policy);
    }
    response.body(Full::from(exhibit.html.clone()))
}
