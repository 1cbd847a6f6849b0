//! JSON bodies and query strings, with errors that name the faulty field.
//!
//! Canonical paths are strict. The deprecated legacy paths ignore unknown fields and the content
//! type, as they always did.

use std::borrow::Cow;
use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use proto_contracts::ErrorCode;
use proto_contracts::error::FieldError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::problem::ApiError;

mod faults;
mod strictness;

pub use strictness::Strictness;

/// The largest body, in bytes: the gateway's default `max_body_bytes`.
pub const MAX_BODY_BYTES: usize = proto_contracts::openapi::DEFAULT_BODY_BYTES;
/// How much of a too large body is read and discarded before the response, in bytes. When a server
/// closes a connection with unread data, the proxy in front of it sees a reset instead of the
/// response.
const MAX_DISCARDED_BYTES: usize = 2 * 1024 * 1024;
/// How long a body may take to arrive. Longer than the gateway's 60 s (`body_ms`), so that the
/// gateway rejects slow clients; a test of the gateway compares both.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(75);

/// Extractor for a JSON body. An empty body is `{}`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let strictness = Strictness::of(request);
        let media_type = check_media_type(request, strictness);
        let mut payload = payload.take();
        Box::pin(async move {
            // The body is read even if its type is rejected below: see `MAX_DISCARDED_BYTES`.
            let body = read(&mut payload).await?;
            if body.is_empty() {
                return from_json(b"{}", strictness).map(Self);
            }
            media_type?;
            from_json(&body, strictness).map(Self)
        })
    }
}

/// Extractor for a query string.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(from_query(request.query_string(), Strictness::of(request)).map(Self))
    }
}

/// Extractor for the query string of an operation that has no parameters: any is unknown.
#[derive(Debug)]
pub struct NoQuery;

impl FromRequest for NoQuery {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        #[derive(Deserialize)]
        struct NoParameters {}

        let query = request.query_string();
        if query.is_empty() {
            return ready(Ok(Self));
        }
        ready(from_query(query, Strictness::of(request)).map(|NoParameters {}| Self))
    }
}

/// Parses a JSON object.
///
/// # Errors
/// `malformed_json` with line and column if the text is not JSON, else `invalid_body` with the
/// fields that are wrong.
pub fn from_json<T: DeserializeOwned>(text: &[u8], strictness: Strictness) -> Result<T, ApiError> {
    // Serde also accepts an array for a struct, field by field.
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(not_an_object(text));
    }
    let mut has_unknown = false;
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_ignored::deserialize(&mut json, |_| has_unknown = true);
    match value.and_then(|value| json.end().map(|()| value)) {
        Ok(value) if !has_unknown || strictness == Strictness::Lenient => Ok(value),
        _ => Err(match as_json(text) {
            Ok(json) => {
                ApiError::invalid(ErrorCode::InvalidBody, faults::in_body::<T>(json, strictness))
            }
            Err(error) => malformed(&error),
        }),
    }
}

/// Parses a query string.
///
/// # Errors
/// `invalid_query` with the parameters that are wrong.
pub fn from_query<T: DeserializeOwned>(query: &str, strictness: Strictness) -> Result<T, ApiError> {
    let mut has_unknown = false;
    let pairs = || form_urlencoded::parse(query.as_bytes());
    let deserializer = serde_urlencoded::Deserializer::new(pairs());
    match serde_ignored::deserialize(deserializer, |_| has_unknown = true) {
        Ok(value) if !has_unknown || strictness == Strictness::Lenient => Ok(value),
        _ => {
            let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = pairs().collect();
            let faults = faults::in_query::<T>(&pairs, strictness);
            Err(ApiError::invalid(ErrorCode::InvalidQuery, faults))
        }
    }
}

/// The whole body, within the limits of size and time.
///
/// # Errors
/// `body_too_large`, `request_timeout`, or `bad_request` when it is incomplete.
pub async fn read(payload: &mut Payload) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(BODY_TIMEOUT, collect(payload)).await {
        Ok(body) => body,
        Err(_) => Err(ApiError::new(
            ErrorCode::RequestTimeout,
            format!("The body did not arrive within {} s.", BODY_TIMEOUT.as_secs()),
        )),
    }
}

async fn collect(payload: &mut Payload) -> Result<Bytes, ApiError> {
    let Some(first) = payload.next().await.transpose().map_err(broken)? else {
        return Ok(Bytes::new());
    };
    let mut read = first.len();
    let mut next = payload.next().await.transpose().map_err(broken)?;
    if next.is_none() && read <= MAX_BODY_BYTES {
        return Ok(first); // The common case: one chunk, without a copy.
    }
    let mut body = BytesMut::from(first);
    while let Some(chunk) = next {
        read += chunk.len();
        if read <= MAX_BODY_BYTES {
            body.extend_from_slice(&chunk);
        } else if read > MAX_DISCARDED_BYTES {
            break;
        }
        next = payload.next().await.transpose().map_err(broken)?;
    }
    if read > MAX_BODY_BYTES {
        let detail = format!("The body is larger than {MAX_BODY_BYTES} bytes.");
        return Err(ApiError::new(ErrorCode::BodyTooLarge, detail));
    }
    Ok(body.freeze())
}

fn broken(error: PayloadError) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, "The body is incomplete or its framing is invalid.")
        .caused_by(error.to_string())
}

fn check_media_type(request: &HttpRequest, strictness: Strictness) -> Result<(), ApiError> {
    let headers = request.headers();
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "Content-Encoding is not supported.",
        ));
    }
    if strictness == Strictness::Lenient {
        return Ok(());
    }
    match headers.get(CONTENT_TYPE).map(|value| value.as_bytes()) {
        Some(value) if is_json(value) => Ok(()),
        Some(_) => Err(ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "Content-Type must be application/json.",
        )),
        None => Err(ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "Content-Type is missing: send application/json.",
        )),
    }
}

/// `application/json` or `application/<something>+json`, with or without parameters.
fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let Some((tree, subtype)) = essence.split_at_checked(b"application/".len()) else {
        return false;
    };
    let suffix = subtype.len().checked_sub(b"+json".len()).map(|start| &subtype[start..]);
    tree.eq_ignore_ascii_case(b"application/")
        && (subtype.eq_ignore_ascii_case(b"json")
            || suffix.is_some_and(|s| s.eq_ignore_ascii_case(b"+json")))
}

fn not_an_object(text: &[u8]) -> ApiError {
    match as_json(text) {
        Ok(_) => {
            let fault = FieldError::in_body("", "must be a JSON object");
            ApiError::invalid(ErrorCode::InvalidBody, vec![fault])
        }
        Err(error) => malformed(&error),
    }
}

/// The text as unparsed JSON, if its syntax is valid.
fn as_json(text: &[u8]) -> Result<&RawValue, serde_json::Error> {
    // Serde does not check the bytes of a string that it skips.
    if std::str::from_utf8(text).is_err() {
        // This fails at the first wrong byte.
        serde_json::from_slice::<serde_json::Value>(text)?;
    }
    serde_json::from_slice(text)
}

/// The position is serde's, its words are not.
fn malformed(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    let detail = if error.is_eof() {
        format!("The body ends before its JSON does, at line {line}, column {column}.")
    } else {
        format!("The body is not valid JSON at line {line}, column {column}.")
    };
    ApiError::new(ErrorCode::MalformedJson, detail)
}

#[cfg(test)]
mod tests {
    use proto_contracts::stateless::CalculateRequest;

    use super::*;

    #[test]
    fn invalid_utf8_is_not_json() {
        for text in [&b"{\"operands\xff\": []}"[..], b"{\"operation\": \"add\xff\"}", b"\xff"] {
            let error =
                from_json::<CalculateRequest>(text, Strictness::Strict).expect_err("rejected");
            assert_eq!(error.code(), ErrorCode::MalformedJson, "{error}");
        }
    }

    #[test]
    fn legacy_paths_ignore_unknown_fields_and_nothing_else() {
        let read = |text: &str| from_json::<CalculateRequest>(text.as_bytes(), Strictness::Lenient);
        assert_eq!(read("{\"x\": 1}").expect("lenient"), CalculateRequest::default());
        assert!(read("{\"operands\": 1}").is_err());
    }

    #[test]
    fn json_has_several_media_types() {
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"]
        {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        for bad in [
            "text/plain",
            "application/jsonp",
            "application/",
            "",
            "text/json",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(bad.as_bytes()), "{bad}");
        }
    }
}
