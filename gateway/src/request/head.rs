//! What decisions read of a request or response, whichever engine parsed it.

use http::header::CONTENT_LENGTH;
use http::{HeaderName, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};

/// The header of a request.
pub trait RequestHead {
    /// The method.
    fn method(&self) -> Method;

    /// The canonical path, without the query.
    fn path(&self) -> &str;

    /// The values of a field, in the order of its lines.
    fn values(&self, name: HeaderName) -> impl DoubleEndedIterator<Item = &[u8]>;

    /// The first value of a field.
    fn value(&self, name: HeaderName) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The declared length of the body. The strict scanner has checked it.
    fn content_length(&self) -> Option<u64> {
        std::str::from_utf8(self.value(CONTENT_LENGTH)?).ok()?.parse().ok()
    }

    /// The value of a field that has exactly one.
    fn single(&self, name: HeaderName) -> Option<&[u8]> {
        let mut values = self.values(name);
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }
}

/// The header of a response.
pub trait ResponseHead {
    /// The status.
    fn status(&self) -> StatusCode;

    /// The values of a field, in the order of its lines.
    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]>;

    /// The first value of a field.
    fn value(&self, name: HeaderName) -> Option<&[u8]> {
        self.values(name).next()
    }
}

/// Takes the fields that the gateway sets. Each replaces what the other side sent under its name,
/// except appended ones.
pub trait FieldSink {
    /// Sets a field.
    fn set(&mut self, name: &HeaderName, value: &[u8]);

    /// Appends a field to those of its name.
    fn append(&mut self, name: &HeaderName, value: &[u8]);
}

/// Writes fields as lines of HTTP/1.
pub struct FieldLines<'a>(pub &'a mut Vec<u8>);

impl FieldSink for FieldLines<'_> {
    fn set(&mut self, name: &HeaderName, value: &[u8]) {
        self.append(name, value);
    }

    fn append(&mut self, name: &HeaderName, value: &[u8]) {
        self.0.extend_from_slice(name.as_str().as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }
}

impl RequestHead for RequestHeader {
    fn method(&self) -> Method {
        self.method.clone()
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn values(&self, name: HeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.headers.get_all(name).into_iter().map(http::HeaderValue::as_bytes)
    }
}

impl ResponseHead for ResponseHeader {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers.get_all(name).into_iter().map(http::HeaderValue::as_bytes)
    }
}
