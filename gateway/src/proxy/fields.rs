//! Applies the decisions on header fields to Pingora's headers.

use std::mem;

use http::header::GetAll;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Version};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use proto_contracts::headers;

use crate::decision::{Timing, forward};
use crate::http_strict::{ConnectionOptions, FieldKind};
use crate::request::trace::SentTrace;
use crate::request::{FieldSink, RequestContext, RequestHead};

const TRACEPARENT: HeaderName = HeaderName::from_static(headers::TRACEPARENT);
const TRACESTATE: HeaderName = HeaderName::from_static(headers::TRACESTATE);

/// Drops Pingora's map of header name spellings, which would be copied with every request and cost
/// an allocation per added header.
pub(super) fn forget_request_spelling(request: &mut RequestHeader) {
    // Only a target in origin form survives the conversion.
    if request.has_case() && request.raw_path().starts_with(b"/") && request.raw_path_is_utf8() {
        let parts: http::request::Parts =
            mem::replace(request, http::Request::new(()).into_parts().0.into()).into();
        *request = parts.into();
    }
}

/// The same for a response.
fn forget_response_spelling(response: &mut ResponseHeader) {
    if response.has_case() {
        let parts: http::response::Parts =
            mem::replace(response, http::Response::new(()).into_parts().0.into()).into();
        *response = parts.into();
    }
}

/// What `Connection` says. Pingora reads only the first such field, and as one option.
pub(super) fn connection_options(request: &RequestHeader) -> ConnectionOptions {
    let mut options = ConnectionOptions::default();
    for value in request.headers.get_all(CONNECTION) {
        options.take(value.as_bytes());
    }
    options
}

/// Removes what is for this connection alone. Pingora would reject some names in `Connection`, and
/// forward an `Upgrade` that it does not name.
pub(super) fn remove_hop_by_hop(request: &mut RequestHeader, options: ConnectionOptions) {
    for name in named_by_connection(request.headers.get_all(CONNECTION)) {
        match kind(&name) {
            // Without these the request would change its meaning.
            FieldKind::Host | FieldKind::ContentLength | FieldKind::TransferEncoding => {}
            FieldKind::Upgrade => {}
            _ => drop(request.remove_header(&name)),
        }
    }
    request.remove_header(&CONNECTION);
    if !options.upgrade {
        request.remove_header(&UPGRADE);
    }
}

/// The names of fields in `Connection`.
fn named_by_connection(values: GetAll<'_, HeaderValue>) -> Vec<HeaderName> {
    let options = values.iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()).collect()
}

/// Whether a field of a response is for the instance's connection alone. Pingora replaces
/// `Connection`, and the framing and an upgrade are its own.
fn is_of_connection(kind: FieldKind) -> bool {
    use FieldKind::{KeepAlive, ProxyConnection, Te, Trailer};
    matches!(kind, KeepAlive | ProxyConnection | Te | Trailer)
}

/// Fields to set, collected while the header is read.
#[derive(Default)]
struct Fields {
    set: Vec<(HeaderName, HeaderValue)>,
    appended: Vec<(HeaderName, HeaderValue)>,
}

impl FieldSink for Fields {
    fn set(&mut self, name: &HeaderName, value: &[u8]) {
        // Values are the gateway's own, or were accepted as a field's.
        self.set.extend(HeaderValue::from_bytes(value).ok().map(|value| (name.clone(), value)));
    }

    fn append(&mut self, name: &HeaderName, value: &[u8]) {
        self.appended
            .extend(HeaderValue::from_bytes(value).ok().map(|value| (name.clone(), value)));
    }
}

fn kind(name: &HeaderName) -> FieldKind {
    FieldKind::of(name.as_str().as_bytes())
}

/// Rewrites the request header for the instance.
///
/// # Errors
/// When Pingora rejects a header; it accepts these.
pub(super) fn to_instance(request: &mut RequestHeader, ctx: &RequestContext) -> Result<()> {
    let mut fields = Fields::default();
    let forwarded = forward::to_instance(request, ctx, &mut fields);
    // Most requests have none, and an empty list does not allocate.
    let internal: Vec<_> =
        request.headers.keys().filter(|name| kind(name).is_internal()).cloned().collect();
    for name in internal {
        request.remove_header(&name);
    }
    match forwarded.trace {
        SentTrace::Both => {}
        SentTrace::State => drop(request.remove_header(&TRACEPARENT)),
        SentTrace::Dropped => {
            request.remove_header(&TRACEPARENT);
            request.remove_header(&TRACESTATE);
        }
    }
    for (name, value) in fields.set {
        request.insert_header(name, value)?;
    }
    for (name, value) in fields.appended {
        request.append_header(name, value)?;
    }
    // Optional in HTTP/1.0, whose requests are sent in a later version.
    if request.value(HOST).is_none() {
        request.insert_header(HOST, "gateway")?;
    }
    if let Some(cookies) = forwarded.cookies {
        request.remove_header(&COOKIE);
        for cookie in cookies {
            request.append_header(COOKIE, cookie)?;
        }
    }
    Ok(())
}

/// Whether parsers may disagree on where the body of the response ends.
pub(super) fn is_ambiguous(response: &ResponseHeader) -> bool {
    let lengths = response.headers.get_all(CONTENT_LENGTH).iter().count();
    let codings = response.headers.get_all(TRANSFER_ENCODING).iter().count();
    lengths + codings > 1
}

/// Rewrites the response header for the client.
///
/// # Errors
/// When Pingora rejects a header; it accepts these.
pub(super) fn to_client(
    response: &mut ResponseHeader,
    ctx: &RequestContext,
    timing: Option<Timing>,
) -> Result<()> {
    forget_response_spelling(response);
    // That of this connection, not of the instance's.
    response.set_version(Version::HTTP_11);
    let hidden: Vec<_> = response
        .headers
        .keys()
        .filter(|name| forward::is_hidden(kind(name), ctx) || is_of_connection(kind(name)))
        .cloned()
        .collect();
    for name in hidden {
        response.remove_header(&name);
    }
    for name in named_by_connection(response.headers.get_all(CONNECTION)) {
        match kind(&name) {
            FieldKind::ContentLength | FieldKind::TransferEncoding | FieldKind::Upgrade => {}
            _ => drop(response.remove_header(&name)),
        }
    }
    add_own(response, ctx, timing)
}

/// Adds the gateway's fields to a response that it composed, or that is rewritten.
///
/// # Errors
/// When Pingora rejects a header; it accepts these.
pub(super) fn add_own(
    response: &mut ResponseHeader,
    ctx: &RequestContext,
    timing: Option<Timing>,
) -> Result<()> {
    let mut fields = Fields::default();
    forward::to_client(response, ctx, timing, &mut fields);
    for (name, value) in fields.set {
        response.insert_header(name, value)?;
    }
    for (name, value) in fields.appended {
        response.append_header(name, value)?;
    }
    Ok(())
}
