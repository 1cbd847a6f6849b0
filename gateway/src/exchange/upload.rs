//! The request's body, on its way to the instance.

use bytes::BytesMut;

use crate::exchange::buffers::Buffer;
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

    /// Takes the body's part of a piece that goes to the instance at once, and returns it with its
    /// framing. The rest is surplus.
    ///
    /// # Errors
    /// The fault of a chunk; the connection must be closed then.
    pub(super) fn pass(
        &mut self,
        mut piece: Buffer,
        surplus: &mut BytesMut,
    ) -> Result<Buffer, ChunkFault> {
        if matches!(self.body, Body::Chunked(_)) {
            let mut out = Buffer::take();
            let taken = self.take(&piece, &mut out)?;
            surplus.extend_from_slice(&piece[taken..]);
            return Ok(out);
        }
        // Not copied, which would cost as much again as all else in user space.
        let taken = self.body.take(&piece)?;
        self.payload += taken.payload as u64;
        surplus.extend_from_slice(&piece[taken.len..]);
        piece.truncate(taken.len);
        Ok(piece)
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, ChunkFault> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, u64) {
        let (mut upload, _) = Upload::begin(framing, b"");
        let (mut out, mut surplus) = (Vec::new(), BytesMut::new());
        for bytes in pieces {
            let mut piece = Buffer::take();
            piece.extend_from_slice(bytes);
            out.extend_from_slice(&upload.pass(piece, &mut surplus).expect("valid"));
        }
        assert!(upload.is_complete());
        (out, surplus.to_vec(), upload.payload)
    }

    #[test]
    fn what_follows_a_body_is_surplus() {
        let expected = (b"abc".to_vec(), b"GET /".to_vec(), 3);
        assert_eq!(passed(Framing::Length(3), &[b"ab", b"cGET", b" /"]), expected);
        let chunks: [&[u8]; 2] = [b"3;x=y\r\nabc\r", b"\n0\r\n\r\nGET /"];
        let expected = (b"3\r\nabc\r\n0\r\n\r\n".to_vec(), b"GET /".to_vec(), 3);
        assert_eq!(passed(Framing::Chunked, &chunks), expected);
    }

    #[test]
    fn a_piece_of_a_body_with_a_length_is_not_copied() {
        let (mut upload, _) = Upload::begin(Framing::Length(8), b"");
        let mut piece = Buffer::take();
        piece.extend_from_slice(b"a piece");
        let place = piece.as_ptr();
        let passed = upload.pass(piece, &mut BytesMut::new()).expect("no chunks");
        assert_eq!((passed.as_ptr(), passed.as_slice()), (place, &b"a piece"[..]));
    }
}
