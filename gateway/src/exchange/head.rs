//! What decisions read of headers, from the strict scanner's lines.

use http::{HeaderName, Method, StatusCode};

use crate::http_strict::{self, FieldKind, FieldLine};
use crate::request::{RequestHead, ResponseHead};

/// A request's header and its bytes.
pub(super) struct Request<'a> {
    pub(super) head: http_strict::ScannedRequest<'a>,
    pub(super) bytes: &'a [u8],
    /// The canonical target: path and query.
    pub(super) target: &'a str,
}

impl<'a> Request<'a> {
    /// The request with this header.
    pub(super) fn new(head: http_strict::ScannedRequest<'a>, bytes: &'a [u8]) -> Self {
        let target = head.target(bytes);
        Self { head, bytes, target }
    }
}

impl RequestHead for Request<'_> {
    fn method(&self) -> Method {
        self.head.method.into()
    }

    fn path(&self) -> &str {
        &self.target[..self.head.path_len()]
    }

    fn content_length(&self) -> Option<u64> {
        self.head.content_length
    }

    fn values(&self, name: HeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
        values(self.head.lines, self.bytes, name)
    }
}

/// A response's header and its bytes.
pub(super) struct Response<'a> {
    pub(super) head: http_strict::ScannedResponse<'a>,
    pub(super) bytes: &'a [u8],
}

impl ResponseHead for Response<'_> {
    fn status(&self) -> StatusCode {
        // The scanner accepts 100 to 599.
        StatusCode::from_u16(self.head.status).unwrap_or(StatusCode::BAD_GATEWAY)
    }

    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        values(self.head.lines, self.bytes, name)
    }
}

fn values<'a>(
    lines: &'a [FieldLine],
    bytes: &'a [u8],
    name: HeaderName,
) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    let kind = FieldKind::of(name.as_str().as_bytes());
    let is_named = move |line: &&FieldLine| match kind {
        FieldKind::Other | FieldKind::XForwardedOther | FieldKind::AccessControl => {
            bytes[line.name()].eq_ignore_ascii_case(name.as_str().as_bytes())
        }
        kind => line.kind == kind,
    };
    lines.iter().filter(is_named).map(|line| &bytes[line.value()])
}
