//! A field's line: where its parts are, and which field it is.

use std::ops::Range;

use crate::http_strict::field_kind::FieldKind;
use crate::http_strict::line_fault::LineFault;
use crate::http_strict::token;

/// A field's line in a header. Its offsets are those of the header's bytes as they were scanned.
///
/// The lines of a header follow each other without a gap, so a run of them is copied at once, from
/// the start of the first to the start of the one behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLine {
    start: u32,
    value_start: u32,
    value_end: u32,
    name_len: u16,
    /// Which field it is.
    pub kind: FieldKind,
    /// Whether a `Connection` field names it, so that a proxy must not forward it. Never set on
    /// `Host` and `Content-Length`, nor where the kind says so already.
    pub named_by_connection: bool,
}

impl FieldLine {
    /// Parses a line without its CR LF, which starts at offset `start`.
    pub(super) fn parse(line: &[u8], start: usize) -> Result<Self, LineFault> {
        let name_len = token::token_len(line);
        match line.get(name_len) {
            Some(b':') if name_len > 0 => {}
            Some(b' ' | b'\t') if name_len == 0 => return Err(LineFault::FoldedLine),
            Some(b' ' | b'\t') => return Err(LineFault::SpaceInName),
            Some(_) => return Err(LineFault::BadName),
            None => return Err(LineFault::NoColon),
        }
        // All other offsets are smaller.
        u32::try_from(start + line.len()).map_err(|_| LineFault::TooLong)?;
        let mut value_start = name_len + 1;
        let mut value_end = line.len();
        while let Some(b' ' | b'\t') = line.get(value_start) {
            value_start += 1;
        }
        while value_end > value_start && matches!(line[value_end - 1], b' ' | b'\t') {
            value_end -= 1;
        }
        Ok(Self {
            start: start as u32,
            value_start: (start + value_start) as u32,
            value_end: (start + value_end) as u32,
            name_len: u16::try_from(name_len).map_err(|_| LineFault::TooLong)?,
            kind: FieldKind::of(&line[..name_len]),
            named_by_connection: false,
        })
    }

    /// Offset of the line, and of its name.
    pub const fn start(&self) -> usize {
        self.start as usize
    }

    /// The range of the name.
    pub const fn name(&self) -> Range<usize> {
        self.start()..self.start() + self.name_len as usize
    }

    /// The range of the value, without white space around it.
    pub const fn value(&self) -> Range<usize> {
        self.value_start as usize..self.value_end as usize
    }

    /// Whether a proxy must not forward it: by its kind, or because `Connection` names it.
    pub const fn is_hop_by_hop(&self) -> bool {
        self.named_by_connection || self.kind.is_hop_by_hop()
    }
}
