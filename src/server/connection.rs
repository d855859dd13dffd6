//! One connection: HTTP/1, every hyper limit and timer, and bodies that are read within theirs.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header, request::Parts};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    gateway::{Gateway, Origin},
    inbound::{Listener, Peer},
    reason::Reason,
    route::Body,
    server::{
        listener::Serving,
        patience::{Patience, Patient},
    },
};

/// Serves a connection to its end; once it is `over`, no further than the request it is on. The platform's listener
/// answers until the very end.
pub async fn serve<S>(serving: &Arc<Serving>, peer: Peer, stream: S, over: Option<&CancellationToken>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = &serving.limits;
    let patience = Arc::new(Patience::default());
    let stream = Patient::new(stream, Arc::clone(&patience), limits.idle_timeout, limits.header_timeout);
    let service = service_fn(|request| answer(serving, peer, Arc::clone(&patience), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes.max(HYPER_LEAST_BUFFER))
        .max_header_size(limits.header_bytes)
        .max_headers(MOST_HEADERS)
        .half_close(false)
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = match serving.kind {
        Listener::Ops => Some(connection.as_mut().await),
        Listener::Nginx | Listener::Application => serving.drain.until_stop(connection.as_mut(), over).await,
    };
    let ended = match ended {
        // hyper would close it, and break the request that is on its way.
        None if patience.expects_request() => timeout(LAST_REQUEST, connection.as_mut()).await.ok(),
        ended => ended,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The gateway is taken once, so that all of the answer is by the same settings.
///
/// Takes the request apart before there is a future, and keeps what is rare on the heap: hyper moves the future of each
/// request, with all the room that it may ever need.
fn answer(
    serving: &Serving,
    peer: Peer,
    patience: Arc<Patience>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> {
    patience.busy();
    let origin = Origin {
        listener: serving.kind,
        trust: &serving.trust,
        peer,
        site: serving.site.as_deref(),
        certificates: serving.certificates,
    };
    let (parts, body) = request.into_parts();
    // A request that has a length beside an encoding can be read as two, and hyper shows the encoding alone: so what is
    // encoded is a connection's last (RFC 9112 section 6.1). nginx sends lengths.
    let encoded = hyper::body::Body::size_hint(&body).exact().is_none();
    async move {
        let gateway = serving.front.gateway();
        let body = if hyper::body::Body::is_end_stream(&body) {
            Ok(Bytes::new())
        } else {
            Box::pin(read(&gateway, serving, &parts, body)).await
        };
        let failed = body.is_err();
        let mut response = gateway.handle(Request::from_parts(parts, ()), body, &origin).await;
        // Whoever asks next is better off elsewhere, and knows it before the connection is gone.
        if failed || encoded || (serving.kind != Listener::Ops && serving.drain.is_leaving()) {
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        patience.waiting();
        Ok(response)
    }
}

/// Reads what came, so that the connection can be used again, but no more than the limits allow; keeps what is wanted.
async fn read(gateway: &Gateway, serving: &Serving, head: &Parts, body: Incoming) -> Result<Bytes, Reason> {
    let limits = &serving.limits;
    let body = Limited::new(body, limits.body_bytes);
    let whole = async {
        match gateway.wants_body(serving.kind, head) {
            Body::Taken => body.collect().await.ok().map(Collected::to_bytes),
            Body::Discarded => dropped(body).await,
        }
    };
    timeout(limits.body_timeout, whole).await.ok().flatten().ok_or(Reason::BodyTooLarge)
}

async fn dropped(mut body: Limited<Incoming>) -> Option<Bytes> {
    while let Some(frame) = body.frame().await {
        frame.ok()?;
    }
    Some(Bytes::new())
}

/// How long a connection that was made, or on which a head has begun, may wait for the whole of it once it is to end.
const LAST_REQUEST: Duration = Duration::from_millis(500);
/// Most header lines of a request; for more, hyper would take memory anew for each.
pub const MOST_HEADERS: usize = 100;
/// hyper refuses a smaller buffer.
const HYPER_LEAST_BUFFER: usize = 8 * 1024;
