//! The data plane: Pingora's request phases, each a few lines over the modules below.
//!
//! One request passes through `request_filter` (who is it, what does it want, which key has it), `upstream_peer`
//! (where to: [`crate::routing`]), `upstream_request_filter` and `response_filter` (what each side may see of the
//! other) and `logging`. A connection that fails leads back to `upstream_peer`, which passes over what was tried.

mod affinity;
mod client;
mod context;
mod forward;
mod lab;
pub(crate) mod local;
pub mod retry;
mod timing;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use proto_contracts::{ErrorCode, headers, routes};

pub use context::{Attempt, RequestContext};

use crate::config::{RoutingHeaders, Traffic};
use crate::pool::{InFlight, Load, Pools};
use crate::proxy::local::{Answer, Manner};
use crate::proxy::timing::Timing;
use crate::resilience::outlier::{self, Reason, Standing};
use crate::routing;
use crate::telemetry::Telemetry;
use crate::telemetry::spans::RequestTrace;

const SERVER_TIMING: HeaderName = HeaderName::from_static(headers::SERVER_TIMING);

/// The gateway as Pingora sees it.
pub struct Gateway {
    /// What each request is held to.
    pub traffic: Arc<ArcSwap<Traffic>>,
    /// Where requests go.
    pub pools: Arc<Pools>,
    /// Who hears of them.
    pub telemetry: Arc<Telemetry>,
    /// Who hears how instances fare.
    pub outliers: outlier::Reporter,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = RequestContext;

    fn new_ctx(&self) -> RequestContext {
        RequestContext::new(self.telemetry.metrics.enter())
    }

    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {
        // Nginx compresses; the module would only cost.
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<bool> {
        let (write_timeout, max_body_bytes, lab) = {
            let traffic = self.traffic.load();
            ctx.client = client::identify(&traffic.trusted_proxies, session.client_addr(), session.req_header());
            (traffic.timeouts.client.write, traffic.limits.max_body_bytes, traffic.lab)
        };
        session.set_write_timeout(Some(write_timeout));
        let request = session.req_header();
        ctx.request_id = client::request_id(request);
        let Some(resolved) = routes::resolve(request.uri.path()) else {
            let answer = local::answer(request);
            return self.answer(session, ctx, answer).await;
        };
        ctx.resolved = Some(resolved);
        ctx.trace = RequestTrace::begin(request, &resolved, ctx.started);
        if local::is_too_large(request, max_body_bytes) {
            return self.answer(session, ctx, Answer::Problem(ErrorCode::BodyTooLarge)).await;
        }
        match lab::asked_strategy(lab, request) {
            Ok(strategy) => ctx.asked_strategy = strategy,
            Err(code) => return self.answer(session, ctx, Answer::Problem(code)).await,
        }
        let pool = self.pools.get(resolved.pool);
        let snapshot = pool.snapshot();
        if pool.tracks_keys(ctx.asked_strategy.unwrap_or(snapshot.strategy)) {
            ctx.key = Some(affinity::client_key(request, &resolved, &snapshot, pool.seed()));
        }
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        // What an upgraded connection carries, a WebSocket's messages, is no body and has no limit here.
        if session.was_upgraded() {
            return Ok(());
        }
        // A declared length was checked already; this one catches what came in chunks.
        ctx.request_bytes += body.as_ref().map_or(0, |piece| piece.len() as u64);
        if ctx.request_bytes > self.traffic.load().limits.max_body_bytes {
            return Err(ctx.refuse(ErrorCode::BodyTooLarge));
        }
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut RequestContext) -> Result<Box<HttpPeer>> {
        let Some(resolved) = ctx.resolved else { return Err(ctx.refuse(ErrorCode::NotFound)) };
        let pool = self.pools.get(resolved.pool);
        let snapshot = pool.snapshot();
        let strategy = ctx.asked_strategy.unwrap_or(snapshot.strategy);
        let Some(choice) = routing::choose(pool, &snapshot, strategy, ctx.key, &ctx.tried) else {
            let code = if ctx.exchange_broken { ErrorCode::UpstreamFailed } else { ErrorCode::NoInstanceAvailable };
            return Err(ctx.refuse(code));
        };
        let in_flight = InFlight::begin(Arc::clone(&choice.member.instance), Load::of(resolved.endpoint));
        let peer = Box::new(in_flight.instance().peer(resolved.endpoint).clone());
        if let Some(trace) = &mut ctx.trace {
            trace.attempt_begins(in_flight.instance());
        }
        let (verdict, epoch) = (choice.verdict, snapshot.epoch);
        ctx.attempt = Some(Attempt { in_flight, verdict, strategy, epoch, began: Instant::now() });
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
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        // `100 Continue` and its likes are no answer yet; a switch of protocols is the only one there will be.
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let traffic = self.traffic.load();
        match outlier::standing(response) {
            Standing::Good => ctx.attempt.iter().for_each(|attempt| attempt.in_flight.instance().clear_failures()),
            Standing::Bad => self.note_failure(ctx, Reason::Errors),
            Standing::Unclear => {}
        }
        if let (Some(timing), Some(resolved)) = (Timing::of(ctx), ctx.resolved) {
            self.telemetry.routing.observe_upstream(resolved.pool, timing.upstream);
            if traffic.routing_headers == RoutingHeaders::Exposed {
                // After the instance's own, which may tell where its time went.
                response.append_header(SERVER_TIMING, timing.to_header())?;
            }
        }
        forward::to_client(response, ctx, traffic.routing_headers)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut RequestContext,
        error: Box<Error>,
    ) -> Box<Error> {
        self.note_failure(ctx, Reason::Connections);
        ctx.attempt_failed(&error);
        retry::after_failed_connect(ctx, error, &self.telemetry)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut RequestContext,
        _: bool,
    ) -> Box<Error> {
        if let Some(reason) = retry::held_against_instance(ctx, &error) {
            self.note_failure(ctx, reason);
        }
        ctx.attempt_failed(&error);
        retry::after_broken_exchange(session, ctx, error.more_context(format!("peer {peer}")), &self.telemetry)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut RequestContext) -> FailToProxy {
        let code = local::code_of(ctx, error);
        let error_code = code.map_or(0, ErrorCode::status);
        if let Some(code) = code {
            // Pingora closes the connection after a failure, so the answer has to say so.
            session.set_keepalive(None);
            // A client that has gone hears nothing of it, and the access log tells so.
            let _gone = local::write(session, ctx, self.manner(), Answer::Problem(code)).await;
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, _: &RequestContext, _: &Error) -> bool {
        // `logging` tells of a failure once, with all that is known of the request.
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &RequestContext, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut RequestContext) {
        self.telemetry.request_done(session, ctx, error);
    }
}

impl Gateway {
    /// Answers without asking an instance; the value is what `request_filter` returns.
    async fn answer(&self, session: &mut Session, ctx: &RequestContext, answer: Answer) -> Result<bool> {
        local::write(session, ctx, self.manner(), answer).await?;
        Ok(true)
    }

    /// Holds a failed request against the instance that it was sent to.
    fn note_failure(&self, ctx: &RequestContext, reason: Reason) {
        if let (Some(resolved), Some(attempt)) = (ctx.resolved, &ctx.attempt) {
            let policy = self.traffic.load().outlier_ejection;
            self.outliers.failed(resolved.pool, attempt.in_flight.instance(), reason, policy);
        }
    }

    fn manner(&self) -> Manner {
        let traffic = self.traffic.load();
        Manner { routing: traffic.routing_headers, max_body_bytes: traffic.limits.max_body_bytes }
    }
}

impl RequestContext {
    /// Tells the trace that the attempt under way has failed.
    fn attempt_failed(&mut self, error: &Error) {
        if let Some(trace) = &mut self.trace {
            trace.attempt_failed(error);
        }
    }

    /// Ends the request with this code.
    fn refuse(&mut self, code: ErrorCode) -> Box<Error> {
        self.problem = Some(code);
        Error::explain(ErrorType::HTTPStatus(code.status()), code.as_str())
    }
}
