//! What Pingora's errors mean.

use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType};
use proto_contracts::ErrorCode;

use crate::decision::retry::{self, Failure, ResponseProgress};
use crate::descriptors;
use crate::request::RequestContext;

/// A failed connection.
pub(super) fn of_connection(error: &Error) -> Failure {
    if descriptors::are_used_up(error) { Failure::Descriptors } else { Failure::Connect }
}

/// A failed exchange.
pub(super) fn of_exchange(error: &Error) -> Failure {
    match (error.esource(), error.etype()) {
        (ErrorSource::Upstream, _) if is_timeout(error) => Failure::Timeout,
        (ErrorSource::Upstream, ErrorType::WriteError) => Failure::WriteBroken,
        (ErrorSource::Upstream, _) => Failure::Broken,
        _ => Failure::Client,
    }
}

/// What the client got.
pub(super) fn progress(written: Option<&ResponseHeader>) -> ResponseProgress {
    match written.map(|response| response.status) {
        None => ResponseProgress::NotBegun,
        Some(StatusCode::SWITCHING_PROTOCOLS) => ResponseProgress::Begun,
        Some(status) if status.is_informational() => ResponseProgress::NotBegun,
        Some(_) => ResponseProgress::Begun,
    }
}

/// The error code for a failure; `None` when the client is gone.
pub(super) fn code_of(ctx: &RequestContext, error: &Error) -> Option<ErrorCode> {
    if ctx.problem.is_some() {
        return ctx.problem;
    }
    match error.esource() {
        ErrorSource::Upstream => retry::code_of(ctx, of_exchange(error)),
        ErrorSource::Downstream if is_timeout(error) => Some(ErrorCode::RequestTimeout),
        ErrorSource::Downstream => match error.etype() {
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed => None,
            _ => Some(ErrorCode::BadRequest),
        },
        ErrorSource::Internal | ErrorSource::Unset => Some(ErrorCode::Internal),
    }
}

/// Ends the request with this error code.
pub(super) fn reject(ctx: &mut RequestContext, code: ErrorCode) -> Box<Error> {
    ctx.problem = Some(code);
    Error::explain(ErrorType::HTTPStatus(code.status()), code.as_str())
}

/// Whether a read or a write took too long.
fn is_timeout(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout)
}
