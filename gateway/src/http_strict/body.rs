//! Bodies as they arrive: where they end, and what is surplus.

use crate::http_strict::chunked::{ChunkFault, Chunks, Taken};
use crate::http_strict::framing::Framing;

/// A body that is being received.
#[derive(Clone, Debug)]
pub enum Body {
    /// There is none, or it is complete.
    None,
    /// Has a length.
    Length {
        /// Bytes that are still to come.
        left: u64,
    },
    /// Comes in chunks.
    Chunked(Chunks),
    /// Ends when the connection is closed.
    UntilClose,
}

impl Body {
    /// At the start of a body.
    pub const fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::None,
            Framing::Length(left) => Self::Length { left },
            Framing::Chunked => Self::Chunked(Chunks::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Continues with the next bytes.
    ///
    /// # Errors
    /// The fault of a chunk; the connection must be closed then.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Taken, ChunkFault> {
        self.take_data(bytes, |_| {})
    }

    /// Like [`take`](Self::take), and passes each piece of data to `data`, without its framing.
    ///
    /// # Errors
    /// The fault of a chunk; the connection must be closed then.
    pub fn take_data(
        &mut self,
        bytes: &[u8],
        mut data: impl FnMut(&[u8]),
    ) -> Result<Taken, ChunkFault> {
        let len = match self {
            Self::None => 0,
            Self::Length { left } => {
                let len = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= len as u64;
                len
            }
            Self::Chunked(chunks) => return chunks.walk(bytes, data),
            Self::UntilClose => bytes.len(),
        };
        if len > 0 {
            data(&bytes[..len]);
        }
        Ok(Taken { len, payload: len, trailers: 0..0, complete: self.is_complete() })
    }

    /// Whether nothing is to come.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::None => true,
            Self::Length { left } => *left == 0,
            Self::Chunked(chunks) => chunks.is_complete(),
            Self::UntilClose => false,
        }
    }

    /// Whether the body is complete if the connection is closed now; else it was cut short.
    pub fn is_complete_at_close(&self) -> bool {
        matches!(self, Self::UntilClose) || self.is_complete()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_as_its_framing_says() {
        for (framing, bytes, len, payload, complete, at_close) in [
            (Framing::None, "GET", 0, 0, true, true),
            (Framing::Length(0), "GET", 0, 0, true, true),
            (Framing::Length(3), "ab", 2, 2, false, false),
            (Framing::Length(3), "abc", 3, 3, true, true),
            (Framing::Length(3), "abcGET", 3, 3, true, true),
            (Framing::Length(u64::MAX), "abc", 3, 3, false, false),
            (Framing::Chunked, "1\r\na\r\n", 6, 1, false, false),
            (Framing::Chunked, "1\r\na\r\n0\r\n\r\nGET", 11, 1, true, true),
            (Framing::UntilClose, "abc", 3, 3, false, true),
        ] {
            let (mut body, mut data) = (Body::new(framing), Vec::new());
            let taken = body.take_data(bytes.as_bytes(), |piece| data.extend_from_slice(piece));
            let expected = Taken { len, payload, trailers: 0..0, complete };
            assert_eq!(taken, Ok(expected), "{framing:?} {bytes:?}");
            assert_eq!(data.len(), payload, "{framing:?} {bytes:?}");
            assert_eq!(body.is_complete(), complete, "{framing:?} {bytes:?}");
            assert_eq!(body.is_complete_at_close(), at_close, "{framing:?} {bytes:?}");
            if complete {
                let after = body.take(b"1\r\nx\r\n");
                assert_eq!(after, Ok(Taken { complete, ..Taken::default() }), "{framing:?}");
            }
        }
    }

    #[test]
    fn trailers_are_left_out_and_faults_are_passed_on() {
        let mut body = Body::new(Framing::Chunked);
        let taken = body.take(b"0\r\na: b\r\n\r\nGET").expect("a body");
        assert_eq!((taken.len, taken.trailers, taken.complete), (11, 3..9, true));
        assert_eq!(Body::new(Framing::Chunked).take(b"x"), Err(ChunkFault::BadSize));
    }

    #[test]
    fn it_is_small_enough_for_every_connection() {
        assert!(size_of::<Body>() <= 24);
    }
}
