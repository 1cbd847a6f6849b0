//! `POST /control/v1/reload`.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::control::ReloadDone;
use service_kit::body::NoQuery;
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::state::State;

/// Reloads the configuration, as SIGHUP does.
pub(super) async fn reload(_: NoQuery, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let reloaded = state.reloader.reload().map_err(|error| {
        ApiError::new(ErrorCode::InvalidConfig, format!("Nothing has changed: {error}"))
    })?;
    response::no_store(StatusCode::OK, &ReloadDone { reloaded, missed: Vec::new() })
}
