//! What Nginx caches, and the headers of its cache hits. A test upstream replaces the gateway.

use std::net::TcpListener;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::{Context, Result, ensure};
use local_stack::Stack;
use proto_contracts::{ErrorCode, headers};
use reqwest::Method;
use reqwest::header::{AGE, IF_MATCH, IF_UNMODIFIED_SINCE, LOCATION};

use crate::api::Api;
use crate::raw::{Listener, exchange};
use crate::response::Response;
use crate::until::until;
use crate::{logs, small_stack};

/// A path whose responses Nginx may cache.
const CACHED: &str = "/api/v1/stateless/copies";
/// Headers that describe one request, so that a cache hit must not have them.
const PER_REQUEST: [&str; 5] = [
    headers::SERVED_BY,
    headers::AFFINITY,
    headers::SERVER_TIMING,
    headers::RATE_LIMIT,
    headers::RATE_LIMIT_POLICY,
];

#[tokio::test]
async fn cache_hits_are_correct() -> Result<()> {
    let stack = small_stack().without_tls().stateful(1).with_nginx().start().await?;
    stack.stop("gateway").await?;
    let upstream = Upstream::start(stack.ports().gateway)?;
    let api = Api::through_nginx(&stack)?;
    only_responses_with_cache_control_are_cached(&api).await?;
    a_cache_hit_has_an_age_and_no_header_of_another_request(&api).await?;
    ages_are_right(&api).await?;
    origin_preconditions_bypass_the_cache(&api).await?;
    only_our_hosts_are_redirected(&stack).await?;
    the_access_log_is_json_for_any_request_bytes(&stack).await?;
    a_stale_copy_is_served_as_long_as_it_says(&api, upstream).await?;
    stack.shutdown().await;
    Ok(())
}

async fn only_responses_with_cache_control_are_cached(api: &Api) -> Result<()> {
    let is_cached = |path: &'static str| async move {
        let (first, second) = (api.get(path).await?, api.get(path).await?);
        ensure!(first.header(headers::CACHE_STATUS) == Some("MISS"), "{path}: {first}");
        Ok(second.header(headers::CACHE_STATUS) == Some("HIT"))
    };
    for status in [200, 301, 302, 404, 410] {
        let silent = format!("{CACHED}/silent?status={status}").leak();
        ensure!(!is_cached(silent).await?, "{status} without Cache-Control");
        let cacheable = format!("{CACHED}/cacheable?status={status}&max-age=60").leak();
        ensure!(is_cached(cacheable).await?, "{status} with Cache-Control");
    }
    // A problem document contains the id of its request.
    for status in [200, 404, 503] {
        let problem = format!("{CACHED}/problem?status={status}&max-age=60&problem=1").leak();
        ensure!(!is_cached(problem).await?, "a problem document with {status} and Cache-Control");
    }
    Ok(())
}

async fn a_cache_hit_has_an_age_and_no_header_of_another_request(api: &Api) -> Result<()> {
    let path = format!("{CACHED}/headers?max-age=60");
    let first = api.get(&path).await?;
    for name in PER_REQUEST {
        ensure!(first.headers.contains_key(name), "{name} is missing: {first}");
    }
    ensure!(!first.headers.contains_key(AGE), "{first}");
    let hit = api.get(&path).await?;
    ensure!(hit.header(headers::CACHE_STATUS) == Some("HIT"), "{hit}");
    for name in PER_REQUEST {
        ensure!(!hit.headers.contains_key(name), "{name} of another request: {hit}");
    }
    ensure!(hit.headers.contains_key(AGE), "{hit}");
    ensure!(first.request_id() != hit.request_id(), "{hit}");
    Ok(())
}

/// Nginx derives the age from the cached request id, which the test upstream sets to an older one.
async fn ages_are_right(api: &Api) -> Result<()> {
    let edges = [
        0, 1, 8, 9, 10, 11, 19, 60, 89, 90, 99, 100, 101, 909, 999, 1_000, 1_010, 9_090, 9_999,
        10_000, 86_400,
    ];
    // Every digit borrows in some case, whatever the current time.
    let spread = (0..40).map(|step| step * 2_477 % 99_900);
    for older_by in edges.into_iter().chain(spread) {
        let path = format!("{CACHED}/age?max-age=60&older-by={older_by}");
        let before = now()?;
        api.get(&path).await?;
        let made = now()?;
        let hit = api.get(&path).await?;
        let age: u64 =
            hit.header(AGE.as_str()).with_context(|| format!("{older_by}: {hit}"))?.parse()?;
        let (least, most) = (older_by, older_by + (now()? - before) + 1);
        ensure!((least..=most).contains(&age), "{age}, not from {least} to {most}; made at {made}");
    }
    // After the clock was set back.
    let path = format!("{CACHED}/age?max-age=60&newer-by=30");
    api.get(&path).await?;
    let hit = api.get(&path).await?;
    // The age has five digits, so it wraps near a multiple of 100,000.
    ensure!(hit.header(AGE.as_str()) == Some("0") || now()? % 100_000 > 99_960, "{hit}");
    Ok(())
}

async fn origin_preconditions_bypass_the_cache(api: &Api) -> Result<()> {
    let path = format!("{CACHED}/conditions?max-age=60&echo={IF_MATCH}");
    api.get(&path).await?;
    for (name, value) in [
        (IF_MATCH, "\"another\""),
        (IF_MATCH, "*"),
        (IF_UNMODIFIED_SINCE, "Thu, 01 Jan 1970 00:00:00 GMT"),
    ] {
        let response = Response::to(api.request(Method::GET, &path).header(&name, value)).await?;
        ensure!(response.status == 200, "{name}: {value}: {response}");
        ensure!(
            !response.headers.contains_key(headers::CACHE_STATUS),
            "{name}: {value}: {response}"
        );
        if name == IF_MATCH {
            ensure!(response.body == value.as_bytes(), "the origin must see it: {response}");
        }
    }
    // Nginx is the origin of static files.
    let file = api.request(Method::GET, "/robots.txt").header(IF_MATCH, "\"another\"");
    Response::to(file).await?.problem(ErrorCode::PreconditionFailed);
    Ok(())
}

/// Without `stale-if-error` there is an error at once, and with it when its time is over.
async fn a_stale_copy_is_served_as_long_as_it_says(api: &Api, upstream: Upstream) -> Result<()> {
    const FRESH: u64 = 1;
    const STALE: u64 = 4;
    let plain = format!("{CACHED}/plain?max-age={FRESH}");
    let allowed = format!("{CACHED}/allowed?max-age={FRESH}&stale-if-error={STALE}");
    let begin = Instant::now();
    for path in [&plain, &allowed] {
        ensure!(api.get(path).await?.status == 200);
    }
    drop(upstream);
    until("a copy that says nothing is gone", async || {
        let response = api.get(&plain).await?;
        let is_fresh = response.header(headers::CACHE_STATUS) == Some("HIT");
        ensure!(response.status == 502 || is_fresh, "{response}");
        Ok((response.status == 502).then_some(()))
    })
    .await?;
    let stale = api.get(&allowed).await?;
    ensure!(stale.header(headers::CACHE_STATUS) == Some("STALE"), "{stale}");
    let last = until("the other copy is gone", async || {
        let before = begin.elapsed();
        let response = api.get(&allowed).await?;
        ensure!(matches!(response.status, 200 | 502), "{response}");
        Ok((response.status == 502).then_some(before))
    });
    let last = last.await?.as_secs();
    // Nginx counts whole seconds.
    ensure!((STALE..=FRESH + STALE + 1).contains(&last), "after {last} s");
    Ok(())
}

async fn only_our_hosts_are_redirected(stack: &Stack) -> Result<()> {
    let https = stack.ports().https;
    let plain =
        |host: &str| format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8080"] {
        let response = exchange(stack, Listener::NginxRedirect, plain(host).as_bytes()).await?;
        let name = host.to_lowercase().trim_end_matches(":80").trim_end_matches(":8080").to_owned();
        assert_eq!(
            response.header(LOCATION.as_str()),
            Some(&*format!("https://{name}:{https}/a?b=c")),
            "{response}"
        );
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.2", "_"] {
        let response = exchange(stack, Listener::NginxRedirect, plain(host).as_bytes()).await?;
        response.problem(ErrorCode::MisdirectedRequest);
    }
    // HTTP/1.0 needs no host.
    let old = exchange(stack, Listener::NginxRedirect, b"GET /a HTTP/1.0\r\n\r\n").await?;
    assert_eq!(
        old.header(LOCATION.as_str()),
        Some(&*format!("https://localhost:{https}/a")),
        "{old}"
    );
    let page = b"GET /index.html HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let page = exchange(stack, Listener::Nginx, page).await?;
    assert_eq!((page.status, page.header(LOCATION.as_str())), (308, Some("/")), "{page}");
    Ok(())
}

async fn the_access_log_is_json_for_any_request_bytes(stack: &Stack) -> Result<()> {
    let agents: [(&[u8], &str); 6] = [
        ("café ✓ 🦀 \"quoted\" \\".as_bytes(), "café ✓ 🦀 \"quoted\" \\"),
        (b"one \xff two", "one {not UTF-8}"),
        (b"cut \xe2\x82", "cut {not UTF-8}"),
        (b"surrogate \xed\xa0\x80", "surrogate {not UTF-8}"),
        (b"overlong \xc0\xaf", "overlong {not UTF-8}"),
        (b"tab\tand \x80", "tab\tand {not UTF-8}"),
    ];
    let mut ids = Vec::new();
    for (agent, _) in &agents {
        let mut request =
            b"GET /caf\xe9/\xff?\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".to_vec();
        request.extend([&b"Referer: \xff\xfe\r\nUser-Agent: "[..], agent, b"\r\n\r\n"].concat());
        ids.push(exchange(stack, Listener::Nginx, &request).await?.request_id().to_string());
    }
    // Each worker writes its own batches.
    for id in &ids {
        logs::await_line(stack, "nginx-access.log", id).await?;
    }
    let log = String::from_utf8(std::fs::read(
        stack.log_path("nginx")?.with_file_name("nginx-access.log"),
    )?)?;
    let lines =
        log.lines().map(serde_json::from_str).collect::<Result<Vec<serde_json::Value>, _>>()?;
    for (_, expected) in agents {
        ensure!(
            lines.iter().any(|line| line["user_agent"] == expected),
            "no line of {expected}: {lines:#?}"
        );
    }
    Ok(())
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// Replaces the gateway.
struct Upstream(ServerHandle);

impl Upstream {
    fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let app = || App::new().default_service(web::to(respond));
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener)?.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self(handle))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.0.stop(false));
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Behaviour {
    status: Option<u16>,
    max_age: Option<u32>,
    stale_if_error: Option<u32>,
    problem: Option<u8>,
    older_by: Option<u64>,
    newer_by: Option<u64>,
    echo: Option<String>,
}

/// Responds like the gateway, with the request's id.
async fn respond(
    request: HttpRequest,
    web::Query(behaviour): web::Query<Behaviour>,
) -> HttpResponse {
    let field = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let mut id = field(headers::REQUEST_ID).to_owned();
    let digits: String = id.chars().filter(char::is_ascii_digit).take(10).collect();
    if let Ok(second) = digits.parse::<u64>() {
        let second = second - behaviour.older_by.unwrap_or(0) + behaviour.newer_by.unwrap_or(0);
        let digits = second.to_string();
        id = format!("{}-{}{}", &digits[..8], &digits[8..], &id[11..]);
    }
    let status = behaviour
        .status
        .and_then(|status| status.try_into().ok())
        .unwrap_or(actix_web::http::StatusCode::OK);
    let mut response = HttpResponse::build(status);
    for name in PER_REQUEST {
        response.insert_header((name, "of one request"));
    }
    response.insert_header((headers::REQUEST_ID, id)).insert_header(("ETag", "\"one\""));
    if let Some(seconds) = behaviour.max_age {
        let stale = behaviour.stale_if_error;
        let stale = stale.map_or(String::new(), |stale| format!(", stale-if-error={stale}"));
        response.insert_header(("Cache-Control", format!("public, max-age={seconds}{stale}")));
    }
    response.content_type(if behaviour.problem.is_some() {
        headers::PROBLEM_JSON
    } else {
        "text/plain"
    });
    response.body(behaviour.echo.map(|name| field(&name).to_owned()).unwrap_or_default())
}
