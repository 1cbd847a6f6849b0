//! One attempt: sends the request to the chosen instance, and its response to the client.

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::time::Instant;

use crate::decision::AttemptTimeouts;
use crate::exchange::buffers::Buffer;
use crate::exchange::compose;
use crate::exchange::download::{Coding, Download, Piece};
use crate::exchange::error::{Broken, ClientError, ExchangeError, RequestError};
use crate::exchange::head::Response;
use crate::exchange::run::Run;
use crate::exchange::sending::Sending;
use crate::exchange::upstream::Upstream;
use crate::http_strict::{ResponseLimits, ResponseProgress, ResponseScanner, Version};
use crate::request::ResponseHead as _;

/// Maximum interim responses before the final one.
const MAX_INTERIM: u32 = 16;

/// What the gateway waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// The client's body.
    Body,
    /// Room for the request at the instance.
    Room,
    /// The instance's response.
    Response,
}

/// A response whose header is complete.
struct Received {
    /// The header, and the part of the body that arrived with it.
    read: Buffer,
    scanner: ResponseScanner,
    header_len: usize,
}

impl Run<'_> {
    /// Sends the request to the chosen instance, and its response to the client.
    ///
    /// # Errors
    /// When either side failed. [`Run::status`] tells whether the response was begun.
    pub(super) async fn attempt(&mut self, timeouts: &AttemptTimeouts) -> Result<(), RequestError> {
        let Some(attempt) = &self.ctx.attempt else { return Ok(()) };
        let addr = attempt.in_flight.instance().addr();
        let tls = attempt.in_flight.instance().tls();
        let opened = Upstream::open(addr, tls, timeouts.connect, self.room).await;
        let mut upstream = opened.map_err(|kind| ExchangeError { addr, kind })?;
        self.ctx.connection_reused = upstream.reused;
        let mut out = Buffer::take();
        compose::request(&self.request, &self.ctx, &mut out);
        out.extend_from_slice(&self.upload.ahead);
        let mut sending = Sending::new(out);
        let received = self.receive_header(&mut upstream, &mut sending, timeouts).await?;
        self.forward(upstream, received, timeouts).await
    }

    /// Sends the request, and receives until the header of the final response is complete.
    async fn receive_header(
        &mut self,
        upstream: &mut Upstream,
        sending: &mut Sending,
        timeouts: &AttemptTimeouts,
    ) -> Result<Received, RequestError> {
        let mut read = self.receive(upstream, Some(&mut *sending), None, timeouts).await?;
        let lines = mem::take(&mut read.lines);
        let mut scanner = ResponseScanner::with_lines(ResponseLimits::DEFAULT, lines);
        let mut interim = 0;
        loop {
            let scanned = scanner.scan(&read);
            let scanned = scanned.map_err(|fault| upstream.broken(Broken::Invalid(fault)))?;
            let ResponseProgress::Complete(len) = scanned else {
                read = self.receive(upstream, Some(&mut *sending), Some(read), timeouts).await?;
                continue;
            };
            match scanner.response() {
                Some(head) if head.status >= 200 => {}
                Some(head) if head.status == StatusCode::SWITCHING_PROTOCOLS.as_u16() => {
                    return Err(upstream.broken(Broken::Switched));
                }
                Some(head) => {
                    interim += 1;
                    if interim > MAX_INTERIM {
                        return Err(upstream.broken(Broken::TooManyInterim));
                    }
                    // HTTP/1.0 has none.
                    if self.request.head.version == Version::Http11 {
                        let mut out = Buffer::take();
                        compose::interim(&Response { head, bytes: &read }, &self.ctx, &mut out);
                        let within = self.write_timeout(out.len());
                        self.client.write([&out, &[]], within).await?;
                    }
                    read.drain(..len);
                    let lines = scanner.into_lines();
                    scanner = ResponseScanner::with_lines(ResponseLimits::DEFAULT, lines);
                    continue;
                }
                None => {}
            }
            return Ok(Received { read, scanner, header_len: len });
        }
    }

    /// Sends the response to the client.
    async fn forward(
        &mut self,
        upstream: Upstream,
        received: Received,
        timeouts: &AttemptTimeouts,
    ) -> Result<(), RequestError> {
        let Received { mut read, scanner, header_len } = received;
        let Some(head) = scanner.response() else { return Ok(()) };
        let response = Response { head, bytes: &read };
        let framing = response.head.framing(self.request.head.method);
        let timing = self.decisions.response_begins(&mut self.ctx, &response);
        let coding = Coding::of(framing, self.request.head.version);
        // An early response ends the upload, and both connections with it.
        let all_sent = self.ctx.sent;
        let keep = self.keep(coding, all_sent);
        let reusable = all_sent && response.head.keeps_connection(framing);
        let mut out = Buffer::take();
        let version = self.request.head.version;
        compose::response(&response, version, &self.ctx, timing, coding, keep, &mut out);
        let status = response.status();

        let mut download = Download::new(framing, coding);
        let taken = download.take(&read[header_len..], &mut out);
        let mut piece = taken.map_err(|kind| upstream.broken(kind))?;
        // From here on the client gets bytes of this response.
        self.status = Some(status);
        let mut start = header_len;
        let mut upstream = Some(upstream);
        read.lines = scanner.into_lines();
        loop {
            let is_complete = download.is_complete();
            if let Some(attempt) = &mut self.ctx.attempt {
                attempt.in_flight.received(piece.payload, is_complete);
            }
            if is_complete
                && let Some(upstream) = upstream.take()
                && reusable
                && !piece.has_surplus
            {
                // Before the client gets the end, so that its next request finds it.
                upstream.keep(timeouts.idle);
            }
            let direct = &read[start + piece.direct.start..start + piece.direct.end];
            let within = self.write_timeout(out.len() + direct.len());
            self.client.write([&out, direct], within).await?;
            self.response_bytes += piece.payload;
            let Some(upstream) = upstream.as_mut().filter(|_| !is_complete) else { break };
            (start, piece) = (0, Piece::default());
            drop((out, read));
            let next = self.receive(upstream, None, None, timeouts).await;
            out = Buffer::take();
            match next {
                Ok(next) => {
                    read = next;
                    let taken = download.take(&read, &mut out);
                    piece = taken.map_err(|kind| upstream.broken(kind))?;
                }
                Err(RequestError::Exchange(ExchangeError { kind: Broken::Closed, .. }))
                    if download.close(&mut out) =>
                {
                    read = Buffer::take();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for bytes of the response, behind those of `read`. Meanwhile sends the rest of the
    /// request (`sending`; `None` once a response was begun), and detects that the client
    /// disconnects.
    async fn receive(
        &mut self,
        upstream: &mut Upstream,
        mut sending: Option<&mut Sending>,
        mut read: Option<Buffer>,
        timeouts: &AttemptTimeouts,
    ) -> Result<Buffer, RequestError> {
        let mut awaited = None;
        poll_fn(|context| {
            let sending = sending.as_deref_mut();
            let mut buffer = read.take().unwrap_or_else(Buffer::take);
            buffer.reserve(1);
            match self.poll_receive(context, upstream, sending, &mut buffer, timeouts, &mut awaited)
            {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => {
                    read = Some(buffer).filter(|buffer| !buffer.is_empty());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        upstream: &mut Upstream,
        mut sending: Option<&mut Sending>,
        read: &mut Vec<u8>,
        timeouts: &AttemptTimeouts,
        awaited: &mut Option<Awaited>,
    ) -> Poll<Result<(), RequestError>> {
        let mut wanted = Awaited::Response;
        while let Some(sending) = sending.as_deref_mut() {
            if !sending.poll(context, upstream) {
                if sending.failed.is_none() {
                    wanted = Awaited::Room;
                }
                break;
            }
            if self.upload.is_complete() {
                if !self.ctx.sent {
                    self.ctx.request_sent();
                }
                break;
            }
            match self.poll_upload(context, sending) {
                Poll::Ready(Ok(())) => *awaited = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    wanted = Awaited::Body;
                    break;
                }
            }
        }
        let ended = match upstream.poll_read(context, read) {
            Poll::Ready(Ok(1..)) => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(0)) => Some(Broken::Closed),
            Poll::Ready(Err(error)) => Some(Broken::Read(error)),
            Poll::Pending => None,
        };
        if let Some(ended) = ended {
            // The failed write of the request is the earlier error.
            let write = sending.and_then(|sending| sending.failed.take());
            return Poll::Ready(Err(upstream.broken(write.map_or(ended, Broken::Write))));
        }
        // Before all of the body is read, its end is noticed by reading it.
        let is_read = sending.is_none() || self.upload.is_complete();
        if is_read && self.client.poll_left(context).is_ready() {
            return Poll::Ready(Err(ClientError::Gone.into()));
        }
        if *awaited != Some(wanted) {
            *awaited = Some(wanted);
            let within = match wanted {
                Awaited::Body => self.body_received()?,
                Awaited::Room => timeouts.write,
                Awaited::Response => timeouts.read,
            };
            self.client.timer.set(Instant::now(), within);
        }
        self.client.timer.poll_passed(context).map(|()| {
            Err(match wanted {
                Awaited::Body => ClientError::SlowBody.into(),
                Awaited::Room => upstream.broken(Broken::WriteTimeout),
                Awaited::Response => upstream.broken(Broken::ReadTimeout),
            })
        })
    }

    /// Reads more of the body for the instance.
    fn poll_upload(
        &mut self,
        context: &mut Context<'_>,
        sending: &mut Sending,
    ) -> Poll<Result<(), ClientError>> {
        let piece = ready!(self.client.poll_read(context))?;
        self.upload.is_beyond = true;
        let passed = self.upload.pass(piece, &mut self.client.early);
        sending.then(passed.map_err(ClientError::BadBody)?);
        Poll::Ready(self.body_received().map(drop))
    }
}
