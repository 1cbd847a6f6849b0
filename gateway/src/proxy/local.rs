//! What the gateway answers itself: its health, and errors.

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
use crate::request::{ExchangeFailure, RequestContext};

/// For how long the rest of a refused body is read and thrown away. Without it the client's kernel would see a reset
/// before the client has read why it was refused.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is well.
    Healthy,
    /// It refuses.
    Problem(ErrorCode),
}

/// The answer to a path that neither pool serves.
pub(super) fn answer(request: &RequestHeader) -> Answer {
    match request.uri.path() {
        "/health" if matches!(request.method, Method::GET | Method::HEAD) => Answer::Healthy,
        "/health" => Answer::Problem(ErrorCode::MethodNotAllowed),
        _ => Answer::Problem(ErrorCode::NotFound),
    }
}

/// Whether the request declares more body than any may have.
pub(super) fn is_too_large(request: &RequestHeader, max_body_bytes: u64) -> bool {
    let length = request.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > max_body_bytes)
}

/// The code that tells the client of a failure; `None` when it has gone.
pub(super) fn code_of(ctx: &RequestContext, error: &Error) -> Option<ErrorCode> {
    if ctx.problem.is_some() {
        return ctx.problem;
    }
    let timed_out = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
    match error.esource() {
        // Without a failed exchange nothing was sent, and the client may repeat anything.
        ErrorSource::Upstream => {
            Some(ctx.exchange_failure.map_or(ErrorCode::NoInstanceAvailable, ExchangeFailure::code))
        }
        ErrorSource::Downstream if timed_out => Some(ErrorCode::RequestTimeout),
        ErrorSource::Downstream => match error.etype() {
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed => None,
            _ => Some(ErrorCode::BadRequest),
        },
        ErrorSource::Internal | ErrorSource::Unset => Some(ErrorCode::Internal),
    }
}

/// Writes the answer, unless another was begun.
///
/// # Errors
/// When the client has gone.
pub(super) async fn write(session: &mut Session, ctx: &RequestContext, answer: Answer) -> Result<()> {
    if session.response_written().is_some_and(|response| !response.status.is_informational()) {
        return Ok(());
    }
    let (mut response, body) = match answer {
        Answer::Healthy => document(StatusCode::OK, "text/plain", Bytes::from_static(health::HEALTHY.as_bytes()))?,
        Answer::Problem(code) => problem(code, detail(code, ctx), ctx.request_id)?,
    };
    if answer == Answer::Problem(ErrorCode::MethodNotAllowed) {
        response.insert_header(ALLOW, "GET, HEAD")?;
    }
    // A limited client is told when exactly it may come again.
    if let Some(seconds) = ctx.quota.as_ref().and_then(|(quota, _)| quota.retry_after_s) {
        response.insert_header(RETRY_AFTER, seconds)?;
    }
    forward::to_client(&mut response, ctx)?;

    let body_left = !session.is_body_done();
    if body_left {
        // What is left of the body would be read as the next request.
        session.set_keepalive(None);
    }
    let body = if session.req_header().method == Method::HEAD { Bytes::new() } else { body };
    session.write_response_header(Box::new(response), body.is_empty()).await?;
    if !body.is_empty() {
        session.write_response_body(Some(body), true).await?;
    }
    if body_left {
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        // The answer is out; whether the client finishes its body is its own affair.
        let _abandoned = session.drain_request_body().await;
    }
    Ok(())
}

/// The header and the body that tell of a problem. Whose request it was is left to the caller.
///
/// # Errors
/// When Pingora refuses a header, which these do not give it a reason for.
pub(crate) fn problem(
    code: ErrorCode,
    detail: Cow<'static, str>,
    request_id: RequestId,
) -> Result<(ResponseHeader, Bytes)> {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&Problem::new(code, detail, Some(request_id))).unwrap_or_default();
    let (mut response, body) = document(status, headers::PROBLEM_JSON, body.into())?;
    if let Some(seconds) = code.retry_after_s() {
        response.insert_header(RETRY_AFTER, seconds)?;
    }
    Ok((response, body))
}

fn document(status: StatusCode, content_type: &str, body: Bytes) -> Result<(ResponseHeader, Bytes)> {
    let mut response = ResponseHeader::build(status, Some(8))?;
    response.insert_header(CONTENT_TYPE, content_type)?;
    response.insert_header(CONTENT_LENGTH, body.len())?;
    response.insert_header(CACHE_CONTROL, "no-store")?;
    Ok((response, body))
}

fn detail(code: ErrorCode, ctx: &RequestContext) -> Cow<'static, str> {
    let text = match code {
        ErrorCode::BodyTooLarge => {
            return format!("A body may have {} bytes.", ctx.traffic.limits.body.of(ctx.resolved.as_ref())).into();
        }
        ErrorCode::TooManyInFlight => {
            let most = ctx.traffic.clients.requests;
            return format!("A client may have {most} requests in flight; wait for a response before the next.").into();
        }
        ErrorCode::TooManyClientStreams => {
            let most = ctx.traffic.clients.streams;
            return format!("A client may have {most} live connections open; close one before the next.").into();
        }
        ErrorCode::NotFound => "No resource has this path; the API is under /api/v1.",
        ErrorCode::MethodNotAllowed => "Use GET.",
        ErrorCode::BadRequest => "The bytes are not an acceptable HTTP/1.1 request.",
        ErrorCode::InvalidStrategy => "X-Routing-Strategy may be 'sticky' or 'round_robin'.",
        ErrorCode::RequestTimeout => "The body came too slowly; send the whole request in one go, at a steady rate.",
        ErrorCode::NoInstanceAvailable => {
            "No instance of the service can be reached, and nothing was sent to one; try again shortly."
        }
        ErrorCode::Overloaded => {
            "The instances have as much to do as they can, and nothing was sent to one; try again shortly."
        }
        ErrorCode::RateLimited => "This client sends more than its share; RateLimit-Policy tells how much that is.",
        ErrorCode::UpstreamTimeout => {
            "The instance did not answer in time; whether it acted on the request is unknown."
        }
        ErrorCode::UpstreamFailed => "The instance broke the connection; whether it acted on the request is unknown.",
        _ => "The gateway could not serve the request; its log tells more under the request id.",
    };
    text.into()
}
