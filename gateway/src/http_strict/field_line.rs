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
    /// [`MAY_HAVE_UPPER`] and [`NAMED_BY_CONNECTION`].
    flags: u8,
}

const MAY_HAVE_UPPER: u8 = 1;
const NAMED_BY_CONNECTION: u8 = 2;

impl FieldLine {
    /// Parses a line without its CR LF, which starts at offset `start`.
    #[inline(always)]
    pub(super) fn parse(line: &[u8], start: usize) -> Result<Self, LineFault> {
        // All other offsets are smaller.
        u32::try_from(start + line.len()).map_err(|_| LineFault::TooLong)?;
        let Some(name_len) = token::colon(line) else {
            return Err(name_fault(line));
        };
        let (name, rest) = (&line[..name_len], &line[name_len + 1..]);
        let (kind, may_have_upper) = match FieldKind::known(name) {
            Some(known) => known,
            None if !name.is_empty() && name.iter().all(|&byte| token::is_token(byte)) => {
                (FieldKind::of_unknown(name), true)
            }
            None => return Err(name_fault(line)),
        };
        // Mostly there is one space, in front of the value.
        let value = match rest {
            [b' ', first, .., last] if *first > b' ' && *last > b' ' => 1..rest.len(),
            _ => trimmed(rest),
        };
        let value_start = start + name_len + 1;
        Ok(Self {
            start: start as u32,
            value_start: (value_start + value.start) as u32,
            value_end: (value_start + value.end) as u32,
            name_len: u16::try_from(name_len).map_err(|_| LineFault::TooLong)?,
            kind,
            flags: if may_have_upper { MAY_HAVE_UPPER } else { 0 },
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

    /// Whether its name may have upper-case letters.
    pub const fn may_have_upper(&self) -> bool {
        self.flags & MAY_HAVE_UPPER != 0
    }

    /// Whether a `Connection` field names it, so that a proxy must not forward it. Never true for
    /// `Host` and `Content-Length`, nor where the kind says so already.
    pub const fn is_named_by_connection(&self) -> bool {
        self.flags & NAMED_BY_CONNECTION != 0
    }

    /// Records that a `Connection` field names it.
    pub(super) const fn name_by_connection(&mut self) {
        self.flags |= NAMED_BY_CONNECTION;
    }

    /// Whether a proxy must not forward it: by its kind, or because `Connection` names it.
    pub const fn is_hop_by_hop(&self) -> bool {
        self.is_named_by_connection() || self.kind.is_hop_by_hop()
    }
}

/// The range without white space around it.
fn trimmed(value: &[u8]) -> Range<usize> {
    let is_white = |&byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(|byte| is_white(byte)).count();
    let white = value[start..].iter().rev().take_while(|byte| is_white(byte)).count();
    start..value.len() - white
}

/// What is wrong with the name of a line, or with its end.
#[cold]
fn name_fault(line: &[u8]) -> LineFault {
    let name_len = token::token_len(line);
    match line.get(name_len) {
        Some(b' ' | b'\t') if name_len == 0 => LineFault::FoldedLine,
        Some(b' ' | b'\t') => LineFault::SpaceInName,
        Some(_) => LineFault::BadName,
        None => LineFault::NoColon,
    }
}
