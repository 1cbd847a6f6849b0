//! Origins behind the proxies that `loadtest bench` compares. Their responses are cheap, so that
//! the proxy dominates the cost. They serve HTTP/1.1 and HTTP/2 without TLS, as the proxy chooses.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::headers::{AFFINITY_KEY, INSTANCE_ID, REQUEST_ID};
use proto_contracts::health::HEALTHY;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// The response body: the request as the origin received it, to check the proxy's work.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Received<'a> {
    /// The origin's name.
    pub(crate) instance: &'a str,
    /// The requested path.
    pub(crate) path: &'a str,
    /// The affinity key from the gateway's header or the cookie; empty without one.
    pub(crate) key: &'a str,
    /// `X-Request-Id`; empty without one.
    pub(crate) request_id: &'a str,
}

/// Serves one origin per name on free loopback ports. Prints name and address of each, one per
/// line. Runs until it is killed.
///
/// # Errors
/// When no port is free.
pub(crate) async fn serve(names: &[String]) -> Result<()> {
    let mut origins = Vec::new();
    for name in names {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .context("no free port")?;
        let instance = HeaderValue::from_str(name)
            .with_context(|| format!("'{name}' is not a valid header value"))?;
        writeln!(std::io::stdout(), "{name} {}", listener.local_addr()?)?;
        origins.push(accept(listener, Arc::new(Origin { name: name.clone(), instance })));
    }
    try_join_all(origins).await?;
    Ok(())
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
                let response = origin.response(&request);
                async { Ok::<_, Infallible>(response) }
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
    fn response(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (content_type, body) = if request.uri().path() == "/health" {
            ("text/plain", Bytes::from_static(HEALTHY.as_bytes()))
        } else {
            let headers = request.headers();
            let key =
                text(headers, AFFINITY_KEY).or_else(|| affinity(text(headers, COOKIE.as_str())?));
            let request_id = text(headers, REQUEST_ID).unwrap_or_default();
            let path = request.uri().path();
            let received =
                Received { instance: &self.name, path, key: key.unwrap_or_default(), request_id };
            // Strings always serialize; an empty body would be counted as a failure.
            ("application/json", serde_json::to_vec(&received).unwrap_or_default().into())
        };
        let mut response = Response::new(Full::new(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(HeaderName::from_static(INSTANCE_ID), self.instance.clone());
        response
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn affinity(cookie: &str) -> Option<&str> {
    cookie.split("; ").find_map(|pair| pair.strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}
