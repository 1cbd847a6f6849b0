//! `GET` and `DELETE /sessions`: the caller's own.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, LINK};
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::error::FieldError;
use proto_contracts::stateful::{
    EndSessionsQuery, MAX_SESSIONS_PAGE, OwnedSession as Body, SessionPage, SessionsQuery,
};
use proto_contracts::{ErrorCode, SessionDigest};
use service_kit::body::Query;
use service_kit::problem::ApiError;
use service_kit::response::{no_store, page_links};

use super::context::Sessions;
use super::problems::not_found;
use crate::domain::digest::ShortDigest;
use crate::domain::owned::{OwnedCursor, OwnedPageSize, OwnedSession};
use crate::metrics::Operation;
use crate::store::{StoreFault, WriteOutcome, owned};

/// Lists the caller's sessions.
pub(super) async fn list(
    request: HttpRequest,
    Query(query): Query<SessionsQuery>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let user = sessions.user(request.headers()).await?;
    let size = match query.limit {
        None => OwnedPageSize::default(),
        Some(limit) => OwnedPageSize::parse(limit).ok_or_else(invalid_limit)?,
    };
    let after = query.cursor.as_deref().map(str::parse::<OwnedCursor>);
    let after = after.transpose().map_err(|_invalid| invalid_cursor())?;
    let page = owned::list(&*sessions.store, user, after, size).await?;
    let next_cursor = page.next.map(|next| next.to_string());
    let links = page_links(&format!("limit={}", size.sessions()), next_cursor.as_deref())?;
    let body = SessionPage { sessions: page.sessions.iter().map(body).collect(), next_cursor };
    let mut response = no_store(StatusCode::OK, &body)?;
    response.headers_mut().insert(LINK, links);
    Ok(response)
}

/// Ends the caller's sessions, or one of them.
pub(super) async fn end(
    request: HttpRequest,
    Query(query): Query<EndSessionsQuery>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let user = sessions.user(request.headers()).await?;
    match query.handle {
        // Legacy paths ignore unknown parameters: a misspelled one must not end all sessions.
        None if !request.query_string().is_empty() => return Err(invalid_handle()),
        None => {
            let ended = owned::end_all(&*sessions.store, user).await;
            for _ in 0..*ended.as_ref().unwrap_or(&1) {
                count_end(&sessions, ended.as_ref().map(|_| ()).map_err(fault_code));
            }
            ended?;
        }
        Some(handle) => end_one(&sessions, user, &handle).await?,
    }
    Ok(HttpResponse::NoContent()
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .finish())
}

async fn end_one(sessions: &Sessions, user: ShortDigest, handle: &str) -> Result<(), ApiError> {
    let session = SessionDigest::parse_bytes(handle.as_bytes()).ok_or_else(invalid_handle)?;
    // A handle is no secret, so it counts only within the index of the user's own sessions.
    let entries = sessions.store.owned(user).await?;
    let entry = entries.iter().find(|entry| entry.session == session).ok_or_else(not_found)?;
    if sessions.store.look(user, std::slice::from_ref(entry)).await?.is_empty() {
        return Err(not_found());
    }
    let ended = owned::end(&*sessions.store, user, entry).await;
    count_end(sessions, ended.as_ref().map(|_| ()).map_err(fault_code));
    ended?;
    Ok(())
}

fn count_end(sessions: &Sessions, outcome: Result<(), ErrorCode>) {
    sessions.metrics.write(Operation::Delete, outcome.map(|()| WriteOutcome::Applied));
}

const fn fault_code(fault: &StoreFault) -> ErrorCode {
    match fault {
        StoreFault::Damaged(_) => ErrorCode::Internal,
        _ => ErrorCode::SessionStoreUnavailable,
    }
}

fn body(session: &OwnedSession) -> Body {
    Body {
        handle: session.entry.session.to_string(),
        affinity_key: session.entry.affinity,
        created_at: session.created_at.into(),
        last_activity: session.last_activity.into(),
        expires_at: session.expires_at.into(),
        message_count: session.message_count,
        version: session.version,
    }
}

fn invalid_limit() -> ApiError {
    let fault = format!("must be from 1 to {MAX_SESSIONS_PAGE}");
    ApiError::invalid(ErrorCode::InvalidQuery, vec![FieldError::in_query("limit", fault)])
}

fn invalid_cursor() -> ApiError {
    let fault = "must be the `next_cursor` of the previous page; omit it for the first page";
    ApiError::invalid(ErrorCode::InvalidCursor, vec![FieldError::in_query("cursor", fault)])
}

fn invalid_handle() -> ApiError {
    let fault = "must be the `handle` of a listed session; omit it to end all sessions";
    ApiError::invalid(ErrorCode::InvalidQuery, vec![FieldError::in_query("handle", fault)])
}
