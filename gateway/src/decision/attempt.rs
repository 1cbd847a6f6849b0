//! An attempt: which instance, and how long it may take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::ErrorCode;

use crate::config::Protocol;
use crate::decision::Decisions;
use crate::pool::{InFlight, Load};
use crate::request::{Attempt, RequestContext};
use crate::resilience::retry_budget;
use crate::routing::{self, RouteError};
use crate::telemetry::Shed;

/// How far the request's body has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyProgress {
    /// All of it, and it can be sent again.
    Replayable,
    /// All of it, but too long to keep.
    Complete,
    /// Not all of it.
    Arriving,
}

/// The timeouts of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptTimeouts {
    /// For the connection.
    pub connect: Duration,
    /// For each read of the response, once the request is sent.
    pub read: Duration,
    /// For each write of the request.
    pub write: Duration,
    /// How long the connection may be idle afterwards.
    pub idle: Duration,
    /// The protocol of the connection.
    pub protocol: Protocol,
}

impl Decisions {
    /// How long to wait before the next attempt; `None` for the first and the second.
    pub fn back_off(&self, ctx: &RequestContext) -> Option<Duration> {
        retry_budget::back_off(ctx.tried.len(), rand::random)
    }

    /// Chooses the instance of the next attempt, and begins it: [`RequestContext::attempt`].
    ///
    /// # Errors
    /// The code for the client when there is none.
    pub fn begin_attempt(
        &self,
        ctx: &mut RequestContext,
        body: BodyProgress,
        is_idempotent: bool,
    ) -> Result<AttemptTimeouts, ErrorCode> {
        let Some(resolved) = ctx.resolved else { return Err(ErrorCode::NotFound) };
        let (pool, guard) = (self.pools.get(resolved.pool), self.guards.of(resolved.pool));
        let snapshot = pool.snapshot();
        if ctx.retries == 0 {
            guard.retries.count_request(ctx.started);
        }
        let max_in_flight = ctx.traffic.overload.max_in_flight;
        let strategy = ctx.requested_strategy.unwrap_or(snapshot.strategy);
        let short_timeout = std::mem::take(&mut ctx.short_timeout);
        let client = routing::Client { key: ctx.key, address: ctx.client.ip };
        let mut chosen =
            routing::choose(pool, &snapshot, strategy, client, &ctx.tried, max_in_flight);
        if chosen.is_err() && short_timeout {
            // It left a slow instance, and the other one is gone meanwhile: retry without the short
            // timeout.
            ctx.tried.clear();
            chosen = routing::choose(pool, &snapshot, strategy, client, &ctx.tried, max_in_flight);
        }
        let choice = match (chosen, ctx.exchange_failure) {
            (Ok(choice), _) => choice,
            (Err(_), Some(failure)) => return Err(failure.code()),
            (Err(RouteError::NoHealthyUpstream), None) => {
                return Err(ErrorCode::NoInstanceAvailable);
            }
            (Err(RouteError::Saturated), None) => {
                self.telemetry.routing.count_shed(resolved.pool, Shed::InstanceLimit);
                return Err(ErrorCode::Overloaded);
            }
        };
        let instance = Arc::clone(&choice.member.instance);
        let in_flight = InFlight::begin(instance, Load::of(resolved.endpoint));
        ctx.sent = false;
        let is_stream = resolved.endpoint.is_stream();
        let began = Instant::now();
        let upstream = ctx.traffic.timeouts.upstream;
        let mut timeouts = AttemptTimeouts {
            connect: upstream.connect,
            read: if is_stream { upstream.stream_idle } else { upstream.response },
            write: upstream.write,
            idle: upstream.idle,
            protocol: match is_stream {
                // A WebSocket needs a connection of its own.
                true => Protocol::Http1,
                false => pool.protocol(),
            },
        };
        // The first instance may still process a request that leaves it, which an idempotency key
        // makes safe.
        let may_switch_upstream = is_idempotent && body == BodyProgress::Replayable && !is_stream;
        let another_left = snapshot.usable().len() > ctx.tried.len() + 1;
        if let Some(timeout) = ctx.traffic.retries.attempt_timeout
            && another_left
            && may_switch_upstream
            && let Some(reserved) = self.allowance(ctx).reserve(ctx, began)
        {
            ctx.reserved_retry = Some(reserved);
            timeouts.read = timeouts.read.min(timeout);
            ctx.short_timeout = true;
        }
        let feeds_limit = ctx.traffic.overload.shedding.is_some_and(|policy| {
            let in_flight = in_flight.instance().in_flight();
            !is_stream && (in_flight >= policy.min_in_flight || guard.limit.limit().is_some())
        });
        let timed_from = feeds_limit.then_some(began);
        if let Some(trace) = &mut ctx.trace {
            trace.attempt_begins(in_flight.instance());
        }
        let (verdict, epoch) = (choice.verdict, snapshot.epoch);
        ctx.attempt = Some(Attempt { in_flight, verdict, strategy, epoch, began, timed_from });
        Ok(timeouts)
    }
}
