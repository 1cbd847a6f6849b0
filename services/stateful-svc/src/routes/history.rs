//! `GET /sessions/{session_id}/history`.

use actix_web::http::StatusCode;
use actix_web::http::header::LINK;
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::ErrorCode;
use proto_contracts::error::FieldError;
use proto_contracts::stateful::{
    HistoryMessage, HistoryOrder, HistoryPage, HistoryQuery, MAX_HISTORY_PAGE,
};
use service_kit::body::Query;
use service_kit::problem::ApiError;
use service_kit::response::page_links;

use super::context::Sessions;
use super::response;
use super::session_path::SessionPath;
use crate::domain::cursor::{Cursor, InvalidCursor, InvalidPageSize, Order, PageSize};
use crate::domain::message::{HistoryPage as DomainPage, Message};

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
    let size = size.map_err(|_: InvalidPageSize| invalid_limit())?;
    let order = match query.order.unwrap_or_default() {
        HistoryOrder::Asc => Order::OldestFirst,
        HistoryOrder::Desc => Order::NewestFirst,
    };
    let at = match query.cursor {
        None => Cursor::first_in(order),
        Some(text) => {
            let decoded = Cursor::decode(session, order, &text);
            decoded.map_err(|_: InvalidCursor| invalid_cursor())?
        }
    };

    let page = sessions.store.history(access, at, size).await?;
    sessions.metrics.read(page.source);
    let DomainPage { mut messages, message_count } = page.value;
    let (first, last) = (messages.first(), messages.last());
    let next = match order {
        Order::OldestFirst => {
            let last = last.filter(|message| message.number < message_count);
            last.and_then(|message| Cursor::after(message.number))
        }
        Order::NewestFirst => {
            let first = first.filter(|message| message.number > 1);
            first.and_then(|message| Cursor::before(message.number))
        }
    };
    if order == Order::NewestFirst {
        messages.reverse();
    }
    let next_cursor = next.map(|cursor| cursor.encode(session));
    let order = match order {
        Order::OldestFirst => "",
        Order::NewestFirst => "&order=desc",
    };
    let links = page_links(&format!("limit={size}{order}"), next_cursor.as_deref())?;
    let messages = messages.into_iter().map(body).collect();
    let body = HistoryPage { session_id: id, messages, next_cursor };
    let mut response = response::from_source(page.source, StatusCode::OK, &body)?;
    response.headers_mut().insert(LINK, links);
    Ok(response)
}

fn invalid_limit() -> ApiError {
    let fault = format!("must be from 1 to {MAX_HISTORY_PAGE}");
    ApiError::invalid(ErrorCode::InvalidQuery, vec![FieldError::in_query("limit", fault)])
}

fn invalid_cursor() -> ApiError {
    let fault = "must be the `next_cursor` of the previous page, in the same order; omit it for the first page";
    ApiError::invalid(ErrorCode::InvalidCursor, vec![FieldError::in_query("cursor", fault)])
}

/// The wire type of a message.
pub(super) fn body(message: Message) -> HistoryMessage {
    HistoryMessage {
        message_id: message.id,
        number: message.number,
        message: message.text.into_string(),
        reply: message.reply,
        created_at: message.created_at.into(),
        restored: message.is_restored,
    }
}
