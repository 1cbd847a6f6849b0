//! `GET /random`: random numbers.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use proto_contracts::ErrorCode;
use proto_contracts::stateless::{RandomQuery, RandomResponse};
use service_kit::body::Query;
use service_kit::problem::ApiError;
use service_kit::response;

use crate::domain::drawing::Drawing;

pub(super) async fn random(Query(query): Query<RandomQuery>) -> Result<HttpResponse, ApiError> {
    let RandomQuery { min, max, count } = query;
    let drawing = Drawing::new(min, max, count)
        .map_err(|error| ApiError::new(ErrorCode::InvalidQuery, error.to_string()))?;
    response::no_store(
        StatusCode::OK,
        &RandomResponse { min, max, values: drawing.draw(&mut rand::rng()) },
    )
}
