//! `GET`, `PATCH` and `DELETE /sessions/{session_id}`.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::SessionId;
use proto_contracts::stateful::{self, PatchSession};
use serde_json::value::RawValue;
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;

use super::context::Sessions;
use super::entity_tags::{condition, if_match, if_none_match, precondition_failed, set_etag};
use super::response;
use super::session_path::SessionPath;
use crate::domain::client_data::MergePatch;
use crate::domain::keyed::Keyed;
use crate::domain::session::Session;
use crate::metrics::Operation;
use crate::store::{Source, WriteOutcome};
use service_kit::idempotency::idempotency_key;

/// Reads a session; 304 when the client has cached its state.
pub(super) async fn read(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    _: NoQuery,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let access = sessions.access(request.headers(), &id)?;
    let (expected, cached) = (if_match(request.headers())?, if_none_match(request.headers())?);
    let found = match sessions.store.peek(access) {
        Some(found) => found,
        None => sessions.note_end(access, sessions.store.read(access).await)?,
    };
    sessions.metrics.read(found.source);
    sessions.note_session(access, &found.value, found.source);
    if !expected.allows(found.value.tag()) {
        return Err(precondition_failed());
    }
    if cached.allows(found.value.tag()) {
        let mut response = without_body(StatusCode::NOT_MODIFIED, found.source);
        set_etag(&mut response, found.value.tag())?;
        return Ok(response);
    }
    let mut response =
        response::from_source(found.source, StatusCode::OK, &body(&id, &found.value))?;
    set_etag(&mut response, found.value.tag())?;
    Ok(response)
}

/// Changes a session's client data.
pub(super) async fn patch(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    _: NoQuery,
    Json(given): Json<PatchSession<Box<RawValue>>>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let access = sessions.access(request.headers(), &id)?;
    let patch = MergePatch::parse(&given.client_data)?;
    let keyed = idempotency_key(request.headers())?.map(|key| Keyed::patch(key, &patch));
    let expected = condition(request.headers())?;
    let patched = sessions.store.patch(access, &patch, &expected, keyed).await;
    let patched = sessions.count_write(Operation::Patch, patched)?;
    sessions.note_session(access, &patched.value, patched.source);
    let mut response = response::to_write(&patched, StatusCode::OK, &body(&id, &patched.value))?;
    set_etag(&mut response, patched.value.tag())?;
    Ok(response)
}

/// Deletes a session.
pub(super) async fn delete(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    _: NoQuery,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let access = sessions.access(request.headers(), &id)?;
    let expected = condition(request.headers())?;
    let deleted = sessions.store.delete_if(access, &expected).await.map_err(ApiError::from);
    if deleted.is_ok() {
        sessions.forget(access);
    }
    sessions.metrics.write(
        Operation::Delete,
        deleted.as_ref().map(|_| WriteOutcome::Applied).map_err(ApiError::code),
    );
    Ok(without_body(StatusCode::NO_CONTENT, deleted?.source))
}

fn without_body(status: StatusCode, source: Source) -> HttpResponse {
    let mut response = HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .finish();
    response::set_source(&mut response, source);
    response
}

/// The wire type of a session.
pub(super) fn body<'a>(id: &SessionId, session: &'a Session) -> stateful::Session<&'a RawValue> {
    stateful::Session {
        session_id: id.clone(),
        client_data: session.client_data.as_json(),
        created_at: session.created_at.into(),
        last_activity: session.last_activity.into(),
        expires_at: session.expires_at.into(),
        message_count: session.message_count,
        version: session.version,
    }
}
