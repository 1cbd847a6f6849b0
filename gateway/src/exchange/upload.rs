//! The request's body, on its way to the instance.

use crate::exchange::chunk::{LAST_CHUNK, chunk};
use crate::http_strict::{Body, ChunkFault, Framing};

/// How much of a body is read before the request is sent, and kept for a retry. Otherwise a slow
/// client would occupy a connection and a worker of the instance, and count against
/// `max_in_flight`.
const AHEAD: usize = 64 * 1024;

/// The body of a request while it arrives.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    /// Its beginning, with its framing. Every attempt sends it.
    pub(super) ahead: Vec<u8>,
    /// Whether an instance got more than `ahead`, which no other one can get.
    pub(super) is_beyond: bool,
    /// Bytes received, without framing.
    pub(super) payload: u64,
    /// The fault of its beginning.
    pub(super) fault: Option<ChunkFault>,
}

impl Upload {
    /// A body of which these bytes came with the header. Returns how many of them are its own, too.
    pub(super) fn begin(framing: Framing, bytes: &[u8]) -> (Self, usize) {
        let (body, ahead) = (Body::new(framing), Vec::new());
        let mut upload = Self { body, ahead, is_beyond: false, payload: 0, fault: None };
        let taken = upload.take_ahead(bytes).unwrap_or_else(|fault| {
            upload.fault = Some(fault);
            bytes.len()
        });
        (upload, taken)
    }

    /// Takes the body's part of these bytes for `ahead`. Returns its length; the rest is surplus.
    ///
    /// # Errors
    /// The fault of a chunk; the connection must be closed then.
    pub(super) fn take_ahead(&mut self, bytes: &[u8]) -> Result<usize, ChunkFault> {
        let mut ahead = std::mem::take(&mut self.ahead);
        let taken = self.take(bytes, &mut ahead);
        self.ahead = ahead;
        taken
    }

    /// The same, for bytes that go to the instance at once.
    ///
    /// # Errors
    /// The fault of a chunk; the connection must be closed then.
    pub(super) fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, ChunkFault> {
        let is_chunked = matches!(self.body, Body::Chunked(_));
        // Chunks of our own, without extensions and trailers.
        let taken = self.body.take_data(bytes, |data| match is_chunked {
            true => chunk(data, out),
            false => out.extend_from_slice(data),
        })?;
        if is_chunked && taken.complete {
            out.extend_from_slice(LAST_CHUNK);
        }
        self.payload += taken.payload as u64;
        Ok(taken.len)
    }

    /// Whether all of it has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.body.is_complete()
    }

    /// Whether more of it is to arrive before the request is sent.
    pub(super) fn waits_for_more(&self) -> bool {
        let is_long = match self.body {
            Body::Length { left } => self.payload + left > AHEAD as u64,
            Body::None | Body::Chunked(_) | Body::UntilClose => false,
        };
        let enough = if is_long { 1 } else { AHEAD };
        !self.is_complete() && self.ahead.len() < enough
    }
}
