//! Writes that may be repeated, as HTTP tells of them.

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use proto_contracts::headers::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
use proto_contracts::{ErrorCode, IdempotencyKey};
use service_kit::problem::ApiError;

use crate::store::Done;

const KEY: HeaderName = HeaderName::from_static(IDEMPOTENCY_KEY);
const REPLAYED: HeaderName = HeaderName::from_static(IDEMPOTENCY_REPLAYED);

/// The request's key, if it has one. The refusal does not repeat it: it may be a real one with a slip in it.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut given = headers.get_all(KEY);
    let Some(value) = given.next() else { return Ok(None) };
    match IdempotencyKey::parse_bytes(value.as_bytes()) {
        Some(key) if given.next().is_none() => Ok(Some(key)),
        _ => Err(ApiError::new(ErrorCode::InvalidIdempotencyKey, "Send one UUID, drawn at random for this request.")),
    }
}

/// Marks the answer to a repetition.
pub(super) fn tell_replay(answer: &mut HttpResponse, done: Done) {
    match done {
        Done::Now => {}
        Done::Before => {
            answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
    }
}
