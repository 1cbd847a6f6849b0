//! What the gateway answers itself: its health, and errors.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};
use proto_contracts::{ErrorCode, Problem, headers, health};

use crate::config::RoutingHeaders;
use crate::proxy::context::RequestContext;
use crate::proxy::forward;

/// For how long the rest of a refused body is read and thrown away. Without it the client's kernel would see a reset
/// before the client has read why it was refused.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The most fields of a request's header. The services' framework takes 96, and the gateway adds up to 6 of its own.
const MAX_HEADER_FIELDS: usize = 80;
/// The largest header of a request, in bytes, its request line included. Half of what the services' framework takes.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// An answer of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is well.
    Healthy,
    /// It refuses.
    Problem(ErrorCode),
}

/// How the gateway writes its own answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Whether they tell how the request was routed.
    pub(super) routing: RoutingHeaders,
    /// What a refused body is told.
    pub(super) max_body_bytes: u64,
}

/// The answer to a path that neither pool serves.
pub(super) fn answer(request: &RequestHeader) -> Answer {
    match request.uri.path() {
        "/health" if matches!(request.method, Method::GET | Method::HEAD) => Answer::Healthy,
        "/health" => Answer::Problem(ErrorCode::MethodNotAllowed),
        _ => Answer::Problem(ErrorCode::NotFound),
    }
}

/// Why a header that Pingora has let pass is refused all the same, if it is: the services would refuse it without a word.
pub(super) fn header_fault(request: &RequestHeader, bytes: usize) -> Option<ErrorCode> {
    if request.headers.len() > MAX_HEADER_FIELDS || bytes > MAX_HEADER_BYTES {
        return Some(ErrorCode::HeaderTooLarge);
    }
    let hostless = request.version == Version::HTTP_11 && !request.headers.contains_key(HOST);
    hostless.then_some(ErrorCode::BadRequest)
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
    let timed_out =
        matches!(error.etype(), ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout);
    match error.esource() {
        // No connection was made, so nothing was sent and the client may repeat anything.
        ErrorSource::Upstream if !ctx.exchange_broken => Some(ErrorCode::NoInstanceAvailable),
        ErrorSource::Upstream if timed_out => Some(ErrorCode::UpstreamTimeout),
        ErrorSource::Upstream => Some(ErrorCode::UpstreamFailed),
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
pub(super) async fn write(session: &mut Session, ctx: &RequestContext, manner: Manner, answer: Answer) -> Result<()> {
    if session.response_written().is_some_and(|response| !response.status.is_informational()) {
        return Ok(());
    }
    let (status, content_type, body) = match answer {
        Answer::Healthy => (StatusCode::OK, "text/plain", Bytes::from_static(health::HEALTHY.as_bytes())),
        Answer::Problem(code) => {
            let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let problem = Problem::new(code, detail(code, manner), Some(ctx.request_id));
            (status, headers::PROBLEM_JSON, serde_json::to_vec(&problem).unwrap_or_default().into())
        }
    };
    let mut response = ResponseHeader::build(status, Some(8))?;
    response.insert_header(CONTENT_TYPE, content_type)?;
    response.insert_header(CONTENT_LENGTH, body.len())?;
    response.insert_header(CACHE_CONTROL, "no-store")?;
    if let Answer::Problem(code) = answer {
        if let Some(seconds) = code.retry_after_s() {
            response.insert_header(RETRY_AFTER, seconds)?;
        }
        if code == ErrorCode::MethodNotAllowed {
            response.insert_header(ALLOW, "GET, HEAD")?;
        }
    }
    forward::to_client(&mut response, ctx, manner.routing)?;

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

fn detail(code: ErrorCode, manner: Manner) -> Cow<'static, str> {
    let text = match code {
        ErrorCode::BodyTooLarge => return format!("A body may have {} bytes.", manner.max_body_bytes).into(),
        ErrorCode::HeaderTooLarge => {
            return format!("A header may have {MAX_HEADER_FIELDS} fields and {MAX_HEADER_BYTES} bytes.").into();
        }
        ErrorCode::NotFound => "No resource has this path; the API is under /api/v1.",
        ErrorCode::MethodNotAllowed => "Use GET.",
        ErrorCode::BadRequest => "The bytes are not an acceptable HTTP/1.1 request.",
        ErrorCode::InvalidStrategy => "X-Routing-Strategy may be 'sticky' or 'round_robin'.",
        ErrorCode::RequestTimeout => "Send the whole request in one go.",
        ErrorCode::NoInstanceAvailable => {
            "No instance of the service can be reached, and nothing was sent to one; try again shortly."
        }
        ErrorCode::UpstreamTimeout => {
            "The instance did not answer in time; whether it acted on the request is unknown."
        }
        ErrorCode::UpstreamFailed => "The instance broke the connection; whether it acted on the request is unknown.",
        _ => "The gateway could not serve the request; its log tells more under the request id.",
    };
    text.into()
}
