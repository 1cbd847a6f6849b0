//! What the responses about accounts have in common.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use proto_contracts::ErrorCode;
use proto_contracts::accounts as wire;
use service_kit::problem::ApiError;
use service_kit::response;

use crate::domain::account::Account;
use crate::domain::outcome::Outcome;
use crate::store::StoreError;

pub(super) fn to_wire(account: Account) -> wire::User {
    let Account { id, name, role, created_at, is_disabled: disabled } = account;
    wire::User { id: id.to_string(), name, role, created_at: created_at.into(), disabled }
}

pub(super) fn without_body() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .finish()
}

/// Repeats a response about an account: the user with this status, or no body.
pub(super) fn replay_account(
    status: StatusCode,
) -> impl Fn(Option<Outcome>) -> Result<HttpResponse, ApiError> {
    move |outcome| match outcome {
        Some(Outcome::Account(account)) => response::no_store(status, &to_wire(account)),
        _ => Ok(without_body()),
    }
}

pub(super) fn store_failed(error: StoreError) -> ApiError {
    if !error.is_outage() {
        return ApiError::internal(error);
    }
    let detail = "The database is temporarily unavailable, and the outcome of a change is unknown; \
                  repeat the request shortly.";
    ApiError::new(ErrorCode::DatabaseUnavailable, detail).caused_by(error)
}
