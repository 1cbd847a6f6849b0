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
const REQUEST_FIELDS: &str = "authorization, content-disposition, content-type, idempotency-key, \
                              if-match, if-modified-since, if-none-match, if-range, \
                              last-event-id, range, traceparent, tracestate, x-affinity-key, \
                              x-request-id, x-routing-strategy";

/// The fields that the API and Nginx set, besides those that any page may read.
const RESPONSE_FIELDS: &[u8] = b"accept-ranges, age, allow, content-disposition, \
                                 content-range, deprecation, etag, idempotency-replayed, link, \
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
pub fn to_client(cors: &Cors, ctx: &RequestContext, sink: &mut impl FieldSink) {
    // For all requests: a cache may serve this response to another origin.
    sink.append(&VARY, b"origin");
    let Some(origin) = &ctx.cors_origin else { return };
    sink.set(&ACCESS_CONTROL_ALLOW_ORIGIN, origin.as_bytes());
    if cors.allow_credentials {
        sink.set(&ACCESS_CONTROL_ALLOW_CREDENTIALS, b"true");
    }
    sink.set(&ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_FIELDS);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The names of header parameters, and of response headers, in lower case.
    fn named(value: &Value, sent: &mut BTreeSet<String>, received: &mut BTreeSet<String>) {
        if let (Some("header"), Some(name)) = (value["in"].as_str(), value["name"].as_str()) {
            sent.insert(name.to_ascii_lowercase());
        }
        let headers = value["headers"].as_object().into_iter().flat_map(|headers| headers.keys());
        received.extend(headers.map(|name| name.to_ascii_lowercase()));
        let (object, array) = (value.as_object(), value.as_array());
        let parts = object.into_iter().flat_map(|object| object.values());
        parts.chain(array.into_iter().flatten()).for_each(|part| named(part, sent, received));
    }

    #[test]
    fn pages_may_use_every_field_of_the_api() {
        let document = include_str!("../../../docs/openapi.json");
        let document: Value = serde_json::from_str(document).expect("JSON");
        let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
        let components = &document["components"];
        for part in [&document["paths"], &components["responses"], &components["parameters"]] {
            named(part, &mut sent, &mut received);
        }
        assert!(sent.len() >= 5 && received.len() >= 10, "{sent:?} {received:?}");
        // Any page may read it.
        received.remove("cache-control");
        let response_fields = std::str::from_utf8(RESPONSE_FIELDS).expect("text");
        for (names, list) in [(sent, REQUEST_FIELDS), (received, response_fields)] {
            let listed: BTreeSet<_> = list.split(", ").map(str::to_owned).collect();
            let missing: Vec<_> = names.difference(&listed).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    }
}
