//! JSON responses with an explicit `Cache-Control`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::problem::ApiError;

/// A JSON response with `Cache-Control: no-store`.
///
/// # Errors
/// `internal` when `body` cannot be serialized.
pub fn no_store(status: StatusCode, body: &impl Serialize) -> Result<HttpResponse, ApiError> {
    json(status, "no-store", body)
}

/// A JSON response with this `Cache-Control`.
///
/// # Errors
/// `internal` when `body` cannot be serialized.
pub fn json(
    status: StatusCode,
    cache_control: &'static str,
    body: &impl Serialize,
) -> Result<HttpResponse, ApiError> {
    let body = serde_json::to_vec(body).map_err(ApiError::internal)?;
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static(cache_control)));
    Ok(response.body(body))
}
