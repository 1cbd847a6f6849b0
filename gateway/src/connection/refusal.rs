//! Responses to rejected headers and connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONNECTION, ORIGIN};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::protocols::Stream;
use proto_contracts::{ErrorCode, RequestId, headers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::Traffic;
use crate::connection::header::Refused;
use crate::decision::cors;
use crate::decision::local_reply::{self, Document};
use crate::exchange::{discard, linger};
use crate::http_strict::Fault;
use crate::request::{FieldLines, FieldSink, RequestContext};
use crate::telemetry::{RefusedConnection, Telemetry};

const X_REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);

/// Timeout of writing the response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// How much of a header is read behind a target that is too long, and for how long: the request id
/// of a proxy and the origin of a page come there.
const MAX_BEHIND_TARGET: usize = 128 * 1024;
const BEHIND_TARGET_TIMEOUT: Duration = Duration::from_millis(250);

/// Timeout of writing the response to a rejected connection, and of the client reading it.
const REJECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How many rejected connections may wait for that.
const MAX_READING: usize = 64;

/// Sends the error and closes the connection, so that nothing after the rejected header is read as
/// a request.
pub(super) async fn respond(
    mut stream: Stream,
    mut refused: Refused,
    traffic: Arc<Traffic>,
    telemetry: &Telemetry,
) {
    let mut ctx = RequestContext::new(telemetry.metrics.enter(), traffic);
    ctx.started = refused.since.into_std();
    if refused.fault.code() == ErrorCode::UriTooLong {
        read_behind_target(&mut stream, &mut refused.bytes).await;
    }
    let id = sent(&refused.bytes, headers::REQUEST_ID).next().and_then(RequestId::parse_bytes);
    ctx.request_id = id.unwrap_or_else(RequestId::generate);
    if let Some(cors) = &ctx.traffic.cors {
        let mut origins = sent(&refused.bytes, ORIGIN.as_str());
        let single = origins.next().filter(|_| origins.next().is_none());
        ctx.cors_origin = single.and_then(|origin| cors.allowed(origin)).cloned();
    }
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
    if written {
        linger(&mut stream).await;
    }
}

/// Rejects a connection above the limit, with a response if the client accepts it at once.
pub(super) async fn reject(mut stream: Stream, why: RefusedConnection) {
    static READING: AtomicUsize = AtomicUsize::new(0);
    let written = tokio::time::timeout(REJECT_TIMEOUT, async {
        stream.write_all(&response_to(why)).await?;
        stream.shutdown().await
    });
    if !matches!(written.await, Ok(Ok(()))) {
        return;
    }
    // Bounded, because each has a descriptor.
    if READING.fetch_add(1, Ordering::Relaxed) < MAX_READING {
        discard(&mut stream, REJECT_TIMEOUT).await;
    }
    READING.fetch_sub(1, Ordering::Relaxed);
}

fn response_to(why: RefusedConnection) -> Vec<u8> {
    let detail = match why {
        RefusedConnection::Total => "The limit of client connections is reached; retry shortly.",
        RefusedConnection::PerAddress => {
            "The limit of connections from this address is reached; close one first."
        }
    };
    let document = local_reply::problem(ErrorCode::TooManyConnections, detail.into(), None);
    let mut response = header_of(&document, None);
    response.extend_from_slice(&document.body);
    response
}

/// The status, the header and the body of the error.
fn compose(ctx: &RequestContext, fault: Fault, method: &str) -> (StatusCode, Vec<u8>, Bytes) {
    let detail = fault.detail(ctx.traffic.limits.header);
    let mut document = local_reply::problem(fault.code(), detail, Some(ctx.request_id));
    if fault == Fault::UnknownMethod {
        let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        document.fields.push((ALLOW, HeaderValue::from_static(allowed)));
    }
    let header = header_of(&document, Some(ctx));
    (document.status, header, if method == "HEAD" { Bytes::new() } else { document.body })
}

/// The header of a response that ends the connection; `None`: nothing of a request was read.
fn header_of(document: &Document, ctx: Option<&RequestContext>) -> Vec<u8> {
    let mut header = Vec::with_capacity(1024);
    document.write_head(&mut header);
    let mut lines = FieldLines(&mut header);
    if let Some(ctx) = ctx {
        lines.set(&X_REQUEST_ID, &ctx.request_id.to_ascii());
        if let Some(cors) = &ctx.traffic.cors {
            cors::to_client(cors, ctx, &mut lines);
        }
    }
    lines.set(&CONNECTION, b"close");
    header.extend_from_slice(b"\r\n");
    header
}

/// The address of the client or the proxy in front.
pub(super) fn peer_address(stream: &Stream) -> Option<SocketAddr> {
    stream.get_socket_digest()?.peer_addr()?.as_inet().copied()
}

/// The method, if complete.
fn method(bytes: &[u8]) -> &str {
    let end = memchr::memchr(b' ', bytes).unwrap_or(0);
    std::str::from_utf8(&bytes[..end]).unwrap_or("")
}

/// Reads on until the end of the header.
async fn read_behind_target(stream: &mut Stream, bytes: &mut BytesMut) {
    let _in_vain = tokio::time::timeout(BEHIND_TARGET_TIMEOUT, async {
        while memchr::memmem::find(bytes, b"\r\n\r\n").is_none()
            && bytes.len() < MAX_BEHIND_TARGET
            && stream.read_buf(bytes).await.is_ok_and(|read| read > 0)
        {}
    })
    .await;
}

/// The values of a field in a header that may be malformed or incomplete.
fn sent<'a>(bytes: &'a [u8], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let lines = lines.take_while(|line| !matches!(*line, b"\r\n" | b"\n") && line.ends_with(b"\n"));
    lines.filter_map(move |line| {
        let (field, value) = line.split_at_checked(name.len())?;
        let value =
            value.strip_prefix(b":").filter(|_| field.eq_ignore_ascii_case(name.as_bytes()));
        value.map(<[u8]>::trim_ascii)
    })
}
