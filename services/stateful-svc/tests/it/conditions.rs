//! `ETag`, `If-Match` and `If-None-Match`, over HTTP.

use futures_util::future::join_all;
use proto_contracts::stateful::Session;
use proto_contracts::{Endpoint, ErrorCode};
use serde_json::json;

use crate::app::{App, assert_problem, path, spawn_app};
use crate::redis_server::RedisServer;
use crate::redis_store::app_on;

const SESSIONS: &str = "/api/v1/stateful/sessions";

fn is_strong_tag(text: &str) -> bool {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
    inner
        .split_once('-')
        .is_some_and(|(version, nonce)| version.parse::<u64>().is_ok() && nonce.len() == 16)
}

#[actix_web::test]
async fn each_state_has_one_tag_at_all_instances() {
    let server = RedisServer::start().await;
    let (here, there) = (app_on(&server), app_on(&server));
    let created = here.post(SESSIONS, &json!({})).await;
    let (first, session) = (created.header("etag"), created.header("location"));
    assert!(is_strong_tag(first) && first.starts_with("\"1-"), "{first}");
    for app in [&here, &there] {
        assert_eq!(app.get(session).await.header("etag"), first, "a read changes nothing");
    }
    let patched = there.patch(session, &json!({"client_data": {"a": 1}})).await;
    let second = patched.header("etag");
    assert!(is_strong_tag(second) && second.starts_with("\"2-"), "{second}");
    assert_eq!(here.get(session).await.header("etag"), second);
    let id = created.json::<Session>().expect("a session").session_id;
    here.post_message(&id, "hi").await;
    let third = there.get(session).await;
    assert!(third.header("etag").starts_with("\"3-"), "{third:?}");
    let twin = here.post(SESSIONS, &json!({})).await;
    assert!(
        twin.header("etag").starts_with("\"1-") && twin.header("etag") != first,
        "another write, another tag"
    );
}

#[actix_web::test]
async fn a_failed_precondition_gets_412_and_changes_nothing() {
    let server = RedisServer::start().await;
    let app = app_on(&server);
    let created = app.post(SESSIONS, &json!({})).await;
    let (tag, session) = (created.header("etag"), created.header("location"));
    let patch = async |if_match: &str, value: u32| {
        app.send(
            "PATCH",
            session,
            &[("If-Match", if_match)],
            &format!(r#"{{"client_data":{{"n":{value}}}}}"#),
        )
        .await
    };
    let first = patch(tag, 1).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_problem(&patch(tag, 2).await, ErrorCode::PreconditionFailed);
    for foreign in ["\"\"", "\"2\"", "\"2-0000000000000000\"", "W/\"x\", \"y,z\"", "\"é\""] {
        assert_problem(&patch(foreign, 2).await, ErrorCode::PreconditionFailed);
    }
    let kept = app.get(session).await;
    assert_eq!(kept.json::<Session>().expect("a session").client_data["n"], 1);
    assert_eq!(kept.header("etag"), first.header("etag"));

    assert_eq!(patch("*", 3).await.status, 200);
    let now = app.get(session).await;
    assert_eq!(
        patch(&format!("{tag}, {}", now.header("etag")), 4).await.status,
        200,
        "one matching tag suffices"
    );
    // Nginx weakens the tag of a response that it compresses.
    let now = app.get(session).await;
    assert_eq!(patch(&format!("W/{}", now.header("etag")), 5).await.status, 200);
    let lines = [("If-Match", tag), ("If-Match", now.header("etag"))];
    assert_problem(
        &app.send("PATCH", session, &lines, r#"{"client_data":{}}"#).await,
        ErrorCode::PreconditionFailed,
    );

    app.delete(session).await;
    assert_problem(&patch("*", 6).await, ErrorCode::SessionNotFound);
    assert_problem(&patch(tag, 6).await, ErrorCode::SessionNotFound);
}

#[actix_web::test]
async fn of_concurrent_conditional_patches_one_wins() {
    let server = RedisServer::start().await;
    let (here, there) = (app_on(&server), app_on(&server));
    let created = here.post(SESSIONS, &json!({})).await;
    let headers = [("If-Match", created.header("etag"))];
    let patch = async |app: &App, i: usize| {
        app.send(
            "PATCH",
            created.header("location"),
            &headers,
            &format!(r#"{{"client_data":{{"n":{i}}}}}"#),
        )
        .await
        .status
    };
    let mut statuses = join_all((0..10).map(|i| patch([&here, &there][i % 2], i))).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[412; 9]].concat());
}

#[actix_web::test]
async fn a_keyed_patch_is_replayed_although_its_tag_is_stale() {
    let app = spawn_app();
    let created = app.post(SESSIONS, &json!({})).await;
    let (tag, session) = (created.header("etag"), created.header("location"));
    let headers = [("If-Match", tag), ("Idempotency-Key", "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b01")];
    let first = app.send("PATCH", session, &headers, r#"{"client_data":{"a":1}}"#).await;
    app.patch(session, &json!({"client_data": {"a": 2}})).await;
    let again = app.send("PATCH", session, &headers, r#"{"client_data":{"a":1}}"#).await;
    assert_eq!(
        (again.status, &again.body, again.header("etag")),
        (200, &first.body, first.header("etag"))
    );
    assert_eq!(again.header("idempotency-replayed"), "true");
}

#[actix_web::test]
async fn a_cached_state_gets_304() {
    let app = spawn_app();
    let created = app.post(SESSIONS, &json!({})).await;
    let (tag, session) = (created.header("etag"), created.header("location"));
    let id = created.json::<Session>().expect("a session").session_id;
    let weak = format!("W/{tag}");
    let among = format!("\"x\", {tag}");
    for held in [tag, &weak, &among, "*"] {
        for method in ["GET", "HEAD"] {
            let response = app.send(method, session, &[("If-None-Match", held)], "").await;
            assert_eq!((response.status, response.body.len()), (304, 0), "{held} {response:?}");
            assert_eq!(response.header("etag"), tag);
            assert_eq!(
                (response.header("cache-control"), response.header("x-session-source")),
                ("no-store", "memory")
            );
        }
    }
    app.post_message(&id, "hi").await;
    let changed = app.send("GET", session, &[("If-None-Match", tag)], "").await;
    assert_eq!(changed.status, 200);
    assert!(changed.header("etag").starts_with("\"2-"), "{changed:?}");
}

#[actix_web::test]
async fn every_unsafe_method_evaluates_both_conditions() {
    let redis = RedisServer::start().await;
    for app in [spawn_app(), app_on(&redis)] {
        let id = app.create("Ada").await.session_id;
        let session = path(Endpoint::Session, &id);
        let conversation = json!({"session_id": id.expose(), "message": "hi"}).to_string();
        let writes = [
            ("POST", path(Endpoint::Messages, &id), r#"{"message":"hi"}"#),
            ("POST", "/api/v1/stateful/conversations".to_owned(), conversation.as_str()),
            ("POST", "/api/stateful/conversation".to_owned(), conversation.as_str()),
            ("POST", path(Endpoint::Tickets, &id), "{}"),
            ("PATCH", session.clone(), r#"{"client_data":{"a":1}}"#),
            ("DELETE", session.clone(), ""),
        ];
        let tag = app.get(&session).await.header("etag").to_owned();
        let stale = "\"1-0123456789abcdef\"";
        for (method, target, body) in &writes {
            for wrong in [("If-Match", stale), ("If-None-Match", &tag), ("If-None-Match", "*")] {
                let rejected = app.send(method, target, &[wrong], body).await;
                assert_problem(&rejected, ErrorCode::PreconditionFailed);
            }
            let both = [("If-Match", "*"), ("If-None-Match", &tag)];
            assert_problem(
                &app.send(method, target, &both, body).await,
                ErrorCode::PreconditionFailed,
            );
            for name in ["If-Match", "If-None-Match"] {
                let malformed = app.send(method, target, &[(name, "1")], body).await;
                assert_problem(&malformed, ErrorCode::InvalidEntityTag);
            }
        }
        assert_eq!(app.get(&session).await.header("etag"), tag, "nothing was changed");
        assert_problem(
            &app.send("GET", &session, &[("If-Match", stale)], "").await,
            ErrorCode::PreconditionFailed,
        );

        // Each response has the tag of the new state, for the next request.
        let mut tag = tag;
        for (method, target, body) in &writes {
            let done = app
                .send(method, target, &[("If-Match", &tag), ("If-None-Match", stale)], body)
                .await;
            assert!((200..300).contains(&done.status), "{method} {target}: {done:?}");
            let changes = *method != "DELETE" && !target.ends_with("/tickets");
            assert_eq!(is_strong_tag(done.header("etag")), changes, "{method} {target}: {done:?}");
            if changes {
                assert_ne!(done.header("etag"), tag);
                done.header("etag").clone_into(&mut tag);
            }
        }
        // The effect of a repeated DELETE is already there.
        assert_eq!(app.send("DELETE", &session, &[("If-Match", stale)], "").await.status, 204);
    }
}

#[actix_web::test]
async fn a_replayed_message_has_the_tag_of_the_first_response() {
    let redis = RedisServer::start().await;
    for app in [spawn_app(), app_on(&redis)] {
        let created = app.post(SESSIONS, &json!({})).await;
        let id = created.json::<Session>().expect("a session").session_id;
        let tag = created.header("etag");
        let headers =
            [("If-Match", tag), ("Idempotency-Key", "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b02")];
        let messages = path(Endpoint::Messages, &id);
        let first = app.send("POST", &messages, &headers, r#"{"message":"hi"}"#).await;
        app.post_message(&id, "another").await;
        let again = app.send("POST", &messages, &headers, r#"{"message":"hi"}"#).await;
        assert_eq!(
            (again.status, &again.body, again.header("etag")),
            (201, &first.body, first.header("etag"))
        );
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert!(is_strong_tag(again.header("etag")));
    }
}

#[actix_web::test]
async fn a_create_has_no_state_to_match() {
    let app = spawn_app();
    for tag in ["*", "\"1-0123456789abcdef\""] {
        let rejected = app.send("POST", SESSIONS, &[("If-Match", tag)], "{}").await;
        assert_problem(&rejected, ErrorCode::PreconditionFailed);
        assert_eq!(app.send("POST", SESSIONS, &[("If-None-Match", tag)], "{}").await.status, 201);
    }
    for name in ["If-Match", "If-None-Match"] {
        assert_problem(
            &app.send("POST", SESSIONS, &[(name, "1")], "{}").await,
            ErrorCode::InvalidEntityTag,
        );
    }
}

#[actix_web::test]
async fn malformed_tags_are_rejected() {
    let app = spawn_app();
    let session = path(Endpoint::Session, &app.create("Ada").await.session_id);
    for bad in [
        "",
        "x",
        "1-0123456789abcdef",
        "\"a",
        "W/x",
        "\"a\" \"b\"",
        "*, \"a\"",
        &"\"".repeat(9_999),
    ] {
        let response =
            app.send("PATCH", &session, &[("If-Match", bad)], r#"{"client_data":{"a":1}}"#).await;
        let problem = assert_problem(&response, ErrorCode::InvalidEntityTag);
        assert!(problem.detail.contains("if-match"), "{}", problem.detail);
        let response = app.send("GET", &session, &[("If-None-Match", bad)], "").await;
        assert_problem(&response, ErrorCode::InvalidEntityTag);
    }
    // The largest header, which is parsed in one pass.
    let many = "\"1-0123456789abcdef\",".repeat(5_000);
    let response =
        app.send("PATCH", &session, &[("If-Match", &many)], r#"{"client_data":{"a":1}}"#).await;
    assert_problem(&response, ErrorCode::PreconditionFailed);
    assert_eq!(app.get(&session).await.json::<Session>().expect("a session").version, 1);
}
