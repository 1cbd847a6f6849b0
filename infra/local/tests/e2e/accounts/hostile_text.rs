//! Hostile text in every string that an operation takes: in its body, query, path and headers, as
//! the served document lists them. No text is executed, breaks a response, or changes what belongs
//! to others; what is accepted comes back unchanged.

use anyhow::{Context as _, Result};
use local_stack::Stack;
use proto_contracts::accounts::{User, UserPage};
use proto_contracts::{ErrorCode, Problem, Role};
use reqwest::header::{CONTENT_TYPE, HeaderValue, SET_COOKIE};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::users::{USERS, token_of};
use super::{me, register, tokens, with_token};
use crate::api::{Api, SESSIONS};
use crate::response::Response;
use crate::small_stack;

const TEXTS: [&str; 16] = [
    "",
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    "x'); UPDATE users SET role = 'admin'; --",
    "\\'; SELECT pg_sleep(10); --",
    "%' UNION SELECT password_hash FROM users --",
    "$$; SELECT 1; $$",
    "{\"$ne\": null}",
    "a\0b",
    "\r\nSet-Cookie: a=b",
    "\u{202e}nimda",
    "ａｄｍｉｎ",
    "e\u{301}\u{fb00}\u{130}",
    "👩‍👩‍👧\u{fe0f}",
    "\u{ffff}\u{fdd0}\u{10ffff}",
    "../../etc/passwd",
];

#[tokio::test]
async fn no_text_is_more_than_text() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let admin = token_of(&stack, &api, "root", Role::Admin).await?;
    let victim = register(&api, "victim").await?;
    let document: Value = api.get("/api/v1/openapi.json").await?.json();
    let mut sent = 0;
    for (path, operations) in document["paths"].as_object().context("paths")? {
        for (method, operation) in operations.as_object().context("operations")? {
            if method == "parameters" {
                continue;
            }
            let target = Target { method, path, operation, document: &document };
            sent +=
                target.attack(&stack, &api).await.with_context(|| format!("{method} {path}"))?;
        }
    }
    sent += broken_encodings(&api).await?;
    eprintln!("{sent} requests");
    assert!(sent > 500, "{sent}");

    let seen = with_token(&api, Method::GET, &format!("{USERS}/victim"), &admin).await?;
    assert_eq!(seen.json::<User>(), victim);
    tokens(&api, "victim").await?;
    let admins = with_token(&api, Method::GET, &format!("{USERS}?role=admin"), &admin).await?;
    let admins = admins.json::<UserPage>().users;
    let is_expected = |user: &User| user.id == "root" || user.id.starts_with("attacker-");
    assert!(admins.iter().all(is_expected), "{admins:?}");
    stack.shutdown().await;
    Ok(())
}

/// An operation of the document.
struct Target<'a> {
    method: &'a str,
    path: &'a str,
    operation: &'a Value,
    document: &'a Value,
}

impl Target<'_> {
    /// Sends each text in each place; returns the number of requests. The caller is an admin, as
    /// others would not get far, and a new one, as it may end itself.
    async fn attack(&self, stack: &Stack, api: &Api) -> Result<usize> {
        let id = self.operation["operationId"].as_str().context("an id")?.replace('_', "-");
        let token = token_of(stack, api, &format!("attacker-{id}"), Role::Admin).await?;
        let session: Value = api.post(SESSIONS, &json!({})).await?.json();
        let session = session["session_id"].as_str().context("an id")?;
        let path = self.path.replace("{session_id}", session);
        let mut requests = Vec::new();
        for text in TEXTS {
            let encoded = percent_encoded(text);
            for parameter in self.parameters() {
                let name = parameter["name"].as_str().context("a name")?;
                match parameter["in"].as_str().context("a place")? {
                    "query" => {
                        let path = format!("{path}?{name}={encoded}");
                        requests.push(self.request(api, &path)?);
                    }
                    "path" => {
                        let hole = format!("{{{name}}}");
                        let path = self.path.replace(&hole, &encoded);
                        requests.push(self.request(api, &path)?);
                    }
                    "header" => {
                        // Others cannot be sent at all.
                        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                            requests.push(self.request(api, &path)?.header(name, value));
                        }
                    }
                    other => anyhow::bail!("a parameter in {other}"),
                }
            }
            let body = &self.operation["requestBody"]["content"]["application/json"]["example"];
            for pointer in strings_in(body, String::new()) {
                let mut body = body.clone();
                *body.pointer_mut(&pointer).context("a string")? = json!(text);
                // A name in the path that nobody has: the body's text is what is tried.
                let path = path.replace("{user_id}", &format!("attacker-{id}"));
                requests.push(self.request(api, &path)?.json(&body));
            }
        }
        let sent = requests.len();
        for request in requests {
            is_harmless(request.bearer_auth(&token)).await?;
        }
        Ok(sent)
    }

    fn request(&self, api: &Api, path: &str) -> Result<RequestBuilder> {
        Ok(api.request(Method::from_bytes(self.method.to_uppercase().as_bytes())?, path))
    }

    fn parameters(&self) -> impl Iterator<Item = &Value> {
        let all = self.operation["parameters"].as_array().into_iter().flatten();
        all.filter_map(|parameter| match parameter["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')),
            None => Some(parameter),
        })
    }
}

/// JSON Pointers to the strings of a document.
fn strings_in(value: &Value, at: String) -> Vec<String> {
    match value {
        Value::String(_) => vec![at],
        Value::Object(members) => {
            let of_member = |(name, value)| strings_in(value, format!("{at}/{name}"));
            members.iter().flat_map(of_member).collect()
        }
        _ => Vec::new(),
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Sends it: a success, or a problem document that blames the client.
async fn is_harmless(request: RequestBuilder) -> Result<()> {
    let response = request.send().await?;
    if response.status().is_success() || response.status().is_redirection() {
        let cookies = response.headers().get_all(SET_COOKIE);
        anyhow::ensure!(!cookies.iter().any(|cookie| cookie == "a=b"), "{response:?}");
        // A stream has no end.
        return Ok(());
    }
    let response = Response::of(response).await?;
    anyhow::ensure!((400..500).contains(&response.status), "{response}");
    let code = response.json::<Problem>().code;
    response.problem(code);
    Ok(())
}

/// Bodies that are no text, or no JSON text.
async fn broken_encodings(api: &Api) -> Result<usize> {
    let bodies: [&[u8]; 4] = [
        br#"{"username": "\ud800", "name": "x", "password": "correct horse battery staple"}"#,
        b"{\"username\": \"\xff\xfe\", \"name\": \"x\", \"password\": \"x\"}",
        b"{\"username\": \"\xc0\x80\", \"name\": \"x\", \"password\": \"x\"}",
        b"{\"username\": \"a\0b\", \"name\": \"x\", \"password\": \"x\"}",
    ];
    for body in bodies {
        for operation in ["register", "login"] {
            let request = api.request(Method::POST, &format!("/api/v1/auth/{operation}"));
            let request = request.header(CONTENT_TYPE, "application/json").body(body);
            let response = Response::to(request).await?;
            assert!([400, 422].contains(&response.status), "{response}");
        }
    }
    Ok(2 * bodies.len())
}

#[tokio::test]
async fn accepted_text_comes_back() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    register(&api, "writer").await?;
    let token = tokens(&api, "writer").await?.access_token;
    let (mut accepted, mut rejected) = (0, 0);
    for text in TEXTS {
        let patch = api.request(Method::PATCH, &format!("{USERS}/writer")).bearer_auth(&token);
        let response = Response::to(patch.json(&json!({"name": text}))).await?;
        if response.status == 200 {
            // A name has no space around it, and is in the composed form (NFC).
            let name = text.trim().replace("e\u{301}", "\u{e9}");
            assert_eq!(response.json::<User>().name, name);
            assert_eq!(me(&api, &token).await?.json::<User>().name, name);
            accepted += 1;
        } else {
            response.problem(ErrorCode::InvalidBody);
            rejected += 1;
        }
    }
    assert!(accepted >= 8 && rejected >= 2, "{accepted} {rejected}");
    stack.shutdown().await;
    Ok(())
}
