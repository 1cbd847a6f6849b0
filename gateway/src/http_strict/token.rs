//! Allowed bytes (RFC 9110, section 5.6.2; RFC 9112, section 2.2).

use crate::http_strict::line_fault::LineFault;

/// The bytes of a method and of a field's name.
const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
/// The bytes of a target. RFC 3986 allows fewer, but browsers send those; what it forbids and some
/// servers rewrite (a backslash to a slash, what follows a `#` to nothing) is not among them.
const TARGET: [bool; 256] = table(b"!$%&'()*+,-./:;=?@[]^_{|}~");

/// Letters, digits and these.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

/// Whether a token may have the byte.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Length of the token at the front.
pub(super) fn token_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !TOKEN[usize::from(byte)]).unwrap_or(bytes.len())
}

/// The first byte that no target may have.
pub(super) fn not_in_target(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|&byte| !TARGET[usize::from(byte)])
}

/// Makes sure that a header of so many lines has no control byte but those at the ends of its
/// lines, and tabs.
///
/// Without a branch in the loop, so that it runs over many bytes at once.
pub(super) fn no_stray_controls(header: &[u8], lines: usize) -> Result<(), LineFault> {
    let (mut stray, mut returns) = (0_u8, 0_usize);
    for block in header.chunks(255) {
        let mut returns_here = 0_u8;
        for &byte in block {
            let control = u8::from(byte < b' ') & u8::from(byte != b'\t') & u8::from(byte != b'\n');
            let carriage_return = u8::from(byte == b'\r');
            stray |= control & (1 - carriage_return) | u8::from(byte == 0x7f);
            returns_here += carriage_return;
        }
        returns += usize::from(returns_here);
    }
    if stray != 0 {
        return Err(LineFault::ControlByte);
    }
    // Each line ends with one, as was seen when it came; so any more are somewhere else.
    if returns == lines { Ok(()) } else { Err(LineFault::BareCarriageReturn) }
}
