//! The error type of all handlers, and its `application/problem+json` document.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use proto_contracts::error::FieldError;
use proto_contracts::headers::PROBLEM_JSON;
use proto_contracts::{ErrorCode, Problem, RequestId};

/// The longest `detail` in a response, in bytes. Details may quote the request.
const MAX_DETAIL_BYTES: usize = 400;

/// A failed request: a code for programs, a detail for people, and a cause that only the log gets.
///
/// The [edge](crate::edge) renders the document, with the request's id, and logs the cause once.
pub struct ApiError(Box<Parts>);

// Boxed, to keep `Result<T, ApiError>` small.
struct Parts {
    code: ErrorCode,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// `detail` names cause and cure of this occurrence, without internal text.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = shortened(detail.into());
        let (errors, headers) = (Vec::new(), Vec::new());
        Self(Box::new(Parts { code, detail, errors, cause: None, headers }))
    }

    /// These fields or parameters are wrong; the detail is about the first.
    pub fn invalid(code: ErrorCode, errors: Vec<FieldError>) -> Self {
        let detail = match errors.split_first() {
            None => code.title().into(),
            Some((first, [])) => first.sentence(),
            Some((first, [_])) => {
                format!("{} Another fault is listed in `errors`.", first.sentence())
            }
            Some((first, rest)) => {
                let (first, more) = (first.sentence(), rest.len());
                format!("{first} {more} more faults are listed in `errors`.")
            }
        };
        Self::new(code, detail).with_errors(errors)
    }

    /// Adds the wrong fields or parameters.
    pub fn with_errors(mut self, errors: impl Into<Vec<FieldError>>) -> Self {
        self.0.errors = errors.into();
        self
    }

    /// An internal error; the response does not contain the cause.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(
            ErrorCode::Internal,
            "The request failed; the log has the cause under its request id.",
        )
        .caused_by(cause)
    }

    /// Adds the cause, for the log.
    pub fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds a header to the response.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The error code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The detail for the client.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The wrong fields or parameters, as far as they are known.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The cause for the log.
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }

    /// The response with the problem document.
    pub fn to_response(&self, request_id: Option<RequestId>) -> HttpResponse {
        let Parts { code, headers, .. } = &*self.0;
        let mut response = HttpResponse::build(status_of(*code));
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON)));
        // It has the request's id, so it must not be cached.
        response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
        if let Some(seconds) = code.retry_after_s() {
            response.insert_header((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if code.status() == 401 {
            // RFC 9110, section 15.5.2, requires a challenge. A more specific one replaces it
            // below.
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        for pair in headers {
            response.insert_header(pair.clone());
        }
        response.body(serde_json::to_vec(&self.document(request_id)).unwrap_or_default())
    }

    /// The problem document.
    pub fn document(&self, request_id: Option<RequestId>) -> Problem {
        let errors = self.0.errors.clone();
        Problem { errors, ..Problem::new(self.0.code, self.0.detail.clone(), request_id) }
    }
}

/// An error's text as the detail of a problem: with a capital and a full stop.
pub fn sentence(error: impl fmt::Display) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}

/// The code for an error of the framework, by its status.
pub(crate) fn code_for(status: StatusCode) -> ErrorCode {
    match status.as_u16() {
        404 => ErrorCode::NotFound,
        405 => ErrorCode::MethodNotAllowed,
        408 => ErrorCode::RequestTimeout,
        413 => ErrorCode::BodyTooLarge,
        414 => ErrorCode::UriTooLong,
        415 => ErrorCode::UnsupportedMediaType,
        400..=499 => ErrorCode::BadRequest,
        _ => ErrorCode::Internal,
    }
}

fn status_of(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn shortened(detail: Cow<'static, str>) -> Cow<'static, str> {
    if detail.len() <= MAX_DETAIL_BYTES {
        return detail;
    }
    format!("{}…", &detail[..detail.floor_char_boundary(MAX_DETAIL_BYTES)]).into()
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiError")
            .field("code", &self.0.code)
            .field("detail", &self.0.detail)
            .finish_non_exhaustive()
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        status_of(self.0.code)
    }

    /// Only the status: the edge replaces the response with the document.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_content_type_caching_and_retry_after() {
        let response =
            ApiError::new(ErrorCode::DatabaseUnavailable, "Retry later.").to_response(None);
        assert_eq!(response.status(), 503);
        let header = |name: HeaderName| response.headers().get(name).map(HeaderValue::as_bytes);
        assert_eq!(header(header::CONTENT_TYPE), Some(&b"application/problem+json"[..]));
        assert_eq!(header(header::CACHE_CONTROL), Some(&b"no-store"[..]));
        assert_eq!(header(header::RETRY_AFTER), Some(&b"1"[..]));
    }

    #[test]
    fn every_401_carries_a_challenge() {
        let challenge = |error: &ApiError| {
            let response = error.to_response(None);
            let challenges = response
                .headers()
                .get_all(header::WWW_AUTHENTICATE)
                .map(|value| value.as_bytes().to_vec());
            challenges.collect::<Vec<_>>()
        };
        for &code in ErrorCode::ALL {
            let expected: &[&[u8]] = if code.status() == 401 { &[b"Bearer"] } else { &[] };
            assert_eq!(challenge(&ApiError::new(code, "")), expected, "{code}");
        }
        let own = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        let error = ApiError::new(ErrorCode::InvalidToken, "")
            .with_header(header::WWW_AUTHENTICATE, own.clone());
        assert_eq!(challenge(&error), [own.as_bytes()]);
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let error = ApiError::new(ErrorCode::InvalidBody, "ä".repeat(1 << 20));
        assert!(error.detail().len() <= MAX_DETAIL_BYTES + '…'.len_utf8());
        assert!(error.detail().ends_with("ä…"));
    }

    #[test]
    fn the_cause_is_not_displayed() {
        let error = ApiError::internal("password=hunter2");
        assert!(error.cause().is_some());
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
