//! `GET /sessions/{session_id}/history`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::stateful::{HistoryMessage, HistoryPage, HistoryQuery};
use service_kit::body::Query;
use service_kit::problem::ApiError;

use super::context::Sessions;
use super::response;
use super::session_path::{SessionPath, sentence};
use crate::domain::cursor::{Cursor, PageSize};
use crate::domain::message::Message;

/// Reads a page of a session's messages.
pub(super) async fn read(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    Query(query): Query<HistoryQuery>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let access = sessions.access(request.headers(), &id)?;
    let session = access.session;
    let size = query.limit.map_or(Ok(PageSize::default()), PageSize::parse);
    let size = size.map_err(|error| ApiError::new(ErrorCode::InvalidQuery, sentence(error)))?;
    let after = query.cursor.map_or(Ok(Cursor::START), |text| Cursor::decode(session, &text));
    let after = after.map_err(|error| ApiError::new(ErrorCode::InvalidCursor, sentence(error)))?;

    let page = sessions.store.history(access, after, size).await?;
    sessions.metrics.read(page.source);
    let (messages, message_count) = (page.value.messages, page.value.message_count);
    let last = messages.last().map_or(after.number(), |message| message.number);
    let next = if last < message_count { Cursor::after(last) } else { None };
    let body = HistoryPage {
        session_id: id,
        messages: messages.into_iter().map(body).collect(),
        next_cursor: next.map(|cursor| cursor.encode(session)),
    };
    response::from_source(page.source, StatusCode::OK, &body)
}

/// The wire type of a message.
pub(super) fn body(message: Message) -> HistoryMessage {
    HistoryMessage {
        message_id: message.id,
        number: message.number,
        message: message.text.into_string(),
        reply: message.reply,
        created_at: message.created_at,
    }
}
