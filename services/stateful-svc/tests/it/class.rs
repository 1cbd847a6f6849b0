//! The roster of a class: who is listed, what a kick ends, and who may do either.

use proto_contracts::control::{INSTANCE_CLASS_PATH, InstanceClass, Served};
use proto_contracts::stateful::Session;
use proto_contracts::{Endpoint, ErrorCode};
use serde_json::{Value, json};

use crate::app::{App, assert_problem, path, spawn_with};
use crate::redis_server::RedisServer;
use crate::redis_store::SECRET;

const SESSIONS: &str = "/api/v1/stateful/sessions";
const TOKEN: &str = "a-token-of-the-instances";
const BEARER: (&str, &str) = ("Authorization", "Bearer a-token-of-the-instances");

/// An instance with an open classroom.
fn classroom(store: &str, redis: &str) -> App {
    spawn_with(&[
        ("SESSION_STORE", store),
        ("SESSION_REDIS_URL", redis),
        ("SESSION_ID_SECRET", SECRET),
        ("INSTANCE_TOKEN", TOKEN),
        ("CLASSROOM", "1"),
    ])
}

async fn join(app: &App, client_data: Value) -> Session {
    let response = app.post(SESSIONS, &json!({"client_data": client_data})).await;
    assert_eq!(response.status, 201, "{response:?}");
    response.json().expect("a session")
}

async fn people(app: &App) -> Vec<Served> {
    let response = app.send("GET", INSTANCE_CLASS_PATH, &[BEARER], "").await;
    assert_eq!(response.status, 200, "{response:?}");
    let class: InstanceClass = response.json().expect("a class");
    class.people
}

async fn delete(app: &App, path: &str) -> u16 {
    app.send("DELETE", path, &[BEARER], "").await.status
}

#[actix_web::test]
async fn a_kick_ends_a_session_in_every_store() {
    let server = RedisServer::start().await;
    for store in ["memory", "redis", "hybrid"] {
        let here = classroom(store, &server.url());
        let ada = join(&here, json!({"nickname": "Ada"})).await;
        let bob = join(&here, json!({"nickname": " Bob\u{202e}\u{7} "})).await;
        join(&here, json!({"name": "no part of the class"})).await;
        here.post_message(&ada.session_id, "Hello").await;
        here.post_message(&ada.session_id, "Hello again").await;

        let mut listed = people(&here).await;
        listed.sort_by(|a, b| a.nickname.cmp(&b.nickname));
        let shown: Vec<_> = listed
            .iter()
            .map(|person| (person.nickname.as_str(), person.digest.clone(), person.message_count))
            .collect();
        let digest = |session: &Session| session.session_id.digest().to_string();
        assert_eq!(shown, [("Ada", digest(&ada), 2), ("Bob", digest(&bob), 0)], "{store}");
        let response = here.send("GET", INSTANCE_CLASS_PATH, &[BEARER], "").await;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert!(!text.contains(&ada.session_id.expose()), "{store}: {text}");

        let target = format!("{INSTANCE_CLASS_PATH}/{}", digest(&ada));
        assert_eq!(delete(&here, &target).await, 204, "{store}");
        let gone = here.get(&path(Endpoint::Session, &ada.session_id)).await;
        assert_problem(&gone, ErrorCode::SessionNotFound);
        assert_eq!(delete(&here, &target).await, 404, "{store}: it is no longer listed");
        assert_eq!(people(&here).await.len(), 1, "{store}");

        assert_eq!(delete(&here, INSTANCE_CLASS_PATH).await, 204, "{store}");
        assert!(people(&here).await.is_empty(), "{store}");
        let gone = here.get(&path(Endpoint::Session, &bob.session_id)).await;
        assert_problem(&gone, ErrorCode::SessionNotFound);
    }
}

#[actix_web::test]
async fn an_instance_learns_a_session_that_another_created() {
    let server = RedisServer::start().await;
    for store in ["redis", "hybrid"] {
        let [here, there] = [(); 2].map(|()| classroom(store, &server.url()));
        let ada = join(&here, json!({"nickname": "Ada"})).await;
        there.post_message(&ada.session_id, "Hello").await;
        let listed = people(&there).await;
        assert_eq!((listed[0].nickname.as_str(), listed[0].message_count), ("Ada", 1), "{store}");
        // It ends for both: copies are dropped as by its owner's delete.
        let target = format!("{INSTANCE_CLASS_PATH}/{}", listed[0].digest);
        assert_eq!(delete(&there, &target).await, 204, "{store}");
        for app in [&here, &there] {
            let gone = app.get(&path(Endpoint::Session, &ada.session_id)).await;
            assert_problem(&gone, ErrorCode::SessionNotFound);
        }
        assert!(people(&here).await.is_empty(), "{store}: a session that is gone is not listed");
    }
}

#[actix_web::test]
async fn the_roster_needs_the_token_and_an_open_classroom() {
    let app = classroom("memory", "redis://127.0.0.1:1");
    let ada = join(&app, json!({"nickname": "Ada"})).await;
    let one = format!("{INSTANCE_CLASS_PATH}/{}", ada.session_id.digest());
    for (method, target) in
        [("GET", INSTANCE_CLASS_PATH), ("DELETE", INSTANCE_CLASS_PATH), ("DELETE", one.as_str())]
    {
        for headers in [&[][..], &[("Authorization", "Bearer another-token-of-some-length")]] {
            let refused = app.send(method, target, headers, "").await;
            assert_problem(&refused, ErrorCode::Unauthorized);
        }
    }
    for other in ["x", "00112233445566778899aabbccddeeff", &ada.session_id.expose()] {
        assert_eq!(delete(&app, &format!("{INSTANCE_CLASS_PATH}/{other}")).await, 404, "{other}");
    }
    assert_eq!(people(&app).await.len(), 1, "nobody was kicked");

    let closed = spawn_with(&[("SESSION_STORE", "memory"), ("INSTANCE_TOKEN", TOKEN)]);
    let refused = closed.send("GET", INSTANCE_CLASS_PATH, &[BEARER], "").await;
    assert_problem(&refused, ErrorCode::NotFound);
}
