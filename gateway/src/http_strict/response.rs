//! Strict parsing of a response's header.
//!
//! An instance that is broken or taken over must not change where a response ends. So what two
//! parsers could read differently is a fault: the client gets a 502, and the connection is closed.

mod fault;
#[cfg(test)]
mod tests;

pub use fault::ResponseFault;

use std::ops::Range;

use crate::http_strict::connection_options::ConnectionOptions;
use crate::http_strict::field_kind::FieldKind;
use crate::http_strict::field_line::FieldLine;
use crate::http_strict::framing::{self, Framing};
use crate::http_strict::lines::{self, Lines};
use crate::http_strict::request_line::Method;
use crate::http_strict::version::Version;

/// Size limits of a response's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseLimits {
    /// Maximum number of fields.
    pub fields: usize,
    /// Maximum bytes, including the status line and the empty line at the end.
    pub bytes: usize,
}

impl ResponseLimits {
    /// More than frameworks send.
    pub const DEFAULT: Self = Self { fields: 128, bytes: 64 * 1024 };
}

/// Progress of a response's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseProgress {
    /// Valid so far, but not complete.
    Incomplete,
    /// Complete and valid: its length in bytes, with the empty line at its end.
    Complete(usize),
}

/// A parsed header. Its ranges are those of the bytes as they were scanned.
#[derive(Clone, Debug)]
pub struct ScannedResponse<'a> {
    /// The status, from 100 to 599. Whether a 101 was requested is for the caller to check.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// The range of the reason, which may be empty.
    pub reason: Range<usize>,
    /// The declared length of the body, also where there is none, as for `HEAD`.
    pub content_length: Option<u64>,
    /// Whether chunks are declared. There is no declared length then.
    pub chunked: bool,
    /// The options of `Connection`.
    pub connection: ConnectionOptions,
    /// The fields, in the order of their lines.
    pub lines: &'a [FieldLine],
}

impl ScannedResponse<'_> {
    /// How the body ends, for a request with this method (RFC 9112, section 6.3).
    pub fn framing(&self, method: Method) -> Framing {
        match (self.status, self.content_length) {
            _ if method == Method::Head => Framing::None,
            (100..=199 | 204 | 304, _) => Framing::None,
            _ if self.chunked => Framing::Chunked,
            (_, Some(0)) => Framing::None,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::UntilClose,
        }
    }

    /// Whether the connection may be used again after a body with this framing.
    pub fn keeps_connection(&self, framing: Framing) -> bool {
        framing != Framing::UntilClose && self.connection.keeps(self.version)
    }
}

/// Scans one response's header as it arrives.
#[derive(Debug)]
pub struct ResponseScanner {
    limits: ResponseLimits,
    at: Lines,
    status: Option<StatusLine>,
    length: Option<u64>,
    chunked: bool,
    connection: ConnectionOptions,
    lines: Vec<FieldLine>,
}

#[derive(Clone, Debug)]
struct StatusLine {
    version: Version,
    status: u16,
    reason: Range<usize>,
}

impl ResponseScanner {
    /// A scanner for a new header.
    pub fn new(limits: ResponseLimits) -> Self {
        Self::with_lines(limits, Vec::new())
    }

    /// A scanner for a new header that keeps its lines in the memory of `lines`.
    pub fn with_lines(limits: ResponseLimits, mut lines: Vec<FieldLine>) -> Self {
        lines.clear();
        Self {
            limits,
            at: Lines::default(),
            status: None,
            length: None,
            chunked: false,
            connection: ConnectionOptions::default(),
            lines,
        }
    }

    /// The memory of the lines, for another scanner.
    pub fn into_lines(self) -> Vec<FieldLine> {
        self.lines
    }

    /// Continues with all bytes received of this response, including those of earlier calls.
    ///
    /// # Errors
    /// The fault; the connection must be closed then.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<ResponseProgress, ResponseFault> {
        while let Some(line) = self.at.next(bytes)? {
            if self.status.is_none() {
                self.status = Some(StatusLine::parse(line.bytes, line.start)?);
            } else if line.bytes.is_empty() {
                return self.finish(&bytes[..line.end]);
            } else {
                let field = FieldLine::parse(line.bytes, line.start)?;
                if self.lines.len() == self.limits.fields {
                    return Err(ResponseFault::TooManyFields);
                }
                self.take(field.kind, &bytes[field.value()])?;
                self.lines.push(field);
            }
        }
        if bytes.len() > self.limits.bytes {
            return Err(ResponseFault::HeaderTooLarge);
        }
        Ok(ResponseProgress::Incomplete)
    }

    /// The parsed header; `None` until its status line is complete. Call it when the whole
    /// header is.
    pub fn response(&self) -> Option<ScannedResponse<'_>> {
        let StatusLine { version, status, reason } = self.status.clone()?;
        Some(ScannedResponse {
            status,
            version,
            reason,
            content_length: self.length,
            chunked: self.chunked,
            connection: self.connection,
            lines: &self.lines,
        })
    }

    fn take(&mut self, kind: FieldKind, value: &[u8]) -> Result<(), ResponseFault> {
        match kind {
            FieldKind::ContentLength if self.length.is_some() => {
                return Err(ResponseFault::SeveralLengths);
            }
            FieldKind::ContentLength => {
                self.length = Some(framing::parse_length(value).ok_or(ResponseFault::BadLength)?);
            }
            FieldKind::TransferEncoding if self.chunked => {
                return Err(ResponseFault::SeveralCodings);
            }
            FieldKind::TransferEncoding if value.eq_ignore_ascii_case(b"chunked") => {
                self.chunked = true;
            }
            FieldKind::TransferEncoding if value.contains(&b',') => {
                return Err(ResponseFault::SeveralCodings);
            }
            FieldKind::TransferEncoding => return Err(ResponseFault::UnknownCoding),
            FieldKind::Connection => {
                self.connection.take(value);
                // Each of them names a field, so there cannot be more.
                if self.connection.others as usize > self.limits.fields {
                    return Err(ResponseFault::TooManyFields);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, header: &[u8]) -> Result<ResponseProgress, ResponseFault> {
        if header.len() > self.limits.bytes {
            return Err(ResponseFault::HeaderTooLarge);
        }
        // The status line and the empty one are lines too.
        lines::no_stray_controls(header, self.lines.len() + 2)?;
        if self.chunked && self.length.is_some() {
            return Err(ResponseFault::LengthAndChunks);
        }
        if let Some(StatusLine { version, status, .. }) = self.status {
            if self.chunked && version == Version::Http10 {
                return Err(ResponseFault::ChunksInHttp10);
            }
            let has_body = self.chunked || self.length.is_some_and(|length| length > 0);
            if has_body && matches!(status, 100..=199 | 204) {
                return Err(ResponseFault::UnexpectedBody);
            }
        }
        self.connection.mark(&mut self.lines, header);
        Ok(ResponseProgress::Complete(header.len()))
    }
}

impl StatusLine {
    /// Parses the line, which starts at offset `start`. Some servers omit the space before an empty
    /// reason.
    fn parse(line: &[u8], start: usize) -> Result<Self, ResponseFault> {
        let Some(version_end) = memchr::memchr(b' ', line) else {
            return Err(ResponseFault::NoStatusLine);
        };
        let (version, rest) = (&line[..version_end], &line[version_end + 1..]);
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', digit, ..] if digit.is_ascii_digit() => {
                return Err(ResponseFault::UnsupportedVersion);
            }
            _ => return Err(ResponseFault::NoStatusLine),
        };
        let digits = match rest {
            [a, b, c] | [a, b, c, b' ', ..] => [a, b, c],
            _ => return Err(ResponseFault::BadStatus),
        };
        if !digits.iter().all(|digit| digit.is_ascii_digit()) {
            return Err(ResponseFault::BadStatus);
        }
        let status = digits.iter().fold(0, |sum, &&digit| sum * 10 + u16::from(digit - b'0'));
        if !(100..=599).contains(&status) {
            return Err(ResponseFault::BadStatus);
        }
        let end = start + line.len();
        Ok(Self { version, status, reason: end.min(start + 13)..end })
    }
}
