//! `GET /control/v1/openapi.json`: the control API as a document.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use proto_contracts::control;
use serde_json::Value;
use service_kit::problem::ApiError;
use service_kit::response;

/// The document, generated with the first request for it.
static DOCUMENT: LazyLock<Value> = LazyLock::new(control::document);

pub(super) async fn document() -> Result<HttpResponse, ApiError> {
    response::no_store(StatusCode::OK, &*DOCUMENT)
}
