//! `/control/v1/traffic`: the clients of a traffic driver, so that the board knows one origin and
//! never sees the driver's token.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::control::{DRIVER_TRAFFIC_PATH, Traffic, TrafficSettings};
use reqwest::Method;
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::state::State;

pub(super) async fn show(_: NoQuery, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let traffic = match &state.driver {
        Some(driver) => driver.send(driver.request(Method::GET, DRIVER_TRAFFIC_PATH)).await?,
        None => Traffic::without_driver(),
    };
    response::no_store(StatusCode::OK, &traffic)
}

pub(super) async fn drive(
    _: NoQuery,
    state: web::Data<State>,
    Json(settings): Json<TrafficSettings>,
) -> Result<HttpResponse, ApiError> {
    let driver = state.driver()?;
    let faults = settings.faults();
    if !faults.is_empty() {
        return Err(ApiError::invalid(ErrorCode::InvalidBody, faults));
    }
    let request = driver.request(Method::PUT, DRIVER_TRAFFIC_PATH).json(&settings);
    response::no_store(StatusCode::OK, &driver.send::<Traffic>(request).await?)
}

pub(super) async fn stop(_: NoQuery, state: web::Data<State>) -> Result<HttpResponse, ApiError> {
    let driver = state.driver()?;
    let request = driver.request(Method::DELETE, DRIVER_TRAFFIC_PATH);
    response::no_store(StatusCode::OK, &driver.send::<Traffic>(request).await?)
}
