//! When a request that failed at one instance may go to the next.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use crate::proxy::affinity::idempotency_key;
use crate::request::{ExchangeFailure, RequestContext};
use crate::resilience::outlier::Reason;
use crate::resilience::retry_budget::{Policy, ReservedRetry, RetryBudget};
use crate::telemetry::RoutingMetrics;

/// How many retries a request's pool can afford.
pub struct Allowance<'a> {
    /// What the pool has used.
    pub budget: &'a RetryBudget,
    /// What it may use.
    pub policy: Policy,
    /// Who hears of it.
    pub metrics: &'a RoutingMetrics,
}

impl Allowance<'_> {
    /// Keeps a retry for the request, if one is left.
    pub fn reserve(&self, ctx: &RequestContext, now: Instant) -> Option<ReservedRetry> {
        let attempts_left = ctx.retries + 1 < self.policy.max_attempts;
        attempts_left.then(|| self.budget.reserve(now, self.policy)).flatten()
    }

    /// Whether the request may be sent once more.
    fn take(&self, ctx: &mut RequestContext) -> bool {
        let Some(resolved) = ctx.resolved else { return false };
        if let Some(reserved) = ctx.reserved_retry.take() {
            self.budget.take_reserved(Instant::now(), reserved);
            return true;
        }
        if ctx.retries + 1 >= self.policy.max_attempts {
            return false;
        }
        let taken = self.budget.take(Instant::now(), self.policy);
        if !taken {
            self.metrics.count_refused_retry(resolved.pool);
        }
        taken
    }
}

/// Nothing was sent, so any request may go on.
pub fn after_failed_connect(ctx: &mut RequestContext, mut error: Box<Error>, allowance: &Allowance<'_>) -> Box<Error> {
    if let Some(attempt) = &ctx.attempt {
        attempt.in_flight.instance().count_connect_failure();
    }
    ctx.hurried = false;
    let again = allowance.take(ctx);
    error.set_retry(again);
    if again {
        move_on(ctx, allowance.metrics, Next::AnotherInstance);
    }
    error
}

/// The instance may have acted on the request, so only one that is safe to repeat may go on, and only while the client
/// has heard nothing. The body, where a safe request has one, is still in Pingora's buffer or the answer is no.
pub fn after_broken_exchange(
    session: &Session,
    ctx: &mut RequestContext,
    mut error: Box<Error>,
    allowance: &Allowance<'_>,
) -> Box<Error> {
    let safe = is_safe_to_repeat(session.req_header());
    let theirs = *error.esource() == ErrorSource::Upstream;
    let unheard = session.response_written().is_none_or(|response| response.status.is_informational());
    let possible = safe && theirs && unheard && !session.as_ref().retry_buffer_truncated() && ctx.problem.is_none();
    let again = possible && allowance.take(ctx);
    error.set_retry(again);
    let timed_out = is_timeout(&error);
    if theirs {
        ctx.exchange_failure = Some(if timed_out { ExchangeFailure::TimedOut } else { ExchangeFailure::Broken });
    }
    ctx.hurried &= timed_out;
    if again {
        let next = if deserves_second_chance(ctx, &error) { Next::SameInstance } else { Next::AnotherInstance };
        move_on(ctx, allowance.metrics, next);
    }
    error
}

/// How a broken exchange counts against the instance, if it does: only when the whole request was sent, so that nothing
/// is due but the response. A stream that breaks after it began counts for nothing: its client may have made it break.
pub fn held_against_instance(session: &Session, ctx: &RequestContext, error: &Error) -> Option<Reason> {
    if *error.esource() != ErrorSource::Upstream || deserves_second_chance(ctx, error) || !ctx.sent {
        return None;
    }
    // An instance that refuses a body and closes breaks the writing of the rest of it.
    let refused_body = ctx.request_bytes > 0 && matches!(error.etype(), ErrorType::WriteError);
    let stream = ctx.resolved.is_some_and(|resolved| resolved.endpoint.is_stream());
    if refused_body
        || stream
            && session.response_written().is_some_and(|response| {
                !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS
            })
    {
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

/// Whether the request may leave an instance that does not respond after a short time: it is safe to repeat, and all of
/// its body is here and can be sent again. The instance that it leaves may act on it later; a write that is safe to repeat
/// has an idempotency key then, and is done once.
pub fn may_leave(session: &mut Session) -> bool {
    session.is_body_done() && !session.as_ref().retry_buffer_truncated() && is_safe_to_repeat(session.req_header())
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

fn move_on(ctx: &mut RequestContext, metrics: &RoutingMetrics, next: Next) {
    let (Some(attempt), Some(resolved)) = (ctx.attempt.take(), ctx.resolved) else { return };
    metrics.count_retry(resolved.pool);
    ctx.retries += 1;
    match next {
        Next::SameInstance => ctx.second_chance_given = true,
        Next::AnotherInstance => ctx.tried.push(Arc::clone(attempt.in_flight.instance())),
    }
}
