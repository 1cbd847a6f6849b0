//! The classroom's listener: what it serves, to whom, and how much of it.

mod ledger;
mod person;

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use local_stack::{Classroom, Stack};
use proto_contracts::stateful::{MessagePosted, Session};
use proto_contracts::{ErrorCode, api, headers};
use reqwest::Method;
use serde_json::json;

use crate::response::Response;
use crate::{logs, small_stack};

const SESSIONS: &str = "/api/v1/stateful/sessions";
const CODE: &str = "X-Class-Code";
/// What the page needs.
const SERVED: [&str; 4] = ["create_session", "get_session", "delete_session", "post_message"];
/// An id that no session has.
const NOBODY: &str = "00000000-00000000000000000000000000000000";

#[tokio::test]
async fn a_class_is_admitted_by_its_code_to_its_sessions_alone() -> Result<()> {
    let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let class = Classroom { is_open: true, listen, ..Classroom::default() };
    // As anywhere but on one machine: by default the gateway exempts all of loopback.
    let stack = small_stack()
        .with_nginx()
        .class(class)
        .env("gateway", "GATEWAY_RATE_LIMIT_EXEMPT", "127.0.0.1/32")
        .start()
        .await?;
    the_page_needs_no_code(&stack).await?;
    nothing_else_is_served(&stack).await?;
    each_request_needs_the_code(&stack).await?;
    sessions_behind_one_address_have_limits_of_their_own(&stack).await?;
    let id = a_nickname_stays_text(&stack).await?;
    for (file, text) in logs::all(&stack)? {
        assert!(!text.contains(stack.class_code()), "{file} has the room's code");
        assert!(!text.contains(&id), "{file} has the id of a session");
    }
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn without_a_class_there_is_no_listener() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    assert_eq!(stack.urls().class, None);
    let address = (Ipv4Addr::LOCALHOST, stack.ports().class);
    let refused = tokio::net::TcpStream::connect(address).await;
    assert!(refused.is_err(), "something listens at {address:?}");
    stack.shutdown().await;
    Ok(())
}

/// A phone with an address of its own; the usual loopback address has no limits.
struct Phone {
    client: reqwest::Client,
    base: String,
    code: String,
}

impl Phone {
    fn at(stack: &Stack, last: u8) -> Result<Self> {
        Self::from(stack, Ipv4Addr::new(127, 0, 0, last))
    }

    fn from(stack: &Stack, address: Ipv4Addr) -> Result<Self> {
        let address = IpAddr::from(address);
        let page = stack.urls().class.context("the class is open")?;
        let base = page.strip_suffix("/class").context("the page")?.to_owned();
        let client = stack.class_client()?.local_address(address).build()?;
        Ok(Self { client, base, code: stack.class_code().to_owned() })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    async fn get(&self, path: &str) -> Result<Response> {
        Response::to(self.request(Method::GET, path).header(CODE, &self.code)).await
    }

    async fn join(&self, nickname: &str) -> Result<Session> {
        let body = json!({"client_data": {"nickname": nickname}});
        let request = self.request(Method::POST, SESSIONS).header(CODE, &self.code).json(&body);
        let response = Response::to(request).await?;
        assert_eq!(response.status, 201, "{response}");
        Ok(response.json())
    }

    async fn say(&self, session: &str) -> Result<Response> {
        let path = format!("{SESSIONS}/{session}/messages");
        let body = json!({"message": "hello"});
        Response::to(self.request(Method::POST, &path).header(CODE, &self.code).json(&body)).await
    }
}

async fn the_page_needs_no_code(stack: &Stack) -> Result<()> {
    let phone = Phone::at(stack, 2)?;
    let page = Response::to(phone.request(Method::GET, "/class")).await?;
    let html = String::from_utf8(page.body.clone())?;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8")),
        "{page}"
    );
    let policy = page.header("content-security-policy").context("a policy")?;
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("strict-transport-security"), None, "{page}");
    let links = html.split(['"']).filter(|text| text.starts_with('/'));
    let mut seen = 0;
    for link in links {
        let file = Response::to(phone.request(Method::GET, link)).await?;
        assert_eq!(file.status, 200, "{link}: {file}");
        seen += 1;
    }
    assert!(seen >= 5, "{html}");
    assert!(!html.contains(stack.class_code()));
    Ok(())
}

/// Every other operation of the table, and what else runs behind Nginx.
async fn nothing_else_is_served(stack: &Stack) -> Result<()> {
    let phone = Phone::at(stack, 3)?;
    for operation in api::operations() {
        let path = operation.endpoint.templates().canonical;
        let path: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { NOBODY } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let method: Method = operation.method.as_str().parse()?;
        let request = phone.request(method, &path).header(CODE, &phone.code);
        let response = Response::to(request).await?;
        if SERVED.contains(&operation.id) {
            assert!(response.header(headers::SERVED_BY).is_some(), "{}: {response}", operation.id);
        } else {
            response.problem(ErrorCode::NotFound);
            assert_eq!(response.header(headers::SERVED_BY), None, "{}", operation.id);
        }
    }
    for path in [
        "/metrics",
        "/health",
        "/docs",
        "/local.json",
        "/index.html",
        "/static/start-1.js",
        "/nginx_status",
        "/control/v1/pools",
        "/class/",
        "/class/class.html",
        "/class.conf.template",
        "/class/../metrics",
        "/api/stateful/session",
        "/api/v1/stateful/sessions?limit=1",
        "/api/v1/stateful/sessions/",
        "/api/v1//stateful/sessions",
        "/api/v1/stateful/%73essions",
        "/api/v1/stateful/sessions/..%2f..%2fstateless%2finfo",
        "/-wrong-code",
    ] {
        phone.get(path).await?.problem(ErrorCode::NotFound);
    }
    Ok(())
}

async fn each_request_needs_the_code(stack: &Stack) -> Result<()> {
    let phone = Phone::at(stack, 4)?;
    let create = || phone.request(Method::POST, SESSIONS).json(&json!({}));
    let read = || phone.request(Method::GET, &format!("{SESSIONS}/{NOBODY}"));
    for request in [create(), read()] {
        Response::to(request).await?.problem(ErrorCode::WrongClassCode);
    }
    for wrong in ["", "AAAAAA", &format!("{} ", &phone.code[..5]), &phone.code[..5]] {
        let response = Response::to(create().header(CODE, wrong)).await?;
        let problem = response.problem(ErrorCode::WrongClassCode);
        assert!(problem.detail.contains(CODE), "{wrong:?}: {response}");
    }
    // In either case.
    let lower = create().header(CODE, phone.code.to_lowercase());
    assert_eq!(Response::to(lower).await?.status, 201);
    // Guesses are few.
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(Response::to(create().header(CODE, "GUESSS")).await?.status);
    }
    assert!(statuses.contains(&429) && !statuses.contains(&201), "{statuses:?}");
    // They cost nobody else anything, at the same address either.
    phone.join("Ada").await?;
    Ok(())
}

async fn sessions_behind_one_address_have_limits_of_their_own(stack: &Stack) -> Result<()> {
    let phone = Phone::at(stack, 5)?;
    let (first, second) = (phone.join("Ada").await?, phone.join("Bob").await?);
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(phone.say(&first.session_id.expose()).await?.status);
    }
    assert!(statuses.contains(&429), "one session has a limit: {statuses:?}");
    let other = phone.say(&second.session_id.expose()).await?;
    assert_eq!(other.status, 201, "and each its own: {other}");
    assert_eq!(other.json::<MessagePosted>().message_count, 1);
    // At the gateway, too, where thirty phones at one address send more than one client may.
    let quota = other.header(headers::RATE_LIMIT).context("a limit")?;
    assert!(quota.contains("r=99"), "another session's requests count: {quota}");
    Ok(())
}

async fn a_nickname_stays_text(stack: &Stack) -> Result<String> {
    let phone = Phone::at(stack, 6)?;
    for nickname in ["<script>alert(1)</script>", "\u{202e}txet", &"n".repeat(10_000), "🚲 李四"]
    {
        let session = phone.join(nickname).await?;
        let path = format!("{SESSIONS}/{}", session.session_id.expose());
        let read: Session = phone.get(&path).await?.json();
        assert_eq!(read.client_data["nickname"], nickname);
    }
    Ok(phone.join("last").await?.session_id.expose().to_string())
}
