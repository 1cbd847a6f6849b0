//! `ETag`, `If-Match` and `If-None-Match` of sessions.
//!
//! A tag identifies the last write. `expires_at` changes with each use and is not covered by the
//! tag.

use actix_web::HttpResponse;
use actix_web::http::header::{ETAG, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};
use proto_contracts::ErrorCode;
use service_kit::entity_tags::EntityTags;
use service_kit::problem::ApiError;

use crate::domain::session_tag::{Expected, SessionTag};

/// Sets `ETag`.
pub(super) fn set_etag(response: &mut HttpResponse, tag: SessionTag) -> Result<(), ApiError> {
    let value = tag.in_quotes();
    response.headers_mut().insert(ETAG, value.try_into().map_err(ApiError::internal)?);
    Ok(())
}

/// The precondition of an unsafe request, by both headers together.
pub(super) fn condition(headers: &HeaderMap) -> Result<Expected, ApiError> {
    let expected = if_match(headers)?;
    Ok(match (expected, read(headers, &IF_NONE_MATCH)?) {
        (expected, None) => expected,
        // `*` matches any existing state.
        (_, Some(Tags::Any)) => Expected::OneOf(Vec::new()),
        (Expected::OneOf(tags), Some(Tags::List(excluded))) => {
            Expected::OneOf(tags.into_iter().filter(|tag| !excluded.contains(tag)).collect())
        }
        (Expected::Any | Expected::NoneOf(_), Some(Tags::List(excluded))) => {
            Expected::NoneOf(excluded)
        }
    })
}

/// The precondition of a create: there is no state yet, so `If-Match` never holds and
/// `If-None-Match` always does.
pub(super) fn condition_of_create(headers: &HeaderMap) -> Result<(), ApiError> {
    read(headers, &IF_NONE_MATCH)?;
    match read(headers, &IF_MATCH)? {
        None => Ok(()),
        Some(_) => Err(failed("A new session has no ETag; omit If-Match.")),
    }
}

/// The precondition by `If-Match` alone.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Expected, ApiError> {
    Ok(match read(headers, &IF_MATCH)? {
        None | Some(Tags::Any) => Expected::Any,
        Some(Tags::List(tags)) => Expected::OneOf(tags),
    })
}

/// The states that the client has cached, by `If-None-Match`.
pub(super) fn if_none_match(headers: &HeaderMap) -> Result<Expected, ApiError> {
    Ok(match read(headers, &IF_NONE_MATCH)? {
        None => Expected::OneOf(Vec::new()),
        Some(Tags::Any) => Expected::Any,
        Some(Tags::List(tags)) => Expected::OneOf(tags),
    })
}

/// 412: the session's state does not satisfy the precondition.
pub(super) fn precondition_failed() -> ApiError {
    failed(
        "The session's ETag does not satisfy If-Match or If-None-Match; nothing was changed. Read \
         the session again.",
    )
}

fn failed(detail: &'static str) -> ApiError {
    ApiError::new(ErrorCode::PreconditionFailed, detail)
}

/// The value of `If-Match` or `If-None-Match`.
enum Tags {
    Any,
    /// The listed tags that have a session tag's form.
    List(Vec<SessionTag>),
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let of_session = |tag: Vec<u8>| str::from_utf8(&tag).ok()?.parse().ok();
    Ok(EntityTags::from_headers(headers, name)?.map(|tags| match tags {
        EntityTags::Any => Tags::Any,
        EntityTags::List(tags) => Tags::List(tags.into_iter().filter_map(of_session).collect()),
    }))
}
