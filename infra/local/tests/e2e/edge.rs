//! Nginx's features: redirects, HTTP/2, compression, headers, a cache, error documents, protected
//! metrics.

use std::fs;
use std::io::Read;

use anyhow::{Context, Result};
use local_stack::Stack;
use proto_contracts::error::{self, Site};
use proto_contracts::{ErrorCode, headers};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, LOCATION, VARY,
    WWW_AUTHENTICATE,
};
use reqwest::{Method, Version};
use tokio::task::JoinSet;

use crate::api::Api;
use crate::raw::{Listener, exchange};
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const PRODUCTS: &str = "/api/v1/stateless/products";
const INFO: &str = "/api/v1/stateless/info";
const HTML: &str = "text/html; charset=utf-8";

#[tokio::test]
async fn the_edge_has_all_its_features() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    plain_http_is_redirected_to_https(&stack).await?;
    http2_and_http1_are_supported(&stack, &api).await?;
    bodies_are_compressed_as_negotiated(&api).await?;
    security_headers_are_set(&api).await?;
    each_page_has_the_policy_that_it_needs(&api).await?;
    static_files_are_cached_for_a_year(&api).await?;
    only_products_are_cached(&api).await?;
    a_matching_etag_gets_304(&api).await?;
    its_own_errors_are_problem_documents(&api).await?;
    browsers_get_a_page(&stack, &api).await?;
    every_error_has_a_page(&api).await?;
    metrics_need_a_password(&stack, &api).await?;
    connections_to_the_gateway_are_kept(&stack, &api).await?;
    stack.shutdown().await;
    Ok(())
}

async fn plain_http_is_redirected_to_https(stack: &Stack) -> Result<()> {
    let client = stack.client()?.build()?;
    let (http, https) = (stack.ports().http, stack.ports().https);
    for method in [Method::GET, Method::POST] {
        let response = Response::to(
            client.request(method, format!("http://127.0.0.1:{http}{PRODUCTS}?limit=2")),
        )
        .await?;
        // 308, so that a POST stays one.
        assert_eq!(response.status, 308);
        let to = format!("https://127.0.0.1:{https}{PRODUCTS}?limit=2");
        assert_eq!(response.header(LOCATION.as_str()), Some(&*to));
    }
    Ok(())
}

async fn http2_and_http1_are_supported(stack: &Stack, api: &Api) -> Result<()> {
    assert_eq!(api.get(INFO).await?.version, Version::HTTP_2);
    let old = format!("GET {INFO} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let old = exchange(stack, Listener::Nginx, old.as_bytes()).await?;
    assert_eq!((old.status, old.version), (200, Version::HTTP_11), "{old}");
    Ok(())
}

async fn bodies_are_compressed_as_negotiated(api: &Api) -> Result<()> {
    let plain = api.get(PRODUCTS).await?;
    assert!(!plain.headers.contains_key(CONTENT_ENCODING));
    for (encoding, decode) in [("gzip", gunzip as fn(&[u8]) -> Result<Vec<u8>>), ("br", unbrotli)] {
        let response =
            Response::to(api.request(Method::GET, PRODUCTS).header(ACCEPT_ENCODING, encoding))
                .await?;
        assert_eq!(
            response.header(CONTENT_ENCODING.as_str()),
            Some(encoding),
            "{:?}",
            response.headers
        );
        assert_eq!(response.header(VARY.as_str()), Some("Accept-Encoding"));
        assert!(response.body.len() < plain.body.len());
        assert_eq!(decode(&response.body)?, plain.body);
    }
    Ok(())
}

fn gunzip(body: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut plain)?;
    Ok(plain)
}

fn unbrotli(mut body: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    brotli::BrotliDecompress(&mut body, &mut plain)?;
    Ok(plain)
}

async fn security_headers_are_set(api: &Api) -> Result<()> {
    // On responses of the services, on Nginx's own, and on errors of both.
    for path in [INFO, "/", "/static/none", "/api/v1/stateful/sessions/x"] {
        let response = api.get(path).await?;
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(response.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"), "{path}");
        let transport = response.header("strict-transport-security");
        assert!(
            transport.is_some_and(|value| value.starts_with("max-age=31536000")),
            "{path}: {transport:?}"
        );
        let policy = response.header("content-security-policy");
        assert!(
            policy.is_some_and(|value| value.starts_with("default-src 'none'")),
            "{path}: {policy:?}"
        );
        assert_eq!(response.header("server"), Some("nginx"), "{path}: no version");
    }
    Ok(())
}

/// `make test-ui` shows that these are enough; this, that others have no more.
async fn each_page_has_the_policy_that_it_needs(api: &Api) -> Result<()> {
    let scripted = Some("script-src 'self'");
    for (path, script) in [
        ("/", scripted),
        ("/docs", scripted),
        ("/docs/errors", None),
        ("/docs/errors/not_found", None),
        ("/docs/unknown", None),
        ("/static/site-3.css", None),
        (INFO, None),
    ] {
        let response = api.get(path).await?;
        let policy = response.header("content-security-policy").context("a policy")?;
        let found = policy.split("; ").find(|directive| directive.starts_with("script-src"));
        assert_eq!(found, script, "{path}: {policy}");
        for rule in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.split("; ").any(|directive| directive == rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
    }
    Ok(())
}

async fn static_files_are_cached_for_a_year(api: &Api) -> Result<()> {
    let page = String::from_utf8(api.get("/docs").await?.body)?;
    let files: Vec<_> = page.split('"').filter(|part| part.starts_with("/static/")).collect();
    assert!(files.len() > 4, "{page}");
    for file in files {
        let request = api.request(Method::GET, file).header(ACCEPT_ENCODING, "gzip");
        let response = Response::to(request).await?;
        assert_eq!(response.status, 200, "{file}");
        let cached = Some("public, max-age=31536000, immutable");
        assert_eq!(response.header(CACHE_CONTROL.as_str()), cached, "{file}");
        let has_charset =
            response.header("content-type").is_some_and(|kind| kind.ends_with("; charset=utf-8"));
        assert!(has_charset, "{file}: {:?}", response.headers);
        if response.body.len() > 1024 {
            assert_eq!(response.header(CONTENT_ENCODING.as_str()), Some("gzip"), "{file}");
        }
    }
    Ok(())
}

async fn only_products_are_cached(api: &Api) -> Result<()> {
    // A page that is not cached yet.
    let path = format!("{PRODUCTS}?limit=7");
    let first = api.get(&path).await?;
    assert_eq!(first.header(headers::CACHE_STATUS), Some("MISS"), "{first}");
    first.served_by();
    let second = api.get(&path).await?;
    assert_eq!(second.header(headers::CACHE_STATUS), Some("HIT"), "{second}");
    assert!(
        !second.headers.contains_key(headers::SERVED_BY),
        "no instance served a cache hit: {second}"
    );
    assert_ne!(
        first.request_id(),
        second.request_id(),
        "the id is the request's, not the cached response's"
    );
    assert_eq!(first.body, second.body);

    // An error contains its request id, so it must not be cached: `problem` compares the ids.
    for _ in 0..2 {
        let unknown = api.get(&format!("{PRODUCTS}/p998")).await?;
        unknown.problem(ErrorCode::ProductNotFound);
        assert_eq!(unknown.header(headers::CACHE_STATUS), Some("MISS"), "{unknown}");
    }

    for path in [INFO, "/api/v1/stateless/random?max=9007199254740991"] {
        let (first, second) = (api.get(path).await?, api.get(path).await?);
        for response in [&first, &second] {
            assert_ne!(response.header(headers::CACHE_STATUS), Some("HIT"), "{response}");
            assert_eq!(response.header(CACHE_CONTROL.as_str()), Some("no-store"));
            response.served_by();
        }
        assert_ne!(first.body, second.body);
    }
    Ok(())
}

async fn a_matching_etag_gets_304(api: &Api) -> Result<()> {
    for path in [format!("{PRODUCTS}?limit=5"), format!("{PRODUCTS}/p001")] {
        let first = api.get(&path).await?;
        let tag =
            first.header(ETAG.as_str()).with_context(|| format!("no tag: {first}"))?.to_owned();
        // From the cache, and from the service past it.
        for credentials in [None, Some("Bearer any")] {
            let request = api.request(Method::GET, &path).header(IF_NONE_MATCH, &tag);
            let request = credentials
                .into_iter()
                .fold(request, |request, value| request.header("authorization", value));
            let again = Response::to(request).await?;
            assert_eq!((again.status, again.body.len()), (304, 0), "{again}");
            let request = api.request(Method::GET, &path).header(IF_NONE_MATCH, "\"another\"");
            assert_eq!(Response::to(request).await?.body, first.body);
        }
    }
    Ok(())
}

async fn its_own_errors_are_problem_documents(api: &Api) -> Result<()> {
    // `problem` compares the id in the document with the one in the header.
    api.get("/static/none").await?.problem(ErrorCode::NotFound);
    Response::to(api.request(Method::POST, "/robots.txt"))
        .await?
        .problem(ErrorCode::MethodNotAllowed);
    let large =
        api.request(Method::POST, "/api/v1/stateless/calculate").body(vec![b' '; 2 * 1024 * 1024]);
    Response::to(large).await?.problem(ErrorCode::BodyTooLarge);
    // The edge ignores a client's request id: two clients could send the same.
    let id = "0190a5c0-0000-7000-8000-000000000001";
    let response =
        Response::to(api.request(Method::GET, "/static/none").header(headers::REQUEST_ID, id))
            .await?;
    response.problem(ErrorCode::NotFound);
    assert_ne!(response.request_id().to_string(), id);
    Ok(())
}

/// As Firefox and Chromium send it when a person opens an address.
const OF_BROWSERS: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// For an error of Nginx's own; everybody else gets the problem document.
async fn browsers_get_a_page(stack: &Stack, api: &Api) -> Result<()> {
    let plain = format!("http://127.0.0.1:{}/", stack.ports().https);
    let get = |path: &str, accept: &str| api.request(Method::GET, path).header(ACCEPT, accept);
    let cases = [
        (get("/static/none", OF_BROWSERS), ErrorCode::NotFound),
        (get("/stats", "text/html"), ErrorCode::NotFound),
        (get("/%3Cscript%3E", "TEXT/HTML; q=0.9"), ErrorCode::NotFound),
        (get("/metrics", OF_BROWSERS), ErrorCode::Unauthorized),
        (stack.client()?.build()?.get(plain).header(ACCEPT, OF_BROWSERS), ErrorCode::BadRequest),
        (
            api.request(Method::POST, "/robots.txt").header(ACCEPT, OF_BROWSERS),
            ErrorCode::MethodNotAllowed,
        ),
    ];
    for (request, code) in cases {
        let page = Response::to(request).await?;
        assert_eq!(page.status, code.status(), "{page}");
        assert_eq!(page.header("content-type"), Some(HTML), "{page}");
        assert_eq!(page.header(CACHE_CONTROL.as_str()), Some("no-store"), "{page}");
        assert_eq!(page.header(VARY.as_str()), Some("Accept"), "{page}");
        let policy = page.header("content-security-policy").context("no policy")?;
        assert!(policy.contains("style-src 'self'") && !policy.contains("script-src"), "{policy}");
        let id = page.request_id().to_string();
        let text = String::from_utf8(page.body)?;
        for part in [code.title(), code.as_str(), &code.page_path(), &id] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("<script"), "{text}");
    }
    for accept in
        ["*/*", "", "application/json, text/html", "text/html;q=0", "text/html; q=0.000, */*"]
    {
        let response = Response::to(get("/static/none", accept)).await?;
        response.problem(ErrorCode::NotFound);
        assert_eq!(response.header(VARY.as_str()), Some("Accept"), "{response}");
    }
    // What an API responds with is the same for everybody.
    Response::to(get("/api/v1/none", OF_BROWSERS)).await?.problem(ErrorCode::NotFound);
    let keys = Response::to(get("/.well-known/jwks.json", OF_BROWSERS)).await?;
    assert_eq!(keys.status, 200, "{keys}");
    Ok(())
}

async fn every_error_has_a_page(api: &Api) -> Result<()> {
    for &code in ErrorCode::ALL {
        let page = api.get(&code.page_path()).await?;
        assert_eq!((page.status, page.header("content-type")), (200, Some(HTML)), "{code}");
        assert_eq!(page.header(CACHE_CONTROL.as_str()), Some("no-cache"), "{code}");
        assert_eq!(String::from_utf8(page.body)?, error::page(code, Site::Edge), "{code}");
    }
    assert_eq!(api.get("/docs/errors").await?.status, 200);
    for path in ["/docs/errors/unknown", "/docs/errors/not_found.html", "/docs/errors/"] {
        api.get(path).await?.problem(ErrorCode::NotFound);
    }
    Ok(())
}

async fn metrics_need_a_password(stack: &Stack, api: &Api) -> Result<()> {
    let refused = api.get("/metrics").await?;
    refused.problem(ErrorCode::Unauthorized);
    assert!(
        refused.header(WWW_AUTHENTICATE.as_str()).is_some_and(|value| value.starts_with("Basic")),
        "{refused}"
    );
    metrics_as(api, "guessed").await?.problem(ErrorCode::Unauthorized);
    let text = metrics(stack, api).await?;
    for name in ["gateway_affinity_total{", "http_server_request_duration_seconds_bucket{"] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    Ok(())
}

async fn metrics_as(api: &Api, password: &str) -> Result<Response> {
    let request = api.request(Method::GET, "/metrics").basic_auth("metrics", Some(password));
    Response::to(request).await
}

async fn metrics(stack: &Stack, api: &Api) -> Result<String> {
    let password = fs::read_to_string(stack.state_dir().join("metrics.password"))?;
    let metrics = metrics_as(api, password.trim()).await?;
    assert_eq!(metrics.status, 200, "{metrics}");
    Ok(String::from_utf8(metrics.body)?)
}

/// As many as there were requests at once.
async fn connections_to_the_gateway_are_kept(stack: &Stack, api: &Api) -> Result<()> {
    // Streams of one HTTP/2 connection, so that one worker of Nginx serves them.
    const REQUESTS: usize = 100;
    stack.pause("gateway")?;
    let mut requests = JoinSet::new();
    for _ in 0..REQUESTS {
        requests.spawn(Response::to(api.request(Method::GET, INFO)));
    }
    let gateway = stack.addr_of("gateway")?.port();
    until("all wait for the gateway", async || {
        Ok((established_at(gateway)? >= REQUESTS).then_some(()))
    })
    .await?;
    stack.resume("gateway")?;
    while let Some(response) = requests.join_next().await {
        assert_eq!(response??.status, 200);
    }
    let metrics = metrics(stack, api).await?;
    let kept = metrics.lines().find_map(|line| line.strip_prefix("gateway_client_connections "));
    let kept: usize = kept.context("the gateway counts them")?.parse()?;
    assert!(kept >= REQUESTS, "{kept} are kept");
    Ok(())
}

/// Connections that a listener's port has accepted, if only the kernel has.
fn established_at(port: u16) -> Result<usize> {
    const ESTABLISHED: &str = "01";
    let local = format!(":{port:04X}");
    let connections = fs::read_to_string("/proc/net/tcp")?;
    let fields = connections.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    Ok(fields.filter(|fields| fields[1].ends_with(&local) && fields[3] == ESTABLISHED).count())
}
