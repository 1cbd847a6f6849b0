//! Responses with the headers of a session.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use proto_contracts::headers::SESSION_SOURCE;
use serde::Serialize;
use service_kit::problem::ApiError;
use service_kit::response::no_store;

use super::idempotency::set_replayed;
use crate::store::{Source, Written};

const X_SESSION_SOURCE: HeaderName = HeaderName::from_static(SESSION_SOURCE);

/// A JSON response with `X-Session-Source`.
pub(super) fn from_source(
    source: Source,
    status: StatusCode,
    body: &impl Serialize,
) -> Result<HttpResponse, ApiError> {
    let mut response = no_store(status, body)?;
    set_source(&mut response, source);
    Ok(response)
}

/// The response to a write; `Idempotency-Replayed` marks a repetition.
pub(super) fn to_write<T>(
    written: &Written<T>,
    status: StatusCode,
    body: &impl Serialize,
) -> Result<HttpResponse, ApiError> {
    let mut response = from_source(written.source, status, body)?;
    set_replayed(&mut response, written.outcome);
    Ok(response)
}

/// Sets `X-Session-Source`.
pub(super) fn set_source(response: &mut HttpResponse, source: Source) {
    response.headers_mut().insert(X_SESSION_SOURCE, HeaderValue::from_static(source.as_str()));
}
