//! Strict parsing of request headers: rejects those that two parsers could read differently, and
//! those that are too large.
//!
//! A proxy and a server that disagree on where a request ends allow request smuggling. The
//! [`Scanner`] applies RFC 9112 narrowly, before Pingora's parser, so what it accepts has one
//! meaning. It works line by line as bytes arrive, so faults are found before the header is
//! complete.

mod body;
mod chunked;
mod fault;
mod field;
mod framing;
#[cfg(test)]
mod fuzz;
mod limits;
mod request_line;
#[cfg(test)]
mod tests;
mod token;

pub use body::Body;
pub use chunked::{ChunkFault, Chunks, Taken};
pub use fault::Fault;
pub use framing::Framing;
pub use limits::HeaderLimits;

use std::ops::Range;

use field::Fields;
use request_line::RequestLine;

/// Progress of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Valid so far, but not complete.
    Incomplete,
    /// Complete and valid.
    Complete(Header),
}

/// A valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes, with the empty line at its end.
    pub len: usize,
    /// Whether a body in chunks follows.
    pub chunked: bool,
}

/// Scans one header as it arrives.
#[derive(Debug)]
pub struct Scanner {
    limits: HeaderLimits,
    /// Start of the current line.
    line: usize,
    /// How far its end was searched.
    searched: usize,
    lines: usize,
    request: Option<RequestLine>,
    fields: Fields,
}

impl Scanner {
    /// A scanner for a new header.
    pub fn new(limits: HeaderLimits) -> Self {
        Self { limits, line: 0, searched: 0, lines: 0, request: None, fields: Fields::default() }
    }

    /// Continues with all bytes received of this request, including those of earlier calls.
    ///
    /// # Errors
    /// The fault; the connection must be closed then.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        while let Some(found) = memchr::memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + found;
            let start = std::mem::replace(&mut self.line, end + 1);
            self.searched = end + 1;
            self.lines += 1;
            let Some(line) = bytes[start..end].strip_suffix(b"\r") else {
                return Err(Fault::BareLineFeed);
            };
            match &self.request {
                None => {
                    self.request = Some(RequestLine::parse(line, start, self.limits.target_bytes)?)
                }
                Some(request) if line.is_empty() => return self.finish(request, &bytes[..=end]),
                Some(_) => self.fields.take(line, start, self.limits.fields)?,
            }
        }
        self.searched = bytes.len();
        if self.request.is_none() && request_line::is_too_long(bytes, self.limits.target_bytes) {
            return Err(Fault::TargetTooLong);
        }
        if bytes.len() > self.limits.bytes {
            return Err(Fault::HeaderTooLarge);
        }
        Ok(Progress::Incomplete)
    }

    /// The canonical target and the range that it replaces; `None` when the target is canonical.
    /// Call it when the header is complete.
    ///
    /// After the replacement every parser reads the same path, and only `Host` names a host.
    pub fn rewritten_target(&self) -> Option<(Range<usize>, &str)> {
        let (sent, target) = self.request.as_ref()?.rewritten.as_ref()?;
        Some((sent.clone(), target))
    }

    fn finish(&self, request: &RequestLine, header: &[u8]) -> Result<Progress, Fault> {
        if header.len() > self.limits.bytes {
            return Err(Fault::HeaderTooLarge);
        }
        token::no_stray_controls(header, self.lines)?;
        self.fields.fit(request, header)?;
        Ok(Progress::Complete(Header { len: header.len(), chunked: self.fields.is_chunked() }))
    }
}
