//! Deletes are final, over HTTP.

use futures_util::future::join_all;
use proto_contracts::stateful::Session;
use proto_contracts::{Endpoint, ErrorCode};
use serde_json::json;
use service_kit::testing::Response;

use crate::app::{App, assert_problem, path};
use crate::http_api::contains_secret;
use crate::redis_server::RedisServer;
use crate::redis_store::app_on;

const SESSIONS: &str = "/api/v1/stateful/sessions";
const KEY: &str = "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b01";

async fn create_keyed(app: &App) -> Response {
    app.send("POST", SESSIONS, &[("Idempotency-Key", KEY)], r#"{"client_data":{"name":"Ada"}}"#)
        .await
}

#[actix_web::test]
async fn a_deleted_session_stays_deleted_through_any_instance_and_a_crash() {
    let mut server = RedisServer::start().await;
    let (here, there) = (app_on(&server), app_on(&server));
    let session: Session = create_keyed(&here).await.json().expect("a session");
    let id = session.session_id;
    here.post_message(&id, "something secret").await;
    let target = path(Endpoint::Session, &id);
    assert_eq!(here.delete(&target).await.status, 204);

    for round in 0..2 {
        for app in [&here, &there] {
            assert_problem(&app.get(&target).await, ErrorCode::SessionNotFound);
            assert_problem(
                &app.get(&path(Endpoint::History, &id)).await,
                ErrorCode::SessionNotFound,
            );
            assert_problem(
                &app.patch(&target, &json!({"client_data": {}})).await,
                ErrorCode::SessionNotFound,
            );
            let posted = app.post(&path(Endpoint::Messages, &id), &json!({"message": "hi"})).await;
            assert_problem(&posted, ErrorCode::SessionNotFound);
            let problem = assert_problem(&create_keyed(app).await, ErrorCode::SessionNotFound);
            assert!(problem.detail.contains("was deleted"), "{}", problem.detail);
            let again = app.delete(&target).await;
            assert_eq!(
                (again.status, again.body.len(), again.header("cache-control")),
                (204, 0, "no-store")
            );
            assert_eq!(
                app.delete(&format!("/api/stateful/session/{}", id.expose())).await.status,
                204
            );
        }
        if round == 0 {
            server.crash();
            server.restart().await;
        }
    }
    let mut redis = server.connect().await.expect("a connection");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("session:*").query_async(&mut redis).await.expect("keys");
    assert_eq!(keys.len(), 1, "{keys:?}");
    let left: Vec<String> =
        redis::cmd("HGETALL").arg(&keys[0]).query_async(&mut redis).await.expect("fields");
    assert!(left.len() == 4 && !contains_secret(&left.join(" "), &id), "{left:?}");
}

#[actix_web::test]
async fn deleting_an_unknown_session_is_404_and_leaves_nothing() {
    let server = RedisServer::start().await;
    let app = app_on(&server);
    let never = format!("{SESSIONS}/0badcafe-00112233445566778899aabbccddeeff");
    for _ in 0..2 {
        assert_problem(&app.delete(&never).await, ErrorCode::SessionNotFound);
    }
    let mut redis = server.connect().await.expect("a connection");
    let keys: u64 = redis::cmd("DBSIZE").query_async(&mut redis).await.expect("a number");
    assert_eq!(keys, 0, "clients cannot fill Redis with tombstones");
}

/// The requests wait in Redis's sockets, and Redis executes them in any order.
#[actix_web::test]
async fn no_write_in_flight_recreates_a_session() {
    let server = RedisServer::start().await;
    let app = app_on(&server);
    let other = path(Endpoint::Session, &app.create("Bob").await.session_id);
    app.delete(&other).await;
    for _ in 0..3 {
        let id = app.create("Ada").await.session_id;
        let (target, messages) = (path(Endpoint::Session, &id), path(Endpoint::Messages, &id));
        // Loads the scripts into Redis, and opens enough connections.
        join_all((0..12).map(|i| app.post_message(&id, ["a", "b"][i % 2]))).await;
        app.patch(&target, &json!({"client_data": {}})).await;
        server.freeze();
        let (hi, change) = (json!({"message": "hi"}), json!({"client_data": {"a": 1}}));
        let late = join_all((0..4).map(|_| app.post(&messages, &hi)));
        let (deleted, late, patched) =
            tokio::join!(app.delete(&target), late, app.patch(&target, &change));
        for response in late.iter().chain([&deleted, &patched]) {
            assert_problem(response, ErrorCode::SessionStoreUnavailable);
        }
        server.resume();
        // Whatever the outcome, a repeated delete succeeds.
        assert_eq!(app.delete(&target).await.status, 204);
        assert_problem(&app.get(&target).await, ErrorCode::SessionNotFound);
        let mut redis = server.connect().await.expect("a connection");
        let list = format!("session:{{{}}}:messages", id.digest());
        let left: u64 =
            redis::cmd("EXISTS").arg(&list).query_async(&mut redis).await.expect("a number");
        assert_eq!(left, 0, "no message recreated its list");
    }
}
