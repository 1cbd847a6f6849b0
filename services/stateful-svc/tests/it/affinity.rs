//! Requests that were routed by a key other than the session's: they are served, and the session
//! stays at its home.

use proto_contracts::Endpoint;
use proto_contracts::stateful::Session;
use service_kit::testing::Response;

use crate::app::{App, path, spawn_with};
use crate::http_api::metrics;
use crate::redis_server::RedisServer;

const SESSIONS: &str = "/api/v1/stateful/sessions";
const CONVERSATIONS: &str = "/api/v1/stateful/conversations";
const KEY: &str = "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b01";
/// The session's key, and one whose home is another instance.
const HOME: &str = "0badcafe";
const STRAY: &str = "0badcaff";

/// A request that the gateway has routed by this key.
async fn routed(app: &App, method: &str, path: &str, affinity: &str, body: &str) -> Response {
    let mut headers = vec![("X-Affinity-Key", affinity), ("X-Session-Affinity", "required")];
    if path == SESSIONS {
        headers.push(("Idempotency-Key", KEY));
    }
    app.send(method, path, &headers, body).await
}

/// The number of handovers that the instance has waited for.
async fn handovers(app: &App) -> u64 {
    let metrics = metrics(app).await;
    let count =
        metrics.lines().find_map(|line| line.strip_prefix("stateful_handover_seconds_count "));
    count.and_then(|count| count.parse().ok()).expect("a count of handovers")
}

async fn two_hybrids(server: &RedisServer) -> [App; 2] {
    let url = server.url();
    let apps =
        [(); 2].map(|()| spawn_with(&[("SESSION_STORE", "hybrid"), ("SESSION_REDIS_URL", &url)]));
    // An instance that serves from memory has its lease.
    for app in &apps {
        let id = app.create("Ada").await.session_id;
        let path = path(Endpoint::Session, &id);
        let start = std::time::Instant::now();
        while app
            .send("GET", &path, &[("X-Session-Affinity", "required")], "")
            .await
            .header("x-session-source")
            != "memory"
        {
            assert!(start.elapsed().as_secs() < 20, "nothing is served from memory");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    apps
}

#[actix_web::test]
async fn a_repeated_create_leaves_the_session_at_its_home() {
    let server = RedisServer::start().await;
    let [home, other] = two_hybrids(&server).await;
    let created = routed(&home, "POST", SESSIONS, HOME, "{}").await;
    let id = created.json::<Session>().expect("a session").session_id;
    let session = path(Endpoint::Session, &id);
    routed(&home, "GET", &session, HOME, "").await;
    for _ in 0..10 {
        let again = routed(&other, "POST", SESSIONS, STRAY, "{}").await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
        assert_eq!((&again.body, again.header("x-affinity-key")), (&created.body, HOME));
        let read = routed(&home, "GET", &session, HOME, "").await;
        assert_eq!((read.status, read.header("x-session-source")), (200, "memory"));
    }
    assert_eq!((handovers(&home).await, handovers(&other).await), (0, 0));
}

#[actix_web::test]
async fn a_misrouted_conversation_does_not_take_the_session_over() {
    let server = RedisServer::start().await;
    let [home, other] = two_hybrids(&server).await;
    let created = routed(&home, "POST", SESSIONS, HOME, "{}").await;
    let id = created.json::<Session>().expect("a session").session_id;
    let session = path(Endpoint::Session, &id);
    let conversation = format!(r#"{{"session_id":"{}","message":"hi"}}"#, id.expose());
    const ROUNDS: u64 = 10;
    for round in 1..=ROUNDS {
        let posted = routed(&other, "POST", CONVERSATIONS, STRAY, &conversation).await;
        assert_eq!(
            (posted.status, posted.header("x-affinity-key")),
            (201, HOME),
            "the response names the session's key"
        );
        for source in ["redis", "memory"] {
            let read = routed(&home, "GET", &session, HOME, "").await;
            assert_eq!((read.status, read.header("x-session-source")), (200, source));
            assert_eq!(read.json::<Session>().expect("a session").message_count, round);
        }
    }
    // A write elsewhere waits for the drop at the home; a read at the home waits for nothing.
    assert_eq!((handovers(&home).await, handovers(&other).await), (0, ROUNDS));

    // Without reads in between, only the first write finds a copy to drop.
    for _ in 0..ROUNDS {
        assert_eq!(routed(&other, "POST", CONVERSATIONS, STRAY, &conversation).await.status, 201);
    }
    assert_eq!((handovers(&home).await, handovers(&other).await), (0, ROUNDS + 1));

    // With the key that the response named, it reaches the home.
    let posted = routed(&home, "POST", CONVERSATIONS, HOME, &conversation).await;
    assert_eq!((posted.status, posted.header("x-affinity-key")), (201, HOME));
    assert_eq!(handovers(&home).await, 0);
}
