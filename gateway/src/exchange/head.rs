//! What decisions read of headers, from the strict scanner's lines.

use http::{HeaderName, Method, StatusCode};

use crate::http_strict::{self, FieldKind, FieldLine};
use crate::request::{RequestHead, ResponseHead};

/// A request's header and its bytes.
pub(super) struct Request<'a> {
    pub(super) head: http_strict::ScannedRequest<'a>,
    pub(super) bytes: &'a [u8],
}

impl RequestHead for Request<'_> {
    fn method(&self) -> Method {
        match self.head.method {
            http_strict::Method::Get => Method::GET,
            http_strict::Method::Head => Method::HEAD,
            http_strict::Method::Post => Method::POST,
            http_strict::Method::Put => Method::PUT,
            http_strict::Method::Patch => Method::PATCH,
            http_strict::Method::Delete => Method::DELETE,
            http_strict::Method::Options => Method::OPTIONS,
        }
    }

    fn path(&self) -> &str {
        &self.head.target(self.bytes)[..self.head.path_len()]
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
        FieldKind::Other | FieldKind::XForwardedOther => {
            bytes[line.name()].eq_ignore_ascii_case(name.as_str().as_bytes())
        }
        kind => line.kind == kind,
    };
    lines.iter().filter(is_named).map(|line| &bytes[line.value()])
}
