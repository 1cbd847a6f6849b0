//! `GET /random`: random numbers.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use proto_contracts::ErrorCode;
use proto_contracts::error::FieldError;
use proto_contracts::stateless::{MAX_RANDOM_BOUND, MAX_RANDOM_COUNT, RandomQuery, RandomResponse};
use service_kit::body::Query;
use service_kit::problem::ApiError;
use service_kit::response;

use crate::domain::drawing::{Drawing, DrawingError};

pub(super) async fn random(Query(query): Query<RandomQuery>) -> Result<HttpResponse, ApiError> {
    let RandomQuery { min, max, count } = query;
    let drawing = Drawing::new(min, max, count).map_err(invalid)?;
    response::no_store(
        StatusCode::OK,
        &RandomResponse { min, max, values: drawing.draw(&mut rand::rng()) },
    )
}

fn invalid(error: DrawingError) -> ApiError {
    let (parameter, fault) = match error {
        DrawingError::Bound(name) => {
            (name, format!("must be from -{MAX_RANDOM_BOUND} to {MAX_RANDOM_BOUND}"))
        }
        DrawingError::EmptyRange { min, max } => {
            ("min", format!("is {min}, which is more than `max`, {max}"))
        }
        DrawingError::Count(_) => ("count", format!("must be from 1 to {MAX_RANDOM_COUNT}")),
    };
    ApiError::invalid(ErrorCode::InvalidQuery, vec![FieldError::in_query(parameter, fault)])
}
