//! `POST /sessions/{session_id}/messages` and `POST /conversations`: one act, with the id in the path or in the body.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use proto_contracts::stateful::{MessagePosted, PostConversation, PostMessage};
use proto_contracts::{MessageId, SessionId};
use service_kit::body::Json;
use service_kit::problem::ApiError;

use super::session_path::{SessionPath, parse_id};
use super::{Sessions, anonymous, answer_from};
use crate::domain::message::{MessageText, NewMessage};
use crate::metrics::Act;

/// Posts a message to the session in the path.
pub(super) async fn post_to_path(
    SessionPath(id): SessionPath,
    Json(given): Json<PostMessage>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    post(&sessions, id, given.message).await
}

/// Posts a message to the session in the body.
pub(super) async fn post_to_body(
    Json(given): Json<PostConversation<String>>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    post(&sessions, parse_id(&given.session_id)?, given.message).await
}

async fn post(sessions: &Sessions, id: SessionId, message: String) -> Result<HttpResponse, ApiError> {
    let message = NewMessage { id: MessageId::generate(), text: MessageText::parse(message)? };
    let appended = sessions.wrote(Act::Append, sessions.store.append(anonymous(id.digest()), message, None).await)?;
    let (message, version) = (appended.value.message, appended.value.version);
    let body = MessagePosted {
        session_id: id,
        message_id: message.id,
        number: message.number,
        message: message.text.into_string(),
        reply: message.reply,
        created_at: message.created_at,
        message_count: message.number,
        version,
    };
    answer_from(appended.source, StatusCode::CREATED, &body)
}
