//! Stickiness: each session is served by exactly one instance, and the instances share the load.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use local_stack::Store;
use proto_contracts::{Verdict, headers};
use reqwest::Method;
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};

use crate::api::{Api, CONVERSATIONS, Created, SESSIONS};
use crate::keys::keys;
use crate::response::Response;
use crate::small_stack;

const SESSIONS_EACH: usize = 1_000;
/// Including the one that creates the session.
const REQUESTS_EACH: usize = 20;
/// Concurrent sessions; the requests of each are sequential.
const AT_ONCE: usize = 32;

/// How a client's key reaches the gateway.
#[derive(Clone, Copy)]
enum By {
    /// By the gateway's cookie.
    CookieJar,
    /// By the session id in each path, without cookies. The client chose the key.
    Path,
}

// Memory-only sessions: a misrouted request would fail too.
#[tokio::test]
async fn each_of_1000_sessions_stays_on_one_instance_by_cookie_and_by_path() -> Result<()> {
    let stack = small_stack().store(Store::Memory).start().await?;
    let api = Api::on_gateway(&stack)?;
    for by in [By::CookieJar, By::Path] {
        let mut homes = BTreeMap::<String, usize>::new();
        let clients = stream::iter(keys(1).take(SESSIONS_EACH));
        let served: Vec<String> = clients
            .map(|key| {
                let create = api.request(Method::POST, SESSIONS);
                match by {
                    By::CookieJar => live(&api, create, by),
                    By::Path => {
                        live(&api, create.header(headers::AFFINITY_KEY, key.to_string()), by)
                    }
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for instance in served {
            *homes.entry(instance).or_default() += 1;
        }
        assert_eq!(homes.len(), 3, "{homes:?}");
        let fullest = homes.values().max().copied().unwrap_or_default();
        assert!(fullest as f64 <= 1.15 * SESSIONS_EACH as f64 / 3.0, "{homes:?}");
    }
    stack.shutdown().await;
    Ok(())
}

/// Runs a session from its creation; returns the instance that served all of it.
async fn live(api: &Api, create: reqwest::RequestBuilder, by: By) -> Result<String> {
    let created = Created::by(create).await?;
    let home = created.response.served_by().to_owned();
    let (minted, cookie) = match by {
        By::CookieJar => (Verdict::New, Some(created.response.cookie()?)),
        By::Path => (Verdict::Home, None),
    };
    ensure!(created.response.stamp().verdict == minted, "{}", created.response);
    let path = created.path();
    for number in 1..REQUESTS_EACH {
        let text = format!("message {number}");
        let request = match (number % 2, by) {
            (0, _) => api.request(Method::GET, &path),
            // Only the cookie has the key here.
            (_, By::CookieJar) => api
                .request(Method::POST, CONVERSATIONS)
                .json(&json!({"session_id": created.id, "message": text})),
            (_, By::Path) => api
                .request(Method::POST, &format!("{path}/messages"))
                .json(&json!({"message": text})),
        };
        let request = cookie.iter().fold(request, |request, cookie| request.header(COOKIE, cookie));
        let response = Response::to(request).await?;
        ensure!(
            response.status == if number % 2 == 0 { 200 } else { 201 },
            "request {number}: {response}"
        );
        ensure!(response.served_by() == home, "request {number} left {home}: {response}");
        ensure!(response.stamp().verdict == Verdict::Home, "request {number}: {response}");
        ensure!(!response.headers.contains_key(SET_COOKIE), "the client has a key: {response}");
        let body: Value = response.json();
        ensure!(body["message_count"] == number.div_ceil(2), "request {number}: {response}");
    }
    Ok(home)
}
