//! A write with an `Idempotency-Key` is executed once, whatever cookies its retries send. Each
//! retry gets the first response byte for byte, even when Redis's reply to the first was dropped.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use proto_contracts::{AffinityKey, headers};
use reqwest::Method;
use reqwest::header::{COOKIE, DATE, HeaderMap, SET_COOKIE};
use serde_json::{Value, json};

use crate::api::{Api, CONVERSATIONS, SESSIONS};
use crate::response::Response;
use crate::small_stack;

/// Rounds with one key each; replies are dropped in the second half.
const ROUNDS: usize = 100;
/// Concurrent requests, each with its own cookie.
const AT_ONCE: usize = 12;
/// The other writes are tested every n-th round.
const ALL_WRITES_EVERY: usize = 10;

#[tokio::test]
async fn twelve_concurrent_requests_with_one_key_get_one_response() -> Result<()> {
    let (plan, cutter) = small_stack().with_nginx().cut_replies()?;
    let stack = plan.start().await?;
    let api = Api::through_nginx(&stack)?;
    for round in 0..ROUNDS {
        let is_cut = round >= ROUNDS / 2;
        cutter.cut_every(u64::from(is_cut));
        let before = cutter.cut();
        let created =
            write(&api, Method::POST, SESSIONS, &json!({"client_data": {"round": round}})).await?;
        let session: Value = created.json();
        let id = session["session_id"].as_str().context("an id")?;
        let key = created.header(headers::AFFINITY_KEY).context("the session's key")?;
        ensure!(id.starts_with(key), "{created}");
        if round % ALL_WRITES_EVERY == 0 {
            let path = format!("{SESSIONS}/{id}");
            write(&api, Method::POST, &format!("{path}/messages"), &json!({"message": "hi"}))
                .await?;
            let said = write(
                &api,
                Method::POST,
                CONVERSATIONS,
                &json!({"session_id": id, "message": "bye"}),
            )
            .await?;
            assert_eq!(said.header(headers::AFFINITY_KEY), Some(key), "{said}");
            write(&api, Method::PATCH, &path, &json!({"client_data": {"round": null}})).await?;
            let found: Value = api.get(&path).await?.json();
            assert_eq!(
                (&found["version"], &found["message_count"]),
                (&json!(4), &json!(2)),
                "nothing was executed twice"
            );
        }
        assert_eq!(cutter.cut() > before, is_cut, "round {round}");
    }
    stack.shutdown().await;
    Ok(())
}

/// A browser without a cookie: the one that it gets routes to the session.
#[tokio::test]
async fn a_retry_gets_the_cookie_of_the_first_session() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let key = fresh_key();
    let create = || {
        api.request(Method::POST, SESSIONS).header(headers::IDEMPOTENCY_KEY, &key).json(&json!({}))
    };
    let first = Response::to(create()).await?;
    assert_eq!(first.status, 201, "{first}");
    let affinity = first.header(headers::AFFINITY_KEY).context("the session's key")?.to_owned();
    let session: Value = first.json();
    let message = json!({"session_id": session["session_id"], "message": "hi"});
    for _ in 0..8 {
        let again = Response::to(create()).await?;
        assert_eq!(again.body, first.body, "{again}");
        assert_eq!(again.header(headers::AFFINITY_KEY), Some(&*affinity));
        assert_eq!(again.cookie()?, format!("affinity={affinity}"));
        let said = api.post(CONVERSATIONS, &message).await?;
        assert_eq!((said.status, said.cookie()?), (201, format!("affinity={affinity}")), "{said}");
    }
    stack.shutdown().await;
    Ok(())
}

/// Sends a write concurrently with different cookies under one key, and once more. All responses
/// must be equal; returns one.
async fn write(api: &Api, method: Method, path: &str, body: &Value) -> Result<Response> {
    let key = fresh_key();
    let send = || {
        let cookie = format!("affinity={}", AffinityKey::random());
        let request = api.request(method.clone(), path).header(COOKIE, cookie);
        Response::to(request.header(headers::IDEMPOTENCY_KEY, &key).json(body))
    };
    let mut responses = try_join_all((0..AT_ONCE).map(|_| send())).await?;
    let executed = responses
        .iter()
        .filter(|response| !response.headers.contains_key(headers::IDEMPOTENCY_REPLAYED));
    ensure!(executed.count() <= 1, "{method} {path} was executed more than once");
    responses.push(send().await?);
    let first = responses[0].clone();
    ensure!((200..300).contains(&first.status), "{method} {path}: {first}");
    for response in &responses {
        ensure!(
            (response.status, &response.body) == (first.status, &first.body),
            "{response}\n{first}"
        );
        assert_eq!(repeated_headers(response), repeated_headers(&first));
    }
    Ok(first)
}

fn fresh_key() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The headers that a retry must repeat.
fn repeated_headers(response: &Response) -> HeaderMap {
    let mut repeated_headers = response.headers.clone();
    assert!(!repeated_headers.contains_key(SET_COOKIE), "a client's own cookie stays: {response}");
    let of_the_request = [
        DATE.as_str(),
        "server-timing",
        headers::AFFINITY,
        headers::IDEMPOTENCY_REPLAYED,
        headers::RATE_LIMIT,
        headers::RATE_LIMIT_POLICY,
        headers::REQUEST_ID,
        headers::SERVED_BY,
    ];
    for name in of_the_request {
        repeated_headers.remove(name);
    }
    repeated_headers
}
