//! The refresh token in a cookie, for pages in a browser.
//!
//! No script can read it (`HttpOnly`), and no page of another site makes the browser send it
//! (`SameSite=Strict`). A page of the same host but another port is of the same site, so requests
//! that use the cookie also need the `Origin` of our own pages.

use actix_web::HttpResponse;
use actix_web::http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use proto_contracts::ErrorCode;
use proto_contracts::accounts::{LOGIN_S, REFRESH_COOKIE};
use service_kit::origin;
use service_kit::problem::ApiError;

use crate::domain::refresh_token::RefreshToken;

/// The cookie is sent to these paths alone.
const PATH: &str = "/api/v1/auth";

/// The value of the cookie; `None` without one. The text may be no token.
///
/// # Errors
/// 403 when the page is not our own. Two cookies of the name are 403, too: a page of another port
/// may have added one.
pub(super) fn sent(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let lines = headers.get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == REFRESH_COOKIE).map(|(_, value)| value);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || !origin::is_own(headers) {
        let detail = "The cookie of a login is for pages of our own origin; other programs send \
                      `refresh_token` in the body.";
        return Err(ApiError::new(ErrorCode::OriginNotAllowed, detail));
    }
    Ok(Some(value.to_owned()))
}

/// Sets the cookie.
pub(super) fn set(response: &mut HttpResponse, token: &RefreshToken) -> Result<(), ApiError> {
    append(response, &token.expose(), LOGIN_S)
}

/// Deletes the cookie.
pub(super) fn clear(response: &mut HttpResponse) -> Result<(), ApiError> {
    append(response, "", 0)
}

fn append(response: &mut HttpResponse, value: &str, max_age: u64) -> Result<(), ApiError> {
    let cookie = format!(
        "{REFRESH_COOKIE}={value}; Path={PATH}; Max-Age={max_age}; HttpOnly; Secure; SameSite=Strict"
    );
    let cookie = HeaderValue::from_str(&cookie).map_err(ApiError::internal)?;
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(())
}
