//! The data plane: Pingora's request phases over the modules below.
//!
//! `request_filter` identifies the client, the route and the key, and applies limits.
//! `upstream_peer` chooses the instance ([`crate::routing`]). `upstream_request_filter` and
//! `response_filter` rewrite headers, and `logging` records the request. After a failure Pingora
//! calls `upstream_peer` again, which skips instances that were tried.

mod admission;
mod affinity;
mod body;
mod forward;
mod lab;
pub(crate) mod local_reply;
pub mod retry;
mod timing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use proto_contracts::{ErrorCode, PoolName, headers, routes};
use service_kit::tokens::TokenVerifier;

use crate::config::{RoutingHeaders, Traffic};
use crate::descriptors;
use crate::health_check::ejector;
use crate::pool::ClientHash;
use crate::pool::{InFlight, Load, Pools};
use crate::proxy::local_reply::LocalReply;
use crate::proxy::timing::Timing;
use crate::request::{Attempt, RequestContext, RequestTrace, client};
use crate::resilience::holdings::Holdings;
use crate::resilience::outlier::{self, Reason, UpstreamOutcome};
use crate::resilience::overload::{Change, Range};
use crate::resilience::rate_limit::{RateLimiter, User};
use crate::resilience::{Guards, retry_budget};
use crate::routing::{self, RouteError};
use crate::telemetry::{Shed, Telemetry};

const SERVER_TIMING: HeaderName = HeaderName::from_static(headers::SERVER_TIMING);
/// An adaptive limit above this counts as none.
const MAX_LIMIT: u64 = 65_536;

/// The data plane as a Pingora proxy.
pub struct DataPlane {
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

#[async_trait]
impl ProxyHttp for DataPlane {
    type CTX = RequestContext;

    fn new_ctx(&self) -> RequestContext {
        RequestContext::new(self.telemetry.metrics.enter(), self.traffic.load_full())
    }

    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {
        // Nginx compresses.
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
    ) -> Result<bool> {
        let (timeouts, lab) = (ctx.traffic.timeouts.client, ctx.traffic.lab);
        let peer = session.client_addr();
        ctx.client =
            client::identify(&ctx.traffic.trusted_proxies, peer, &session.req_header().headers);
        session.set_write_timeout(Some(timeouts.write));
        session.set_read_timeout(Some(timeouts.body.grace));
        if self.draining.load(Ordering::Relaxed) {
            session.set_keepalive(None);
        }
        let request = session.req_header();
        ctx.request_id = client::request_id(request);
        let Some(resolved) = routes::resolve(request.uri.path()) else {
            let reply = local_reply::without_route(request);
            return self.reply(session, ctx, reply).await;
        };
        ctx.resolved = Some(resolved);
        ctx.trace = RequestTrace::begin(request, &resolved, ctx.started);
        let max_body_bytes = ctx.traffic.limits.body.of(Some(&resolved));
        if local_reply::is_too_large(request, max_body_bytes) {
            return self.reply(session, ctx, LocalReply::Problem(ErrorCode::BodyTooLarge)).await;
        }
        match lab::requested_strategy(lab, request) {
            Ok(strategy) => ctx.requested_strategy = strategy,
            Err(code) => return self.reply(session, ctx, LocalReply::Problem(code)).await,
        }
        let pool = self.pools.get(resolved.pool);
        let snapshot = pool.snapshot();
        if let Some(code) = self.admission_check(request, ctx, resolved.pool, &snapshot) {
            return self.reply(session, ctx, LocalReply::Problem(code)).await;
        }
        if pool.tracks_keys(ctx.requested_strategy.unwrap_or(snapshot.strategy)) {
            ctx.key = Some(affinity::client_key(request, &resolved, &snapshot));
        }
        forward::forget_request_spelling(session.req_header_mut());
        if !resolved.endpoint.is_stream() {
            session.set_min_send_rate(timeouts.min_write_rate);
        }
        if !session.is_body_empty() {
            body::read_ahead(session, ctx, timeouts.body, max_body_bytes).await?;
        }
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_body: bool,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        // The messages of an upgraded connection are not a body.
        if session.was_upgraded() {
            return Ok(());
        }
        if end_of_body {
            ctx.request_sent();
        }
        if let Some(ahead) = ctx.read_ahead.take() {
            body::prepend(ahead, body);
        }
        if body.is_none() {
            return Ok(());
        }
        // A declared length was checked before; this covers chunked bodies.
        ctx.request_bytes = session.body_bytes_read() as u64;
        let left = ctx.traffic.timeouts.client.body.left(ctx.request_bytes, ctx.started.elapsed());
        session.set_read_timeout(Some(left));
        if ctx.request_bytes > ctx.traffic.limits.body.of(ctx.resolved.as_ref()) {
            return Err(ctx.reject(ErrorCode::BodyTooLarge));
        }
        Ok(())
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
    ) -> Result<Box<HttpPeer>> {
        let Some(resolved) = ctx.resolved else { return Err(ctx.reject(ErrorCode::NotFound)) };
        if let Some(wait) = retry_budget::back_off(ctx.tried.len(), rand::random) {
            tokio::time::sleep(wait).await;
        }
        let (pool, guard) = (self.pools.get(resolved.pool), self.guards.of(resolved.pool));
        let snapshot = pool.snapshot();
        if ctx.retries == 0 {
            guard.retries.count_request(ctx.started);
        }
        let max_in_flight = ctx.traffic.overload.max_in_flight;
        let strategy = ctx.requested_strategy.unwrap_or(snapshot.strategy);
        let short_timeout = std::mem::take(&mut ctx.short_timeout);
        let mut chosen =
            routing::choose(pool, &snapshot, strategy, ctx.key, &ctx.tried, max_in_flight);
        if chosen.is_err() && short_timeout {
            // It left a slow instance, and the other one is gone meanwhile: retry without the short
            // timeout.
            ctx.tried.clear();
            chosen = routing::choose(pool, &snapshot, strategy, ctx.key, &ctx.tried, max_in_flight);
        }
        let choice = match (chosen, ctx.exchange_failure) {
            (Ok(choice), _) => choice,
            (Err(_), Some(failure)) => return Err(ctx.reject(failure.code())),
            (Err(RouteError::NoHealthyUpstream), None) => {
                return Err(ctx.reject(ErrorCode::NoInstanceAvailable));
            }
            (Err(RouteError::Saturated), None) => {
                self.telemetry.routing.count_shed(resolved.pool, Shed::InstanceLimit);
                return Err(ctx.reject(ErrorCode::Overloaded));
            }
        };
        let in_flight =
            InFlight::begin(Arc::clone(&choice.member.instance), Load::of(resolved.endpoint));
        let mut peer =
            Box::new(in_flight.instance().peer(resolved.endpoint, pool.protocol()).clone());
        ctx.sent = false;
        let body_left = match session.is_body_done() {
            true => Duration::ZERO,
            false => ctx.traffic.timeouts.client.body.longest.saturating_sub(ctx.started.elapsed()),
        };
        ctx.traffic.timeouts.upstream.apply(&mut peer, resolved.endpoint, body_left);
        let began = Instant::now();
        let another_left = snapshot.usable().len() > ctx.tried.len() + 1;
        if let Some(timeout) = ctx.traffic.retries.attempt_timeout
            && another_left
            && !resolved.endpoint.is_stream()
            && retry::may_switch_upstream(session)
            && let Some(reserved) = self.allowance(ctx).reserve(ctx, began)
        {
            ctx.reserved_retry = Some(reserved);
            peer.options.read_timeout =
                peer.options.read_timeout.map(|longest| longest.min(timeout));
            ctx.short_timeout = true;
        }
        let feeds_limit = ctx.traffic.overload.shedding.is_some_and(|policy| {
            let in_flight = in_flight.instance().in_flight();
            !resolved.endpoint.is_stream()
                && (in_flight >= policy.min_in_flight || guard.limit.limit().is_some())
        });
        let timed_from = feeds_limit.then_some(began);
        if let Some(trace) = &mut ctx.trace {
            trace.attempt_begins(in_flight.instance());
        }
        let (verdict, epoch) = (choice.verdict, snapshot.epoch);
        ctx.attempt = Some(Attempt { in_flight, verdict, strategy, epoch, began, timed_from });
        Ok(peer)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        ctx.connection_reused = reused;
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        forward::to_instance(request, ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        // Informational responses precede the response, except a switch of protocols.
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        // Once a response has begun there is no retry.
        ctx.reserved_retry = None;
        self.note_latency(ctx);
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // The client sends messages from now on, not a body.
            session.set_read_timeout(Some(ctx.traffic.timeouts.upstream.stream_idle));
        }
        match outlier::upstream_outcome(response) {
            UpstreamOutcome::Success => {
                ctx.attempt.iter().for_each(|attempt| attempt.in_flight.instance().clear_failures())
            }
            UpstreamOutcome::Failure if ctx.sent => self.note_failure(ctx, Reason::Errors),
            // A failure before the whole request was sent may be the request's fault.
            UpstreamOutcome::Failure | UpstreamOutcome::Neutral => {}
        }
        if let (Some(timing), Some(resolved)) = (Timing::of(ctx), ctx.resolved) {
            self.telemetry.routing.observe_upstream(resolved.pool, timing.upstream);
            if ctx.traffic.routing_headers == RoutingHeaders::Exposed {
                // Appended after the instance's own entries.
                response.append_header(SERVER_TIMING, timing.to_header())?;
            }
        }
        forward::to_client(response, ctx)
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_body: bool,
        ctx: &mut RequestContext,
    ) -> Result<Option<Duration>> {
        if let Some(attempt) = &mut ctx.attempt {
            attempt.in_flight.received(body.as_ref().map_or(0, Bytes::len), end_of_body);
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut RequestContext,
        error: Box<Error>,
    ) -> Box<Error> {
        if !descriptors::are_used_up(&error) {
            self.note_failure(ctx, Reason::Connections);
        }
        ctx.attempt_failed(&error);
        let allowance = self.allowance(ctx);
        retry::after_failed_connect(ctx, error, &allowance)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut RequestContext,
        _: bool,
    ) -> Box<Error> {
        if let Some(reason) = retry::outlier_reason(session, ctx, &error) {
            self.note_failure(ctx, reason);
        }
        ctx.attempt_failed(&error);
        let allowance = self.allowance(ctx);
        retry::after_broken_exchange(
            session,
            ctx,
            error.more_context(format!("peer {peer}")),
            &allowance,
        )
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestContext,
    ) -> FailToProxy {
        let code = local_reply::code_of(ctx, error);
        let error_code = code.map_or(0, ErrorCode::status);
        if let Some(code) = code {
            // Pingora closes the connection after a failure, so the response announces it.
            session.set_keepalive(None);
            // If the client is gone, the access log has it.
            let _gone = local_reply::write(session, ctx, LocalReply::Problem(code)).await;
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, _: &RequestContext, _: &Error) -> bool {
        // `logging` logs the failure once, with the request's context.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &RequestContext,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&Error>,
        ctx: &mut RequestContext,
    ) {
        self.telemetry.request_done(session, ctx, error);
    }
}

impl DataPlane {
    /// Sends a local reply. Returns the value for `request_filter`.
    async fn reply(
        &self,
        session: &mut Session,
        ctx: &RequestContext,
        reply: LocalReply,
    ) -> Result<bool> {
        local_reply::write(session, ctx, reply).await?;
        Ok(true)
    }

    /// Feeds the pool's adaptive limit.
    fn note_latency(&self, ctx: &mut RequestContext) {
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
        match limit.record(sent, Instant::now(), policy, range, || snapshot.in_flight()) {
            Some(Change::Began(limit)) => self.telemetry.overload_began(pool, limit),
            Some(Change::Ended) => self.telemetry.overload_ended(pool),
            None => {}
        }
    }

    /// The retry allowance of the request's pool.
    fn allowance(&self, ctx: &RequestContext) -> retry::Allowance<'_> {
        let pool = ctx.resolved.map_or(PoolName::Stateless, |resolved| resolved.pool);
        let policy = ctx.traffic.retries;
        retry::Allowance {
            budget: &self.guards.of(pool).retries,
            policy,
            metrics: &self.telemetry.routing,
        }
    }

    /// Counts a failed request at its instance.
    fn note_failure(&self, ctx: &RequestContext, reason: Reason) {
        if let (Some(resolved), Some(attempt)) = (ctx.resolved, &ctx.attempt) {
            let policy = ctx.traffic.outlier_ejection;
            let client = ctx.limited.map(ClientHash::of);
            self.outliers.failed(
                resolved.pool,
                attempt.in_flight.instance(),
                reason,
                client,
                policy,
            );
        }
    }
}
