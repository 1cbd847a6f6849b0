//! `POST /security-events`: the issuer revokes tokens of a user.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::security_event::{MEDIA_TYPE, SecurityEvent};
use service_kit::body::NoQuery;
use service_kit::problem::ApiError;
use service_kit::tokens::{invalid_token, rejected};

use super::context::Sessions;
use crate::domain::caller::Caller;

/// Applies a signed event. It is safe to repeat, in any order: the latest revocation counts.
pub(super) async fn receive(
    request: HttpRequest,
    _: NoQuery,
    token: Bytes,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    require_media_type(&request)?;
    let Some(tokens) = &sessions.tokens else {
        return Err(invalid_token("This service accepts no tokens, so no events about them."));
    };
    let SecurityEvent { iss, sub, events, .. } = tokens.verify_event(&token).map_err(rejected)?;
    if let Caller::Subject(user) = Caller::subject(&iss, &sub) {
        sessions.store.revoke(user, events.tokens_revoked.not_before).await?;
    }
    let no_store = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(HttpResponse::Accepted().insert_header(no_store).finish())
}

fn require_media_type(request: &HttpRequest) -> Result<(), ApiError> {
    let given = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split(';').next()).map(str::trim);
    if given.is_some_and(|given| given.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Ok(());
    }
    let detail = format!("Send the event with Content-Type: {MEDIA_TYPE}.");
    Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail))
}
