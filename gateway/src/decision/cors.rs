//! Cross-origin resource sharing: what pages of other origins may send and read (Fetch standard,
//! "CORS protocol").
//!
//! A request of an origin that is not listed is served like any other, and its response has no
//! field that lets the page read it. So its preflight is an ordinary `OPTIONS`.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method};

use crate::config::Cors;
use crate::request::{FieldSink, RequestContext, RequestHead};

/// All methods: a page that uses a wrong one can read the 405 then, and its `Allow`.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// The fields that the API reads, besides those that any page may send.
const REQUEST_FIELDS: &str = "authorization, content-type, idempotency-key, if-match, \
                              if-modified-since, if-none-match, last-event-id, traceparent, \
                              tracestate, x-affinity-key, x-request-id, x-routing-strategy";

/// The fields that the API and Nginx set, besides those that any page may read.
const RESPONSE_FIELDS: &[u8] = b"age, allow, deprecation, etag, idempotency-replayed, link, \
                                 location, ratelimit, ratelimit-policy, retry-after, \
                                 server-timing, www-authenticate, x-affinity, x-affinity-key, \
                                 x-cache-status, x-request-id, x-served-by, x-session-source";

/// The listed origin that the request comes from. None for a request with two.
pub(super) fn origin(cors: &Cors, head: &impl RequestHead) -> Option<HeaderValue> {
    head.single(ORIGIN).and_then(|origin| cors.allowed(origin)).cloned()
}

/// Whether it asks what a page may send.
pub(super) fn is_preflight(head: &impl RequestHead) -> bool {
    head.method() == Method::OPTIONS && head.value(ACCESS_CONTROL_REQUEST_METHOD).is_some()
}

/// The fields of the response to a preflight, besides those of every response.
pub(super) fn preflight(cors: &Cors) -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS)),
        (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_FIELDS)),
        (ACCESS_CONTROL_MAX_AGE, cors.max_age.clone()),
    ]
}

/// Sets the fields of every response.
pub(super) fn to_client(cors: &Cors, ctx: &RequestContext, sink: &mut impl FieldSink) {
    // For all requests: a cache may serve this response to another origin.
    sink.append(&VARY, b"origin");
    let Some(origin) = &ctx.cors_origin else { return };
    sink.set(&ACCESS_CONTROL_ALLOW_ORIGIN, origin.as_bytes());
    if cors.allow_credentials {
        sink.set(&ACCESS_CONTROL_ALLOW_CREDENTIALS, b"true");
    }
    sink.set(&ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_FIELDS);
}
