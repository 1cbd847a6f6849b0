//! A session stays where it is: each is served by exactly one instance, and no instance has far more than its share.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use local_stack::Store;
use proto_contracts::{Verdict, headers};
use reqwest::Method;
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::api::{Api, CONVERSATIONS, Created, SESSIONS};
use crate::keys::keys;
use crate::small_stack;

const SESSIONS_EACH: usize = 1_000;
/// With the one that creates the session.
const REQUESTS_EACH: usize = 20;
/// Sessions that are driven at the same time; the requests of one follow each other.
const AT_ONCE: usize = 32;

/// How a client is recognised.
#[derive(Clone, Copy)]
enum By {
    /// It keeps the cookie that came with the key which the gateway minted.
    CookieJar,
    /// It keeps nothing but the session's id, and names it in each path. Its key it drew itself, from a fixed seed.
    Path,
}

// Instances keep these sessions in their own memory, so a request that went astray would fail as well.
#[tokio::test]
async fn each_of_1000_sessions_is_served_by_one_instance_with_a_cookie_jar_and_without() -> Result<()> {
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
                    By::Path => live(&api, create.header(headers::AFFINITY_KEY, key.to_string()), by),
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

/// The whole life of a session; returns the one instance that served all of it.
async fn live(api: &Api, create: reqwest::RequestBuilder, by: By) -> Result<String> {
    let created = Created::by(create).await?;
    let home = created.answer.served_by().to_owned();
    let (minted, cookie) = match by {
        By::CookieJar => (Verdict::New, Some(created.answer.cookie()?)),
        By::Path => (Verdict::Home, None),
    };
    ensure!(created.answer.stamp().verdict == minted, "{}", created.answer);
    let path = created.path();
    for number in 1..REQUESTS_EACH {
        let text = format!("message {number}");
        let request = match (number % 2, by) {
            (0, _) => api.request(Method::GET, &path),
            // Here nothing but the cookie tells where the session is.
            (_, By::CookieJar) => {
                api.request(Method::POST, CONVERSATIONS).json(&json!({"session_id": created.id, "message": text}))
            }
            (_, By::Path) => api.request(Method::POST, &format!("{path}/messages")).json(&json!({"message": text})),
        };
        let request = cookie.iter().fold(request, |request, cookie| request.header(COOKIE, cookie));
        let answer = Answer::to(request).await?;
        ensure!(answer.status == if number % 2 == 0 { 200 } else { 201 }, "request {number}: {answer}");
        ensure!(answer.served_by() == home, "request {number} left {home}: {answer}");
        ensure!(answer.stamp().verdict == Verdict::Home, "request {number}: {answer}");
        ensure!(!answer.headers.contains_key(SET_COOKIE), "the client has a key: {answer}");
        let body: Value = answer.json();
        ensure!(body["message_count"] == number.div_ceil(2), "request {number}: {answer}");
    }
    Ok(home)
}
