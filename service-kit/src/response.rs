//! JSON responses with an explicit `Cache-Control`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::problem::ApiError;

/// Most bodies fit in so many bytes, so they are written without a reallocation.
const MOST_BODIES: usize = 512;

/// A JSON response with `Cache-Control: no-store`.
///
/// # Errors
/// `internal` when `body` cannot be serialized.
pub fn no_store(status: StatusCode, body: &impl Serialize) -> Result<HttpResponse, ApiError> {
    json(status, "no-store", body)
}

/// A JSON response with this `Cache-Control`.
///
/// # Errors
/// `internal` when `body` cannot be serialized.
pub fn json(
    status: StatusCode,
    cache_control: &'static str,
    body: &impl Serialize,
) -> Result<HttpResponse, ApiError> {
    let mut json = Vec::with_capacity(MOST_BODIES);
    serde_json::to_writer(&mut json, body).map_err(ApiError::internal)?;
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static(cache_control)));
    Ok(response.body(json))
}

/// The `Link` (RFC 8288) of a page to the first and the next one. `query` is that of the first.
///
/// The references are relative to the request's path, which may hold a secret.
///
/// # Errors
/// `internal` when the query or the cursor has characters that a header must not have.
pub fn page_links(query: &str, next_cursor: Option<&str>) -> Result<HeaderValue, ApiError> {
    let next = next_cursor
        .map(|cursor| format!(", <?{query}&cursor={cursor}>; rel=\"next\""))
        .unwrap_or_default();
    let links = format!("<?{query}>; rel=\"first\"{next}");
    HeaderValue::from_str(&links).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_next_one() {
        assert_eq!(page_links("limit=5", None).expect("valid"), "<?limit=5>; rel=\"first\"");
        assert_eq!(
            page_links("limit=5&order=desc", Some("0a")).expect("valid"),
            "<?limit=5&order=desc>; rel=\"first\", <?limit=5&order=desc&cursor=0a>; rel=\"next\""
        );
    }
}
