//! Who asks, as HTTP tells it: `Authorization: Bearer` with a JWT, or nothing. And why here, as the gateway tells it.

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use proto_contracts::headers::{SESSION_AFFINITY, SESSION_AFFINITY_REQUIRED};
use proto_contracts::{ErrorCode, SessionId};
use service_kit::problem::ApiError;
use service_kit::tokens::bearer_token;

use super::Sessions;
use super::session_path::sentence;
use crate::domain::caller::Caller;
use crate::store::{Access, Routing};

const X_SESSION_AFFINITY: HeaderName = HeaderName::from_static(SESSION_AFFINITY);

impl Sessions {
    /// Who sent these headers. Credentials that cannot be used are refused, not passed over: who sends them believes that
    /// the session will be theirs alone.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let mut given = headers.get_all(AUTHORIZATION);
        let Some(credentials) = given.next() else { return Ok(Caller::Anonymous) };
        if given.next().is_some() {
            return Err(refused("Send one Authorization header."));
        }
        let Some(token) = bearer_token(credentials.as_bytes()) else {
            return Err(refused("The Authorization header must be of the form 'Bearer <token>'."));
        };
        let Some(tokens) = &self.tokens else {
            return Err(refused("No tokens are accepted here; send the request without one."));
        };
        tokens.verify(token).map_err(|error| refused(sentence(error)))
    }

    /// The session, for who sent these headers.
    pub(super) fn access(&self, headers: &HeaderMap, id: &SessionId) -> Result<Access, ApiError> {
        Ok(Access { session: id.digest(), caller: self.caller(headers)?, routing: routing(headers) })
    }
}

/// By which of its code paths the gateway chose this instance. Without a gateway there is no home.
pub(super) fn routing(headers: &HeaderMap) -> Routing {
    match headers.get(X_SESSION_AFFINITY) {
        Some(affinity) if affinity == SESSION_AFFINITY_REQUIRED => Routing::Sticky,
        _ => Routing::RoundRobin,
    }
}

/// RFC 6750, section 3.
fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    ApiError::new(ErrorCode::InvalidToken, detail).with_header(WWW_AUTHENTICATE, challenge)
}
