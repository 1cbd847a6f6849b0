//! Requests to the API. The client adds the host.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;

use crate::client::ScenarioRequest;

/// A request without a body.
pub(crate) fn get(path: &str) -> ScenarioRequest {
    bare(Method::GET, path)
}

/// A request with a JSON body.
pub(crate) fn post(path: &str, body: &impl Serialize) -> ScenarioRequest {
    with_json(Method::POST, path, body)
}

/// A request without a body, by any method.
pub(crate) fn bare(method: Method, path: &str) -> ScenarioRequest {
    new(method, path, Bytes::new())
}

/// A request with a JSON body, by any method.
pub(crate) fn with_json(method: Method, path: &str, body: &impl Serialize) -> ScenarioRequest {
    // These bodies always serialize; an empty one would be rejected and counted.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut request = new(method, path, body.into());
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request
}

fn new(method: Method, path: &str, body: Bytes) -> ScenarioRequest {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    // Templates with hex digits always parse; a bad path would get 404 and be counted.
    *request.uri_mut() = path.parse().unwrap_or(Uri::from_static("/"));
    request
}
