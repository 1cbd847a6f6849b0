//! The response's body, on its way to the client.

use std::ops::Range;

use crate::exchange::chunk::{LAST_CHUNK, chunk};
use crate::exchange::error::Broken;
use crate::http_strict::{Body, Framing, Version};

/// Longer pieces are written from where they were read; copying shorter ones saves a write.
const COPIED: usize = 8 * 1024;

/// How the body is sent to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Unchanged: empty, or with a length.
    Unchanged,
    /// In chunks of our own, without extensions and trailers.
    Rechunked,
    /// Without chunks, for an HTTP/1.0 client. The end of the connection ends the body.
    Dechunked,
    /// In chunks, because the instance ends the body by closing the connection.
    Enchunked,
    /// Unchanged; the end of the connection ends the body.
    UntilClose,
}

impl Coding {
    /// The coding for a body with this framing and a client of this version.
    pub(super) const fn of(framing: Framing, version: Version) -> Self {
        match (framing, version) {
            (Framing::Chunked, Version::Http10) => Self::Dechunked,
            (Framing::Chunked, Version::Http11) => Self::Rechunked,
            (Framing::UntilClose, Version::Http11) => Self::Enchunked,
            (Framing::UntilClose, Version::Http10) => Self::UntilClose,
            _ => Self::Unchanged,
        }
    }

    /// Whether the end of the connection is the end of the body.
    pub(super) const fn ends_connection(self) -> bool {
        matches!(self, Self::Dechunked | Self::UntilClose)
    }
}

/// A piece of the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its bytes without framing.
    pub(super) payload: usize,
    /// Which of the given bytes are to be written behind `out`.
    pub(super) direct: Range<usize>,
    /// Whether more than the body was given.
    pub(super) has_surplus: bool,
}

/// The body of a response while it arrives.
#[derive(Debug)]
pub(super) struct Download {
    body: Body,
    coding: Coding,
}

impl Download {
    /// A body of which nothing has arrived.
    pub(super) fn new(framing: Framing, coding: Coding) -> Self {
        Self { body: Body::new(framing), coding }
    }

    /// Takes the next bytes. What is copied is appended to `out`.
    ///
    /// # Errors
    /// When a chunk is not valid.
    pub(super) fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Piece, Broken> {
        let mut piece = Piece::default();
        let taken = match self.coding {
            Coding::Dechunked => self.body.take_data(bytes, |data| out.extend_from_slice(data)),
            Coding::Rechunked => self.body.take_data(bytes, |data| chunk(data, out)),
            _ => self.body.take(bytes),
        };
        let taken = taken.map_err(Broken::InvalidBody)?;
        piece.payload = taken.payload;
        piece.has_surplus = taken.len < bytes.len();
        match self.coding {
            Coding::Rechunked if taken.complete => out.extend_from_slice(LAST_CHUNK),
            Coding::Dechunked | Coding::Rechunked => {}
            Coding::Enchunked if bytes.is_empty() => {}
            Coding::Enchunked => chunk(bytes, out),
            Coding::Unchanged | Coding::UntilClose if taken.len > COPIED => {
                piece.direct = 0..taken.len;
            }
            Coding::Unchanged | Coding::UntilClose => out.extend_from_slice(&bytes[..taken.len]),
        }
        Ok(piece)
    }

    /// Whether all of it has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.body.is_complete()
    }

    /// Ends the body because the instance closed the connection. Returns whether it is complete
    /// then.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.body.is_complete_at_close() {
            return false;
        }
        self.body = Body::None;
        if self.coding == Coding::Enchunked {
            out.extend_from_slice(LAST_CHUNK);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(framing: Framing, version: Version, pieces: &[&[u8]]) -> (Vec<u8>, bool, bool) {
        let coding = Coding::of(framing, version);
        let (mut download, mut out, mut surplus) =
            (Download::new(framing, coding), Vec::new(), false);
        for bytes in pieces {
            let piece = download.take(bytes, &mut out).expect("valid");
            out.extend_from_slice(&bytes[piece.direct.clone()]);
            surplus |= piece.has_surplus;
        }
        let complete = download.is_complete() || download.close(&mut out);
        (out.to_vec(), complete, surplus)
    }

    #[test]
    fn each_client_can_detect_the_end_of_its_body() {
        let chunked: [&[u8]; 2] = [b"3\r\nabc\r", b"\n0\r\nx: y\r\n\r\n"];
        for (framing, version, pieces, out) in [
            (Framing::Length(3), Version::Http11, &[&b"ab"[..], b"c"][..], &b"abc"[..]),
            (Framing::Chunked, Version::Http11, &chunked, b"3\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, Version::Http10, &chunked, b"abc"),
            (Framing::UntilClose, Version::Http11, &[b"abc"], b"3\r\nabc\r\n0\r\n\r\n"),
            (Framing::UntilClose, Version::Http10, &[b"abc"], b"abc"),
        ] {
            let expected = (out.to_vec(), true, false);
            assert_eq!(sent(framing, version, pieces), expected, "{framing:?} {version:?}");
        }
    }

    #[test]
    fn a_body_that_is_cut_short_or_too_long_is_detected() {
        let cut = sent(Framing::Length(3), Version::Http11, &[b"ab"]);
        assert_eq!(cut, (b"ab".to_vec(), false, false));
        let cut = sent(Framing::Chunked, Version::Http10, &[b"2\r\nab\r\n"]);
        assert_eq!(cut, (b"ab".to_vec(), false, false));
        let surplus = sent(Framing::Length(1), Version::Http11, &[b"ab"]);
        assert_eq!(surplus, (b"a".to_vec(), true, true));
        let surplus = sent(Framing::None, Version::Http11, &[b"ab"]);
        assert_eq!(surplus, (Vec::new(), true, true));
    }

    #[test]
    fn a_long_piece_is_not_copied() {
        let bytes = vec![b'x'; COPIED + 1];
        let mut download = Download::new(Framing::Length(bytes.len() as u64), Coding::Unchanged);
        let mut out = Vec::new();
        let piece = download.take(&bytes, &mut out).expect("valid");
        assert_eq!((piece.direct, out.len(), download.is_complete()), (0..bytes.len(), 0, true));
    }
}
