//! `POST /calculate`: arithmetic.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use proto_contracts::ErrorCode;
use proto_contracts::error::FieldError;
use proto_contracts::stateless::{CalculateRequest, CalculateResponse, MAX_OPERANDS};
use service_kit::body::{Json, NoQuery};
use service_kit::problem::{ApiError, sentence};
use service_kit::response;

use crate::domain::calculation::{self, CalculationError};

pub(super) async fn calculate(
    _: NoQuery,
    Json(request): Json<CalculateRequest>,
) -> Result<HttpResponse, ApiError> {
    let CalculateRequest { operation, operands } = request;
    let result = calculation::calculate(operation, &operands).map_err(invalid)?;
    response::no_store(StatusCode::OK, &CalculateResponse { operation, operands, result })
}

fn invalid(error: CalculationError) -> ApiError {
    // Operands are counted from 1, items from 0.
    let at = |operand: usize| format!("/operands/{}", operand - 1);
    let all = "/operands".to_owned();
    let (code, pointer, fault) = match error {
        CalculationError::TooMany { .. } => {
            (ErrorCode::InvalidOperands, all, format!("must have at most {MAX_OPERANDS} items"))
        }
        CalculationError::WrongCount { needs, .. } => {
            (ErrorCode::InvalidOperands, all, format!("must have {needs}"))
        }
        CalculationError::DivisionByZero { operand } => {
            (ErrorCode::DivisionByZero, at(operand), "must not be 0".to_owned())
        }
        CalculationError::NotFinite { operand } => {
            let fault = "is too large, or has no result here".to_owned();
            (ErrorCode::ResultNotFinite, at(operand), fault)
        }
    };
    ApiError::new(code, sentence(error)).with_errors([FieldError::in_body(pointer, fault)])
}
