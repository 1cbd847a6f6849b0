//! `GET /audit`: who changed what, for admins.

use actix_web::http::StatusCode;
use actix_web::http::header::LINK;
use actix_web::{HttpResponse, web};
use proto_contracts::audit::{
    AuditEntry, AuditPage, AuditQuery, DEFAULT_AUDIT_PAGE, MAX_AUDIT_PAGE,
};
use proto_contracts::error::FieldError;
use proto_contracts::{ErrorCode, Timestamp};
use service_kit::body::Query;
use service_kit::problem::ApiError;
use service_kit::response;

use super::auth::Auth;
use super::identity::CalledBy;
use super::replies::store_failed;
use crate::domain::account::Username;
use crate::domain::audit::{AuditPageRequest, EntryId, Object, Recorded};
use crate::domain::page::{self, Cursor};

pub(super) async fn list(
    Query(query): Query<AuditQuery>,
    CalledBy(reader): CalledBy,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let page = page_request(&query)?;
    let entries = auth.audit.page(&page, &reader.user).await.map_err(store_failed)?;
    let (entries, next) = page::cut(entries, page.limit, |entry| entry.id);
    let next_cursor = next.map(|cursor| cursor.to_string());
    let links = response::page_links(&first_page(&page), next_cursor.as_deref())?;
    let entries = entries.into_iter().map(to_wire).collect();
    let mut page = response::no_store(StatusCode::OK, &AuditPage { entries, next_cursor })?;
    page.headers_mut().insert(LINK, links);
    Ok(page)
}

fn page_request(query: &AuditQuery) -> Result<AuditPageRequest, ApiError> {
    let AuditQuery { limit, cursor, actor, object, action, from, to } = query;
    let mut errors = Vec::new();
    let limit = limit.unwrap_or(DEFAULT_AUDIT_PAGE);
    if !(1..=MAX_AUDIT_PAGE).contains(&limit) {
        errors.push(FieldError::in_query("limit", format!("must be 1 to {MAX_AUDIT_PAGE}")));
    }
    let actor = parsed::<Username>("actor", actor, &mut errors);
    let object = parsed::<Object>("object", object, &mut errors);
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        errors.push(FieldError::in_query("to", "must be later than `from`"));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(ErrorCode::InvalidQuery, errors));
    }
    let before = cursor.as_ref().map(|cursor| cursor.parse::<Cursor<EntryId>>()).transpose();
    let before = before.map_err(|_| {
        let fault = FieldError::in_query("cursor", "must be the `next_cursor` of a page");
        ApiError::new(ErrorCode::InvalidCursor, "the cursor was not issued by this API.")
            .with_errors([fault])
    })?;
    Ok(AuditPageRequest {
        limit,
        before: before.map(|cursor| cursor.0),
        actor,
        object,
        action: *action,
        from: from.map(since_1970),
        to: to.map(since_1970),
    })
}

/// A parameter's value, if it has one of the right form.
fn parsed<T>(
    parameter: &'static str,
    given: &Option<String>,
    errors: &mut Vec<FieldError>,
) -> Option<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let note = |error: &T::Err| errors.push(FieldError::in_query(parameter, error.to_string()));
    given.as_ref()?.parse::<T>().inspect_err(note).ok()
}

/// No entry is older, and PostgreSQL rejects times before 4713 BC.
fn since_1970(time: Timestamp) -> jiff::Timestamp {
    time.to_jiff().max(jiff::Timestamp::UNIX_EPOCH)
}

/// The query of the first page. No value has a character that a query would have to escape.
fn first_page(page: &AuditPageRequest) -> String {
    let AuditPageRequest { limit, before: _, actor, object, action, from, to } = page;
    let time = |time: &jiff::Timestamp| Timestamp::from(*time).to_string();
    let filters = [
        ("actor", actor.as_ref().map(Username::to_string)),
        ("object", object.as_ref().map(Object::to_string)),
        ("action", action.map(|action| action.to_string())),
        ("from", from.as_ref().map(time)),
        ("to", to.as_ref().map(time)),
    ];
    let mut query = format!("limit={limit}");
    for (name, value) in filters {
        if let Some(value) = value {
            query.extend(["&", name, "=", &value]);
        }
    }
    query
}

fn to_wire(recorded: Recorded) -> AuditEntry {
    let Recorded {
        id,
        action,
        actor_kind,
        actor,
        object,
        request_id,
        address,
        before,
        after,
        count,
    } = recorded;
    AuditEntry {
        id: id.to_string(),
        at: (*id.at()).into(),
        action,
        actor_kind,
        actor,
        object,
        request_id,
        address,
        before,
        after,
        count: count.unsigned_abs(),
    }
}
