//! The `Authorization` header of requests to services.

use std::borrow::Cow;

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use proto_contracts::ErrorCode;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{InvalidToken, bearer_token};
use crate::problem::{ApiError, sentence};

/// The bearer token of a request; `None` for a request without credentials. Other credentials are
/// rejected, not ignored: their sender expects to be known.
///
/// # Errors
/// `invalid_token` for several headers, or another form.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&[u8]>, ApiError> {
    let mut given = headers.get_all(AUTHORIZATION);
    let Some(credentials) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(invalid_token("Send exactly one Authorization header."));
    }
    bearer_token(credentials.as_bytes()).map(Some).ok_or_else(|| {
        invalid_token("The Authorization header must have the form 'Bearer <token>'.")
    })
}

/// The bearer token that a request sent for an operator's endpoint, if any.
pub fn sent_token(headers: &HeaderMap) -> Option<&[u8]> {
    bearer_token(headers.get(AUTHORIZATION)?.as_bytes())
}

/// Whether what was sent is this secret: in constant time, so that the response time does not
/// reveal how much of a guess was right.
pub fn is_secret(sent: &[u8], secret: &SecretString) -> bool {
    sent.ct_eq(secret.expose_secret().as_bytes()).into()
}

/// 401 for a token that is not accepted (RFC 6750, section 3).
pub fn invalid_token(detail: impl Into<Cow<'static, str>>) -> ApiError {
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    ApiError::new(ErrorCode::InvalidToken, detail).with_header(WWW_AUTHENTICATE, challenge)
}

/// The response to a token that was not verified: 401, or 503 while the keys are not known.
pub fn rejected(error: InvalidToken) -> ApiError {
    match error {
        InvalidToken::KeysUnavailable => {
            let detail = "The keys of tokens are not known yet; retry shortly.";
            ApiError::new(ErrorCode::TokenKeysUnavailable, detail)
        }
        _ => invalid_token(sentence(error)),
    }
}
