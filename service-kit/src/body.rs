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

        let strictness = Strictness::of(request);
        let read = from_query(request.query_string(), strictness);
        ready(read.map(|NoParameters {}| Self))
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

async fn read(payload: &mut Payload) -> Result<Bytes, ApiError> {
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
    use proto_contracts::control::{AddInstance, ExplainQuery};
    use proto_contracts::stateful::{PatchSession, PostConversation};
    use proto_contracts::stateless::{CalculateRequest, RandomQuery};

    use super::*;

    fn json(text: &str) -> Result<CalculateRequest, ApiError> {
        from_json(text.as_bytes(), Strictness::Strict)
    }

    #[test]
    fn a_rejected_body_names_the_fault() {
        for (text, code, expected) in [
            ("{", "malformed_json", "ends before its JSON does, at line 1, column 1"),
            ("{\n\"operands\": [1,]}", "malformed_json", "not valid JSON at line 2, column"),
            ("{} {}", "malformed_json", "line 1, column 4"),
            ("nonsense", "malformed_json", "line 1"),
            ("[\"add\", [1]]", "invalid_body", "The body must be a JSON object."),
            ("null", "invalid_body", "must be a JSON object"),
            ("{\"operands\": [1, \"2\"]}", "invalid_body", "`/operands/1` must be a number."),
            (
                "{\"operation\": \"root\"}",
                "invalid_body",
                "`/operation` must be one of add, subtract, multiply, divide, power, mean, min, max.",
            ),
            (
                "{\"operator\": \"add\"}",
                "invalid_body",
                "`/operator` is unknown; known here: operation, operands.",
            ),
            (
                "{\"operands\": [], \"operands\": []}",
                "invalid_body",
                "`/operands` is given more than once.",
            ),
            (
                "{\"operands\": [1e999]}",
                "invalid_body",
                "`/operands/0` must be within the range of 64-bit floating-point numbers.",
            ),
            ("{\"operation\": 7}", "invalid_body", "`/operation` must be one of add"),
            ("{\"operands\": 7}", "invalid_body", "`/operands` must be an array."),
        ] {
            let error = json(text).expect_err(text);
            assert_eq!(error.code().as_str(), code, "{text}: {error}");
            assert!(error.detail().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn all_faults_are_listed() {
        let text = r#"{"operation": "root", "a/b~": 1, "operands": [1, "2", null, {}, 1e999]}"#;
        let error = json(text).expect_err("rejected");
        let places: Vec<_> =
            error.errors().iter().filter_map(|fault| fault.pointer.as_deref()).collect();
        assert_eq!(
            places,
            ["/operation", "/a~1b~0", "/operands/1", "/operands/2", "/operands/3", "/operands/4"]
        );
        assert!(error.detail().ends_with(" 5 more faults are listed in `errors`."), "{error}");
        let many = format!("{{\"operands\": [{}]}}", "null,".repeat(1_000) + "1");
        assert_eq!(json(&many).expect_err("rejected").errors().len(), 16);
    }

    #[test]
    fn missing_fields_are_listed_with_other_faults() {
        let read = |text: &str| {
            from_json::<PostConversation<String>>(text.as_bytes(), Strictness::Strict)
                .expect_err(text)
                .errors()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let (session, message) =
            ("`/session_id` is required".to_owned(), "`/message` is required".to_owned());
        assert_eq!(read("{}"), [session.clone(), message]);
        let unknown = "`/text` is unknown; known here: session_id, message".to_owned();
        assert_eq!(
            read(r#"{"message": 7, "text": "a"}"#),
            [session, "`/message` must be a string".to_owned(), unknown]
        );
    }

    #[test]
    fn unparsed_json_is_read_by_its_own_rules() {
        let read = |text: &str| {
            from_json::<PatchSession<Box<RawValue>>>(text.as_bytes(), Strictness::Strict)
                .expect_err(text)
                .detail()
                .to_owned()
        };
        assert_eq!(read("{}"), "`/client_data` is required.");
        assert_eq!(
            read(r#"{"client_data": {"a": [1]}, "ttl": 1}"#),
            "`/ttl` is unknown; known here: client_data."
        );
    }

    #[test]
    fn a_type_that_parses_text_has_one_fault() {
        let read = |query: &str| {
            let read = from_query::<ExplainQuery>(query, Strictness::Strict).expect_err(query);
            read.errors().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let malformed = "`key`: an affinity key is exactly 8 lower-case hex digits";
        assert_eq!(read("key=x"), [malformed]);
        assert_eq!(read(""), ["`key` is required"]);
        let add = |body: &str| {
            let add = from_json::<AddInstance>(body.as_bytes(), Strictness::Strict);
            add.expect_err(body).detail().to_owned()
        };
        let form = "must be an IP address and a port, such as 127.0.0.1:8204";
        assert_eq!(add(r#"{"addr": "localhost"}"#), format!("`/addr` {form}."));
        assert_eq!(add(r#"{"addr": 7}"#), "`/addr` must be a string.");
    }

    #[test]
    fn a_long_name_is_not_repeated() {
        let text = format!("{{\"{}\": 1}}", "x".repeat(100_000));
        let error = json(&text).expect_err("rejected");
        assert_eq!(error.errors()[0].pointer.as_deref(), Some(""));
        assert!(error.detail().contains("a field with a long name"), "{error}");
    }

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
    fn a_rejected_query_names_the_parameter() {
        for (query, expected) in [
            ("min=x", "`min` must be an integer."),
            ("min=1.5", "`min` must be an integer."),
            ("min=9223372036854775808", "`min` is too large."),
            ("min=-9223372036854775809", "`min` is too small."),
            ("count=-1", "`count` must not be negative."),
            ("count=", "`count` must be an integer."),
            ("maximum=3", "`maximum` is unknown; known here: min, max, count."),
            ("min=1&min=2", "`min` is given more than once."),
            ("m~/n=1", "`m~/n` is unknown"),
        ] {
            let error = from_query::<RandomQuery>(query, Strictness::Strict).expect_err(query);
            assert_eq!(error.code(), ErrorCode::InvalidQuery);
            assert!(error.detail().contains(expected), "{query}: {error}");
        }
        let two = from_query::<RandomQuery>("max=a&count=b", Strictness::Strict);
        let two: Vec<_> =
            two.expect_err("rejected").errors().iter().map(ToString::to_string).collect();
        assert_eq!(two, ["`max` must be an integer", "`count` must be an integer"]);
        let lenient =
            from_query::<RandomQuery>("maximum=3&max=7", Strictness::Lenient).expect("lenient");
        assert_eq!(lenient.max, 7);
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
