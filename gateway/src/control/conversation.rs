//! `/control/v1/conversation`: requests of somebody at the board, sent by the traffic driver.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::control::{Conversation, Converse, DRIVER_CONVERSATION_PATH};
use reqwest::Method;
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;
use service_kit::response;

use crate::control::state::State;

pub(super) async fn converse(
    _: NoQuery,
    state: web::Data<State>,
    Json(converse): Json<Converse>,
) -> Result<HttpResponse, ApiError> {
    let driver = state.driver()?;
    let faults = converse.faults();
    if !faults.is_empty() {
        return Err(ApiError::invalid(ErrorCode::InvalidBody, faults));
    }
    let request = driver.request(Method::POST, DRIVER_CONVERSATION_PATH).json(&converse);
    response::no_store(StatusCode::OK, &driver.send::<Conversation>(request).await?)
}
