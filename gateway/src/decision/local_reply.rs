//! Local replies: health, preflights and errors.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use proto_contracts::{ErrorCode, Problem, RequestId, headers, health};

use crate::decision::cors;
use crate::request::{FieldLines, FieldSink, RequestContext, RequestHead, ResponseHead};

/// A response of the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalReply {
    /// 200 for `/health`.
    Healthy,
    /// 204 for a preflight of a listed origin.
    Preflight,
    /// An error.
    Problem(ErrorCode),
}

/// A composed local reply. The engine adds the fields of [`super::forward::to_client`], and leaves
/// the body out for `HEAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The status.
    pub status: StatusCode,
    /// Its fields, each once.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Document {
    /// Writes the status line and the fields as lines of HTTP/1, without the empty line at the end.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut lines = FieldLines(out);
        self.fields.iter().for_each(|(name, value)| lines.set(name, value.as_bytes()));
    }
}

impl ResponseHead for Document {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let named = self.fields.iter().filter(move |(field, _)| *field == name);
        named.map(|(_, value)| value.as_bytes())
    }
}

/// The reply to a path without a route.
pub(super) fn without_route(head: &impl RequestHead) -> LocalReply {
    match head.path() {
        "/health" if matches!(head.method(), Method::GET | Method::HEAD) => LocalReply::Healthy,
        "/health" => LocalReply::Problem(ErrorCode::MethodNotAllowed),
        _ => LocalReply::Problem(ErrorCode::NotFound),
    }
}

/// Composes the reply.
pub fn compose(reply: LocalReply, ctx: &RequestContext) -> Document {
    let mut document = match reply {
        LocalReply::Healthy => {
            let body = Bytes::from_static(health::HEALTHY.as_bytes());
            document(StatusCode::OK, HeaderValue::from_static("text/plain"), body)
        }
        LocalReply::Preflight => Document {
            status: StatusCode::NO_CONTENT,
            fields: ctx.traffic.cors.as_ref().map(cors::preflight).unwrap_or_default(),
            body: Bytes::new(),
        },
        LocalReply::Problem(code) => problem(code, detail(code, ctx), Some(ctx.request_id)),
    };
    if reply == LocalReply::Problem(ErrorCode::MethodNotAllowed) {
        document.fields.push((ALLOW, HeaderValue::from_static("GET, HEAD")));
    }
    // The exact time for a limited client.
    if let Some(seconds) = ctx.quota.as_ref().and_then(|(quota, _)| quota.retry_after_s) {
        document.fields.retain(|(name, _)| name != RETRY_AFTER);
        document.fields.push((RETRY_AFTER, seconds.into()));
    }
    document
}

/// An error.
pub fn problem(
    code: ErrorCode,
    detail: Cow<'static, str>,
    request_id: Option<RequestId>,
) -> Document {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&Problem::new(code, detail, request_id)).unwrap_or_default();
    let mut document =
        document(status, HeaderValue::from_static(headers::PROBLEM_JSON), body.into());
    if let Some(seconds) = code.retry_after_s() {
        document.fields.push((RETRY_AFTER, seconds.into()));
    }
    document
}

fn document(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Document {
    let fields = vec![
        (CONTENT_TYPE, content_type),
        (CONTENT_LENGTH, body.len().into()),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Document { status, fields, body }
}

fn detail(code: ErrorCode, ctx: &RequestContext) -> Cow<'static, str> {
    let text = match code {
        ErrorCode::BodyTooLarge => {
            return format!(
                "The body may have at most {} bytes.",
                ctx.traffic.limits.body.of(ctx.resolved.as_ref())
            )
            .into();
        }
        ErrorCode::TooManyInFlight => {
            let most = ctx.traffic.clients.requests;
            return format!(
                "A client may have at most {most} requests in flight; wait for a response."
            )
            .into();
        }
        ErrorCode::TooManyClientStreams => {
            let most = ctx.traffic.clients.streams;
            return format!("A client may have at most {most} live connections; close one first.")
                .into();
        }
        ErrorCode::NotFound => "No resource has this path; the API is under /api/v1.",
        ErrorCode::MethodNotAllowed => "Use GET.",
        ErrorCode::BadRequest => "The request is not valid HTTP/1.1.",
        ErrorCode::InvalidStrategy => {
            "X-Routing-Strategy may be 'sticky', 'round_robin', 'ip_hash' or 'least_conn'."
        }
        ErrorCode::RequestTimeout => "The request timed out: the body arrived too slowly.",
        ErrorCode::NoInstanceAvailable => {
            "No instance is available; the request was not forwarded. Retry shortly."
        }
        ErrorCode::Overloaded => {
            "All instances are at capacity; the request was not forwarded. Retry shortly."
        }
        ErrorCode::RateLimited => "The client exceeds its rate limit; see RateLimit-Policy.",
        ErrorCode::UpstreamTimeout => {
            "The instance did not respond in time; it may or may not have processed the request."
        }
        ErrorCode::UpstreamFailed => {
            "The instance closed the connection; it may or may not have processed the request."
        }
        _ => "The gateway could not serve the request; look up the request id in its log.",
    };
    text.into()
}
