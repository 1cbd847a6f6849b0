//! Pages of other origins, through Nginx and its cache.

use anyhow::{Result, ensure};
use proto_contracts::{ErrorCode, headers};
use reqwest::Method;
use reqwest::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, VARY,
};

use crate::api::{Api, SESSIONS};
use crate::configure::add_to_gateway_config;
use crate::response::Response;
use crate::small_stack;

const APP: &str = "https://app.example";
const OTHER: &str = "https://other.example";
const PRODUCTS: &str = "/api/v1/stateless/products?limit=3";

#[tokio::test]
async fn pages_of_listed_origins_may_use_the_api() -> Result<()> {
    let stack = small_stack().stateful(1).with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let closed = from(&api, Method::GET, "/api/v1/stateless/info", Some(APP)).await?;
    ensure!(allowed(&closed).is_none(), "CORS is off by default: {closed}");
    let section = format!("[cors]\nallowed_origins = ['{APP}', '{OTHER}']\n");
    add_to_gateway_config(&stack, &section).await?;
    the_cache_keeps_origins_apart(&api).await?;
    a_page_holds_a_conversation(&api).await?;
    stack.shutdown().await;
    Ok(())
}

async fn from(api: &Api, method: Method, path: &str, origin: Option<&str>) -> Result<Response> {
    let request = api.request(method, path);
    Response::to(origin.into_iter().fold(request, |request, it| request.header(ORIGIN, it))).await
}

fn allowed(response: &Response) -> Option<&str> {
    response.header(ACCESS_CONTROL_ALLOW_ORIGIN.as_str())
}

async fn the_cache_keeps_origins_apart(api: &Api) -> Result<()> {
    let origins = [None, Some(APP), Some("https://evil.example"), Some(OTHER), Some("null")];
    for status in ["MISS", "HIT"] {
        for origin in origins {
            let response = from(api, Method::GET, PRODUCTS, origin).await?;
            let expected = origin.filter(|origin| [APP, OTHER].contains(origin));
            assert_eq!(allowed(&response), expected, "{origin:?}: {response}");
            assert_eq!(response.header(headers::CACHE_STATUS), Some(status), "{response}");
            let varies = response.headers.get_all(VARY).iter().any(|value| value == "origin");
            ensure!(varies, "{origin:?}: {response}");
        }
    }
    Ok(())
}

async fn a_page_holds_a_conversation(api: &Api) -> Result<()> {
    let preflight = api
        .request(Method::OPTIONS, SESSIONS)
        .header(ORIGIN, APP)
        .header(ACCESS_CONTROL_REQUEST_METHOD, "POST");
    let preflight = Response::to(preflight).await?;
    assert_eq!((preflight.status, allowed(&preflight)), (204, Some(APP)), "{preflight}");
    for (name, word) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, headers::IDEMPOTENCY_KEY),
        (ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
    ] {
        let list = preflight.header(name.as_str()).unwrap_or_default();
        ensure!(list.split(", ").any(|listed| listed == word), "{word}: {preflight}");
    }

    let create = api.request(Method::POST, SESSIONS).header(ORIGIN, APP);
    let created = Response::to(create.header(CONTENT_TYPE, "application/json").body("{}")).await?;
    assert_eq!((created.status, allowed(&created)), (201, Some(APP)), "{created}");
    let exposed = created.header(ACCESS_CONTROL_EXPOSE_HEADERS.as_str()).unwrap_or_default();
    for name in [headers::AFFINITY_KEY, headers::SERVED_BY, "etag", "location"] {
        ensure!(created.headers.contains_key(name), "{name} is missing: {created}");
        ensure!(exposed.split(", ").any(|listed| listed == name), "{name}: {created}");
    }

    // The header of an endless stream.
    let id = created.json::<serde_json::Value>()["session_id"].clone();
    let path = format!("{SESSIONS}/{}/events", id.as_str().unwrap_or_default());
    let stream = api.request(Method::GET, &path).header(ORIGIN, APP).send().await?;
    assert_eq!(stream.status(), 200);
    assert_eq!(
        stream.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).map(AsRef::as_ref),
        Some(APP.as_bytes())
    );
    drop(stream);

    let large = api.request(Method::GET, "/api/v1/stateless/info").header(ORIGIN, APP);
    let large = Response::to(large.header("x-large", "x".repeat(66 * 1024))).await?;
    large.problem(ErrorCode::HeaderTooLarge);
    assert_eq!(allowed(&large), Some(APP), "{large}");
    let missing = from(api, Method::GET, "/api/v1/nothing", Some(APP)).await?;
    missing.problem(ErrorCode::NotFound);
    assert_eq!(allowed(&missing), Some(APP), "errors are readable: {missing}");
    Ok(())
}
