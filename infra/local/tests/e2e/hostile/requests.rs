//! Well-formed but invalid requests.

use anyhow::{Context, Result};
use proto_contracts::ErrorCode::{self, *};
use proto_contracts::{Verdict, headers};
use reqwest::header::{ALLOW, CONTENT_TYPE, COOKIE};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::api::{Api, CONVERSATIONS, Created, SESSIONS};
use crate::raw::Listener;
use crate::response::Response;

const CALCULATE: &str = "/api/v1/stateless/calculate";
const RANDOM: &str = "/api/v1/stateless/random";
const PRODUCTS: &str = "/api/v1/stateless/products";

/// Sends every bad request of the tables; returns the session ids in them.
pub(super) async fn rejected_requests(api: &Api, session: &Created) -> Result<Vec<String>> {
    bodies(api, session).await?;
    queries(api, session).await?;
    routes_and_methods(api).await?;
    ids(api, session).await
}

async fn expect_error(what: &str, request: RequestBuilder, code: ErrorCode) -> Result<Response> {
    let response = Response::to(request).await.with_context(|| what.to_owned())?;
    anyhow::ensure!(response.status == code.status(), "{what}: not {code} but {response}");
    response.problem(code);
    Ok(response)
}

async fn bodies(api: &Api, session: &Created) -> Result<()> {
    let messages = format!("{}/messages", session.path());
    let json = |method: Method, path: &str, body: Vec<u8>| {
        api.request(method, path).header(CONTENT_TYPE, "application/json").body(body)
    };
    for path in [
        CALCULATE,
        SESSIONS,
        CONVERSATIONS,
        &messages,
        "/api/stateless/calculate",
        "/api/stateful/session",
    ] {
        for (body, code) in [
            (&b"{"[..], MalformedJson),
            (b"nonsense", MalformedJson),
            (b"{\"a\": 1,}", MalformedJson),
            (b"{} {}", MalformedJson),
            (b"{\"\xff\": 1}", MalformedJson),
            (b"[]", InvalidBody),
            (b"null", InvalidBody),
            (b"7", InvalidBody),
        ] {
            let what = format!("{} to {path}", String::from_utf8_lossy(body));
            expect_error(&what, json(Method::POST, path, body.to_vec()), code).await?;
        }
        let large = vec![b' '; 2 * 1024 * 1024];
        expect_error(&format!("2 MiB to {path}"), json(Method::POST, path, large), BodyTooLarge)
            .await?;
        let deep = format!("{{\"client_data\": {}", "[".repeat(100_000)).into_bytes();
        let response = Response::to(json(Method::POST, path, deep)).await?;
        anyhow::ensure!(
            [400, 422].contains(&response.status),
            "100,000 deep to {path}: {response}"
        );
        response.problem(response.json::<proto_contracts::Problem>().code);
    }
    for (path, body, code) in [
        (CALCULATE, json!({"operands": [1, "2"]}), InvalidBody),
        (CALCULATE, json!({"operands": {"0": 1}}), InvalidBody),
        (CALCULATE, json!({"operation": "root"}), InvalidBody),
        (CALCULATE, json!({"operator": "add"}), InvalidBody),
        (CALCULATE, json!({"operands": vec![1; 1_001]}), InvalidOperands),
        (CALCULATE, json!({"operation": "divide", "operands": [1, 0]}), DivisionByZero),
        (CALCULATE, json!({"operation": "power", "operands": [10, 1000]}), ResultNotFinite),
        (SESSIONS, json!({"client_data": null}), InvalidBody),
        (SESSIONS, json!({"client_data": []}), InvalidBody),
        (SESSIONS, json!({"client": {}}), InvalidBody),
        (SESSIONS, json!({"client_data": {"x": "y".repeat(70_000)}}), ClientDataTooLarge),
        (CONVERSATIONS, json!({"message": "without a session"}), InvalidBody),
        (CONVERSATIONS, json!({"session_id": 7, "message": "x"}), InvalidBody),
        (CONVERSATIONS, json!({"session_id": "nonsense", "message": "x"}), InvalidSessionId),
        (&messages, json!({}), InvalidBody),
        (&messages, json!({"message": ""}), InvalidBody),
        (&messages, json!({"message": ["x"]}), InvalidBody),
        (&messages, json!({"message": "x", "session_id": session.id}), InvalidBody),
        (&messages, json!({"message": "x".repeat(16 * 1024 + 1)}), MessageTooLarge),
    ] {
        let shown: String = body.to_string().chars().take(80).collect();
        let what = format!("{shown} to {path}");
        expect_error(&what, api.request(Method::POST, path).json(&body), code).await?;
    }
    for media_type in
        ["text/plain", "application/x-www-form-urlencoded", "nonsense", "application/jsonp"]
    {
        let request =
            api.request(Method::POST, CALCULATE).header(CONTENT_TYPE, media_type).body("{}");
        expect_error(media_type, request, UnsupportedMediaType).await?;
    }
    expect_error(
        "no media type",
        api.request(Method::POST, CALCULATE).body("{}"),
        UnsupportedMediaType,
    )
    .await?;
    expect_error(
        "a patch of nothing",
        api.request(Method::PATCH, &session.path()).json(&json!({})),
        InvalidBody,
    )
    .await?;
    Ok(())
}

async fn queries(api: &Api, session: &Created) -> Result<()> {
    let history = format!("{}/history", session.path());
    for (path, query, code) in [
        (&*history, "limit=0", InvalidQuery),
        (&history, "limit=201", InvalidQuery),
        (&history, "limit=-1", InvalidQuery),
        (&history, "limit=ten", InvalidQuery),
        (&history, "limit=99999999999999999999", InvalidQuery),
        (&history, "limit=1&limit=2", InvalidQuery),
        (&history, "pages=2", InvalidQuery),
        (&history, "cursor=nonsense", InvalidCursor),
        (&history, "cursor=", InvalidCursor),
        (&history, "cursor=%01%ff", InvalidCursor),
        (&history, "cursor=%00", BadRequest),
        (PRODUCTS, "limit=0", InvalidQuery),
        (PRODUCTS, "limit=101", InvalidQuery),
        (PRODUCTS, "cursor=%27%3B--", InvalidCursor),
        (PRODUCTS, "order=price", InvalidQuery),
        (RANDOM, "min=2&max=1", InvalidQuery),
        (RANDOM, "count=0", InvalidQuery),
        (RANDOM, "count=1001", InvalidQuery),
        (RANDOM, "min=1.5", InvalidQuery),
        (RANDOM, "minimum=1", InvalidQuery),
    ] {
        expect_error(
            &format!("{path}?{query}"),
            api.request(Method::GET, &format!("{path}?{query}")),
            code,
        )
        .await?;
    }
    Ok(())
}

async fn routes_and_methods(api: &Api) -> Result<()> {
    for path in [
        "/api",
        "/api/v1",
        "/api/v2/stateless/info",
        "/api/v1/stateless",
        "/api/v1/stateless/infos",
        "/api/v1/stateless/info/",
        "/api/stateless/products",
        "/api/v1/stateful/session",
        "/api/v1/other",
        "/etc/passwd",
        "/control/v1/pools",
    ] {
        expect_error(path, api.request(Method::GET, path), NotFound).await?;
    }
    for path in [
        "/api/v1/stateless/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/api/v1/stateless/x%5Cinfo",
        "/api/v1/%0ainfo",
    ] {
        expect_error(path, api.request(Method::GET, path), BadRequest).await?;
    }
    let brew = Method::from_bytes(b"BREW")?;
    for (method, path, allow) in [
        (Method::DELETE, "/api/v1/stateless/info", "GET, HEAD, OPTIONS"),
        (Method::POST, RANDOM, "GET, HEAD, OPTIONS"),
        (Method::GET, CALCULATE, "POST, OPTIONS"),
        (Method::PUT, SESSIONS, "GET, HEAD, POST, DELETE, OPTIONS"),
        (Method::PUT, CONVERSATIONS, "POST, OPTIONS"),
        // A method unknown to all routes is rejected before routing; Allow lists the API's methods.
        (brew, "/api/v1/stateless/info", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        (Method::POST, "/health", "GET, HEAD"),
    ] {
        let what = format!("{method} {path}");
        let response = expect_error(&what, api.request(method, path), MethodNotAllowed).await?;
        assert_eq!(response.header(ALLOW.as_str()), Some(allow), "{what}");
    }
    for (path, allow) in
        [(PRODUCTS, "GET, HEAD, POST, OPTIONS"), (SESSIONS, "GET, HEAD, POST, DELETE, OPTIONS")]
    {
        let response = Response::to(api.request(Method::OPTIONS, path)).await?;
        assert_eq!(
            (response.status, response.header(ALLOW.as_str())),
            (204, Some(allow)),
            "{path}"
        );
    }
    Ok(())
}

async fn ids(api: &Api, session: &Created) -> Result<Vec<String>> {
    // Variants of a real id: logs must not contain them either.
    let mut tried = vec![
        session.id.to_uppercase(),
        format!("{}0", session.id),
        session.id.replacen('-', "_", 1),
    ];
    tried.extend(["x", "-", "00000000-", "%F0%9F%A6%80"].map(str::to_owned));
    tried.push("9".repeat(1_000));
    for id in &tried {
        let path = format!("{SESSIONS}/{id}");
        for (method, path) in [
            (Method::GET, path.clone()),
            (Method::DELETE, path.clone()),
            (Method::GET, format!("{path}/history")),
            (Method::GET, format!("/api/stateful/session/{id}")),
        ] {
            expect_error(&format!("{method} {path}"), api.request(method, &path), InvalidSessionId)
                .await?;
        }
    }
    let unknown = "0badcafe-00112233445566778899aabbccddeeff";
    for path in [format!("{SESSIONS}/{unknown}"), format!("{SESSIONS}/{unknown}/history")] {
        expect_error(&path, api.request(Method::GET, &path), SessionNotFound).await?;
    }
    let message = json!({"session_id": unknown, "message": "anybody?"});
    expect_error(
        "a message without a session",
        api.request(Method::POST, CONVERSATIONS).json(&message),
        SessionNotFound,
    )
    .await?;
    for id in ["%20", "p%3F", "%27%20OR%201%3D1", &"p".repeat(65)] {
        let path = format!("{PRODUCTS}/{id}");
        expect_error(&path, api.request(Method::GET, &path), InvalidProductId).await?;
    }
    Ok(vec![session.id.clone(), unknown.to_owned()])
}

/// Malformed keys, cookies and request ids are no errors: the gateway replaces them.
pub(super) async fn ignored_headers(
    api: &Api,
    listener: Listener,
    session: &Created,
) -> Result<()> {
    for (name, value) in [
        (COOKIE.as_str(), "affinity=nonsense"),
        (COOKIE.as_str(), "affinity=0BADCAFE"),
        (COOKIE.as_str(), "affinity="),
        (headers::AFFINITY_KEY, "nonsense"),
        (headers::AFFINITY_KEY, "0badcafe0"),
    ] {
        let created = Created::by(api.request(Method::POST, SESSIONS).header(name, value)).await?;
        assert_eq!(
            created.response.stamp().verdict,
            Verdict::Invalid,
            "{name}: {value}: {}",
            created.response
        );
        assert_eq!(
            created.response.cookie()?,
            format!("affinity={}", &created.id[..8]),
            "{name}: {value}"
        );
    }
    for (name, value) in [
        (headers::REQUEST_ID, "nonsense"),
        (headers::REQUEST_ID, "0190a5c0-0000-7000-8000-00000000000g"),
        (headers::SESSION_AFFINITY, "none"),
        (headers::AFFINITY, "off; epoch=00000000"),
        (headers::FORWARDED_FOR, "nonsense, 1.2.3"),
        (headers::FORWARDED_PROTO, "gopher"),
    ] {
        let response =
            Response::to(api.request(Method::GET, &session.path()).header(name, value)).await?;
        assert_eq!(
            (response.status, response.stamp().verdict),
            (200, Verdict::Home),
            "{name}: {value}: {response}"
        );
        assert_ne!(response.request_id().to_string(), value);
    }
    // The gateway accepts a client's well-formed request id; the edge does not.
    let id = "0190a5c0-0000-7000-8000-000000000001";
    let response =
        Response::to(api.request(Method::GET, &session.path()).header(headers::REQUEST_ID, id))
            .await?;
    assert_eq!(response.request_id().to_string() == id, listener == Listener::Gateway);
    Ok(())
}
