//! Good answers, with their caching stated.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::problem::ApiError;

/// JSON that no cache may keep.
///
/// # Errors
/// When `body` cannot be written as JSON, which is a fault of ours.
pub fn no_store(status: StatusCode, body: &impl Serialize) -> Result<HttpResponse, ApiError> {
    json(status, "no-store", body)
}

/// JSON with this `Cache-Control`.
///
/// # Errors
/// When `body` cannot be written as JSON, which is a fault of ours.
pub fn json(status: StatusCode, cache_control: &'static str, body: &impl Serialize) -> Result<HttpResponse, ApiError> {
    let body = serde_json::to_vec(body).map_err(ApiError::internal)?;
    let mut answer = HttpResponse::build(status);
    answer.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    answer.insert_header((CACHE_CONTROL, HeaderValue::from_static(cache_control)));
    Ok(answer.body(body))
}
