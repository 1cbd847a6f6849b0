//! `Idempotency-Key`, over HTTP.

use futures_util::future::join_all;
use proto_contracts::stateful::{HistoryPage, MessagePosted, Session};
use proto_contracts::{Endpoint, ErrorCode};
use service_kit::testing::Response;

use crate::app::{App, assert_problem, path, send_with, spawn_app, spawn_with};
use crate::http_api::{contains_secret, metrics};
use crate::program::Program;
use crate::redis_server::RedisServer;
use crate::redis_store::{SECRET, app_on, wait_for_status};

const SESSIONS: &str = "/api/v1/stateful/sessions";
const CONVERSATIONS: &str = "/api/v1/stateful/conversations";
const KEYS: [&str; 4] = [
    "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b01",
    "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b02",
    "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b03",
    "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b04",
];

async fn keyed(app: &App, key: &str, method: &str, path: &str, body: &str) -> Response {
    app.send(method, path, &[("Idempotency-Key", key)], body).await
}

/// The second response repeats the first.
#[track_caller]
fn assert_replay(first: &Response, second: &Response) {
    let body = String::from_utf8_lossy(&second.body);
    assert_eq!((first.status, &first.body), (second.status, &second.body), "{body}");
    for header in ["content-type", "cache-control", "location", "etag", "x-affinity-key"] {
        assert_eq!(first.header(header), second.header(header), "{header}");
    }
    assert_eq!(
        (first.header("idempotency-replayed"), second.header("idempotency-replayed")),
        ("", "true")
    );
}

#[actix_web::test]
async fn a_repetition_gets_the_first_response_through_any_instance() {
    let server = RedisServer::start().await;
    let (here, there) = (app_on(&server), app_on(&server));
    let given = r#"{"client_data":{"name":"Ada","exact":1.10,"none":[]}}"#;
    let created = keyed(&here, KEYS[0], "POST", SESSIONS, given).await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.json::<Session>().expect("a session").session_id;
    let (session, messages) = (path(Endpoint::Session, &id), path(Endpoint::Messages, &id));
    let conversation = format!(r#"{{"session_id":"{}","message":"how are you?"}}"#, id.expose());

    let posted = keyed(&here, KEYS[1], "POST", &messages, r#"{"message":"hi"}"#).await;
    let conversed = keyed(&here, KEYS[2], "POST", CONVERSATIONS, &conversation).await;
    let patched =
        keyed(&here, KEYS[3], "PATCH", &session, r#"{"client_data":{"name":"Éva","none":null}}"#)
            .await;
    here.post_message(&id, "something else").await;
    keyed(
        &here,
        "6f1d5a0e4a534a9c8a540d5c1c3a0b05",
        "PATCH",
        &session,
        r#"{"client_data":{"name":null}}"#,
    )
    .await;
    let before = here.get(&session).await.json::<Session>().expect("a session");

    for app in [&here, &there, &there] {
        assert_replay(&created, &keyed(app, KEYS[0], "POST", SESSIONS, given).await);
        assert_replay(
            &posted,
            &keyed(app, KEYS[1], "POST", &messages, r#"{ "message" : "hi" }"#).await,
        );
        let upper = KEYS[2].to_uppercase();
        assert_replay(&conversed, &keyed(app, &upper, "POST", CONVERSATIONS, &conversation).await);
        // Both endpoints for messages are one operation.
        assert_replay(
            &conversed,
            &keyed(app, KEYS[2], "POST", &messages, r#"{"message":"how are you?"}"#).await,
        );
        let patch = r#"{"client_data":{"name":"Éva","none":null}}"#;
        assert_replay(&patched, &keyed(app, KEYS[3], "PATCH", &session, patch).await);
    }
    // And by the legacy paths.
    let alias = keyed(&there, KEYS[0], "POST", "/api/stateful/session", given).await;
    assert_eq!((alias.status, &alias.body), (201, &created.body));

    let after = there.get(&session).await.json::<Session>().expect("a session");
    assert_eq!(
        (after.version, after.message_count),
        (before.version, 3),
        "nothing was applied twice"
    );
    let numbers: Vec<_> =
        [&posted, &conversed].map(|a| a.json::<MessagePosted>().expect("posted").number).into();
    assert_eq!(numbers, [1, 2]);
    let metrics = metrics(&there).await;
    for line in
        ["{act=\"create\",outcome=\"replayed\"} 3", "{act=\"append\",outcome=\"replayed\"} 6"]
    {
        assert!(
            metrics.contains(&format!("stateful_session_writes_total{line}")),
            "{line} is not in\n{metrics}"
        );
    }
}

#[actix_web::test]
async fn the_memory_store_replays_too() {
    let app = spawn_app();
    let created = keyed(&app, KEYS[0], "POST", SESSIONS, "{}").await;
    assert_replay(&created, &keyed(&app, KEYS[0], "POST", SESSIONS, "").await);
    let id = created.json::<Session>().expect("a session").session_id;
    let posted =
        keyed(&app, KEYS[1], "POST", &path(Endpoint::Messages, &id), r#"{"message":"hi"}"#).await;
    assert_replay(
        &posted,
        &keyed(&app, KEYS[1], "POST", &path(Endpoint::Messages, &id), r#"{"message":"hi"}"#).await,
    );
}

#[actix_web::test]
async fn concurrent_requests_with_one_key_get_one_response() {
    let server = RedisServer::start().await;
    let (here, there) = (app_on(&server), app_on(&server));
    let responses =
        join_all((0..12).map(|i| keyed([&here, &there][i % 2], KEYS[0], "POST", SESSIONS, "{}")))
            .await;
    let first: Vec<_> = responses
        .iter()
        .filter(|response| response.header("idempotency-replayed").is_empty())
        .collect();
    assert_eq!(first.len(), 1, "{responses:?}");
    assert!(
        responses.iter().all(|response| response.status == 201 && response.body == first[0].body),
        "{responses:?}"
    );

    let id = first[0].json::<Session>().expect("a session").session_id;
    let messages = path(Endpoint::Messages, &id);
    let post =
        |i: usize| keyed([&here, &there][i % 2], KEYS[1], "POST", &messages, r#"{"message":"hi"}"#);
    let responses = join_all((0..12).map(post)).await;
    assert!(
        responses
            .iter()
            .all(|response| response.status == 201 && response.body == responses[0].body),
        "{responses:?}"
    );
    assert_eq!(here.history(&id, "").await.messages.len(), 1);
}

#[actix_web::test]
async fn a_key_used_with_another_request_is_rejected() {
    let app = spawn_app();
    let created = keyed(&app, KEYS[0], "POST", SESSIONS, "{}").await;
    let id = created.json::<Session>().expect("a session").session_id;
    let (session, messages) = (path(Endpoint::Session, &id), path(Endpoint::Messages, &id));
    keyed(&app, KEYS[1], "POST", &messages, r#"{"message":"hi"}"#).await;
    let affinity = id.affinity_key().to_string();
    let other = [("Idempotency-Key", KEYS[0]), ("X-Affinity-Key", &affinity)];
    for response in [
        app.send("POST", SESSIONS, &other, r#"{"client_data":{"a":1}}"#).await,
        keyed(&app, KEYS[0], "POST", &messages, r#"{"message":"hi"}"#).await,
        keyed(&app, KEYS[0], "PATCH", &session, r#"{"client_data":{}}"#).await,
        keyed(&app, KEYS[1], "POST", &messages, r#"{"message":"hi!"}"#).await,
        keyed(&app, KEYS[1], "PATCH", &session, r#"{"client_data":{}}"#).await,
    ] {
        assert_problem(&response, ErrorCode::IdempotencyKeyReused);
        assert_eq!(response.header("idempotency-replayed"), "");
    }
    let unharmed = app.get(&session).await.json::<Session>().expect("a session");
    assert_eq!((unharmed.version, unharmed.message_count), (2, 1));
}

#[actix_web::test]
async fn a_malformed_key_is_rejected_before_any_effect() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    let (session, messages) = (path(Endpoint::Session, &id), path(Endpoint::Messages, &id));
    let conversation = format!(r#"{{"session_id":"{}","message":"hi"}}"#, id.expose());
    let long = "6".repeat(10_000);
    let two = [KEYS[0], KEYS[1]].join(", ");
    let nil = "00000000-0000-0000-0000-000000000000";
    for bad in ["", "x", "123", "1234567", &two, &long, nil, "\u{e9}", "\"6f1d5a0e"] {
        for (method, target, body) in [
            ("POST", SESSIONS, "{}"),
            ("POST", &messages, r#"{"message":"hi"}"#),
            ("POST", CONVERSATIONS, &conversation),
            ("PATCH", &session, r#"{"client_data":{"a":1}}"#),
        ] {
            let problem = assert_problem(
                &keyed(&app, bad, method, target, body).await,
                ErrorCode::InvalidIdempotencyKey,
            );
            assert!(!problem.detail.contains(&KEYS[0][..8]), "{}", problem.detail);
        }
    }
    let twice = [("Idempotency-Key", KEYS[0]), ("Idempotency-Key", KEYS[0])];
    let response = app.send("POST", &messages, &twice, r#"{"message":"hi"}"#).await;
    assert_problem(&response, ErrorCode::InvalidIdempotencyKey);
    // Reads ignore the header.
    assert_eq!(keyed(&app, "x", "GET", &session, "").await.status, 200);
    let unharmed = app.get(&session).await.json::<Session>().expect("a session");
    assert_eq!(unharmed.version, 1);
    assert!(metrics(&app).await.contains("stateful_sessions_live 1\n"));
}

#[actix_web::test]
async fn a_repetition_resolves_an_unknown_outcome() {
    let server = RedisServer::start().await;
    let app = app_on(&server);
    let id = app.create("Ada").await.session_id;
    let messages = path(Endpoint::Messages, &id);
    app.post_message(&id, "loads the script into Redis").await;
    server.freeze();
    let unknown = keyed(&app, KEYS[0], "POST", &messages, r#"{"message":"hi"}"#).await;
    let problem = assert_problem(&unknown, ErrorCode::SessionStoreUnavailable);
    assert!(problem.detail.contains("Idempotency-Key"), "{}", problem.detail);
    server.resume();
    wait_for_status(&app, &path(Endpoint::Session, &id), 200).await;
    let repeated = keyed(&app, KEYS[0], "POST", &messages, r#"{"message":"hi"}"#).await;
    assert_eq!(
        (repeated.status, repeated.header("idempotency-replayed")),
        (201, "true"),
        "it had been applied"
    );
    let posted = repeated.json::<MessagePosted>().expect("a posted message");
    assert_eq!((posted.number, posted.message_count), (2, 2));
    let history: HistoryPage = app.history(&id, "").await;
    assert_eq!(history.messages.len(), 2);
    assert_eq!(history.messages[1].message_id, posted.message_id);
    assert_eq!(history.messages[1].reply, posted.reply);
}

#[actix_web::test]
async fn a_replay_survives_a_crash_of_redis_and_a_restart_of_the_service() {
    let mut server = RedisServer::start().await;
    let app = app_on(&server);
    let created = keyed(&app, KEYS[0], "POST", SESSIONS, "{}").await;
    let id = created.json::<Session>().expect("a session").session_id;
    let posted =
        keyed(&app, KEYS[1], "POST", &path(Endpoint::Messages, &id), r#"{"message":"hi"}"#).await;
    drop(app);
    server.crash();
    server.restart().await;
    let app = app_on(&server);
    assert_replay(&created, &keyed(&app, KEYS[0], "POST", SESSIONS, "{}").await);
    assert_replay(
        &posted,
        &keyed(&app, KEYS[1], "POST", &path(Endpoint::Messages, &id), r#"{"message":"hi"}"#).await,
    );
}

/// A keyed create that the gateway routed by this affinity key.
async fn create_by(app: &App, affinity: &str, key: &str, body: &str) -> Response {
    let headers = [
        ("Idempotency-Key", key),
        ("X-Affinity-Key", affinity),
        ("X-Session-Affinity", "required"),
    ];
    app.send("POST", SESSIONS, &headers, body).await
}

#[actix_web::test]
async fn one_key_creates_one_session_whatever_the_affinity_key() {
    let server = RedisServer::start().await;
    let url = server.url();
    for store in ["memory", "redis", "hybrid"] {
        // Without a shared secret, which is not needed to find the session.
        let settings = [("SESSION_STORE", store), ("SESSION_REDIS_URL", &url)];
        let here = spawn_with(&settings);
        // With the memory store, other instances do not have the session.
        let there = if store == "memory" { None } else { Some(spawn_with(&settings)) };
        let there = there.as_ref().unwrap_or(&here);
        let [one, two] =
            [KEYS[0], KEYS[1]].map(|key| key.replace("6f1d", &format!("{:04x}", store.len())));
        let created = create_by(&here, "0badcafe", &one, "{}").await;
        let id = created.json::<Session>().expect("a session").session_id;
        assert_eq!(id.affinity_key().to_string(), "0badcafe");
        for (app, affinity) in
            [(&here, "0badcaff"), (there, "0badcafe"), (there, "12345678"), (&here, "0badcafe")]
        {
            assert_replay(&created, &create_by(app, affinity, &one, "{}").await);
        }
        assert_replay(&created, &keyed(there, &one, "POST", SESSIONS, "{}").await);

        let other = create_by(there, "0badcaff", &one, r#"{"client_data":{"a":1}}"#).await;
        assert_problem(&other, ErrorCode::IdempotencyKeyReused);
        assert_ne!(create_by(there, "0badcafe", &two, "{}").await.body, created.body);
        assert_eq!(here.delete(&path(Endpoint::Session, &id)).await.status, 204);
        for (app, affinity) in [(&here, "0badcafe"), (there, "0badcaff")] {
            assert_problem(&create_by(app, affinity, &one, "{}").await, ErrorCode::SessionNotFound);
        }
    }
}

#[actix_web::test]
async fn concurrent_creates_with_different_affinity_keys_create_one_session() {
    let server = RedisServer::start().await;
    let apps = [app_on(&server), app_on(&server)];
    for round in 0..20 {
        let key = format!("6f1d5a0e-4a53-4a9c-8a54-0d5c1c3b{round:04x}");
        let create =
            async |i: usize| create_by(&apps[i % 2], &format!("0badca{i:02x}"), &key, "{}").await;
        let responses = join_all((0..12).map(create)).await;
        let first: Vec<_> = responses
            .iter()
            .filter(|response| response.header("idempotency-replayed").is_empty())
            .collect();
        assert_eq!(first.len(), 1, "{responses:?}");
        for response in &responses {
            assert_eq!((response.status, &response.body), (201, &first[0].body));
            assert_eq!(response.header("x-affinity-key"), first[0].header("x-affinity-key"));
        }
    }
}

/// With the memory store, each instance has only its own sessions.
#[actix_web::test]
async fn another_instance_with_the_memory_store_creates_its_own_session() {
    let (here, there) = (spawn_app(), spawn_app());
    let created = create_by(&here, "0badcafe", KEYS[0], "{}").await;
    let elsewhere = create_by(&there, "0badcafe", KEYS[0], "{}").await;
    assert_eq!((elsewhere.status, elsewhere.header("idempotency-replayed")), (201, ""));
    assert_replay(&created, &create_by(&here, "0badcaff", KEYS[0], "{}").await);
}

#[actix_web::test]
async fn without_a_shared_secret_the_log_has_a_warning() {
    let server = RedisServer::start().await;
    let url = server.url();
    let settings = [("SESSION_STORE", "redis"), ("SESSION_REDIS_URL", &url)];
    for (secret, warnings) in [("", 1), (SECRET, 0)] {
        let log = Program::start(&[settings[0], settings[1], ("SESSION_ID_SECRET", secret)]).stop();
        let logged = log.iter().filter(|line| {
            line["level"] == "WARN" && line.to_string().contains("SESSION_ID_SECRET")
        });
        assert_eq!(logged.count(), warnings, "{log:#?}");
        assert!(!log.iter().any(|line| line.to_string().contains(SECRET)), "{log:#?}");
    }
}

#[actix_web::test]
async fn keys_do_not_leak() {
    let server = RedisServer::start().await;
    let url = server.url();
    let program = Program::start(&[
        ("SESSION_STORE", "redis"),
        ("SESSION_REDIS_URL", &url),
        ("SESSION_ID_SECRET", SECRET),
        ("LOG_LEVEL", "debug"),
    ]);
    let headers = [("Idempotency-Key", KEYS[0])];
    let created = send_with(program.addr, "POST", SESSIONS, &headers, "{}").await;
    let id = created.json::<Session>().expect("a session").session_id;
    send_with(program.addr, "POST", SESSIONS, &headers, r#"{"client_data":{"a":1}}"#).await;
    let headers = [("Idempotency-Key", KEYS[1])];
    send_with(
        program.addr,
        "POST",
        &path(Endpoint::Messages, &id),
        &headers,
        r#"{"message":"hi"}"#,
    )
    .await;

    let leaks = |text: &str| {
        let bare = KEYS.map(|key| key.replace('-', ""));
        KEYS.iter().any(|key| text.contains(key))
            || bare.iter().any(|key| text.contains(key))
            || contains_secret(text, &id)
    };
    let mut redis = server.connect().await.expect("a connection");
    let record = format!("session:{{{}}}:meta", id.digest());
    let fields: Vec<String> =
        redis::cmd("HGETALL").arg(&record).query_async(&mut redis).await.expect("fields");
    assert_eq!(fields.iter().filter(|field| field.starts_with("key:")).count(), 2, "{fields:?}");
    assert!(!leaks(&fields.join(" ")), "{fields:?}");
    let reserved: Vec<String> =
        redis::cmd("KEYS").arg("reserved:*").query_async(&mut redis).await.expect("keys");
    assert_eq!(reserved.len(), 1);
    let sealed: String =
        redis::cmd("GET").arg(&reserved[0]).query_async(&mut redis).await.expect("a value");
    assert!(!leaks(&reserved[0]) && !leaks(&sealed), "{reserved:?} {sealed}");
    for line in program.stop() {
        assert!(!leaks(&line.to_string()), "{line}");
    }
}
