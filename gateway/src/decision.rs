//! What is decided about a request, for both engines that exchange it: [`crate::proxy`] (Pingora)
//! and the plain exchange.
//!
//! An engine parses and forwards bytes. At each step it calls one function of [`Decisions`]:
//!
//! 1. [`admit`](Decisions::admit): client, route, limits, affinity key.
//! 2. [`begin_attempt`](Decisions::begin_attempt): the instance, its timeouts.
//! 3. [`forward::to_instance`]: the request's fields.
//! 4. [`response_begins`](Decisions::response_begins) and [`forward::to_client`]: what the response
//!    says of the instance, and its fields.
//! 5. [`attempt_failed`](Decisions::attempt_failed): whether the request is retried, and where.
//! 6. [`Telemetry::request_done`]: access line, metrics, spans, event.

mod admission;
mod affinity;
mod attempt;
pub mod cors;
pub mod forward;
mod lab;
pub mod local_reply;
pub mod retry;
mod timing;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use proto_contracts::ErrorCode;
use service_kit::tokens::TokenVerifier;

pub use attempt::{AttemptTimeouts, BodyProgress};
pub use local_reply::LocalReply;
pub use timing::Timing;

use crate::config::Traffic;
use crate::health_check::ejector;
use crate::pool::{ClientHash, Pools};
use crate::request::{RequestContext, ResponseHead};
use crate::resilience::Guards;
use crate::resilience::holdings::Holdings;
use crate::resilience::outlier::{self, Reason, UpstreamOutcome};
use crate::resilience::overload::{Change, Range};
use crate::resilience::rate_limit::{RateLimiter, User};
use crate::telemetry::Telemetry;

/// An adaptive limit above this counts as none.
const MAX_LIMIT: u64 = 65_536;

/// The state that decisions use.
pub struct Decisions {
    /// The current traffic settings.
    pub traffic: Arc<ArcSwap<Traffic>>,
    /// The pools.
    pub pools: Arc<Pools>,
    /// Access log, metrics, spans and events.
    pub telemetry: Arc<Telemetry>,
    /// Counts failures of instances.
    pub outliers: ejector::Reporter,
    /// Retry budgets and adaptive limits.
    pub guards: Guards,
    /// Rate limits per client.
    pub clients: RateLimiter,
    /// Set during the pre-stop delay: responses have `Connection: close`, so that clients reconnect
    /// elsewhere before the listener closes.
    pub draining: Arc<AtomicBool>,
    /// Requests in flight per client, streams not counted.
    pub requests: Arc<Holdings>,
    /// Open streams per client.
    pub streams: Arc<Holdings>,
    /// Verifies tokens; without it, clients are identified by address.
    pub tokens: Option<TokenVerifier<User>>,
}

impl Decisions {
    /// The context of a new request, whose header is complete.
    pub fn begin(&self) -> RequestContext {
        RequestContext::new(self.telemetry.metrics.enter(), self.traffic.load_full())
    }

    /// Records what the beginning of a response says of its instance. Not for interim responses.
    /// Returns the timing for the client, if it may see it.
    pub fn response_begins(
        &self,
        ctx: &mut RequestContext,
        head: &impl ResponseHead,
    ) -> Option<Timing> {
        // Once a response has begun there is no retry.
        ctx.reserved_retry = None;
        let now = Instant::now();
        self.note_latency(ctx, now);
        let has_retry_after = head.value(http::header::RETRY_AFTER).is_some();
        match outlier::upstream_outcome(head.status(), has_retry_after) {
            UpstreamOutcome::Success => {
                ctx.attempt.iter().for_each(|attempt| attempt.in_flight.instance().clear_failures())
            }
            UpstreamOutcome::Failure if ctx.sent => self.note_failure(ctx, Reason::Errors),
            // A failure before the whole request was sent may be the request's fault.
            UpstreamOutcome::Failure | UpstreamOutcome::Neutral => {}
        }
        let (timing, resolved) = (Timing::of(ctx, now)?, ctx.resolved?);
        if let Some(attempt) = &ctx.attempt {
            // An upload takes as long as its client; what begins before it is sent is its own fault.
            let took = (!resolved.endpoint.is_upload()).then_some(timing.upstream);
            if ctx.sent || !head.status().is_server_error() {
                attempt.in_flight.instance().responses().count(head.status(), took);
            }
        }
        self.telemetry.routing.observe_upstream(resolved.pool, timing.upstream);
        Some(timing)
    }

    /// Feeds the pool's adaptive limit.
    fn note_latency(&self, ctx: &mut RequestContext, now: Instant) {
        // A response before the whole request was sent has no meaningful latency.
        let timed_from =
            ctx.attempt.as_mut().and_then(|attempt| attempt.timed_from.take()).filter(|_| ctx.sent);
        let (Some(sent), Some(resolved)) = (timed_from, ctx.resolved) else { return };
        let Some(policy) = ctx.traffic.overload.shedding else { return };
        let snapshot = self.pools.get(resolved.pool).snapshot();
        let range = || {
            let usable = snapshot.usable().len().max(1) as u64;
            let ceiling = ctx.traffic.overload.max_in_flight.saturating_mul(usable).min(MAX_LIMIT);
            Range { floor: policy.min_in_flight.saturating_mul(usable), ceiling }
        };
        let limit = &self.guards.of(resolved.pool).limit;
        let pool = resolved.pool;
        match limit.record(sent, now, policy, range, || snapshot.in_flight()) {
            Some(Change::Began(limit)) => self.telemetry.overload_began(pool, limit),
            Some(Change::Ended) => self.telemetry.overload_ended(pool),
            None => {}
        }
    }

    /// Counts a failed request at its instance.
    fn note_failure(&self, ctx: &RequestContext, reason: Reason) {
        if let (Some(resolved), Some(attempt)) = (ctx.resolved, &ctx.attempt) {
            let policy = ctx.traffic.outlier_ejection;
            let client = ctx.limited.map(ClientHash::of);
            let instance = attempt.in_flight.instance();
            self.outliers.failed(resolved.pool, instance, reason, client, policy);
        }
    }
}

/// Records that so many bytes of the body have arrived. Returns the time left for its next bytes.
///
/// # Errors
/// The error code when it is too large. A declared length was checked before; this covers chunks.
pub fn body_received(ctx: &mut RequestContext, bytes: u64) -> Result<Duration, ErrorCode> {
    ctx.request_bytes = bytes;
    if bytes > ctx.traffic.limits.body.of(ctx.resolved.as_ref()) {
        return Err(ErrorCode::BodyTooLarge);
    }
    let timeouts = &ctx.traffic.timeouts.client;
    let is_upload = ctx.resolved.is_some_and(|resolved| resolved.endpoint.is_upload());
    let pace = if is_upload { &timeouts.upload } else { &timeouts.body };
    Ok(pace.left(bytes, ctx.started.elapsed()))
}
