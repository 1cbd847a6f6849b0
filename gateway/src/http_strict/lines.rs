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
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Line<'a>>, LineFault> {
        let rest = bytes.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', rest) else {
            self.searched = bytes.len();
            return Ok(None);
        };
        let (start, line_feed) = (self.line, self.searched + found);
        let Some(line) = bytes[start..line_feed].strip_suffix(b"\r") else {
            return Err(LineFault::BareLineFeed);
        };
        let end = line_feed + 1;
        *self = Self { line: end, searched: end };
        Ok(Some(Line { bytes: line, start, end }))
    }
}
