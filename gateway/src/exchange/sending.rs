//! The bytes of a request that are being written to the instance.

use std::io;
use std::task::{Context, Poll};

use crate::exchange::buffers::Buffer;
use crate::exchange::upstream::Upstream;

/// What is left to write.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) out: Buffer,
    written: usize,
    /// Why no more can be written. The instance may have responded before.
    pub(super) failed: Option<io::Error>,
}

impl Sending {
    /// Begins to write these bytes.
    pub(super) fn new(out: Buffer) -> Self {
        Self { out, written: 0, failed: None }
    }

    /// Whether all bytes are written.
    pub(super) fn is_done(&self) -> bool {
        self.written == self.out.len()
    }

    /// Writes as much as the connection takes. Returns whether all is written.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, upstream: &mut Upstream) -> bool {
        while !self.is_done() && self.failed.is_none() {
            match upstream.poll_write(context, &self.out[self.written..]) {
                Poll::Ready(Ok(0)) => self.failed = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => return false,
            }
        }
        self.is_done()
    }

    /// The empty buffer for the next bytes.
    pub(super) fn refill(&mut self) -> &mut Buffer {
        self.out.clear();
        self.written = 0;
        &mut self.out
    }
}
