//! `Idempotency-Key` and `Idempotency-Replayed`.

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use proto_contracts::headers::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
use proto_contracts::{ErrorCode, IdempotencyKey};

use crate::problem::ApiError;

const KEY: HeaderName = HeaderName::from_static(IDEMPOTENCY_KEY);
const REPLAYED: HeaderName = HeaderName::from_static(IDEMPOTENCY_REPLAYED);

/// The request's key, if it has one. The error does not quote it: it may be a valid key with a
/// typing error.
///
/// # Errors
/// `invalid_idempotency_key` for a malformed one, and for several.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut given = headers.get_all(KEY);
    let Some(value) = given.next() else { return Ok(None) };
    match IdempotencyKey::parse_bytes(value.as_bytes()) {
        Some(key) if given.next().is_none() => Ok(Some(key)),
        _ => {
            let detail = "Idempotency-Key must be one key of 8 to 128 visible ASCII characters, \
                          plain or in quotes, generated for this request.";
            Err(ApiError::new(ErrorCode::InvalidIdempotencyKey, detail))
        }
    }
}

/// Marks the response to a repetition.
pub fn set_replayed(response: &mut HttpResponse) {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
}
