//! Local replies: health and errors.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};
use proto_contracts::{ErrorCode, Problem, RequestId, headers, health};

use crate::proxy::forward;
use crate::proxy::retry::is_timeout;
use crate::request::{ExchangeFailure, RequestContext};

/// How long the rest of a rejected body is discarded. Closing at once would send a reset, and the
/// client could lose the response.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A response of the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocalReply {
    /// 200 for `/health`.
    Healthy,
    /// An error.
    Problem(ErrorCode),
}

/// The reply to a path without a route.
pub(super) fn without_route(request: &RequestHeader) -> LocalReply {
    match request.uri.path() {
        "/health" if matches!(request.method, Method::GET | Method::HEAD) => LocalReply::Healthy,
        "/health" => LocalReply::Problem(ErrorCode::MethodNotAllowed),
        _ => LocalReply::Problem(ErrorCode::NotFound),
    }
}

/// Whether the declared body is too large.
pub(super) fn is_too_large(request: &RequestHeader, max_body_bytes: u64) -> bool {
    let length = request
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > max_body_bytes)
}

/// The error code for a failure; `None` when the client is gone.
pub(super) fn code_of(ctx: &RequestContext, error: &Error) -> Option<ErrorCode> {
    if ctx.problem.is_some() {
        return ctx.problem;
    }
    match error.esource() {
        // Without a failed exchange nothing was sent, and the client may repeat anything.
        ErrorSource::Upstream => {
            Some(ctx.exchange_failure.map_or(ErrorCode::NoInstanceAvailable, ExchangeFailure::code))
        }
        ErrorSource::Downstream if is_timeout(error) => Some(ErrorCode::RequestTimeout),
        ErrorSource::Downstream => match error.etype() {
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed => None,
            _ => Some(ErrorCode::BadRequest),
        },
        ErrorSource::Internal | ErrorSource::Unset => Some(ErrorCode::Internal),
    }
}

/// Writes the reply, unless a response was begun.
///
/// # Errors
/// When the client is gone.
pub(super) async fn write(
    session: &mut Session,
    ctx: &RequestContext,
    reply: LocalReply,
) -> Result<()> {
    if session.response_written().is_some_and(|response| !response.status.is_informational()) {
        return Ok(());
    }
    let (mut response, body) = match reply {
        LocalReply::Healthy => {
            document(StatusCode::OK, "text/plain", Bytes::from_static(health::HEALTHY.as_bytes()))?
        }
        LocalReply::Problem(code) => problem(code, detail(code, ctx), ctx.request_id)?,
    };
    if reply == LocalReply::Problem(ErrorCode::MethodNotAllowed) {
        response.insert_header(ALLOW, "GET, HEAD")?;
    }
    // The exact time for a limited client.
    if let Some(seconds) = ctx.quota.as_ref().and_then(|(quota, _)| quota.retry_after_s) {
        response.insert_header(RETRY_AFTER, seconds)?;
    }
    forward::to_client(&mut response, ctx)?;

    let body_left = !session.is_body_done();
    if body_left {
        // The rest of the body would be read as the next request.
        session.set_keepalive(None);
    }
    let body = if session.req_header().method == Method::HEAD { Bytes::new() } else { body };
    session.write_response_header(Box::new(response), body.is_empty()).await?;
    if !body.is_empty() {
        session.write_response_body(Some(body), true).await?;
    }
    if body_left {
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        // The response is sent; errors of the rest of the body do not matter.
        let _abandoned = session.drain_request_body().await;
    }
    Ok(())
}

/// The header and body of an error. The caller adds the request id header.
///
/// # Errors
/// When Pingora rejects a header; it accepts these.
pub(crate) fn problem(
    code: ErrorCode,
    detail: Cow<'static, str>,
    request_id: RequestId,
) -> Result<(ResponseHeader, Bytes)> {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body =
        serde_json::to_vec(&Problem::new(code, detail, Some(request_id))).unwrap_or_default();
    let (mut response, body) = document(status, headers::PROBLEM_JSON, body.into())?;
    if let Some(seconds) = code.retry_after_s() {
        response.insert_header(RETRY_AFTER, seconds)?;
    }
    Ok((response, body))
}

fn document(
    status: StatusCode,
    content_type: &str,
    body: Bytes,
) -> Result<(ResponseHeader, Bytes)> {
    let mut response = ResponseHeader::build(status, Some(8))?;
    response.insert_header(CONTENT_TYPE, content_type)?;
    response.insert_header(CONTENT_LENGTH, body.len())?;
    response.insert_header(CACHE_CONTROL, "no-store")?;
    Ok((response, body))
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
        ErrorCode::InvalidStrategy => "X-Routing-Strategy may be 'sticky' or 'round_robin'.",
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
