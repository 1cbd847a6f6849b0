//! Who asks, as HTTP tells it: `Authorization: Bearer` with a JWT, or nothing. And why here, as the gateway tells it.

use actix_web::HttpResponse;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use proto_contracts::headers::{AFFINITY_KEY, SESSION_AFFINITY, SESSION_AFFINITY_REQUIRED};
use proto_contracts::{AffinityKey, ErrorCode, SessionId};
use service_kit::problem::ApiError;
use service_kit::tokens::bearer_token;

use super::Sessions;
use super::session_path::sentence;
use crate::domain::caller::Caller;
use crate::store::{Access, Routing};

const X_AFFINITY_KEY: HeaderName = HeaderName::from_static(AFFINITY_KEY);
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
        Ok(Access { session: id.digest(), caller: self.caller(headers)?, routing: routing(headers, id) })
    }
}

/// By which of its code paths the gateway chose this instance. Without a gateway there is no home.
///
/// A request whose session id is not in its path may have been routed by another key than the session's. It came to the
/// home of that key, so the session must not be taken over from its own.
pub(super) fn routing(headers: &HeaderMap, id: &SessionId) -> Routing {
    let is_sticky = headers.get(X_SESSION_AFFINITY).is_some_and(|affinity| affinity == SESSION_AFFINITY_REQUIRED);
    if is_sticky && affinity_key(headers).is_none_or(|key| key == id.affinity_key()) {
        Routing::Sticky
    } else {
        Routing::RoundRobin
    }
}

/// The key that the gateway routed by. Without a gateway in front there is none.
pub(super) fn affinity_key(headers: &HeaderMap) -> Option<AffinityKey> {
    headers.get(X_AFFINITY_KEY).and_then(|value| AffinityKey::parse_bytes(value.as_bytes()))
}

/// Says which key leads to the session's home.
pub(super) fn tell_affinity_key(answer: &mut HttpResponse, id: &SessionId) -> Result<(), ApiError> {
    let key = HeaderValue::from_str(&id.affinity_key().to_string()).map_err(ApiError::internal)?;
    answer.headers_mut().insert(X_AFFINITY_KEY, key);
    Ok(())
}

/// RFC 6750, section 3.
fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    ApiError::new(ErrorCode::InvalidToken, detail).with_header(WWW_AUTHENTICATE, challenge)
}
