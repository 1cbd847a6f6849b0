//! Changes of the routing: made here first, then at the deployment's other gateways.
//!
//! Two gateways may get changes of the same thing at once. Each change has a [`ChangeOrder`], and
//! no gateway makes one that is older than the last that it made, so both end in the same state.

use actix_web::body::{self, BoxBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpResponse, Route, web};
use bytes::Bytes;
use proto_contracts::control::{
    AddInstance, ChangeOrder, InstanceRemoved, MissedGateway, is_passed_on,
};
use proto_contracts::headers::{CHANGE_ORDER, CHANGE_SCOPE, CHANGE_SCOPE_GATEWAY};
use proto_contracts::{ErrorCode, openapi};
use serde_json::Value;
use service_kit::body::read;
use service_kit::problem::ApiError;

use crate::control::order;
use crate::control::peers::{Change, Outcomes};
use crate::control::state::State;

const X_CHANGE_ORDER: HeaderName = HeaderName::from_static(CHANGE_ORDER);

/// The route of an operation. If the table says so, its changes are passed on.
pub(super) fn passed_on(path: &'static str, method: openapi::Method, route: Route) -> Route {
    if !is_passed_on(path, method) {
        return route;
    }
    let aspect = path.rsplit('/').next().unwrap_or_default();
    let aspect = match (aspect, method) {
        ("undrain", _) => "drain",
        ("{name}", openapi::Method::Patch) => "weight",
        ("{name}" | "instances", _) => "member",
        (other, _) => other,
    };
    route.wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
        pass_on(aspect, request, next)
    }))
}

/// How a change came.
enum Origin {
    /// From a client.
    Client { for_all: bool },
    /// From another gateway.
    Gateway(ChangeOrder),
}

impl Origin {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let invalid = |detail: String| ApiError::new(ErrorCode::BadRequest, detail);
        if let Some(order) = headers.get(CHANGE_ORDER) {
            let order = order.to_str().ok().and_then(|text| text.parse().ok());
            let detail =
                format!("{CHANGE_ORDER} is for gateways alone, and this one is malformed.");
            return order.map(Self::Gateway).ok_or_else(|| invalid(detail));
        }
        match headers.get(CHANGE_SCOPE).map(HeaderValue::as_bytes) {
            None => Ok(Self::Client { for_all: true }),
            Some(scope) if scope == CHANGE_SCOPE_GATEWAY.as_bytes() => {
                Ok(Self::Client { for_all: false })
            }
            Some(_) => Err(invalid(format!("{CHANGE_SCOPE} must be '{CHANGE_SCOPE_GATEWAY}'."))),
        }
    }
}

async fn pass_on(
    aspect: &'static str,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    let origin = Origin::of(request.headers())?;
    let body = read(request.parts_mut().1).await?;
    request.set_payload(Payload::from(body.clone()));
    let Some(state) = request.app_data::<web::Data<State>>().cloned() else {
        return Err(ApiError::internal("the control plane has no state").into());
    };
    let last = state.changes.of(thing(aspect, &request, &body, &state));
    let mut last = last.lock().await;
    let order = match (&origin, *last) {
        (Origin::Gateway(order), Some(later)) if later >= *order => {
            return Ok(request.into_response(superseded(later)));
        }
        (Origin::Gateway(order), _) => *order,
        (Origin::Client { .. }, last) => order::after(last),
    };
    let response = next.call(request).await?;
    let is_gone = is_gone(&response);
    if !response.status().is_success() && !is_gone {
        return Ok(response);
    }
    *last = Some(order);
    drop(last);
    if !matches!(origin, Origin::Client { for_all: true }) {
        return Ok(response);
    }
    let (method, uri) = (response.request().method(), response.request().uri());
    let outcomes = state.peers.send(&Change { method, uri, body, order }).await;
    if is_gone {
        gone(response, outcomes).await
    } else {
        with_missed(response, outcomes.missed).await
    }
}

/// What is changed: a pool's strategy, say, or whether it has an instance.
fn thing(aspect: &str, request: &ServiceRequest, body: &[u8], state: &State) -> String {
    let parameters = request.match_info();
    let pool = parameters.get("pool").unwrap_or_default();
    // Of an addition, whose path names no instance.
    let added = || serde_json::from_slice::<AddInstance>(body).ok().map(|added| added.addr);
    let addr = match parameters.get("name") {
        Some(name) => state.pool(pool).ok().and_then(|pool| pool.addr_of(name)),
        None if aspect == "member" => added(),
        None => None,
    };
    let instance = addr.map(|addr| addr.to_string());
    let instance = instance.as_deref().or(parameters.get("name")).unwrap_or_default();
    format!("{pool} {aspect} {instance}")
}

/// The response to a change that comes after a later one, or again.
fn superseded(later: ChangeOrder) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CHANGE_ORDER, later.to_string()))
        .finish()
}

/// Whether it is a removal of what is not here. Another gateway may still have it.
fn is_gone(response: &ServiceResponse) -> bool {
    response.request().method() == Method::DELETE
        && error_of(response).is_some_and(|error| error.code() == ErrorCode::InstanceNotFound)
}

fn error_of(response: &ServiceResponse) -> Option<&ApiError> {
    response.response().error()?.as_error()
}

/// The response to a removal of what was not here.
async fn gone(
    response: ServiceResponse,
    Outcomes { is_made, missed }: Outcomes,
) -> Result<ServiceResponse, Error> {
    if is_made {
        let done = HttpResponse::NoContent().insert_header((CACHE_CONTROL, "no-store")).finish();
        return with_missed(response.into_response(done), missed).await;
    }
    Ok(match (error_of(&response), &missed[..]) {
        (Some(error), [first, ..]) => {
            let detail = format!("{} A gateway was missed: {first}.", error.detail());
            let error = ApiError::new(error.code(), detail);
            response.error_response(error)
        }
        _ => response,
    })
}

/// Adds the gateways that were missed to the body.
async fn with_missed(
    response: ServiceResponse,
    missed: Vec<MissedGateway>,
) -> Result<ServiceResponse, Error> {
    if missed.is_empty() {
        return Ok(response);
    }
    let (request, response) = response.into_parts();
    let (mut response, sent) = response.into_parts();
    let sent = body::to_bytes(sent).await.map_err(|error| ApiError::internal(error.to_string()))?;
    let body = if sent.is_empty() {
        *response.status_mut() = StatusCode::OK;
        serde_json::to_vec(&InstanceRemoved { missed })
    } else {
        let mut changed: Value = serde_json::from_slice(&sent).map_err(ApiError::internal)?;
        changed["missed"] = serde_json::to_value(missed).map_err(ApiError::internal)?;
        serde_json::to_vec(&changed)
    };
    let body = Bytes::from(body.map_err(ApiError::internal)?);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(ServiceResponse::new(request, response.set_body(body).map_into_boxed_body()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_a_closed_list() {
        let origin = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            Origin::of(&headers)
        };
        assert!(matches!(Origin::of(&HeaderMap::new()), Ok(Origin::Client { for_all: true })));
        assert!(matches!(origin(CHANGE_SCOPE, "gateway"), Ok(Origin::Client { for_all: false })));
        assert!(matches!(origin(CHANGE_ORDER, "1-00000002"), Ok(Origin::Gateway(_))));
        for wrong in ["", "Gateway", "all", "gateway, gateway"] {
            assert!(origin(CHANGE_SCOPE, wrong).is_err(), "{wrong:?}");
            assert!(origin(CHANGE_ORDER, wrong).is_err(), "{wrong:?}");
        }
    }
}
