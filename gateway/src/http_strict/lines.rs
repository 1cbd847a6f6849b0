//! Splits a header into lines as it arrives.

use crate::http_strict::line_fault::LineFault;

/// Position in a header.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Start of the current line.
    line: usize,
    /// How far its end was searched.
    searched: usize,
}

/// A line, without its CR LF.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    /// Its offset in the header.
    pub(super) start: usize,
    /// Offset behind its CR LF.
    pub(super) end: usize,
}

impl Lines {
    /// The next line; `None` when it is not complete. `bytes` are all of the header so far.
    #[inline]
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Line<'a>>, LineFault> {
        let rest = bytes.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', rest) else {
            self.searched = bytes.len();
            return Ok(None);
        };
        let (start, line_feed) = (self.line, self.searched + found);
        let [line @ .., b'\r'] = &bytes[start..line_feed] else {
            return Err(LineFault::BareLineFeed);
        };
        let end = line_feed + 1;
        *self = Self { line: end, searched: end };
        Ok(Some(Line { bytes: line, start, end }))
    }
}

/// Makes sure that a header of so many lines has no control bytes within them, but tabs.
pub(super) fn no_stray_controls(header: &[u8], lines: usize) -> Result<(), LineFault> {
    // Each line ends with CR LF, as was seen when it came. So any others are somewhere else.
    let stray = count_controls(header) - 2 * lines;
    if stray == 0 || stray == memchr::memchr_iter(b'\t', header).count() {
        return Ok(());
    }
    let is_control = |byte: &u8| byte.is_ascii_control() && !b"\r\n\t".contains(byte);
    let control = header.iter().any(is_control);
    Err(if control { LineFault::ControlByte } else { LineFault::BareCarriageReturn })
}

/// The number of control bytes, tabs too. A loop without a branch over blocks of a fixed size, so
/// that the compiler uses vectors.
fn count_controls(bytes: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let in_block = |block: &[u8; BLOCK]| {
        let mut sum = 0;
        for &byte in block {
            sum += u8::from(byte < b' ') | u8::from(byte == 0x7f);
        }
        usize::from(sum)
    };
    let (blocks, rest) = bytes.as_chunks();
    let mut total = 0;
    for block in blocks {
        total += in_block(block);
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    total + in_block(&last)
}
