//! `POST /sessions/{session_id}/messages` and `POST /conversations`: one operation, with the id in
//! path or body.

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::error::FieldError;
use proto_contracts::stateful::{MessagePosted, PostConversation, PostMessage};
use proto_contracts::{IdempotencyKey, MessageId, SessionId};
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;

use super::caller::set_affinity_key;
use super::context::Sessions;
use super::entity_tags::{condition, set_etag};
use super::response;
use super::session_path::{SessionPath, parse_id};
use crate::domain::keyed::Keyed;
use crate::domain::message::{Appended, MessageText, NewMessage};
use crate::domain::session_tag::Expected;
use crate::metrics::Operation;
use crate::store::{Access, Written};
use service_kit::idempotency::idempotency_key;

/// Posts a message to the session in the path.
pub(super) async fn post_to_path(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    _: NoQuery,
    Json(given): Json<PostMessage>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    post(&sessions, request.headers(), &id, given.message).await
}

/// Posts a message to the session in the body. The gateway may have routed the request by a key
/// other than the session's; the response names the session's key.
pub(super) async fn post_to_body(
    request: HttpRequest,
    _: NoQuery,
    Json(given): Json<PostConversation<String>>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let id = parse_id(&given.session_id).map_err(|error| {
        error.with_errors([FieldError::in_body("/session_id", "must be a session id")])
    })?;
    post(&sessions, request.headers(), &id, given.message).await
}

async fn post(
    sessions: &Sessions,
    headers: &HeaderMap,
    id: &SessionId,
    message: String,
) -> Result<HttpResponse, ApiError> {
    let access = sessions.access(headers, id)?;
    let (key, expected) = (idempotency_key(headers)?, condition(headers)?);
    let appended = append(sessions, access, message, &expected, key).await?;
    let mut response =
        response::to_write(&appended, StatusCode::CREATED, &posted(id.clone(), &appended.value))?;
    if let Some(tag) = appended.value.tag() {
        set_etag(&mut response, tag)?;
    }
    set_affinity_key(&mut response, id)?;
    Ok(response)
}

/// Posts a message of a request or of a WebSocket frame, and counts it.
pub(super) async fn append(
    sessions: &Sessions,
    access: Access,
    message: String,
    expected: &Expected,
    key: Option<IdempotencyKey>,
) -> Result<Written<Appended>, ApiError> {
    let message = NewMessage { id: MessageId::generate(), text: MessageText::parse(message)? };
    let keyed = key.map(|key| Keyed::append(key, &message.text));
    let appended = sessions.store.append_if(access, message, expected, keyed).await;
    let appended = sessions.count_write(Operation::Append, appended)?;
    sessions.note_message(access, &appended).await;
    Ok(appended)
}

/// The wire type of a posted message.
pub(super) fn posted(session_id: SessionId, appended: &Appended) -> MessagePosted {
    let Appended { message, version, .. } = appended;
    MessagePosted {
        session_id,
        message_id: message.id,
        number: message.number,
        message: message.text.as_str().to_owned(),
        reply: message.reply.clone(),
        created_at: message.created_at.into(),
        message_count: message.number,
        version: *version,
    }
}
