//! The agent's errors, as problem documents.

use std::error::Error;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError, web};
use proto_contracts::error::{Site, page as page_of};
use proto_contracts::headers::PROBLEM_JSON;
use proto_contracts::{ErrorCode, Problem};
use serde::de::DeserializeOwned;

use crate::error::StackError;

/// An error response.
#[derive(Debug)]
pub(super) struct ApiError {
    code: ErrorCode,
    detail: String,
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<StackError> for ApiError {
    fn from(error: StackError) -> Self {
        let code = match &error {
            StackError::NoSuchComponent { .. } => ErrorCode::InstanceNotFound,
            StackError::WrongState { .. } => ErrorCode::WrongState,
            StackError::TooManyInstances { .. }
            | StackError::NotPlanned(_)
            | StackError::Unsupported { .. } => ErrorCode::InvalidBody,
            _ => ErrorCode::ComponentFailed,
        };
        // The client is authorized to change the stack, so it gets the cause too.
        let detail = match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        Self { code, detail }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header(("Cache-Control", "no-store"));
        if self.code == ErrorCode::Unauthorized {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        response.content_type(PROBLEM_JSON);
        response.body(
            serde_json::to_string(&Problem::new(self.code, self.detail.clone(), None))
                .unwrap_or_default(),
        )
    }
}

impl actix_web::Responder for ApiError {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &actix_web::HttpRequest) -> HttpResponse {
        self.error_response()
    }
}

/// The page to which the `type` of a problem document leads.
pub(super) async fn page(code: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let known = ErrorCode::named(&code);
    let code = known.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "no error has this code"))?;
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(page_of(code, Site::Direct)))
}

/// Parses a JSON body. `form` is the body's form in words, for the error.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8], form: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            return ApiError::new(ErrorCode::InvalidBody, format!("the body must be {form}"));
        }
        let (line, column) = (error.line(), error.column());
        let detail = format!("the body is not valid JSON at line {line}, column {column}");
        ApiError::new(ErrorCode::MalformedJson, detail)
    })
}
