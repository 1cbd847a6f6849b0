//! The caller of a request (`Authorization: Bearer` with a JWT, or none), and how the gateway
//! routed the request.

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use proto_contracts::headers::{AFFINITY_KEY, SESSION_AFFINITY, SESSION_AFFINITY_REQUIRED};
use proto_contracts::{AffinityKey, ErrorCode, SessionId};
use service_kit::problem::ApiError;
use service_kit::tokens::{authorization, invalid_token, rejected};

use super::context::Sessions;
use super::problems::revoked;
use crate::domain::caller::{Caller, Credentials};
use crate::domain::digest::ShortDigest;
use crate::store::{Access, Routing};

const X_AFFINITY_KEY: HeaderName = HeaderName::from_static(AFFINITY_KEY);
const X_SESSION_AFFINITY: HeaderName = HeaderName::from_static(SESSION_AFFINITY);

impl Sessions {
    /// The caller by these headers. Invalid credentials are rejected, not ignored: their sender
    /// expects a private session.
    pub(super) fn credentials(&self, headers: &HeaderMap) -> Result<Credentials, ApiError> {
        let Some(token) = authorization(headers)? else { return Ok(Credentials::ANONYMOUS) };
        let Some(tokens) = &self.tokens else {
            let detail = "This service accepts no tokens; omit the Authorization header.";
            return Err(invalid_token(detail));
        };
        tokens.verify(token).map_err(rejected)
    }

    /// Access to the session by the sender of these headers.
    pub(super) fn access(&self, headers: &HeaderMap, id: &SessionId) -> Result<Access, ApiError> {
        Ok(access_by(headers, id, self.credentials(headers)?))
    }

    /// The user of the request, whose token is not revoked.
    pub(super) async fn user(&self, headers: &HeaderMap) -> Result<ShortDigest, ApiError> {
        let Credentials { caller, issued_at } = self.credentials(headers)?;
        match caller {
            Caller::Subject(user) if issued_at.is_before(self.store.not_before(user).await?) => {
                Err(revoked())
            }
            Caller::Subject(user) => Ok(user),
            Caller::Anonymous => {
                let detail = "Log in, and send the access token as `Authorization: Bearer`.";
                Err(ApiError::new(ErrorCode::Unauthorized, detail))
            }
        }
    }
}

/// This caller's access to the session, by a request with these headers.
pub(super) fn access_by(headers: &HeaderMap, id: &SessionId, by: Credentials) -> Access {
    let Credentials { caller, issued_at } = by;
    Access {
        session: id.digest(),
        affinity: id.affinity_key(),
        caller,
        issued_at,
        routing: routing(headers, id),
    }
}

/// How the gateway chose this instance. Without a gateway no instance is the session's home.
///
/// A request without the session id in its path may be routed by a key other than the session's. It
/// then reaches the home of that key, which must not take the session over from its own home.
fn routing(headers: &HeaderMap, id: &SessionId) -> Routing {
    let is_sticky = headers
        .get(X_SESSION_AFFINITY)
        .is_some_and(|affinity| affinity == SESSION_AFFINITY_REQUIRED);
    if is_sticky && affinity_key(headers).is_none_or(|key| key == id.affinity_key()) {
        Routing::Sticky
    } else {
        Routing::RoundRobin
    }
}

/// The key that the gateway routed by; `None` without a gateway.
pub(super) fn affinity_key(headers: &HeaderMap) -> Option<AffinityKey> {
    headers.get(X_AFFINITY_KEY).and_then(|value| AffinityKey::parse_bytes(value.as_bytes()))
}

/// Sets `X-Affinity-Key`, by which clients reach the session's home.
pub(super) fn set_affinity_key(
    response: &mut HttpResponse,
    id: &SessionId,
) -> Result<(), ApiError> {
    let key = HeaderValue::from_str(&id.affinity_key().to_string()).map_err(ApiError::internal)?;
    response.headers_mut().insert(X_AFFINITY_KEY, key);
    Ok(())
}
