//! The Redis store alone: its keys, expiry by Redis's clock, and outages of Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use proto_contracts::{Endpoint, ErrorCode, SessionId};
use serde_json::json;
use service_kit::testing::send_json;
use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::lifetime::Lifetime;
use stateful_svc::domain::session_tag::Expected;
use stateful_svc::store::{AppendError, PatchError, ReadError, SessionStore, StoreFault};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::app::{App, assert_problem, path, spawn_with};
use crate::http_api::contains_secret;
use crate::program::Program;
use crate::redis_server::RedisServer;
use crate::subject::{LIFETIME, any_session, data, key, message, patch, redis_store};

#[tokio::test]
async fn a_session_is_two_keys_of_one_slot_that_expire_together() {
    let server = RedisServer::start().await;
    let store = redis_store(&server, LIFETIME);
    let id = any_session();
    store.create(id, data("{}"), None).await.expect("created");
    store.append(id, message("hi"), None).await.expect("appended");

    let mut redis = server.connect().await.expect("a connection");
    let mut keys: Vec<String> =
        redis::cmd("KEYS").arg("*").query_async(&mut redis).await.expect("keys");
    keys.sort();
    assert_eq!(
        keys,
        [
            format!("session:{{{}}}:messages", id.session),
            format!("session:{{{}}}:meta", id.session)
        ]
    );

    for use_it in ["read", "append", "patch", "history"] {
        let _used = match use_it {
            "read" => store.read(id).await.is_ok(),
            "append" => store.append(id, message("hi"), None).await.is_ok(),
            "patch" => store.patch(id, &patch("{}"), &Expected::Any, None).await.is_ok(),
            _ => store.history(id, Default::default(), Default::default()).await.is_ok(),
        };
        let mut ends = Vec::<i64>::new();
        for key in &keys {
            ends.push(
                redis::cmd("PEXPIRETIME").arg(key).query_async(&mut redis).await.expect("a time"),
            );
        }
        assert!(ends[0] == ends[1] && ends[0] > 0, "after {use_it}: {ends:?}");
    }
    store.delete(id).await.expect("deleted");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("*").query_async(&mut redis).await.expect("keys");
    assert_eq!(keys, [format!("session:{{{}}}:meta", id.session)], "the tombstone alone");
    let mut fields: Vec<String> =
        redis::cmd("HKEYS").arg(&keys[0]).query_async(&mut redis).await.expect("fields");
    fields.sort();
    assert_eq!(fields, ["deleted", "owner"], "the content is deleted");
    let left_ms: i64 =
        redis::cmd("PTTL").arg(&keys[0]).query_async(&mut redis).await.expect("a time");
    assert!((86_000_000..=86_400_000).contains(&left_ms), "{left_ms}");
}

#[tokio::test]
async fn redis_itself_expires_an_idle_session() {
    let server = RedisServer::start().await;
    let lifetime = Lifetime { idle: Duration::from_millis(50), ..LIFETIME };
    let store = redis_store(&server, lifetime);
    store.create(any_session(), data("{}"), None).await.expect("created");
    let mut redis = server.connect().await.expect("a connection");
    let start = Instant::now();
    while redis::cmd("DBSIZE").query_async::<u64>(&mut redis).await.expect("a number") > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "it was not expired");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn scripts_are_reloaded_when_redis_has_lost_them() {
    let server = RedisServer::start().await;
    let store = redis_store(&server, LIFETIME);
    let id = any_session();
    store.create(id, data("{}"), None).await.expect("created");
    let mut redis = server.connect().await.expect("a connection");
    for number in 1..4 {
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut redis).await.expect("flushed");
        assert_eq!(
            store.append(id, message("hi"), None).await.expect("appended").value.message.number,
            number
        );
    }
}

#[tokio::test]
async fn all_operations_but_a_patch_are_one_round_trip() {
    let server = RedisServer::start().await;
    let store = redis_store(&server, LIFETIME);
    let mut redis = server.connect().await.expect("a connection");
    let (given, hi) = (data("{}"), message("hi"));
    let keyed = |number| Some(Keyed::append(key(number), &hi.text));
    // The first round loads the scripts.
    for round in 0..3 {
        let (plain, repeated) = (any_session(), any_session());
        let before = commands_from_clients(&mut redis).await;
        store.create(plain, given.clone(), None).await.expect("created");
        store
            .create(repeated, given.clone(), Some(Keyed::create(key(0), &given)))
            .await
            .expect("created");
        store
            .create(repeated, given.clone(), Some(Keyed::create(key(0), &given)))
            .await
            .expect("created before");
        store.read(plain).await.expect("found");
        store.append(plain, hi.clone(), None).await.expect("appended");
        store.append(repeated, hi.clone(), keyed(1)).await.expect("appended");
        store.append(repeated, hi.clone(), keyed(1)).await.expect("replayed");
        store.history(plain, Default::default(), Default::default()).await.expect("found");
        store.delete(plain).await.expect("deleted");
        store.delete(plain).await.expect("deleted before");
        // The query itself is a command, too.
        let came = commands_from_clients(&mut redis).await - before - 1;
        assert!(round == 0 || came == 10, "{came} for 10 operations");

        let before = commands_from_clients(&mut redis).await;
        let change = patch("{}");
        store.patch(repeated, &change, &Expected::Any, None).await.expect("patched");
        let keyed = Some(Keyed::patch(key(2), &change));
        store.patch(repeated, &change, &Expected::Any, keyed).await.expect("patched");
        store.patch(repeated, &change, &Expected::Any, keyed).await.expect("patched before");
        let came = commands_from_clients(&mut redis).await - before - 1;
        assert!(round == 0 || came == 2 + 2 + 1, "{came} for 2 patches and a repetition");
    }
}

/// The number of commands from clients, without those of scripts.
async fn commands_from_clients(redis: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String =
        redis::cmd("INFO").arg("commandstats").query_async(redis).await.expect("statistics");
    let calls = |command: &str| -> u64 {
        let line =
            info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next())
            .map_or(0, |calls| calls.parse().expect("a number"))
    };
    ["evalsha", "eval", "ping", "unwatch", "script|load", "info"].into_iter().map(calls).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_is_waited_for_and_every_write_is_applied_once() {
    let mut server = RedisServer::start().await;
    let store = Arc::new(redis_store(&server, LIFETIME));
    let id = any_session();
    store.create(id, data(r#"{"name":"Ada"}"#), None).await.expect("created");
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..20_u64 {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        let own = any_session();
        clients.spawn(async move {
            store.create(own, data("{}"), None).await.expect("created");
            let mut appended = 0;
            while !stop.load(Ordering::Relaxed) {
                appended += 1;
                store.append(own, message("hi"), None).await.expect("appended");
                store.patch(own, &patch("{}"), &Expected::Any, None).await.expect("patched");
                assert_eq!(store.read(own).await.expect("found").value.message_count, appended);
                // With concurrent writers, only a key identifies the outcome of a retry.
                let hi = message(&client.to_string());
                let keyed = Keyed::append(key(client << 32 | appended), &hi.text);
                store.append(id, hi, Some(keyed)).await.expect("appended");
            }
            appended
        });
    }
    for round in 0..6 {
        sleep(Duration::from_millis(300)).await;
        if round % 2 == 0 {
            server.stop()
        } else {
            server.crash()
        }
        sleep(Duration::from_millis(700)).await;
        server.restart().await;
    }
    sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let appended = clients.join_all().await.into_iter().sum::<u64>();
    assert!(appended > 100, "{appended}");
    assert_eq!(
        store.read(id).await.expect("found").value.message_count,
        appended,
        "each of them once"
    );
}

#[tokio::test]
async fn a_long_outage_is_waited_for_once_and_service_resumes_at_once() {
    let mut server = RedisServer::start().await;
    let store = redis_store(&server, LIFETIME);
    let id = any_session();
    store.create(id, data("{}"), None).await.expect("created");
    // Many at once, so that many connections are open when Redis dies.
    join_all((0..20).map(|_| store.append(id, message("hi"), None))).await.into_iter().for_each(
        |taken| {
            taken.expect("appended");
        },
    );
    server.crash();
    let is_away = |rejected: Result<_, AppendError>| {
        matches!(
            rejected,
            Err(AppendError::Store(StoreFault::Unavailable(_) | StoreFault::NoResponse(_)))
        )
    };
    let start = Instant::now();
    assert!(
        join_all((0..20).map(|_| store.append(id, message("lost"), None)))
            .await
            .into_iter()
            .all(is_away)
    );
    assert!(start.elapsed() >= Duration::from_secs(8), "{:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..20 {
        assert!(is_away(store.append(id, message("lost"), None).await));
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());

    server.restart().await;
    for read in join_all((0..40).map(|_| store.read(id))).await {
        let session = read.expect("no request uses a connection to the dead Redis").value;
        assert_eq!(session.message_count, 20);
    }
}

#[tokio::test]
async fn a_write_without_a_response_has_an_unknown_outcome() {
    let server = RedisServer::start().await;
    let app = app_on(&server);
    let id = app.create("Ada").await.session_id;
    app.post_message(&id, "loads the script into Redis").await;
    server.freeze();
    let posted = app.post(&path(Endpoint::Messages, &id), &json!({"message": "hi"})).await;
    let problem = assert_problem(&posted, ErrorCode::SessionStoreUnavailable);
    assert!(problem.detail.contains("outcome is unknown"), "{}", problem.detail);
    assert_eq!(posted.header("retry-after"), "1");
    let read = app.get(&path(Endpoint::Session, &id)).await;
    let problem = assert_problem(&read, ErrorCode::SessionStoreUnavailable);
    assert!(!problem.detail.contains("outcome"), "a read has no outcome: {}", problem.detail);
    server.resume();
    // It reached Redis, and was applied.
    wait_for_status(&app, &path(Endpoint::Session, &id), 200).await;
    assert_eq!(app.history(&id, "").await.messages.len(), 2);
}

#[tokio::test]
async fn a_write_that_no_replica_acknowledges_is_unknown_and_no_read_waits() {
    let server = RedisServer::start().await;
    for store in ["redis", "hybrid"] {
        let plain = spawn_with(&[("SESSION_STORE", store), ("SESSION_REDIS_URL", &server.url())]);
        let id = plain.create("Ada").await.session_id;
        let settings = [
            ("SESSION_STORE", store),
            ("SESSION_REDIS_URL", &server.url()),
            ("REDIS_ACK_REPLICAS", "1"),
        ];
        let strict = spawn_with(&settings);
        let posted = strict.post(&path(Endpoint::Messages, &id), &json!({"message": "hi"})).await;
        let problem = assert_problem(&posted, ErrorCode::SessionStoreUnavailable);
        assert!(problem.detail.contains("outcome is unknown"), "{}", problem.detail);
        assert_eq!(posted.header("retry-after"), "1");
        // The master has applied it.
        assert_eq!(strict.history(&id, "").await.messages.len(), 1);
    }
}

#[tokio::test]
async fn without_redis_requests_get_503_and_readiness_fails() {
    let mut server = RedisServer::start().await;
    let app = app_on(&server);
    let session = app.create("Ada").await.session_id;
    assert_eq!(app.get("/readyz").await.status, 200);
    server.crash();

    let away = ErrorCode::SessionStoreUnavailable;
    let target = path(Endpoint::Session, &session);
    for response in [
        app.get(&target).await,
        app.delete(&target).await,
        app.patch(&target, &json!({"client_data": {}})).await,
        app.post(&path(Endpoint::Messages, &session), &json!({"message": "hi"})).await,
        app.get(&path(Endpoint::History, &session)).await,
        app.post("/api/v1/stateful/sessions", &json!({})).await,
    ] {
        let problem = assert_problem(&response, away);
        assert_eq!(response.header("retry-after"), "1");
        assert!(
            !problem.detail.contains("socket") && !problem.detail.contains("os error"),
            "{}",
            problem.detail
        );
    }
    assert_eq!(app.get("/health").await.status, 200, "an instance stays in its pool");
    wait_for_status(&app, "/readyz", 503).await;
    let readiness = String::from_utf8(app.get("/readyz").await.body).expect("text");
    assert!(
        readiness.contains("session_store") && !readiness.contains(&server.url()),
        "{readiness}"
    );

    server.restart().await;
    let read = app.get(&target).await;
    assert_eq!((read.status, read.header("x-session-source")), (200, "redis"), "{read:?}");
    wait_for_status(&app, "/readyz", 200).await;
}

#[tokio::test]
async fn a_damaged_record_is_an_internal_error_and_no_outage() {
    let server = RedisServer::start().await;
    let store = redis_store(&server, LIFETIME);
    let id = any_session();
    store.create(id, data("{}"), None).await.expect("created");
    let mut redis = server.connect().await.expect("a connection");
    let meta = format!("session:{{{}}}:meta", id.session);
    redis::cmd("HSET")
        .arg(&meta)
        .arg("data")
        .arg("{")
        .exec_async(&mut redis)
        .await
        .expect("damaged");
    assert!(matches!(store.read(id).await, Err(ReadError::Store(StoreFault::Damaged(_)))));
    assert!(matches!(
        store.patch(id, &patch("{}"), &Expected::Any, None).await,
        Err(PatchError::Store(StoreFault::Damaged(_)))
    ));
    redis::cmd("SET").arg(&meta).arg("x").exec_async(&mut redis).await.expect("damaged");
    let read = store.read(id).await;
    assert!(matches!(read, Err(ReadError::Store(StoreFault::Damaged(_)))), "{read:?}");
}

#[tokio::test]
async fn redis_never_stores_an_id() {
    let server = RedisServer::start().await;
    let app = app_on(&server);
    let id: SessionId = app.create("Ada").await.session_id;
    app.post_message(&id, "hi").await;
    app.get(&path(Endpoint::Session, &id)).await;
    let mut redis = server.connect().await.expect("a connection");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("*").query_async(&mut redis).await.expect("keys");
    assert!(keys.len() == 2 && keys.iter().all(|key| !contains_secret(key, &id)), "{keys:?}");
    assert_eq!(app.get("/health").await.header("x-live-sessions"), "1");
    let fields: Vec<String> = redis::cmd("HVALS")
        .arg(format!("session:{{{}}}:meta", id.digest()))
        .query_async(&mut redis)
        .await
        .expect("values");
    assert!(!contains_secret(&fields.join(" "), &id), "{fields:?}");
}

#[tokio::test]
async fn an_outage_is_logged_once() {
    let mut server = RedisServer::start().await;
    let secret = ("SESSION_ID_SECRET", SECRET);
    let program =
        Program::start(&[("SESSION_STORE", "redis"), ("SESSION_REDIS_URL", &server.url()), secret]);
    let create = async |status: u16| {
        let response = send_json(program.addr, "POST", "/api/v1/stateful/sessions", "{}")
            .await
            .expect("a response");
        assert_eq!(response.status, status, "{response:?}");
    };
    create(201).await;
    server.crash();
    for _ in 0..20 {
        create(503).await;
    }
    server.restart().await;
    create(201).await;

    let log = program.stop();
    let logged = |level: &str| log.iter().filter(|line| line["level"] == level).collect::<Vec<_>>();
    assert_eq!((logged("WARN").len(), logged("ERROR").len()), (1, 0), "{log:#?}");
    let cause = logged("WARN")[0]["cause"].as_str().unwrap_or_default();
    assert!(!cause.is_empty(), "it has a cause: {log:#?}");
    let back = "the session store responds again";
    assert_eq!(log.iter().filter(|line| line["message"] == back).count(), 1, "{log:#?}");
}

/// An instance on this Redis.
pub(crate) fn app_on(server: &RedisServer) -> App {
    let secret = ("SESSION_ID_SECRET", SECRET);
    spawn_with(&[("SESSION_STORE", "redis"), ("SESSION_REDIS_URL", &server.url()), secret])
}

/// The shared secret of all instances of a test.
pub(crate) const SECRET: &str = "a secret of thirty-two characters";

pub(crate) async fn wait_for_status(app: &App, target: &str, status: u16) {
    let start = Instant::now();
    loop {
        let response = app.get(target).await;
        if response.status == status {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{target} stays {}", response.status);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_web::test]
async fn a_session_that_redis_lost_is_counted_and_one_that_ended_is_not() {
    let server = RedisServer::start().await;
    let (here, there) = (app_on(&server), app_on(&server));
    let (lost, deleted) =
        (here.create("Ada").await.session_id, here.create("Bob").await.session_id);
    let counted = async || {
        let metrics = here.get("/metrics").await;
        let text = String::from_utf8(metrics.body.to_vec()).expect("UTF-8");
        let line = text.lines().find_map(|line| line.strip_prefix("stateful_sessions_lost_total "));
        line.expect("the series exists from the start").to_owned()
    };
    assert_eq!(there.delete(&path(Endpoint::Session, &deleted)).await.status, 204);
    assert_problem(&here.get(&path(Endpoint::Session, &deleted)).await, ErrorCode::SessionNotFound);
    assert_eq!(counted().await, "0", "it has a tombstone");

    let mut redis = server.connect().await.expect("a connection");
    redis::cmd("FLUSHALL").exec_async(&mut redis).await.expect("flushed");
    for _ in 0..2 {
        assert_problem(
            &here.get(&path(Endpoint::Session, &lost)).await,
            ErrorCode::SessionNotFound,
        );
    }
    assert_eq!(counted().await, "1", "once for each session");
}
