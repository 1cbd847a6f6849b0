//! The state of a session as HTTP names it: `ETag`, and what `If-Match` and `If-None-Match` make of it.
//!
//! A tag names the write that the state comes from. `expires_at` moves on with each use and is not part of that state.

use actix_web::HttpResponse;
use actix_web::http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use proto_contracts::ErrorCode;
use service_kit::entity_tags::EntityTags;
use service_kit::problem::ApiError;

use crate::domain::session_tag::{Expected, SessionTag};

/// Names the session's state on a response that shows it.
pub(super) fn tell_tag(answer: &mut HttpResponse, tag: SessionTag) -> Result<(), ApiError> {
    let value = HeaderValue::from_str(&format!("\"{tag}\"")).map_err(ApiError::internal)?;
    answer.headers_mut().insert(ETAG, value);
    Ok(())
}

/// In which states the client wants an unsafe request to be done, by both headers together; in any, unless it says so.
pub(super) fn condition(headers: &HeaderMap) -> Result<Expected, ApiError> {
    let expected = if_match(headers)?;
    Ok(match (expected, read(headers, &IF_NONE_MATCH)?) {
        (expected, None) => expected,
        // Whatever the state is, there is one.
        (_, Some(Tags::Any)) => Expected::OneOf(Vec::new()),
        (Expected::OneOf(tags), Some(Tags::List(excluded))) => {
            Expected::OneOf(tags.into_iter().filter(|tag| !excluded.contains(tag)).collect())
        }
        (Expected::Any | Expected::NoneOf(_), Some(Tags::List(excluded))) => Expected::NoneOf(excluded),
    })
}

/// The same for what creates a session: there is no state yet, so `If-Match` never holds and `If-None-Match` always does.
pub(super) fn condition_of_create(headers: &HeaderMap) -> Result<(), ApiError> {
    read(headers, &IF_NONE_MATCH)?;
    match read(headers, &IF_MATCH)? {
        None => Ok(()),
        Some(_) => Err(failed("A session that is yet to be created has no ETag; leave out If-Match.")),
    }
}

/// What `If-Match` alone says.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Expected, ApiError> {
    Ok(match read(headers, &IF_MATCH)? {
        None | Some(Tags::Any) => Expected::Any,
        Some(Tags::List(tags)) => Expected::OneOf(tags),
    })
}

/// Which states the reader holds already: none, unless it says so.
pub(super) fn if_none_match(headers: &HeaderMap) -> Result<Expected, ApiError> {
    Ok(match read(headers, &IF_NONE_MATCH)? {
        None => Expected::OneOf(Vec::new()),
        Some(Tags::Any) => Expected::Any,
        Some(Tags::List(tags)) => Expected::OneOf(tags),
    })
}

/// The session is in no state that the condition allows.
pub(super) fn overtaken() -> ApiError {
    failed("The session's ETag is not one that If-Match or If-None-Match allows; nothing was changed. Read it again.")
}

fn failed(detail: &'static str) -> ApiError {
    ApiError::new(ErrorCode::PreconditionFailed, detail)
}

/// What a header with entity tags says of sessions.
enum Tags {
    Any,
    /// Those of the listed tags that a session can have.
    List(Vec<SessionTag>),
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let of_session = |tag: Vec<u8>| str::from_utf8(&tag).ok()?.parse().ok();
    Ok(EntityTags::from_headers(headers, name)?.map(|tags| match tags {
        EntityTags::Any => Tags::Any,
        EntityTags::List(tags) => Tags::List(tags.into_iter().filter_map(of_session).collect()),
    }))
}
