//! Who calls, by the bearer token, and whether the API's table lets them.

use std::future::{Ready, ready};

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use proto_contracts::api::Operation;
use proto_contracts::openapi::Caller;
use proto_contracts::{ErrorCode, Resolved};
use service_kit::edge::Admit;
use service_kit::problem::ApiError;
use service_kit::tokens::{authorization, invalid_token};

use super::initiator::initiator;
use crate::domain::audit::Action;
use crate::issuer::{Identity, Issuer};
use crate::store::audit::Refusals;

/// Admits requests by the column `Caller` of the API's table, and leaves the caller for handlers.
pub fn admission(issuer: Issuer, refusals: Refusals) -> Box<Admit> {
    Box::new(move |request| {
        let Some(operation) = operation(request) else { return Ok(()) };
        let required = match operation.details.caller {
            Caller::Everyone { with_token: false } => return Ok(()),
            Caller::Everyone { with_token: true } => None,
            Caller::User(role) => Some(role),
            // Not in this service.
            Caller::SessionHolder | Caller::Issuer | Caller::TokenHolder => return Ok(()),
        };
        let identity = identify(&issuer, request.headers())?;
        match (&identity, required) {
            (None, Some(_)) => return Err(unauthorized()),
            (Some(identity), Some(role)) if identity.role < role => {
                let by = initiator(request.request(), Some(identity));
                refusals.note(Action::Forbidden, &by, Some(&identity.user));
                let detail = format!("This needs the role {role}; yours is {}.", identity.role);
                return Err(ApiError::new(ErrorCode::Forbidden, detail));
            }
            _ => {}
        }
        if let Some(identity) = identity {
            request.extensions_mut().insert(identity);
        }
        Ok(())
    })
}

fn operation(request: &ServiceRequest) -> Option<&'static Operation> {
    let endpoint = request.extensions().get::<Resolved>()?.endpoint;
    let method = match *request.method() {
        Method::HEAD => "GET",
        ref method => method.as_str(),
    };
    endpoint.operations().iter().find(|operation| operation.method.as_str() == method)
}

fn identify(issuer: &Issuer, headers: &HeaderMap) -> Result<Option<Identity>, ApiError> {
    let Some(token) = authorization(headers)? else { return Ok(None) };
    let verified = issuer.verify(token);
    verified.map(Some).map_err(|error| invalid_token(format!("Log in again: {error}.")))
}

/// 401 for a request without a token.
pub(super) fn unauthorized() -> ApiError {
    let detail = "Log in, and send the access token as `Authorization: Bearer`.";
    ApiError::new(ErrorCode::Unauthorized, detail)
}

/// The caller, where the table requires one.
pub(super) struct CalledBy(pub(super) Identity);

impl FromRequest for CalledBy {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let identity = request.extensions().get::<Identity>().cloned();
        ready(identity.map(Self).ok_or_else(unauthorized))
    }
}
