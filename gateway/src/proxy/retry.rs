//! When a request that failed at one instance may go to the next.

use std::sync::Arc;

use http::Method;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use crate::proxy::affinity::idempotency_key;
use crate::proxy::context::RequestContext;
use crate::resilience::outlier::Reason;
use crate::telemetry::Telemetry;

/// How often a request is sent at most: to three instances, and once more where a pooled connection broke.
pub const MAX_ATTEMPTS: usize = 4;

/// Nothing was sent, so any request may go on.
pub fn after_failed_connect(ctx: &mut RequestContext, mut error: Box<Error>, telemetry: &Telemetry) -> Box<Error> {
    error.set_retry(true);
    if let Some(attempt) = &ctx.attempt {
        attempt.in_flight.instance().count_connect_failure();
    }
    move_on(ctx, telemetry, Next::AnotherInstance);
    error
}

/// The instance may have acted on the request, so only one that is safe to repeat may go on, and only while the client
/// has heard nothing. The body, where a safe request has one, is still in Pingora's buffer or the answer is no.
pub fn after_broken_exchange(
    session: &Session,
    ctx: &mut RequestContext,
    mut error: Box<Error>,
    telemetry: &Telemetry,
) -> Box<Error> {
    let safe = is_safe_to_repeat(session.req_header());
    let theirs = *error.esource() == ErrorSource::Upstream;
    let unheard = session.response_written().is_none_or(|response| response.status.is_informational());
    let again = safe && theirs && unheard && !session.as_ref().retry_buffer_truncated() && ctx.problem.is_none();
    error.set_retry(again);
    ctx.exchange_broken |= theirs;
    if again {
        let next = if deserves_second_chance(ctx, &error) { Next::SameInstance } else { Next::AnotherInstance };
        move_on(ctx, telemetry, next);
    }
    error
}

/// How a broken exchange counts against the instance, if it does.
pub fn held_against_instance(ctx: &RequestContext, error: &Error) -> Option<Reason> {
    if *error.esource() != ErrorSource::Upstream || deserves_second_chance(ctx, error) {
        return None;
    }
    Some(if is_timeout(error) { Reason::Timeouts } else { Reason::Connections })
}

/// A pooled connection that broke says little of the instance, which may just have restarted. A second one does, and so
/// does an answer that does not come.
fn deserves_second_chance(ctx: &RequestContext, error: &Error) -> bool {
    ctx.connection_reused && !ctx.second_chance_given && !is_timeout(error)
}

fn is_timeout(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout)
}

/// Whether doing the request twice does what doing it once does. A deleted session stays deleted, and a write with an
/// idempotency key is done once.
fn is_safe_to_repeat(request: &RequestHeader) -> bool {
    match request.method {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE => true,
        Method::POST | Method::PATCH => idempotency_key(&request.headers).is_some(),
        _ => false,
    }
}

/// Where a request may go after a failure.
enum Next {
    SameInstance,
    AnotherInstance,
}

fn move_on(ctx: &mut RequestContext, telemetry: &Telemetry, next: Next) {
    let (Some(attempt), Some(resolved)) = (ctx.attempt.take(), ctx.resolved) else { return };
    telemetry.routing.count_retry(resolved.pool);
    match next {
        Next::SameInstance => ctx.second_chance_given = true,
        Next::AnotherInstance => ctx.tried.push(Arc::clone(attempt.in_flight.instance())),
    }
}
