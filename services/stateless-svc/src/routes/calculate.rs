//! `POST /calculate`: arithmetic.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use proto_contracts::ErrorCode;
use proto_contracts::stateless::{CalculateRequest, CalculateResponse};
use service_kit::body::Json;
use service_kit::problem::ApiError;
use service_kit::response;

use crate::domain::calculation::{self, CalculationError};

pub(super) async fn calculate(
    Json(request): Json<CalculateRequest>,
) -> Result<HttpResponse, ApiError> {
    let CalculateRequest { operation, operands } = request;
    let result = calculation::calculate(operation, &operands).map_err(invalid)?;
    response::no_store(StatusCode::OK, &CalculateResponse { operation, operands, result })
}

fn invalid(error: CalculationError) -> ApiError {
    let code = match error {
        CalculationError::TooMany { .. } | CalculationError::WrongCount { .. } => {
            ErrorCode::InvalidOperands
        }
        CalculationError::DivisionByZero { .. } => ErrorCode::DivisionByZero,
        CalculationError::NotFinite { .. } => ErrorCode::ResultNotFinite,
    };
    ApiError::new(code, error.to_string())
}
