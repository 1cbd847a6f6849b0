//! Every endpoint of the API, by canonical and by legacy path.

use proto_contracts::stateful::{HistoryPage, MessagePosted, Session};
use proto_contracts::{AffinityKey, Endpoint, ErrorCode, SessionId};
use serde_json::{Value, json};
use service_kit::testing::{Response, raw};

use crate::app::{App, assert_problem, path, spawn_app};

/// Asserts what all successful responses of the stateful service have in common.
#[track_caller]
fn assert_stateful(response: &Response, status: u16, source: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("cache-control"), "no-store");
    assert_eq!(response.header("x-session-source"), source);
    assert_eq!(response.header("x-instance-id"), "stateful-1");
    if status != 204 {
        assert_eq!(response.header("content-type"), "application/json");
    }
}

#[actix_web::test]
async fn a_session_is_created_read_and_deleted() {
    let app = spawn_app();
    let response = app
        .post("/api/v1/stateful/sessions", &json!({"client_data": {"name": "Ada", "empty": []}}))
        .await;
    assert_stateful(&response, 201, "created");
    let created: Session = response.json().expect("a session");
    assert_eq!(response.header("location"), path(Endpoint::Session, &created.session_id));
    assert_eq!(response.header("x-affinity-key"), created.session_id.affinity_key().to_string());
    assert_eq!((created.version, created.message_count), (1, 0));
    assert_eq!(Value::Object(created.client_data.clone()), json!({"name": "Ada", "empty": []}));

    let read = app.get(response.header("location")).await;
    assert_stateful(&read, 200, "memory");
    let read: Session = read.json().expect("a session");
    assert_eq!(Session { expires_at: created.expires_at, ..read }, created);

    assert_stateful(&app.delete(response.header("location")).await, 204, "memory");
    assert_stateful(&app.delete(response.header("location")).await, 204, "memory");
    assert_problem(&app.get(response.header("location")).await, ErrorCode::SessionNotFound);
}

#[actix_web::test]
async fn client_data_is_returned_exactly() {
    let app = spawn_app();
    let exact = r#"{"z":123456789012345678901234567890,"a":1.10,"e":[],"o":{},"s":"é\u00e9"}"#;
    let body = format!("{{\"client_data\": {exact}}}");
    let response =
        service_kit::testing::send_json(app.addr, "POST", "/api/v1/stateful/sessions", &body).await;
    let response = response.expect("a response");
    assert!(String::from_utf8_lossy(&response.body).contains(exact), "{response:?}");
    let read = app.get(response.header("location")).await;
    assert!(String::from_utf8_lossy(&read.body).contains(exact), "{read:?}");
}

#[actix_web::test]
async fn a_session_id_starts_with_the_key_that_the_gateway_routed_by() {
    let app = spawn_app();
    let create = async |header: &str| {
        let request = format!(
            "POST /api/v1/stateful/sessions HTTP/1.1\r\nhost: test\r\n\
             content-type: application/json\r\n\
             content-length: 2\r\n{header}\r\n{{}}"
        );
        let response = raw(app.addr, request.as_bytes()).await.expect("a response");
        assert_stateful(&response, 201, "created");
        let session: Session = response.json().expect("a session");
        session.session_id.affinity_key()
    };
    assert_eq!(create("X-Affinity-Key: 0badcafe\r\n").await, AffinityKey::from_bits(0x0bad_cafe));
    let mut random = vec![create("").await, create("").await];
    for malformed in ["0BADCAFE", "0badcaf", "0badcafe0", "", "\u{e9}\u{e9}\u{e9}\u{e9}"] {
        random.push(create(&format!("X-Affinity-Key: {malformed}\r\n")).await);
    }
    random.sort();
    random.dedup();
    assert!(random.len() >= 6, "each gets its own key: {random:?}");
}

#[actix_web::test]
async fn both_endpoints_for_messages_are_one_operation() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    let posted = app.post(&path(Endpoint::Messages, &id), &json!({"message": "hi"})).await;
    assert_stateful(&posted, 201, "memory");
    let posted: MessagePosted = posted.json().expect("a posted message");
    assert_eq!((posted.number, posted.message_count, posted.version), (1, 1, 2));
    assert_eq!((posted.session_id.clone(), posted.message.as_str()), (id.clone(), "hi"));

    let body = json!({"session_id": id.expose(), "message": "how are you?"});
    let response = app.post("/api/v1/stateful/conversations", &body).await;
    assert_stateful(&response, 201, "memory");
    let second: MessagePosted = response.json().expect("a posted message");
    assert_eq!((second.number, second.message_count, second.version), (2, 2, 3));
    assert_eq!(
        second.reply,
        "Hello Ada. This is message 2 of our conversation. It began with “hi”."
    );
    assert_ne!(second.message_id, posted.message_id);

    let history = app.get(&path(Endpoint::History, &id)).await;
    assert_stateful(&history, 200, "memory");
    let history: HistoryPage = history.json().expect("a page");
    let replies: Vec<_> = history.messages.iter().map(|message| message.reply.as_str()).collect();
    assert_eq!(replies, [posted.reply, second.reply]);
    assert_eq!(history.next_cursor, None);
}

#[actix_web::test]
async fn history_comes_in_pages() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    for i in 1..=5 {
        app.post_message(&id, &format!("message {i}")).await;
    }
    let (mut numbers, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = app.history(&id, &query).await;
        numbers.extend(page.messages.iter().map(|message| message.number));
        let Some(cursor) = page.next_cursor else { break };
        assert_eq!(page.messages.len(), 2);
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);

    let other = app.create("Bob").await.session_id;
    let foreign = format!("{}?{query}", path(Endpoint::History, &other));
    assert_problem(&app.get(&foreign).await, ErrorCode::InvalidCursor);
}

#[actix_web::test]
async fn a_patch_merges_client_data() {
    let app = spawn_app();
    let session = app.create("Ada").await;
    let target = path(Endpoint::Session, &session.session_id);
    let response =
        app.patch(&target, &json!({"client_data": {"name": null, "a": {"b": [1]}}})).await;
    assert_stateful(&response, 200, "memory");
    let patched: Session = response.json().expect("a session");
    assert_eq!(Value::Object(patched.client_data), json!({"a": {"b": [1]}}));
    assert_eq!((patched.version, patched.created_at), (2, session.created_at));
    assert_eq!(
        app.post_message(&session.session_id, "hi").await.reply,
        "Hello. This is message 1 of our conversation."
    );
}

#[actix_web::test]
async fn the_legacy_paths_are_deprecated_and_lenient() {
    let app = spawn_app();
    let response = app
        .post("/api/stateful/session", &json!({"client_data": {"name": "Ada"}, "userId": 7}))
        .await;
    assert_stateful(&response, 201, "created");
    assert_deprecated(&response, "/api/v1/stateful/sessions");
    let id = response.json::<Session>().expect("a session").session_id;
    assert_eq!(response.header("location"), path(Endpoint::Session, &id), "the canonical path");

    // As in the legacy service: the body is optional, and the content type is ignored.
    let response = service_kit::testing::send(app.addr, "POST", "/api/stateful/session")
        .await
        .expect("a response");
    assert_stateful(&response, 201, "created");

    let body = json!({"session_id": id.expose(), "message": "hi", "extra": true});
    let response = app.post("/api/stateful/conversation", &body).await;
    assert_stateful(&response, 201, "memory");
    assert_deprecated(&response, "/api/v1/stateful/conversations");

    let response = app.get(&format!("/api/stateful/history/{}?page=1", id.expose())).await;
    assert_stateful(&response, 200, "memory");
    let successor = path(Endpoint::History, &id);
    let links = format!("<?limit=50>; rel=\"first\", <{successor}>; rel=\"successor-version\"");
    assert_eq!(response.header("link"), links);
    assert_eq!(response.json::<HistoryPage>().expect("a page").messages.len(), 1);

    let alias = format!("/api/stateful/session/{}", id.expose());
    let response = app.get(&alias).await;
    assert_stateful(&response, 200, "memory");
    assert_deprecated(&response, &path(Endpoint::Session, &id));
    let response = app.delete(&alias).await;
    assert_stateful(&response, 204, "memory");
    assert_deprecated(&response, &path(Endpoint::Session, &id));
    assert_problem(&app.get(&alias).await, ErrorCode::SessionNotFound);
}

#[track_caller]
fn assert_deprecated(response: &Response, successor: &str) {
    assert_eq!(response.header("deprecation"), "@1770249600");
    assert_eq!(response.header("link"), format!("<{successor}>; rel=\"successor-version\""));
}

#[actix_web::test]
async fn health_and_metrics_report_the_live_sessions() {
    let app = spawn_app();
    let ids = [app.create("a").await.session_id, app.create("b").await.session_id];
    app.post_message(&ids[0], "hi").await;
    app.get(&path(Endpoint::Session, &ids[0])).await;
    app.delete(&path(Endpoint::Session, &ids[1])).await;
    app.delete(&path(Endpoint::Session, &ids[1])).await;
    app.post(&path(Endpoint::Messages, &ids[1]), &json!({"message": "hi"})).await;

    let health = app.get("/health").await;
    assert_eq!(
        (health.status, &health.body[..], health.header("x-live-sessions")),
        (200, &b"healthy"[..], "1")
    );
    assert_eq!(app.get("/readyz").await.status, 200);

    let metrics = metrics(&app).await;
    for line in [
        "stateful_sessions_live 1",
        "stateful_session_reads_total{source=\"memory\"} 1",
        "stateful_session_writes_total{act=\"create\",outcome=\"ok\"} 2",
        "stateful_session_writes_total{act=\"append\",outcome=\"ok\"} 1",
        "stateful_session_writes_total{act=\"delete\",outcome=\"ok\"} 2",
        "stateful_session_writes_total{act=\"append\",outcome=\"session_not_found\"} 1",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line} is not in\n{metrics}");
    }
    assert!(ids.iter().all(|id| !contains_secret(&metrics, id)), "{metrics}");
}

pub(crate) async fn metrics(app: &App) -> String {
    String::from_utf8(app.get("/metrics").await.body).expect("text")
}

/// Whether the text contains the secret half of the id, or its end.
pub(crate) fn contains_secret(text: &str, id: &SessionId) -> bool {
    text.contains(&id.expose()[9..25]) || text.contains(&id.expose()[25..])
}

#[actix_web::test]
async fn head_has_the_content_length_of_get() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    let session = path(Endpoint::Session, &id);
    for target in [session, path(Endpoint::History, &id), "/health".to_owned()] {
        let (get, head) = (app.get(&target).await, app.send("HEAD", &target, &[], "").await);
        assert_eq!((head.status, head.body.len()), (200, 0), "{target}: {head:?}");
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{target}");
    }
    // A stream has no length.
    let head = app.send("HEAD", &path(Endpoint::Events, &id), &[], "").await;
    assert_eq!((head.status, head.header("content-length")), (200, ""), "{head:?}");
    assert_eq!(head.header("content-type"), "text/event-stream");
}
