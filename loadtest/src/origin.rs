//! Origins behind the proxies that `loadtest bench` compares. Their responses are cheap, so that
//! the proxy dominates the cost. They serve HTTP/1.1 and HTTP/2 without TLS, as the proxy chooses.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::headers::{AFFINITY_KEY, INSTANCE_ID, REQUEST_ID};
use proto_contracts::health::HEALTHY;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket};

/// The response body: the request as the origin received it, to check the proxy's work. A newline
/// and the [`pattern`] follow when the query asks for a larger one (`bytes=65536`).
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Received<'a> {
    /// The origin's name.
    pub(crate) instance: &'a str,
    /// The requested path.
    pub(crate) path: &'a str,
    /// The affinity key from the gateway's header or the cookie; empty without one.
    pub(crate) key: &'a str,
    /// `X-Request-Id`; empty without one.
    pub(crate) request_id: &'a str,
    /// Of requests with a `traceparent`: its trace id.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(crate) trace_id: &'a str,
    /// Of requests with a `traceparent`: the client by `X-Forwarded-For`.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(crate) client: &'a str,
    /// Length of the request's body if that is the beginning of the [`pattern`], else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) body_bytes: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The longest body of requests and responses, in which no part resembles another.
pub(crate) fn pattern() -> &'static Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut state = 0x9e37_79b9_u32;
        let next = |_| {
            // Constants of "Numerical Recipes"; the upper bits are the best.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..MAX_BODY).map(next).collect()
    })
}

const MAX_BODY: usize = 1 << 20;
/// The query parameter with the size of the response.
pub(crate) const BYTES: &str = "bytes=";

/// Serves one origin per name on free loopback ports. Prints name and address of each, one per
/// line. Runs until it is killed.
///
/// # Errors
/// When no port is free.
pub(crate) async fn serve(names: &[String]) -> Result<()> {
    let mut origins = Vec::new();
    for name in names {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).context("no free port")?;
        let instance = HeaderValue::from_str(name)
            .with_context(|| format!("'{name}' is not a valid header value"))?;
        writeln!(std::io::stdout(), "{name} {}", listener.local_addr()?)?;
        origins.push(accept(listener, Arc::new(Origin { name: name.clone(), instance })));
    }
    try_join_all(origins).await?;
    Ok(())
}

/// Listens at an address. All connections may be opened at once.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    const BACKLOG: u32 = 4096;
    let socket = TcpSocket::new_v4()?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

struct Origin {
    name: String,
    instance: HeaderValue,
}

async fn accept(listener: TcpListener, origin: Arc<Origin>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let origin = Arc::clone(&origin);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let origin = Arc::clone(&origin);
                async move { origin.response(request).await }
            });
            let mut server = auto::Builder::new(TokioExecutor::new());
            // No limit on requests in flight.
            server.http2().max_concurrent_streams(None);
            // A proxy may close idle connections.
            let _closed = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Origin {
    /// # Errors
    /// When the connection breaks within the request's body.
    async fn response(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (request, body) = request.into_parts();
        let (content_type, body) = if request.uri.path() == "/health" {
            ("text/plain", Bytes::from_static(HEALTHY.as_bytes()))
        } else {
            let body_bytes =
                if body.is_end_stream() { 0 } else { received_of_pattern(body).await? };
            ("application/json", self.received(&request, body_bytes).into())
        };
        let mut response = Response::new(Full::new(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(HeaderName::from_static(INSTANCE_ID), self.instance.clone());
        Ok(response)
    }

    fn received(&self, request: &request::Parts, body_bytes: usize) -> Vec<u8> {
        let headers = &request.headers;
        let cookie = || affinity(text(headers, COOKIE.as_str())?);
        let mut received = Received {
            instance: &self.name,
            path: request.uri.path(),
            key: text(headers, AFFINITY_KEY).or_else(cookie).unwrap_or_default(),
            request_id: text(headers, REQUEST_ID).unwrap_or_default(),
            body_bytes,
            ..Received::default()
        };
        if let Some(traceparent) = text(headers, "traceparent") {
            received.trace_id = traceparent.split('-').nth(1).unwrap_or_default();
            let clients = text(headers, "x-forwarded-for").unwrap_or_default();
            received.client = clients.split(',').next().unwrap_or_default();
        }
        // Strings always serialize; an empty body would be counted as a failure.
        let mut body = serde_json::to_vec(&received).unwrap_or_default();
        let size = request.uri.query().and_then(|query| query.strip_prefix(BYTES)?.parse().ok());
        let rest = size.unwrap_or(0_usize).saturating_sub(body.len() + 1);
        if rest > 0 {
            body.push(b'\n');
            body.extend_from_slice(&pattern()[..rest.min(MAX_BODY)]);
        }
        body
    }
}

/// Reads the body. Returns its length if it is the beginning of the pattern, else 0.
async fn received_of_pattern(mut body: Incoming) -> Result<usize, hyper::Error> {
    let (mut length, mut is_intact) = (0, true);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        is_intact &= pattern().get(length..length + data.len()) == Some(&*data);
        length += data.len();
    }
    Ok(if is_intact { length } else { 0 })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn affinity(cookie: &str) -> Option<&str> {
    cookie.split("; ").find_map(|pair| pair.strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}
