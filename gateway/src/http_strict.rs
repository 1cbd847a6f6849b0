//! Strict parsing of HTTP/1.1: rejects what two parsers could read differently, and what is too
//! large.
//!
//! A proxy and a server that disagree on where a request ends allow request smuggling. The
//! [`Scanner`] applies RFC 9112 narrowly, before Pingora's parser, so what it accepts has one
//! meaning. It works line by line as bytes arrive, so faults are found before the header is
//! complete.

mod body;
mod chunked;
mod connection_options;
mod fault;
mod field;
mod field_kind;
mod field_line;
mod framing;
#[cfg(test)]
mod fuzz;
mod limits;
mod line_fault;
mod lines;
mod request_line;
mod response;
mod scanned_request;
#[cfg(test)]
mod tests;
mod token;
mod version;

pub use body::Body;
pub use chunked::{ChunkFault, Chunks, Taken};
pub use connection_options::ConnectionOptions;
pub use fault::Fault;
pub use field_kind::FieldKind;
pub use field_line::FieldLine;
pub use framing::Framing;
pub use limits::HeaderLimits;
pub use request_line::Method;
pub use response::{
    ResponseFault, ResponseLimits, ResponseProgress, ResponseScanner, ScannedResponse,
};
pub use scanned_request::ScannedRequest;
pub use version::Version;

use std::ops::Range;

use field::Fields;
use lines::Lines;
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
    at: Lines,
    request: Option<RequestLine>,
    fields: Fields,
    lines: Vec<FieldLine>,
}

impl Scanner {
    /// A scanner for a new header.
    pub fn new(limits: HeaderLimits) -> Self {
        Self::with_lines(limits, Vec::new())
    }

    /// A scanner for a new header that keeps its lines in the memory of `lines`.
    pub fn with_lines(limits: HeaderLimits, mut lines: Vec<FieldLine>) -> Self {
        lines.clear();
        let fields = Fields::default();
        Self { limits, at: Lines::default(), request: None, fields, lines }
    }

    /// The memory of the lines, for another scanner.
    pub fn into_lines(self) -> Vec<FieldLine> {
        self.lines
    }

    /// Continues with all bytes received of this request, including those of earlier calls.
    ///
    /// # Errors
    /// The fault; the connection must be closed then.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        while let Some(line) = self.at.next(bytes)? {
            match &self.request {
                None => {
                    let max_target = self.limits.target_bytes;
                    self.request = Some(RequestLine::parse(line.bytes, line.start, max_target)?);
                }
                Some(_) if line.bytes.is_empty() => return self.finish(&bytes[..line.end]),
                Some(request) => {
                    let field = FieldLine::parse(line.bytes, line.start)?;
                    if self.lines.len() == self.limits.fields {
                        return Err(Fault::TooManyFields);
                    }
                    self.fields.take(&field, bytes, request.version, self.limits.fields)?;
                    self.lines.push(field);
                }
            }
        }
        if self.request.is_none() && request_line::is_too_long(bytes, self.limits.target_bytes) {
            return Err(Fault::TargetTooLong);
        }
        if bytes.len() > self.limits.bytes {
            return Err(Fault::HeaderTooLarge);
        }
        Ok(Progress::Incomplete)
    }

    /// The parsed header; `None` until its request line is complete. Call it when the whole
    /// header is.
    pub fn request(&self) -> Option<ScannedRequest<'_>> {
        let request = self.request.as_ref()?;
        Some(ScannedRequest {
            method: request.method,
            version: request.version,
            sent_target: request.target.clone(),
            content_length: self.fields.length,
            chunked: self.fields.chunked,
            connection: self.fields.connection,
            expects_continue: self.fields.expects_continue,
            upgrade: self.fields.upgrade,
            lines: &self.lines,
            request,
        })
    }

    /// The canonical target and the range that it replaces; `None` when the target is canonical.
    /// Call it when the header is complete.
    ///
    /// After the replacement every parser reads the same path, and only `Host` names a host.
    pub fn rewritten_target(&self) -> Option<(Range<usize>, &str)> {
        let request = self.request.as_ref()?;
        Some((request.target.clone(), request.rewritten.as_deref()?))
    }

    fn finish(&mut self, header: &[u8]) -> Result<Progress, Fault> {
        if header.len() > self.limits.bytes {
            return Err(Fault::HeaderTooLarge);
        }
        // The request line and the empty one are lines too.
        lines::no_stray_controls(header, self.lines.len() + 2)?;
        if let Some(request) = &self.request {
            self.fields.fit(request, header)?;
        }
        self.fields.connection.mark(&mut self.lines, header);
        Ok(Progress::Complete(Header { len: header.len(), chunked: self.fields.chunked }))
    }
}
