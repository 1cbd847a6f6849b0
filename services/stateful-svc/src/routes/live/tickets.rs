//! `POST /sessions/{session_id}/tickets`: a ticket for a session that the caller may use.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use proto_contracts::live::{NoMembers, Ticket};
use service_kit::body::{Json, NoQuery};
use service_kit::problem::ApiError;
use service_kit::response;

use crate::routes::context::Sessions;
use crate::routes::entity_tags::{condition, precondition_failed};
use crate::routes::session_path::SessionPath;

pub(in crate::routes) async fn issue(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    _: NoQuery,
    Json(NoMembers {}): Json<NoMembers>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let access = sessions.access(request.headers(), &id)?;
    let expected = condition(request.headers())?;
    if !expected.allows(sessions.store.read(access).await?.value.tag()) {
        return Err(precondition_failed());
    }
    let (ticket, expires_at) =
        sessions.live.tickets.issue(access.session, access.credentials(), Timestamp::now());
    response::no_store(StatusCode::CREATED, &Ticket { ticket, expires_at: expires_at.into() })
}
