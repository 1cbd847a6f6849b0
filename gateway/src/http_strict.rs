//! Which request headers are refused, because two parsers could read them differently or because they are too large.
//!
//! A proxy and the server behind it that disagree on where a request ends let one client write into another's connection
//! (request smuggling). So the [`Scanner`] takes the narrow reading of RFC 9112 alone: it runs once over the bytes as they
//! came, before Pingora's parser sees them, and everything that it lets through has one meaning.
//!
//! It works line by line as the bytes arrive, so what is wrong is refused at once and not when the header is complete.

mod fault;
mod field;
mod limits;
mod request_line;
#[cfg(test)]
mod tests;
mod token;

pub use fault::Fault;
pub use limits::HeaderLimits;

use std::ops::Range;

use field::Fields;
use request_line::RequestLine;

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So far it is fine, and more must come.
    Incomplete,
    /// It is fine.
    Complete(Header),
}

/// What the connection needs to know of a header that is fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes, with the empty line at its end.
    pub len: usize,
    /// Whether a body in chunks follows.
    pub chunked: bool,
}

/// Reads one header as it comes.
#[derive(Debug)]
pub struct Scanner {
    limits: HeaderLimits,
    /// Where the line begins whose end has not come yet.
    line: usize,
    /// Up to where that end was looked for.
    searched: usize,
    lines: usize,
    request: Option<RequestLine>,
    fields: Fields,
}

impl Scanner {
    /// Nothing has come yet.
    pub fn new(limits: HeaderLimits) -> Self {
        Self { limits, line: 0, searched: 0, lines: 0, request: None, fields: Fields::default() }
    }

    /// Reads on. The bytes are all that have come of this request, those of earlier calls included.
    ///
    /// # Errors
    /// What is wrong with it; then the connection is of no more use.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        while let Some(found) = memchr::memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + found;
            let start = std::mem::replace(&mut self.line, end + 1);
            self.searched = end + 1;
            self.lines += 1;
            let Some(line) = bytes[start..end].strip_suffix(b"\r") else { return Err(Fault::BareLineFeed) };
            match &self.request {
                None => self.request = Some(RequestLine::parse(line, start, self.limits.target_bytes)?),
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

    /// What is to stand in the place of the target as it was sent, and where that is; `None` when the target is a canonical
    /// path already. Called when the header is complete.
    ///
    /// Whoever parses the header after that reads the path that a service reads, and no host but the one in `Host`.
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
