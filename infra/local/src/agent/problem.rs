//! The agent's refusals, as problem documents.

use std::error::Error;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use proto_contracts::headers::PROBLEM_JSON;
use proto_contracts::{ErrorCode, Problem};
use serde::de::DeserializeOwned;

use crate::error::StackError;

/// Why the agent did not do what it was asked.
#[derive(Debug)]
pub(super) struct Refusal {
    code: ErrorCode,
    detail: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<StackError> for Refusal {
    fn from(error: StackError) -> Self {
        let code = match &error {
            StackError::NoSuchComponent { .. } => ErrorCode::InstanceNotFound,
            StackError::WrongState { .. } => ErrorCode::WrongState,
            StackError::TooManyInstances { .. } | StackError::NotPlanned(_) | StackError::NotForThis { .. } => {
                ErrorCode::InvalidBody
            }
            _ => ErrorCode::ComponentFailed,
        };
        // Whoever may change the stack may know why it failed, down to the cause.
        let detail = match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        Self { code, detail }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        answer.insert_header(("Cache-Control", "no-store"));
        if self.code == ErrorCode::Unauthorized {
            answer.insert_header(("WWW-Authenticate", "Bearer"));
        }
        answer.content_type(PROBLEM_JSON);
        answer.body(serde_json::to_string(&Problem::new(self.code, self.detail.clone(), None)).unwrap_or_default())
    }
}

impl actix_web::Responder for Refusal {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &actix_web::HttpRequest) -> HttpResponse {
        self.error_response()
    }
}

/// Reads a JSON body.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() { ErrorCode::InvalidBody } else { ErrorCode::MalformedJson };
        Refusal::new(code, error.to_string())
    })
}
