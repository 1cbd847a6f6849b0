//! The session id in a path.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use proto_contracts::{ErrorCode, SessionId};
use service_kit::problem::{ApiError, sentence};
use service_kit::routes::parameter;

/// The `{session_id}` of the request's path, as an argument of a handler.
#[derive(Debug)]
pub(super) struct SessionPath(pub(super) SessionId);

impl FromRequest for SessionPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse_id(&parameter(request)).map(Self))
    }
}

/// Parses a session id. The error does not quote it: it may be a valid id with a typing error.
pub(super) fn parse_id(text: &str) -> Result<SessionId, ApiError> {
    text.parse().map_err(|error| ApiError::new(ErrorCode::InvalidSessionId, sentence(error)))
}
