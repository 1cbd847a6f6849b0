//! `GET /api/v1/openapi.json`: the API of both services, as a document.

use std::sync::LazyLock;

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use proto_contracts::api;
use service_kit::body::NoQuery;
use service_kit::problem::ApiError;

use super::conditional::{REFERENCE, conditional};

/// The document, generated with the first request for it.
static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| Bytes::from(api::document().to_string().into_bytes()));

pub(super) async fn document(request: HttpRequest, _: NoQuery) -> Result<HttpResponse, ApiError> {
    conditional(request.headers(), REFERENCE, DOCUMENT.clone())
}
