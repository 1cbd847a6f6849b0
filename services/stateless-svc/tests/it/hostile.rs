//! Invalid input yields a 4xx problem and never stops the service.

use proto_contracts::ErrorCode;
use service_kit::testing::{Response, raw, send, send_json};

use super::{problem, spawn_app};

const CALCULATE: &str = "/api/v1/stateless/calculate";

#[tokio::test]
async fn bodies() {
    let addr = spawn_app();
    let many = format!("{{\"operands\":[{}1]}}", "1,".repeat(1000));
    let deep = format!("{{\"operands\":{}", "[".repeat(100_000));
    let long_name = format!("{{\"{}\":1}}", "x".repeat(500_000));
    for (body, code, detail) in [
        ("{", ErrorCode::MalformedJson, "line 1, column 1"),
        ("{\"operands\":[1,}", ErrorCode::MalformedJson, "line 1"),
        ("\u{0}", ErrorCode::MalformedJson, "line 1"),
        ("[]", ErrorCode::InvalidBody, "JSON object"),
        ("\"add\"", ErrorCode::InvalidBody, "JSON object"),
        ("{\"operands\":{}}", ErrorCode::InvalidBody, "`/operands` must be an array"),
        ("{\"operands\":[1,null]}", ErrorCode::InvalidBody, "`/operands/1` must be a number"),
        ("{\"operation\":7}", ErrorCode::InvalidBody, "`/operation` must be one of"),
        ("{\"__proto__\":{}}", ErrorCode::InvalidBody, "`/__proto__` is unknown"),
        (
            "{\"operation\":\"divide\",\"operands\":[1,0]}",
            ErrorCode::DivisionByZero,
            "Operand 2 is 0.",
        ),
        (
            "{\"operation\":\"multiply\",\"operands\":[1e300,1e300]}",
            ErrorCode::ResultNotFinite,
            "Operand 2 ",
        ),
        ("{\"operation\":\"power\",\"operands\":[1]}", ErrorCode::InvalidOperands, "exactly two"),
        (&many, ErrorCode::InvalidOperands, "Too many operands: 1001"),
        (&deep, ErrorCode::MalformedJson, "ends before its JSON does"),
        (&long_name, ErrorCode::InvalidBody, "a field with a long name"),
    ] {
        let response = send_json(addr, "POST", CALCULATE, body).await.expect("a response");
        let problem = problem(&response, code);
        assert!(problem.detail.contains(detail), "{problem:?}");
        assert!(response.body.len() < 2000, "the response does not quote a megabyte");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_gets_a_response_and_no_reset() {
    let addr = spawn_app();
    let body = format!("{{\"x\":\"{}\"}}", "y".repeat(2_000_000));
    for path in [CALCULATE, "/api/stateless/calculate"] {
        let response = send_json(addr, "POST", path, &body).await.expect("a response, not a reset");
        assert!(problem(&response, ErrorCode::BodyTooLarge).detail.contains("1048576"));
    }
}

#[tokio::test]
async fn queries() {
    let addr = spawn_app();
    for (target, code, detail) in [
        ("random?min=2&max=1", ErrorCode::InvalidQuery, "`min`"),
        ("random?count=0", ErrorCode::InvalidQuery, "`count`"),
        ("random?count=1001", ErrorCode::InvalidQuery, "`count`"),
        ("random?count=99999999999", ErrorCode::InvalidQuery, "`count`"),
        ("random?min=1.5", ErrorCode::InvalidQuery, "`min` must be an integer"),
        ("random?max=9223372036854775808", ErrorCode::InvalidQuery, "`max` is too large"),
        ("random?max=9007199254740992", ErrorCode::InvalidQuery, "to 9007199254740991."),
        ("random?min=-9007199254740992", ErrorCode::InvalidQuery, "from -9007199254740991"),
        ("random?seed=1", ErrorCode::InvalidQuery, "`seed`"),
        ("random?min=%ff", ErrorCode::InvalidQuery, "`min`"),
        ("products?limit=0", ErrorCode::InvalidQuery, "`limit`"),
        ("products?limit=101", ErrorCode::InvalidQuery, "`limit`"),
        ("products?page=2", ErrorCode::InvalidQuery, "`page`"),
        ("products?cursor=p001", ErrorCode::InvalidCursor, "`cursor`"),
        ("products?cursor=", ErrorCode::InvalidCursor, "`cursor`"),
        ("products/p001'--", ErrorCode::InvalidProductId, "A product id"),
        ("products/%3Cp%3E", ErrorCode::InvalidProductId, "A product id"),
        ("products/%00", ErrorCode::BadRequest, "control character"),
        ("products/..%2f..%2fetc%2fpasswd", ErrorCode::BadRequest, "slash"),
        ("products/%2e%2e/info", ErrorCode::BadRequest, "segment"),
        ("products/", ErrorCode::NotFound, ""),
        ("products/p001/reviews", ErrorCode::NotFound, ""),
        ("nothing", ErrorCode::NotFound, ""),
    ] {
        let response =
            send(addr, "GET", &format!("/api/v1/stateless/{target}")).await.expect("a response");
        let problem = problem(&response, code);
        assert!(problem.detail.contains(detail), "{target}: {problem:?}");
    }
}

#[tokio::test]
async fn malformed_http_is_rejected_and_the_service_keeps_running() {
    let addr = spawn_app();
    let post = |headers: &str, body: &str| {
        format!("POST {CALCULATE} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{headers}\r\n{body}")
    };
    let typed = "content-type: application/json\r\n";
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /a b HTTP/1.1\r\nhost: t\r\n\r\n".to_owned(), 400),
        (post("content-length: x\r\n", ""), 400),
        (post("content-length: 2\r\ntransfer-encoding: chunked\r\n", "{}"), 400),
        (post(&format!("{typed}transfer-encoding: chunked\r\n"), "zz\r\n{}\r\n0\r\n\r\n"), 400),
        (post(&format!("{typed}transfer-encoding: chunked\r\n"), "2\r\n{}\r\n0\r\n\r\n"), 200),
        (post("content-type: \u{e4}\r\ncontent-length: 2\r\n", "{}"), 415),
        (post(&format!("{typed}content-encoding: gzip\r\ncontent-length: 2\r\n"), "{}"), 415),
        (format!("GET /{} HTTP/1.1\r\nhost: t\r\n\r\n", "a".repeat(200_000)), 431),
        (format!("GET / HTTP/1.1\r\nhost: t\r\n{}\r\n", "x: y\r\n".repeat(200)), 431),
        (
            "BREW /api/v1/stateless/info HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"
                .to_owned(),
            405,
        ),
    ] {
        // A server may close while the rest of a rejected request is still being sent.
        let may_reset = |error: &std::io::Error| {
            matches!(status, 400 | 431) && error.kind() != std::io::ErrorKind::TimedOut
        };
        match raw(addr, request.as_bytes()).await {
            Ok(response) => {
                assert_eq!(response.status, status, "{:?}", &request[..request.len().min(200)])
            }
            Err(error) => {
                assert!(may_reset(&error), "{error}: {:?}", &request[..request.len().min(200)])
            }
        }
        let after: Response = send(addr, "GET", "/livez").await.expect("still alive");
        assert_eq!(after.status, 200);
    }
}
