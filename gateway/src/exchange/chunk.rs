//! Writes chunks (RFC 9112, section 7.1).

use std::io::Write as _;

/// Ends a body in chunks, without trailers.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes these bytes as one chunk. They must not be empty, which would end the body.
pub(super) fn chunk(data: &[u8], out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _infallible = write!(out, "{:x}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}
