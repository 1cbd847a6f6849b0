//! The hybrid store alone: reads from memory that are never stale.

use std::time::{Duration, Instant};

use proto_contracts::Endpoint;
use serde_json::json;
use stateful_svc::domain::clock::BootClock;
use stateful_svc::domain::lifetime::Lifetime;
use stateful_svc::store::hybrid::HybridStore;
use stateful_svc::store::{Access, ReadError, Routing, SessionStore, Source, StoreFault};

use crate::app::{App, path, spawn_with};
use crate::redis_server::RedisServer;
use crate::subject::{
    LIFETIME, any_session, as_subject, data, holds_lease, hybrid_store, message, patch, redis_store,
};

type Hybrid = HybridStore<BootClock>;

pub(crate) async fn hybrid(server: &RedisServer, lifetime: Lifetime) -> Hybrid {
    let store = hybrid_store(server, lifetime, BootClock);
    holds_lease(&store).await;
    store
}

/// Two instances, and a session that is hot in the first.
async fn two_instances(server: &RedisServer) -> (Hybrid, Hybrid, Access) {
    let (home, other) = (hybrid(server, LIFETIME).await, hybrid(server, LIFETIME).await);
    let id = any_session();
    home.create(id, data(r#"{"name":"Ada"}"#), None).await.expect("created");
    assert_eq!(hot_version(&home, id), Some(1));
    (home, other, id)
}

fn hot_version(store: &Hybrid, id: Access) -> Option<u64> {
    let found = store.peek(id)?;
    assert_eq!(found.source, Source::Memory);
    Some(found.value.version)
}

async fn version(store: &dyn SessionStore, id: Access) -> (u64, Source) {
    let read = store.read(id).await.expect("found");
    (read.value.version, read.source)
}

fn round_robin(id: Access) -> Access {
    Access { routing: Routing::RoundRobin, ..id }
}

#[tokio::test]
async fn each_write_leaves_a_copy_at_home_that_is_what_redis_holds() {
    let server = RedisServer::start().await;
    let (home, plain) = (hybrid(&server, LIFETIME).await, redis_store(&server, LIFETIME));
    let id = any_session();
    home.create(id, data(r#"{"name":"Ada"}"#), None).await.expect("created");
    for operation in ["create", "append", "patch", "read"] {
        let succeeded = match operation {
            "append" => home.append(id, message("hi"), None).await.map(drop).is_ok(),
            "patch" => home
                .patch(
                    id,
                    &patch(r#"{"a":1}"#),
                    &stateful_svc::domain::session_tag::Expected::Any,
                    None,
                )
                .await
                .map(drop)
                .is_ok(),
            "read" => home.read(id).await.is_ok(),
            _ => true,
        };
        assert!(succeeded, "{operation}");
        let hot = home.peek(id).unwrap_or_else(|| panic!("no copy after {operation}")).value;
        let truth = plain.read(id).await.expect("found").value;
        // The read from Redis has just extended the expiry.
        assert!(hot.expires_at <= truth.expires_at);
        let hot = stateful_svc::domain::session::Session { expires_at: truth.expires_at, ..hot };
        assert_eq!(hot, truth, "after {operation}");
    }
}

#[tokio::test]
async fn only_sticky_requests_of_permitted_callers_are_served_from_memory() {
    let server = RedisServer::start().await;
    let home = hybrid(&server, LIFETIME).await;
    let ada = as_subject(any_session(), "ada");
    home.create(ada, data("{}"), None).await.expect("created");
    assert_eq!(hot_version(&home, ada), Some(1));
    assert_eq!(hot_version(&home, round_robin(ada)), None);
    assert_eq!(version(&home, round_robin(ada)).await, (1, Source::Redis));
    assert_eq!(hot_version(&home, ada), Some(1), "a round-robin read leaves the copy");
    for stranger in [
        as_subject(ada, "bob"),
        Access { caller: stateful_svc::domain::caller::Caller::Anonymous, ..ada },
    ] {
        assert_eq!(hot_version(&home, stranger), None);
        assert!(matches!(home.read(stranger).await, Err(ReadError::NotFound)));
    }
    assert_eq!(version(&home, ada).await.0, 1);
}

#[tokio::test]
async fn a_write_elsewhere_drops_the_copy_before_its_response() {
    let server = RedisServer::start().await;
    let (home, other, id) = two_instances(&server).await;

    other.append(id, message("through the other instance"), None).await.expect("appended");
    assert_eq!(hot_version(&home, id), None);
    assert_eq!(hot_version(&other, id), None, "it had no copy to add the message to");
    assert_eq!(version(&other, id).await, (2, Source::Redis));
    assert_eq!(hot_version(&other, id), Some(2));

    assert_eq!(
        version(&home, id).await,
        (2, Source::Redis),
        "a read at the home takes the session back"
    );
    assert_eq!((hot_version(&home, id), hot_version(&other, id)), (Some(2), None));

    other.append(round_robin(id), message("in passing"), None).await.expect("appended");
    assert_eq!((hot_version(&home, id), hot_version(&other, id)), (None, None));
    assert_eq!(version(&home, id).await, (3, Source::Redis));

    redis_store(&server, LIFETIME)
        .append(id, message("by a store without copies"), None)
        .await
        .expect("appended");
    assert_eq!(hot_version(&home, id), None);
    assert_eq!(version(&home, id).await, (4, Source::Redis));

    other.delete(id).await.expect("deleted");
    assert_eq!(hot_version(&home, id), None);
    assert!(matches!(home.read(id).await, Err(ReadError::NotFound)));
}

#[tokio::test]
async fn a_read_from_memory_keeps_the_session_alive_and_only_that() {
    let server = RedisServer::start().await;
    let lifetime = Lifetime { idle: Duration::from_secs(2), ..LIFETIME };
    let home = hybrid(&server, lifetime).await;
    let id = any_session();
    let created = home.create(id, data("{}"), None).await.expect("created").value;
    let start = Instant::now();
    let (mut from_memory, mut reads) = (0, 0);
    while start.elapsed() < 2 * lifetime.idle {
        let read = home.read(id).await.expect("it is in use");
        from_memory += u32::from(read.source == Source::Memory);
        reads += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(from_memory * 10 > reads * 9, "{from_memory} of {reads}");
    let last = home.peek(id).expect("hot").value;
    assert!(last.expires_at > created.expires_at && last.last_activity == created.last_activity);

    tokio::time::sleep(lifetime.idle + Duration::from_millis(300)).await;
    assert_eq!(hot_version(&home, id), None);
    assert!(matches!(home.read(id).await, Err(ReadError::NotFound)));
}

#[tokio::test]
async fn without_redis_hot_sessions_are_served_as_unverified_and_writes_fail() {
    let mut server = RedisServer::start().await;
    let home = hybrid(&server, LIFETIME).await;
    let (hot, cold) = (any_session(), any_session());
    for id in [hot, cold] {
        home.create(id, data("{}"), None).await.expect("created");
    }
    redis_store(&server, LIFETIME)
        .append(cold, message("elsewhere"), None)
        .await
        .expect("appended");
    server.crash();
    let start = Instant::now();
    while home.holds_lease() {
        assert!(start.elapsed() < Duration::from_secs(5), "a lease expires without renewals");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(hot_version(&home, hot), None);
    for _ in 0..3 {
        assert_eq!(version(&home, hot).await, (1, Source::Unverified));
    }
    assert!(matches!(
        home.read(round_robin(hot)).await,
        Err(ReadError::Store(StoreFault::Unavailable(_)))
    ));
    assert!(matches!(home.read(cold).await, Err(ReadError::Store(StoreFault::Unavailable(_)))));
    assert!(home.append(hot, message("lost"), None).await.is_err());

    server.restart().await;
    holds_lease(&home).await;
    assert_eq!(hot_version(&home, hot), None, "after a restart it counts as another Redis");
    assert_eq!(version(&home, hot).await, (1, Source::Redis));
    assert_eq!(hot_version(&home, hot), Some(1));
}

#[tokio::test]
async fn a_pause_of_redis_costs_no_copy() {
    let server = RedisServer::start().await;
    let home = hybrid(&server, LIFETIME).await;
    let id = any_session();
    home.create(id, data("{}"), None).await.expect("created");
    server.freeze();
    let start = Instant::now();
    while home.holds_lease() {
        assert!(start.elapsed() < Duration::from_secs(5), "a lease expires without renewals");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(hot_version(&home, id), None);
    server.resume();
    holds_lease(&home).await;
    assert_eq!(hot_version(&home, id), Some(1), "no instance has ended its lease");
}

#[actix_web::test]
async fn the_source_is_in_the_response_and_in_the_metrics() {
    let server = RedisServer::start().await;
    let app = hybrid_app(&server);
    let sticky = [("X-Session-Affinity", "required")];
    let created = app.send("POST", "/api/v1/stateful/sessions", &sticky, "{}").await;
    assert_eq!((created.status, created.header("x-session-source")), (201, "created"));
    let session: proto_contracts::stateful::Session = created.json().expect("a session");
    let target = path(Endpoint::Session, &session.session_id);

    let start = Instant::now();
    while app.send("GET", &target, &sticky, "").await.header("x-session-source") != "memory" {
        assert!(start.elapsed() < Duration::from_secs(10), "it is never hot");
    }
    let plain = app.get(&target).await;
    assert_eq!((plain.status, plain.header("x-session-source")), (200, "redis"));
    let hot = app.send("GET", &target, &sticky, "").await;
    assert_eq!(
        (hot.header("x-session-source"), hot.header("etag")),
        ("memory", plain.header("etag"))
    );
    let unchanged = [sticky[0], ("If-None-Match", plain.header("etag"))];
    assert_eq!(app.send("GET", &target, &unchanged, "").await.status, 304);
    app.patch(&target, &json!({"client_data": {"a": 1}})).await;

    let metrics = String::from_utf8(app.get("/metrics").await.body).expect("text");
    for line in [
        "stateful_session_reads_total{source=\"memory\"} 3",
        "stateful_session_reads_total{source=\"redis\"}",
        "stateful_hot_sessions 1",
        "stateful_hot_bytes ",
        "stateful_lease_held 1",
        "stateful_handover_seconds_count 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

pub(crate) fn hybrid_app(server: &RedisServer) -> App {
    spawn_with(&[("SESSION_STORE", "hybrid"), ("SESSION_REDIS_URL", &server.url())])
}
