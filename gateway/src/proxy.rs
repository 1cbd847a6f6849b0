//! Exchanges requests by Pingora's proxy: its request phases, as calls of [`crate::decision`].
//!
//! After a failure Pingora calls `upstream_peer` again, if the decision was to send the request
//! again.

mod body;
mod failure;
mod fields;
mod local_reply;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use proto_contracts::ErrorCode;

use crate::decision::retry::{Exchange, Failure, is_idempotent};
use crate::decision::{BodyProgress, Decisions, LocalReply};
use crate::http_strict;
use crate::request::{Finished, RequestContext};

/// The data plane as a Pingora proxy.
pub struct DataPlane(pub Arc<Decisions>);

#[async_trait]
impl ProxyHttp for DataPlane {
    type CTX = RequestContext;

    fn new_ctx(&self) -> RequestContext {
        self.0.begin()
    }

    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {
        // Nginx compresses.
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
    ) -> Result<bool> {
        let timeouts = ctx.traffic.timeouts.client;
        session.set_write_timeout(Some(timeouts.write));
        session.set_read_timeout(Some(timeouts.body.grace));
        let connection = fields::connection_options(session.req_header());
        let is_http10 = session.req_header().version == Version::HTTP_10;
        let version =
            if is_http10 { http_strict::Version::Http10 } else { http_strict::Version::Http11 };
        let keeps = connection.keeps(version) && !self.0.draining.load(Ordering::Relaxed);
        session.set_keepalive(keeps.then_some(0));
        let peer = session.client_addr().and_then(SocketAddr::as_inet).map(|addr| addr.ip());
        if let Err(reply) = self.0.admit(session.req_header(), peer, ctx) {
            if let LocalReply::Problem(code) = reply {
                ctx.problem = Some(code);
            }
            local_reply::write(session, ctx, reply).await?;
            return Ok(true);
        }
        fields::forget_request_spelling(session.req_header_mut());
        let fields = &session.req_header().headers;
        if fields.contains_key(CONNECTION) || fields.contains_key(UPGRADE) {
            fields::remove_hop_by_hop(session.req_header_mut(), connection);
        }
        if is_http10 {
            // Its clients know neither interim responses nor expectations.
            session.set_ignore_info_resp(true);
            session.req_header_mut().remove_header(&EXPECT);
        }
        if !ctx.resolved.is_some_and(|resolved| resolved.endpoint.is_stream()) {
            session.set_min_send_rate(timeouts.min_write_rate);
        }
        if !session.is_body_empty() {
            body::read_ahead(session, ctx).await?;
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
        if body.is_none() { Ok(()) } else { body::received(session, ctx) }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
    ) -> Result<Box<HttpPeer>> {
        if let Some(wait) = self.0.back_off(ctx) {
            tokio::time::sleep(wait).await;
        }
        let body = match session.is_body_done() {
            true if session.as_ref().retry_buffer_truncated() => BodyProgress::Complete,
            true => BodyProgress::Replayable,
            false => BodyProgress::Arriving,
        };
        let is_idempotent = is_idempotent(session.req_header());
        let timeouts = self
            .0
            .begin_attempt(ctx, body, is_idempotent)
            .map_err(|code| failure::reject(ctx, code))?;
        let Some(attempt) = &ctx.attempt else {
            return Err(failure::reject(ctx, ErrorCode::Internal));
        };
        let mut peer = Box::new(attempt.in_flight.instance().peer(timeouts.protocol).clone());
        peer.options.connection_timeout = Some(timeouts.connect);
        // Pingora's read timeout starts with the exchange, but the instance responds only to a
        // complete request.
        let body_left = match body {
            BodyProgress::Replayable | BodyProgress::Complete => Duration::ZERO,
            BodyProgress::Arriving => {
                ctx.traffic.timeouts.client.body.longest.saturating_sub(ctx.started.elapsed())
            }
        };
        peer.options.read_timeout = Some(timeouts.read + body_left);
        peer.options.write_timeout = Some(timeouts.write);
        peer.options.idle_timeout = Some(timeouts.idle);
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
        fields::to_instance(request, ctx)
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
        if fields::is_ambiguous(response) {
            return Err(failure::reject(ctx, ErrorCode::UpstreamFailed));
        }
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // The client sends messages from now on, not a body.
            session.set_read_timeout(Some(ctx.traffic.timeouts.upstream.stream_idle));
        }
        let is_http10 = session.req_header().version == Version::HTTP_10;
        if is_http10
            && response.remove_header(&TRANSFER_ENCODING).is_some()
            && session.req_header().method != Method::HEAD
        {
            // The end of the connection ends the body.
            session.set_keepalive(None);
        }
        let timing = self.0.response_begins(ctx, response);
        fields::to_client(response, ctx, timing)
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
        session: &mut Session,
        _: &HttpPeer,
        ctx: &mut RequestContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let failure = failure::of_connection(&error);
        let again = self.failed(session, ctx, failure);
        error.set_retry(again);
        error
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut RequestContext,
        _: bool,
    ) -> Box<Error> {
        let again = self.failed(session, ctx, failure::of_exchange(&error));
        let mut error = error.more_context(format!("peer {peer}"));
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestContext,
    ) -> FailToProxy {
        let code = failure::code_of(ctx, error);
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
        let finished = Finished {
            method: session.req_header().method.clone(),
            status: session.response_written().map(|response| response.status),
            response_bytes: session.body_bytes_sent(),
        };
        let error = error.map(|error| error as &dyn Display);
        self.0.telemetry.request_done(ctx, &finished, error);
    }
}

impl DataPlane {
    /// Records the failure of an attempt. Returns whether the request is sent again.
    fn failed(&self, session: &Session, ctx: &mut RequestContext, failure: Failure) -> bool {
        let exchange = Exchange {
            is_idempotent: is_idempotent(session.req_header()),
            is_replayable: !session.as_ref().retry_buffer_truncated(),
            response: failure::progress(session.response_written()),
        };
        self.0.attempt_failed(ctx, failure, exchange)
    }
}
