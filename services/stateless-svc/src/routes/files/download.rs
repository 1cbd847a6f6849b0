//! `GET /files/{file_id}/content`: the bytes of a file, or a range of them.

use actix_web::body::{BoxBody, SizedStream};
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE,
    RANGE, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto_contracts::ErrorCode;
use service_kit::body::NoQuery;
use service_kit::entity_tags::EntityTags;
use service_kit::problem::ApiError;
use service_kit::routes::parameter;

use super::state::{FilesState, content_failed, not_found, store_failed};
use crate::domain::file::range::Wanted;
use crate::domain::file::{FileId, StoredFile, disposition};
use crate::routes::identity::CalledBy;
use crate::store::files::BlobError;

pub(in crate::routes) async fn download(
    _: NoQuery,
    request: HttpRequest,
    CalledBy(caller): CalledBy,
    state: web::Data<FilesState>,
) -> Result<HttpResponse, ApiError> {
    let id = parameter(&request).parse::<FileId>().map_err(|_| not_found())?;
    let file = state.files.find(&caller.user, id).await.map_err(store_failed)?;
    let file = file.ok_or_else(not_found)?;
    let headers = request.headers();
    let tag = file.sha256.to_string();
    let lists_tag = |name: &HeaderName| {
        let tags = EntityTags::from_headers(headers, name)?;
        Ok::<_, ApiError>(tags.map(|tags| tags.include(tag.as_bytes())))
    };
    if lists_tag(&IF_MATCH)? == Some(false) {
        let detail = "The file's ETag matches none in If-Match; repeat the request without it.";
        return Err(ApiError::new(ErrorCode::PreconditionFailed, detail));
    }
    if lists_tag(&IF_NONE_MATCH)? == Some(true) {
        return Ok(begin(StatusCode::NOT_MODIFIED, &file).body(BoxBody::new(())));
    }
    let range = match wanted(headers, &tag, file.size) {
        Wanted::All => None,
        Wanted::Part(range) => Some(range),
        Wanted::Unsatisfiable => {
            let detail =
                format!("The content has {} bytes, none of them in this range.", file.size);
            let length = HeaderValue::try_from(format!("bytes */{}", file.size));
            let error = ApiError::new(ErrorCode::RangeNotSatisfiable, detail);
            return Err(error.with_header(CONTENT_RANGE, length.map_err(ApiError::internal)?));
        }
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = begin(status, &file);
    response.insert_header((CONTENT_TYPE, file.content_type.as_str()));
    response.insert_header((CONTENT_DISPOSITION, disposition::attachment(&file.name)));
    // Whatever a browser makes of it, it is no page of this origin.
    response.insert_header((CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"));
    response.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if let Some(range) = &range {
        let sent = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size);
        response.insert_header((CONTENT_RANGE, sent));
    }
    let range = range.unwrap_or(0..file.size);
    let length = range.end - range.start;
    let pieces = if length == 0 || *request.method() == Method::HEAD {
        stream::empty().boxed()
    } else {
        match state.blobs.read(id, range).await {
            Ok(pieces) => pieces,
            // It was deleted meanwhile. If it was not, its content is lost.
            Err(BlobError::NotFound) => {
                let still = state.files.find(&caller.user, id).await.map_err(store_failed)?;
                let lost = || ApiError::internal("a file has no content");
                return Err(still.map_or_else(not_found, |_| lost()));
            }
            Err(error) => return Err(content_failed(error)),
        }
    };
    let pieces = pieces.map_err(|error| {
        // The response has begun: the connection closes before its end.
        tracing::warn!(cause = service_kit::telemetry::chain(&error), "a download broke off");
        actix_web::Error::from(std::io::Error::other(error))
    });
    Ok(response.body(SizedStream::new(length, pieces)))
}

/// What all responses with this file have.
fn begin(status: StatusCode, file: &StoredFile) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((ETAG, format!("\"{}\"", file.sha256)));
    response.insert_header((CACHE_CONTROL, "private, no-store"));
    response.insert_header((ACCEPT_RANGES, "bytes"));
    response
}

/// The range that counts: with `If-Range`, only of the very content that the client has a part of.
fn wanted(headers: &HeaderMap, tag: &str, size: u64) -> Wanted {
    let mut ranges = headers.get_all(RANGE);
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Wanted::All };
    let mut conditions = headers.get_all(IF_RANGE);
    let is_of_this = match (conditions.next(), conditions.next()) {
        (None, _) => true,
        (Some(condition), None) => condition.as_bytes() == format!("\"{tag}\"").as_bytes(),
        (Some(_), Some(_)) => false,
    };
    if is_of_this { Wanted::parse(range.as_bytes(), size) } else { Wanted::All }
}
