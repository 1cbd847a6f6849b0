//! Decides what a failed attempt means: for the request, and for the instance.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderName, Method};
use proto_contracts::{ErrorCode, IdempotencyKey, PoolName, headers};

use crate::decision::Decisions;
use crate::request::{ExchangeFailure, RequestContext, RequestHead};
use crate::resilience::outlier::Reason;
use crate::resilience::retry_budget::{Policy, ReservedRetry, RetryBudget};
use crate::telemetry::RoutingMetrics;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(headers::IDEMPOTENCY_KEY);

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection; nothing was sent.
    Connect,
    /// No connection, because the gateway has no file descriptor left.
    Descriptors,
    /// A read or a write took too long.
    Timeout,
    /// The connection broke while the request was written.
    WriteBroken,
    /// The connection broke otherwise, or the response is not valid.
    Broken,
    /// The client failed or left, or the gateway ended the request.
    Client,
}

impl Failure {
    /// `error.type` of the attempt's span.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect_failed",
            Self::Descriptors => "no_descriptor_left",
            Self::Timeout => "timeout",
            Self::WriteBroken => "write_failed",
            Self::Broken => "response_broken",
            Self::Client => "client_failed",
        }
    }
}

/// What the client got of a response before the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseProgress {
    /// Nothing, or interim responses.
    NotBegun,
    /// Its header at least, or a switch of protocols.
    Begun,
}

/// An exchange when it failed.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Whether the request may be sent twice: see [`is_idempotent`].
    pub is_idempotent: bool,
    /// Whether all of the body that was sent can be sent again.
    pub is_replayable: bool,
    /// What the client got.
    pub response: ResponseProgress,
}

/// Where a request is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    SameInstance,
    AnotherInstance,
}

/// The retry allowance of a pool.
pub(super) struct Allowance<'a> {
    budget: &'a RetryBudget,
    policy: Policy,
    metrics: &'a RoutingMetrics,
}

impl Allowance<'_> {
    /// Keeps a retry for the request, if one is left.
    pub(super) fn reserve(&self, ctx: &RequestContext, now: Instant) -> Option<ReservedRetry> {
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

impl Decisions {
    /// Records the failure of an attempt. Returns whether the request is sent again.
    ///
    /// After a failed connection any request is, since nothing was sent. After a broken exchange
    /// the instance may have processed the request, so only an idempotent one is, if no response
    /// was begun and its body can be sent again.
    pub fn attempt_failed(
        &self,
        ctx: &mut RequestContext,
        failure: Failure,
        exchange: Exchange,
    ) -> bool {
        if let Some(reason) = outlier_reason(ctx, failure, exchange.response) {
            self.note_failure(ctx, reason);
            ctx.attempt.iter().for_each(|it| it.in_flight.instance().responses().count_failed());
        }
        ctx.attempt_failed(failure.as_str());
        match failure {
            Failure::Connect | Failure::Descriptors => {
                if let Some(attempt) = &ctx.attempt {
                    attempt.in_flight.instance().count_connect_failure();
                }
                ctx.short_timeout = false;
                self.take_retry(ctx, Next::AnotherInstance)
            }
            Failure::Client => {
                ctx.short_timeout = false;
                false
            }
            Failure::Timeout | Failure::WriteBroken | Failure::Broken => {
                let timed_out = failure == Failure::Timeout;
                ctx.exchange_failure = Some(match timed_out {
                    true => ExchangeFailure::TimedOut,
                    false => ExchangeFailure::Broken,
                });
                ctx.short_timeout &= timed_out;
                let next = match may_retry_same_upstream(ctx, failure) {
                    true => Next::SameInstance,
                    false => Next::AnotherInstance,
                };
                exchange.is_idempotent
                    && exchange.is_replayable
                    && exchange.response == ResponseProgress::NotBegun
                    && ctx.problem.is_none()
                    && self.take_retry(ctx, next)
            }
        }
    }

    fn take_retry(&self, ctx: &mut RequestContext, next: Next) -> bool {
        let allowance = self.allowance(ctx);
        if !allowance.take(ctx) {
            return false;
        }
        let (Some(attempt), Some(resolved)) = (ctx.attempt.take(), ctx.resolved) else {
            return true;
        };
        allowance.metrics.count_retry(resolved.pool);
        ctx.retries += 1;
        match next {
            Next::SameInstance => ctx.retried_same_upstream = true,
            Next::AnotherInstance => ctx.tried.push(Arc::clone(attempt.in_flight.instance())),
        }
        true
    }

    /// The retry allowance of the request's pool.
    pub(super) fn allowance(&self, ctx: &RequestContext) -> Allowance<'_> {
        let pool = ctx.resolved.map_or(PoolName::Stateless, |resolved| resolved.pool);
        Allowance {
            budget: &self.guards.of(pool).retries,
            policy: ctx.traffic.retries,
            metrics: &self.telemetry.routing,
        }
    }
}

/// How a failure counts for outlier ejection. A broken exchange counts only after the whole request
/// was sent. A stream that breaks after it began does not, because its client may be the cause.
fn outlier_reason(
    ctx: &RequestContext,
    failure: Failure,
    response: ResponseProgress,
) -> Option<Reason> {
    let is_stream = ctx.resolved.is_some_and(|resolved| resolved.endpoint.is_stream());
    match failure {
        Failure::Connect => return Some(Reason::Connections),
        Failure::Descriptors | Failure::Client => return None,
        // An instance that rejects a body may close while the rest is written.
        Failure::WriteBroken if ctx.request_bytes > 0 => return None,
        Failure::Timeout | Failure::WriteBroken | Failure::Broken => {}
    }
    if may_retry_same_upstream(ctx, failure)
        || !ctx.sent
        || is_stream && response == ResponseProgress::Begun
    {
        return None;
    }
    Some(if failure == Failure::Timeout { Reason::Timeouts } else { Reason::Connections })
}

/// A kept connection may break because the instance restarted or closed it; a second failure or a
/// timeout is the instance's.
fn may_retry_same_upstream(ctx: &RequestContext, failure: Failure) -> bool {
    ctx.connection_reused && !ctx.retried_same_upstream && failure != Failure::Timeout
}

/// The code for the client after a failure that is not retried; `None` when the client is gone.
pub fn code_of(ctx: &RequestContext, failure: Failure) -> Option<ErrorCode> {
    if ctx.problem.is_some() {
        return ctx.problem;
    }
    match failure {
        // Without a failed exchange nothing was sent, and the client may repeat anything.
        Failure::Client => None,
        _ => {
            Some(ctx.exchange_failure.map_or(ErrorCode::NoInstanceAvailable, ExchangeFailure::code))
        }
    }
}

/// Whether a request is idempotent, by its method or an idempotency key.
pub fn is_idempotent(head: &impl RequestHead) -> bool {
    match head.method() {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE => true,
        Method::POST | Method::PATCH => {
            head.value(IDEMPOTENCY_KEY).is_some_and(IdempotencyKey::is_well_formed)
        }
        _ => false,
    }
}
