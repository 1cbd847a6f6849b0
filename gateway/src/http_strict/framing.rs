//! How a body ends.

/// Maximum digits of a length: any 19 fit into 64 bits.
const MAX_LENGTH_DIGITS: usize = 19;

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It ends when the connection is closed; of responses only.
    UntilClose,
}

/// The value of `Content-Length`; `None` unless it is a single number.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if !(1..=MAX_LENGTH_DIGITS).contains(&value.len()) {
        return None;
    }
    value.iter().try_fold(0, |length, &byte| {
        byte.is_ascii_digit().then(|| length * 10 + u64::from(byte - b'0'))
    })
}
