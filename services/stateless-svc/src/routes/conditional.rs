//! Cacheable documents with entity tags.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH,
};
use actix_web::web::Bytes;
use proto_contracts::ErrorCode;
use service_kit::entity_tags::EntityTags;
use service_kit::problem::ApiError;
use xxhash_rust::xxh3::xxh3_128;

/// Products: a cache serves a copy for 5 s, for another 5 s while it gets a new one, and for 30 s in
/// all while that fails. API.md states the sums.
pub(super) const PRODUCTS: HeaderValue =
    HeaderValue::from_static("public, max-age=5, stale-while-revalidate=5, stale-if-error=25");
/// The API's document, which changes with releases alone.
pub(super) const REFERENCE: HeaderValue =
    HeaderValue::from_static("public, max-age=60, stale-while-revalidate=60, stale-if-error=3600");

/// The tag of a document, without quotes.
pub(super) fn tag_of(document: &[u8]) -> String {
    format!("{:032x}", xxh3_128(document))
}

/// 304 when `If-None-Match` lists this document, 412 when `If-Match` does not, else the document.
pub(super) fn conditional(
    headers: &HeaderMap,
    caching: HeaderValue,
    document: Bytes,
) -> Result<HttpResponse, ApiError> {
    let tag = tag_of(&document);
    let lists_tag = |name| {
        Ok::<_, ApiError>(
            EntityTags::from_headers(headers, name)?.map(|tags| tags.include(tag.as_bytes())),
        )
    };
    if lists_tag(&IF_MATCH)? == Some(false) {
        let detail =
            "The document's ETag matches none in If-Match; repeat the request without If-Match.";
        return Err(ApiError::new(ErrorCode::PreconditionFailed, detail));
    }
    let not_modified = lists_tag(&IF_NONE_MATCH)?.unwrap_or(false);
    let mut response =
        HttpResponse::build(if not_modified { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    response.insert_header((CACHE_CONTROL, caching)).insert_header((ETAG, format!("\"{tag}\"")));
    if not_modified {
        return Ok(response.finish());
    }
    Ok(response
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .body(document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matching_if_none_match_yields_304() {
        let document = Bytes::from_static(b"{}");
        let sent =
            conditional(&HeaderMap::new(), PRODUCTS, document.clone()).expect("the document");
        let tag = sent.headers().get(ETAG).expect("a tag").clone();
        assert_eq!(sent.status(), StatusCode::OK);

        let weak = format!("\"other\", W/{}", tag.to_str().expect("text"));
        for (known, status) in
            [(tag.as_bytes(), 304), (weak.as_bytes(), 304), (b"*", 304), (b"\"other\"", 200)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_bytes(known).expect("a value"));
            let response = conditional(&headers, PRODUCTS, document.clone()).expect("no error");
            assert_eq!(response.status().as_u16(), status, "{}", String::from_utf8_lossy(known));
            assert_eq!(response.headers().get(ETAG), Some(&tag));
            assert_eq!(response.headers().get(CACHE_CONTROL), Some(&PRODUCTS));
        }
    }

    #[test]
    fn failed_and_malformed_conditions_are_rejected() {
        for (name, value, code) in [
            (IF_MATCH, "\"other\"", ErrorCode::PreconditionFailed),
            (IF_MATCH, "other", ErrorCode::InvalidEntityTag),
            (IF_NONE_MATCH, "other", ErrorCode::InvalidEntityTag),
            (IF_NONE_MATCH, "", ErrorCode::InvalidEntityTag),
        ] {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            let error =
                conditional(&headers, PRODUCTS, Bytes::from_static(b"{}")).expect_err(value);
            assert_eq!(error.code(), code, "{value}");
        }
    }
}
