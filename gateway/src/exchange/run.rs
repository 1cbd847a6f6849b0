//! One request, from its header to its access line.

use std::fmt::Display;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use crate::decision::retry::{self, Exchange, ResponseProgress, is_idempotent};
use crate::decision::{self, BodyProgress, Decisions, LocalReply, local_reply};
use crate::exchange::buffers::Buffer;
use crate::exchange::client::Client;
use crate::exchange::compose::{self, Keep};
use crate::exchange::download::Coding;
use crate::exchange::error::{ClientError, RequestError};
use crate::exchange::head::Request;
use crate::exchange::room::Room;
use crate::exchange::upload::Upload;
use crate::http_strict::{Method, Version};
use crate::request::{Finished, RequestContext, RequestHead as _};

/// One request that is being served.
pub(super) struct Run<'a> {
    pub(super) decisions: &'a Decisions,
    pub(super) room: &'a Arc<Room>,
    pub(super) shutdown: &'a ShutdownWatch,
    pub(super) client: Client<'a>,
    pub(super) request: Request<'a>,
    pub(super) upload: Upload,
    pub(super) ctx: RequestContext,
    /// The status that the client got.
    pub(super) status: Option<StatusCode>,
    /// Bytes of the response's body that the client got, without framing.
    pub(super) response_bytes: usize,
    /// Whether the connection serves another request.
    pub(super) keeps: bool,
}

/// How a request ended for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The connection serves another request.
    Keep,
    /// The client got a response to its end.
    Close,
    /// The response was cut short, or the client is gone.
    Abort,
}

impl Run<'_> {
    /// Serves the request and records it.
    pub(super) async fn serve(&mut self, peer: Option<IpAddr>) -> Served {
        let ended = match self.decisions.admit(&self.request, peer, &mut self.ctx) {
            Ok(()) => self.exchange().await,
            Err(reply) => self.reply(reply).await.map_err(Failed::from),
        };
        let finished = Finished {
            method: self.request.method(),
            status: self.status,
            response_bytes: self.response_bytes,
        };
        let error = ended.as_ref().err().map(|failed| &failed.error as &dyn Display);
        self.decisions.telemetry.request_done(&mut self.ctx, &finished, error);
        match ended {
            Err(Failed { is_replied: false, .. }) => Served::Abort,
            _ if self.keeps => Served::Keep,
            _ => Served::Close,
        }
    }

    /// Sends the request to instances until one responds.
    async fn exchange(&mut self) -> Result<(), Failed> {
        if let Err(error) = self.read_ahead().await {
            return self.give_up(error.into()).await;
        }
        let is_idempotent = is_idempotent(&self.request);
        loop {
            if let Some(wait) = self.decisions.back_off(&self.ctx) {
                tokio::time::sleep(wait).await;
            }
            let body = match (self.upload.is_complete(), self.upload.is_beyond) {
                (true, false) => BodyProgress::Replayable,
                (true, true) => BodyProgress::Complete,
                (false, _) => BodyProgress::Arriving,
            };
            let timeouts = match self.decisions.begin_attempt(&mut self.ctx, body, is_idempotent) {
                Ok(timeouts) => timeouts,
                Err(code) => return Ok(self.reply(LocalReply::Problem(code)).await?),
            };
            let Err(error) = self.attempt(&timeouts).await else { return Ok(()) };
            let failure = match &error {
                RequestError::Client(_) => retry::Failure::Client,
                RequestError::Exchange(error) => error.kind.failure(),
            };
            let exchange = Exchange {
                is_idempotent,
                is_replayable: !self.upload.is_beyond,
                response: match self.status {
                    None => ResponseProgress::NotBegun,
                    Some(_) => ResponseProgress::Begun,
                },
            };
            if !self.decisions.attempt_failed(&mut self.ctx, failure, exchange) {
                return self.give_up(error).await;
            }
        }
    }

    /// Replies to a request that failed, if no response was begun and the client can read one.
    async fn give_up(&mut self, error: RequestError) -> Result<(), Failed> {
        let code = match &error {
            RequestError::Client(error) => error.code(),
            RequestError::Exchange(error) => retry::code_of(&self.ctx, error.kind.failure()),
        };
        let code = code.filter(|_| self.status.is_none());
        let is_replied = match code {
            Some(code) => self.reply(LocalReply::Problem(code)).await.is_ok(),
            None => false,
        };
        Err(Failed { error, is_replied })
    }

    /// Sends a local reply.
    async fn reply(&mut self, reply: LocalReply) -> Result<(), ClientError> {
        if let LocalReply::Problem(code) = reply {
            self.ctx.problem = Some(code);
        }
        let document = local_reply::compose(reply, &self.ctx);
        let keep = self.keep(Coding::Unchanged, self.upload.is_complete());
        let mut out = Buffer::take();
        compose::local_reply(&document, &self.ctx, keep, &mut out);
        if self.request.head.method != Method::Head {
            out.extend_from_slice(&document.body);
            self.response_bytes = document.body.len();
        }
        self.status = Some(document.status);
        let within = self.write_timeout(out.len());
        self.client.write([&out, &[]], within).await
    }

    /// Reads the beginning of the body.
    async fn read_ahead(&mut self) -> Result<(), ClientError> {
        if let Some(fault) = self.upload.fault.take() {
            return Err(ClientError::BadBody(fault));
        }
        while self.upload.waits_for_more() {
            let left = self.body_received()?;
            self.client.timer.set(Instant::now(), left);
            let piece = poll_fn(|context| match self.client.poll_read(context) {
                Poll::Pending => {
                    self.client.timer.poll_passed(context).map(|()| Err(ClientError::SlowBody))
                }
                read => read,
            });
            let piece = piece.await?;
            let taken = self.upload.take_ahead(&piece).map_err(ClientError::BadBody)?;
            self.client.early.extend_from_slice(&piece[taken..]);
        }
        if self.upload.payload == 0 {
            return Ok(());
        }
        self.body_received().map(drop)
    }

    /// Applies the limits to the body. Returns the time left for its next bytes.
    pub(super) fn body_received(&mut self) -> Result<Duration, ClientError> {
        let received = decision::body_received(&mut self.ctx, self.upload.payload);
        received.map_err(|_| ClientError::TooLarge)
    }

    /// Decides whether the connection is kept after this response.
    pub(super) fn keep(&mut self, coding: Coding, all_read: bool) -> Keep {
        self.keeps = all_read
            && self.request.head.keeps_connection()
            && !coding.ends_connection()
            && !self.decisions.draining.load(Ordering::Relaxed)
            && !*self.shutdown.borrow();
        match (self.keeps, self.request.head.version) {
            (true, Version::Http11) => Keep::Implied,
            (true, Version::Http10) => Keep::Explicit,
            (false, _) => Keep::Close,
        }
    }

    /// How long the client may take for this many bytes.
    pub(super) fn write_timeout(&self, bytes: usize) -> Duration {
        let timeouts = &self.ctx.traffic.timeouts.client;
        let is_stream = self.ctx.resolved.is_some_and(|resolved| resolved.endpoint.is_stream());
        match timeouts.min_write_rate {
            Some(rate) if !is_stream => {
                Duration::from_millis((bytes.max(rate) as u64).saturating_mul(1_000) / rate as u64)
            }
            _ => timeouts.write,
        }
    }
}

/// A request that failed.
struct Failed {
    /// For the access line.
    error: RequestError,
    /// Whether the client got a whole reply.
    is_replied: bool,
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self { error: error.into(), is_replied: false }
    }
}
