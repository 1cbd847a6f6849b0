//! Responses to rejected headers and connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONNECTION};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::protocols::Stream;
use proto_contracts::{ErrorCode, Problem, RequestId, headers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::Traffic;
use crate::connection::header::Refused;
use crate::decision::local_reply;
use crate::http_strict::Fault;
use crate::request::{FieldLines, FieldSink, RequestContext};
use crate::telemetry::{RefusedConnection, Telemetry};

const X_REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);

/// Timeout of writing the response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long further input is discarded. Closing at once would send a reset, and the client could
/// lose the response.
const LINGER: Duration = Duration::from_secs(2);

/// Timeout of writing the response to a rejected connection, and of the client reading it.
const REJECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How many rejected connections may wait for that.
const MAX_READING: usize = 64;

/// Sends the error and closes the connection, so that nothing after the rejected header is read as
/// a request.
pub(super) async fn respond(
    mut stream: Stream,
    refused: &Refused,
    traffic: Arc<Traffic>,
    telemetry: &Telemetry,
) {
    let mut ctx = RequestContext::new(telemetry.metrics.enter(), traffic);
    ctx.started = refused.since.into_std();
    ctx.request_id = request_id(&refused.bytes);
    ctx.problem = Some(refused.fault.code());
    if let Some(peer) = peer_address(&stream) {
        // Forwarding headers of a rejected request are not used.
        ctx.client.ip = peer.ip().to_canonical();
    }
    let method = method(&refused.bytes);
    let (status, head, body) = compose(&ctx, refused.fault, method);
    let written = tokio::time::timeout(WRITE_TIMEOUT, async {
        stream.write_all(&head).await?;
        stream.write_all(&body).await?;
        stream.flush().await
    });
    let written = matches!(written.await, Ok(Ok(())));
    let (status, bytes) = if written { (Some(status), body.len()) } else { (None, 0) };
    telemetry.request_refused(&ctx, refused.fault, method, status, bytes);
    // Discarding the rest does not count as a request in flight.
    drop(ctx);
    if written && stream.shutdown().await.is_ok() {
        let _gone = tokio::time::timeout(LINGER, discard(&mut stream)).await;
    }
}

/// Rejects a connection above the limit, with a response if the client accepts it at once.
pub(super) async fn reject(mut stream: Stream, why: RefusedConnection) {
    static READING: AtomicUsize = AtomicUsize::new(0);
    let written = tokio::time::timeout(REJECT_TIMEOUT, async {
        stream.write_all(response_to(why).as_bytes()).await?;
        stream.shutdown().await
    });
    if !matches!(written.await, Ok(Ok(()))) {
        return;
    }
    // Bounded, because each has a descriptor.
    if READING.fetch_add(1, Ordering::Relaxed) < MAX_READING {
        let _gone = tokio::time::timeout(REJECT_TIMEOUT, discard(&mut stream)).await;
    }
    READING.fetch_sub(1, Ordering::Relaxed);
}

fn response_to(why: RefusedConnection) -> String {
    let code = ErrorCode::TooManyConnections;
    let detail = match why {
        RefusedConnection::Total => "The limit of client connections is reached; retry shortly.",
        RefusedConnection::PerAddress => {
            "The limit of connections from this address is reached; close one first."
        }
    };
    let body = serde_json::to_string(&Problem::new(code, detail, None)).unwrap_or_default();
    let after = code.retry_after_s().unwrap_or(1);
    format!(
        "HTTP/1.1 {} Service Unavailable\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\n\
         retry-after: {after}\r\nconnection: close\r\n\r\n{body}",
        code.status(),
        headers::PROBLEM_JSON,
        body.len(),
    )
}

/// The status, the header and the body of the error.
fn compose(ctx: &RequestContext, fault: Fault, method: &str) -> (StatusCode, BytesMut, Bytes) {
    let detail = fault.detail(ctx.traffic.limits.header);
    let mut document = local_reply::problem(fault.code(), detail, ctx.request_id);
    if fault == Fault::UnknownMethod {
        let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        document.fields.push((ALLOW, HeaderValue::from_static(allowed)));
    }
    let mut head = BytesMut::with_capacity(512);
    document.write_head(&mut head);
    let mut lines = FieldLines(&mut head);
    lines.set(&X_REQUEST_ID, &ctx.request_id.to_ascii());
    lines.set(&CONNECTION, b"close");
    head.extend_from_slice(b"\r\n");
    (document.status, head, if method == "HEAD" { Bytes::new() } else { document.body })
}

/// The address of the client or the proxy in front.
pub(super) fn peer_address(stream: &Stream) -> Option<SocketAddr> {
    stream.get_socket_digest()?.peer_addr()?.as_inet().copied()
}

async fn discard(stream: &mut Stream) {
    let mut rest = BytesMut::with_capacity(16 * 1024);
    while stream.read_buf(&mut rest).await.is_ok_and(|read| read > 0) {
        rest.clear();
    }
}

/// The method, if complete.
fn method(bytes: &[u8]) -> &str {
    let end = memchr::memchr(b' ', bytes).unwrap_or(0);
    std::str::from_utf8(&bytes[..end]).unwrap_or("")
}

/// The request id of a proxy in front, else a new one.
fn request_id(bytes: &[u8]) -> RequestId {
    let named = |line: &&[u8]| {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        name.eq_ignore_ascii_case(headers::REQUEST_ID.as_bytes())
    };
    let line = bytes.split(|&byte| byte == b'\n').find(named);
    let value = line.and_then(|line| line.get(headers::REQUEST_ID.len() + 1..));
    value
        .and_then(|value| RequestId::parse_bytes(value.trim_ascii()))
        .unwrap_or_else(RequestId::generate)
}
