//! The bytes of a request that are being written to the instance.

use std::io;
use std::task::{Context, Poll};

use crate::exchange::buffers::Buffer;
use crate::exchange::upstream::Upstream;

/// What is left to write.
#[derive(Debug)]
pub(super) struct Sending {
    /// `None` when all is written.
    out: Option<Buffer>,
    written: usize,
    /// Whether the connection may hold some of it.
    is_unflushed: bool,
    /// Why no more can be written. The instance may have responded before.
    pub(super) failed: Option<io::Error>,
}

impl Sending {
    /// Begins to write these bytes.
    pub(super) fn new(out: Buffer) -> Self {
        Self { out: Some(out), written: 0, is_unflushed: false, failed: None }
    }

    /// Writes as much as the connection takes. Returns whether all is written.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, upstream: &mut Upstream) -> bool {
        while let Some(out) = &self.out
            && self.failed.is_none()
        {
            match upstream.poll_write(context, &out[self.written..]) {
                Poll::Ready(Ok(0)) => self.failed = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => return false,
            }
            if self.written == out.len() {
                self.out = None;
                self.is_unflushed = true;
            }
        }
        if self.is_unflushed && self.failed.is_none() {
            match upstream.poll_flush(context) {
                Poll::Ready(Ok(())) => self.is_unflushed = false,
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => {}
            }
        }
        self.out.is_none() && !self.is_unflushed
    }

    /// Goes on with these bytes, if there are any, after all others are written.
    pub(super) fn then(&mut self, out: Buffer) {
        self.written = 0;
        self.out = Some(out).filter(|out| !out.is_empty());
    }
}
