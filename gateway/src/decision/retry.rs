//! Decides whether a failed request is retried.

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

/// The retry allowance of a pool.
pub struct Allowance<'a> {
    /// The pool's budget.
    pub budget: &'a RetryBudget,
    /// The policy.
    pub policy: Policy,
    /// Counts retries.
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

/// After a failed connection nothing was sent, so any request may be retried.
pub fn after_failed_connect(
    ctx: &mut RequestContext,
    mut error: Box<Error>,
    allowance: &Allowance<'_>,
) -> Box<Error> {
    if let Some(attempt) = &ctx.attempt {
        attempt.in_flight.instance().count_connect_failure();
    }
    ctx.short_timeout = false;
    let again = allowance.take(ctx);
    error.set_retry(again);
    if again {
        prepare_retry(ctx, allowance.metrics, Next::AnotherInstance);
    }
    error
}

/// After a broken exchange the instance may have processed the request, so only an idempotent one
/// is retried, if no response was begun and its body is in Pingora's retry buffer.
pub fn after_broken_exchange(
    session: &Session,
    ctx: &mut RequestContext,
    mut error: Box<Error>,
    allowance: &Allowance<'_>,
) -> Box<Error> {
    let idempotent = is_idempotent(session.req_header());
    let upstream_failed = *error.esource() == ErrorSource::Upstream;
    let no_response =
        session.response_written().is_none_or(|response| response.status.is_informational());
    let possible = idempotent
        && upstream_failed
        && no_response
        && !session.as_ref().retry_buffer_truncated()
        && ctx.problem.is_none();
    let again = possible && allowance.take(ctx);
    error.set_retry(again);
    let timed_out = is_timeout(&error);
    if upstream_failed {
        ctx.exchange_failure =
            Some(if timed_out { ExchangeFailure::TimedOut } else { ExchangeFailure::Broken });
    }
    ctx.short_timeout &= timed_out;
    if again {
        let next = if may_retry_same_upstream(ctx, &error) {
            Next::SameInstance
        } else {
            Next::AnotherInstance
        };
        prepare_retry(ctx, allowance.metrics, next);
    }
    error
}

/// How a broken exchange counts for outlier ejection: only after the whole request was sent. A
/// stream that breaks after it began does not count, because its client may be the cause.
pub fn outlier_reason(session: &Session, ctx: &RequestContext, error: &Error) -> Option<Reason> {
    if *error.esource() != ErrorSource::Upstream || may_retry_same_upstream(ctx, error) || !ctx.sent
    {
        return None;
    }
    // An instance that rejects a body may close while the rest is written.
    let body_rejected = ctx.request_bytes > 0 && matches!(error.etype(), ErrorType::WriteError);
    let stream = ctx.resolved.is_some_and(|resolved| resolved.endpoint.is_stream());
    if body_rejected
        || stream
            && session.response_written().is_some_and(|response| {
                !response.status.is_informational()
                    || response.status == StatusCode::SWITCHING_PROTOCOLS
            })
    {
        return None;
    }
    Some(if is_timeout(error) { Reason::Timeouts } else { Reason::Connections })
}

/// A kept connection may break because the instance restarted or closed it; a second failure or a
/// timeout is the instance's.
fn may_retry_same_upstream(ctx: &RequestContext, error: &Error) -> bool {
    ctx.connection_reused && !ctx.retried_same_upstream && !is_timeout(error)
}

/// Whether a read or a write took too long.
pub fn is_timeout(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout)
}

/// Whether the request may switch to another instance after a short timeout: it is idempotent, and
/// its body is complete and buffered. The first instance may still process it, which an idempotency
/// key makes safe.
pub fn may_switch_upstream(session: &mut Session) -> bool {
    session.is_body_done()
        && !session.as_ref().retry_buffer_truncated()
        && is_idempotent(session.req_header())
}

/// Whether the request is idempotent, by its method or an idempotency key.
fn is_idempotent(request: &RequestHeader) -> bool {
    match request.method {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE => true,
        Method::POST | Method::PATCH => idempotency_key(&request.headers).is_some(),
        _ => false,
    }
}

/// Where a request is retried.
enum Next {
    SameInstance,
    AnotherInstance,
}

fn prepare_retry(ctx: &mut RequestContext, metrics: &RoutingMetrics, next: Next) {
    let (Some(attempt), Some(resolved)) = (ctx.attempt.take(), ctx.resolved) else { return };
    metrics.count_retry(resolved.pool);
    ctx.retries += 1;
    match next {
        Next::SameInstance => ctx.retried_same_upstream = true,
        Next::AnotherInstance => ctx.tried.push(Arc::clone(attempt.in_flight.instance())),
    }
}
