//! What clients may rely on in every response: the form of times, the forms of a key, the paths
//! and the pages.

use proto_contracts::live::{ClientFrame, EventName};
use proto_contracts::stateful::{HistoryPage, MessagePosted, Session};
use proto_contracts::{Endpoint, ErrorCode};
use serde_json::Value;
use service_kit::testing::Response;

use crate::app::{assert_problem, path, spawn_app};
use crate::live_client::{Events, Socket, message_frame};
use crate::redis_server::RedisServer;
use crate::redis_store::app_on;

const SESSIONS: &str = "/api/v1/stateful/sessions";

/// The members of the document, at any depth, that are times by their names.
fn times(document: &Value) -> Vec<&str> {
    match document {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(text) if name.ends_with("_at") || name == "last_activity" => vec![text],
                _ => times(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(times).collect(),
        _ => Vec::new(),
    }
}

#[track_caller]
fn assert_times(document: &Value, expected: usize) {
    let times = times(document);
    assert_eq!(times.len(), expected, "{document}");
    for time in times {
        let digits: String =
            time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(digits, "0000-00-00T00:00:00.000Z", "{time}");
    }
}

#[actix_web::test]
async fn every_time_has_milliseconds() {
    let redis = RedisServer::start().await;
    for app in [spawn_app(), app_on(&redis)] {
        let id = app.create("Ada").await.session_id;
        let json = async |method, target: String, body| {
            app.send(method, &target, &[], body).await.json::<Value>().expect("JSON")
        };
        assert_times(&json("GET", path(Endpoint::Session, &id), "").await, 3);
        assert_times(&json("POST", path(Endpoint::Messages, &id), r#"{"message":"a"}"#).await, 1);
        assert_times(&json("POST", path(Endpoint::Messages, &id), r#"{"message":"b"}"#).await, 1);
        assert_times(
            &json("PATCH", path(Endpoint::Session, &id), r#"{"client_data":{}}"#).await,
            3,
        );
        assert_times(&json("GET", path(Endpoint::History, &id), "").await, 2);
        assert_times(&json("POST", path(Endpoint::Tickets, &id), "").await, 1);
        let mut events = Events::open(app.addr, &id, "last_event_id=0", &[]).await;
        for expected in [3, 1, 1] {
            assert_times(&events.next().await.expect("an event").data, expected);
        }
    }
}

#[actix_web::test]
async fn any_text_is_a_key_plain_or_quoted_and_over_a_websocket() {
    let redis = RedisServer::start().await;
    let [memory, shared] = [spawn_app(), app_on(&redis)];
    for app in [memory, shared] {
        let keyed = async |key: &str, target: &str, body: &str| {
            app.send("POST", target, &[("Idempotency-Key", key)], body).await
        };
        let first = keyed("order-42/a", SESSIONS, "{}").await;
        assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""), "{first:?}");
        let again = keyed("\"order-42/a\"", SESSIONS, "{}").await;
        assert_eq!(again.header("idempotency-replayed"), "true", "{again:?}");
        assert_eq!(again.body, first.body);
        let other = keyed("order-42/b", SESSIONS, "{}").await;
        assert_eq!((other.status, other.header("idempotency-replayed")), (201, ""), "{other:?}");

        let id = first.json::<Session>().expect("a session").session_id;
        let messages = path(Endpoint::Messages, &id);
        let posted = keyed("message-no.-1", &messages, "{\"message\":\"é\"}");
        let posted: MessagePosted = posted.await.json().expect("a message");
        // Other escapes in JSON are the same text.
        let again = keyed("message-no.-1", &messages, "{\"message\":\"\\u00e9\"}").await;
        assert_eq!(again.json::<MessagePosted>().expect("a message"), posted);
        let other = keyed("message-no.-1", &messages, "{\"message\":\"e\"}").await;
        assert_problem(&other, ErrorCode::IdempotencyKeyReused);
        let mut socket = Socket::open(app.addr, &id, "").await;
        let key = Some("message-no.-1".to_owned());
        socket.send(&ClientFrame { idempotency_key: key, ..message_frame("é") }).await;
        let again: MessagePosted = socket.next_of(EventName::Posted).await.data();
        assert_eq!(again, posted);
        for malformed in ["1234567", "two words", "\"unclosed", "00000000000000000000000000000000"]
        {
            let rejected = keyed(malformed, &messages, "{\"message\":\"a\"}").await;
            assert_problem(&rejected, ErrorCode::InvalidIdempotencyKey);
        }
    }
}

/// The `Link`s of a response: their relations and targets.
fn links(response: &Response) -> Vec<(String, String)> {
    let link = |link: &str| {
        let (target, relation) = link.split_once(">; rel=").expect("a link with one parameter");
        (relation.trim_matches('"').to_owned(), target.trim_start_matches('<').to_owned())
    };
    response.header("link").split(", ").map(link).collect()
}

#[actix_web::test]
async fn history_is_read_in_either_order_by_links_or_cursors() {
    let redis = RedisServer::start().await;
    for app in [spawn_app(), app_on(&redis)] {
        let id = app.create("Ada").await.session_id;
        for number in 1..=5 {
            app.post_message(&id, &format!("m{number}")).await;
        }
        let history = path(Endpoint::History, &id);
        for (order, expected) in [
            ("", [1, 2, 3, 4, 5]),
            ("&order=asc", [1, 2, 3, 4, 5]),
            ("&order=desc", [5, 4, 3, 2, 1]),
        ] {
            let mut numbers = Vec::new();
            let mut query = format!("?limit=2{order}");
            loop {
                let response = app.get(&format!("{history}{query}")).await;
                let page: HistoryPage = response.json().expect("a page");
                numbers.extend(page.messages.iter().map(|message| message.number));
                let replies = page.messages.iter().all(|message| {
                    message.reply.contains(&format!("message {} of", message.number))
                });
                assert!(replies, "{page:?}");
                let links = links(&response);
                let own_order = if order == "&order=desc" { order } else { "" };
                assert_eq!(links[0], ("first".to_owned(), format!("?limit=2{own_order}")));
                let Some(cursor) = page.next_cursor else {
                    assert_eq!(links.len(), 1, "{links:?}");
                    break;
                };
                let next = format!("?limit=2{own_order}&cursor={cursor}");
                assert_eq!(links[1], ("next".to_owned(), next.clone()));
                query = next;
            }
            assert_eq!(numbers, expected, "{order}");
        }
        let newest = app.history(&id, "limit=2&order=desc").await.next_cursor.expect("more");
        let oldest = app.history(&id, "limit=2").await.next_cursor.expect("more");
        for query in [format!("cursor={newest}"), format!("order=desc&cursor={oldest}")] {
            let rejected = app.get(&format!("{history}?{query}")).await;
            let problem = assert_problem(&rejected, ErrorCode::InvalidCursor);
            assert_eq!(problem.errors[0].parameter.as_deref(), Some("cursor"));
        }
        // A page of the newest stays the same when messages are added.
        app.post_message(&id, "m6").await;
        let page = app.history(&id, &format!("limit=2&order=desc&cursor={newest}")).await;
        assert_eq!(page.messages.iter().map(|m| m.number).collect::<Vec<_>>(), [3, 2]);
        let rejected = app.get(&format!("{history}?order=newest")).await;
        let problem = assert_problem(&rejected, ErrorCode::InvalidQuery);
        assert_eq!(problem.detail, "`order` must be one of asc, desc.");
    }
}

#[actix_web::test]
async fn every_path_has_its_methods_and_rejects_unknown_parameters() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    let mut checked = 0;
    for &endpoint in Endpoint::ALL {
        let templates = endpoint.templates();
        if !templates.canonical.starts_with("/api/v1/stateful/") {
            continue;
        }
        let path = path(endpoint, &id);
        let allowed = app.send("PUT", &path, &[], "").await.header("allow").to_owned();
        for path in std::iter::once(path.clone())
            .chain(templates.legacy.map(|legacy| legacy.replace("{session_id}", &id.expose())))
        {
            let options = app.send("OPTIONS", &path, &[], "").await;
            assert_eq!((options.status, options.body.len()), (204, 0), "{path}: {options:?}");
            assert_eq!(options.header("allow"), allowed, "{path}");
        }
        let methods = allowed.split(", ").filter(|method| !["HEAD", "OPTIONS"].contains(method));
        for method in methods {
            let rejected = app.send(method, &format!("{path}?a=1&b=2"), &[], "{}").await;
            let problem = assert_problem(&rejected, ErrorCode::InvalidQuery);
            let named: Vec<_> =
                problem.errors.iter().filter_map(|error| error.parameter.as_deref()).collect();
            assert_eq!(named, ["a", "b"], "{method} {path}");
            checked += 1;
        }
        for name in ["ticket", "last_event_id"] {
            if !matches!(endpoint, Endpoint::Events | Endpoint::Live) {
                let method = allowed.split(", ").next().expect("a method");
                let rejected = app.send(method, &format!("{path}?{name}=1"), &[], "{}").await;
                assert_problem(&rejected, ErrorCode::InvalidQuery);
            }
        }
    }
    assert_eq!(checked, 14, "every operation");
    let legacy = format!("/api/stateful/session/{}?a=1", id.expose());
    assert_eq!(app.get(&legacy).await.status, 200, "legacy paths ignore them");
}
