//! A write whose reply from Redis was lost gets the same response as its repetitions, byte for
//! byte.

use proto_contracts::Endpoint;
use proto_contracts::stateful::Session;
use service_kit::testing::Response;

use crate::app::{App, path, spawn_with};
use crate::redis_proxy::RedisProxy;
use crate::redis_server::RedisServer;
use crate::redis_store::SECRET;

const SESSIONS: &str = "/api/v1/stateful/sessions";
/// Headers that differ between equal responses.
const OF_THE_REQUEST: [&str; 4] = ["date", "x-request-id", "idempotency-replayed", "connection"];

/// A service that reaches Redis through this proxy, and one that reaches it directly.
fn services(store: &str, server: &RedisServer, proxy: &RedisProxy) -> [App; 2] {
    [proxy.url(), server.url()].map(|url| {
        spawn_with(&[
            ("SESSION_STORE", store),
            ("SESSION_REDIS_URL", &url),
            ("SESSION_ID_SECRET", SECRET),
        ])
    })
}

/// Asserts that the second response repeats the first.
#[track_caller]
fn assert_same(first: &Response, second: &Response) {
    let lasting = |response: &Response| {
        let mut headers = response.headers.clone();
        headers.retain(|name, _| !OF_THE_REQUEST.contains(&name.as_str()));
        (response.status, headers, String::from_utf8_lossy(&response.body).into_owned())
    };
    assert_eq!(lasting(first), lasting(second));
}

struct Write<'a> {
    method: &'a str,
    path: &'a str,
    body: &'a str,
    /// A part of its command to Redis, and the number of such commands before it.
    command: (&'a str, usize),
}

impl Write<'_> {
    async fn send(&self, app: &App, key: Option<&str>) -> Response {
        let routed = ("X-Session-Affinity", "required");
        let keyed: Vec<_> =
            key.map(|key| ("Idempotency-Key", key)).into_iter().chain([routed]).collect();
        app.send(self.method, self.path, &keyed, self.body).await
    }

    /// Sends it through `here`, with `cut` losing the reply, and repeats it through both.
    async fn check(
        &self,
        [here, there]: &[App; 2],
        proxy: &RedisProxy,
        cut: bool,
        key: Option<&str>,
    ) -> Response {
        if cut {
            proxy.cut_reply_to(self.command.0, self.command.1);
        }
        let first = self.send(here, key).await;
        assert!(proxy.was_cut(), "{} {}", self.method, self.path);
        assert!((200..300).contains(&first.status), "{first:?}");
        assert_eq!(first.header("idempotency-replayed"), "");
        if key.is_some() {
            for app in [here, there, here] {
                let again = self.send(app, key).await;
                assert_eq!(again.header("idempotency-replayed"), "true", "{again:?}");
                assert_same(&first, &again);
            }
        }
        first
    }
}

#[actix_web::test]
async fn a_response_after_a_lost_reply_is_the_one_that_is_replayed() {
    for store in ["redis", "hybrid"] {
        let server = RedisServer::start().await;
        let proxy = RedisProxy::to(&server);
        let apps = services(store, &server, &proxy);
        // The first round loads the scripts.
        for (round, cut, keyed) in [(0, false, true), (1, true, true), (2, true, false)] {
            let key = |number: u32| {
                keyed.then(|| format!("6f1d5a0e-4a53-4a9c-8a54-0d5c{round:04x}{number:04x}"))
            };
            let given = format!(r#"{{"client_data":{{"name":"Ada","round":"{store} {round}"}}}}"#);
            let marker = format!(r#""round":"{store} {round}""#);
            let create =
                Write { method: "POST", path: SESSIONS, body: &given, command: (&marker, 0) };
            let created = create.check(&apps, &proxy, cut, key(1).as_deref()).await;
            let session = created.json::<Session>().expect("a session");
            let id = session.session_id;
            assert_eq!(created.header("x-affinity-key"), id.affinity_key().to_string());
            let (of_session, messages) =
                (path(Endpoint::Session, &id), path(Endpoint::Messages, &id));
            let conversation =
                format!(r#"{{"session_id":"{}","message":"how are you?"}}"#, id.expose());

            let post = Write {
                method: "POST",
                path: &messages,
                body: r#"{"message":"hi"}"#,
                command: ("hi", 0),
            };
            post.check(&apps, &proxy, cut, key(2).as_deref()).await;
            let path = "/api/v1/stateful/conversations";
            let converse =
                Write { method: "POST", path, body: &conversation, command: ("how are you?", 0) };
            converse.check(&apps, &proxy, cut, key(3).as_deref()).await;
            let body = r#"{"client_data":{"name":"Éva"}}"#;
            let patch = Write { method: "PATCH", path: &of_session, body, command: ("Éva", 0) };
            let patched = patch.check(&apps, &proxy, cut, key(4).as_deref()).await;
            let read = apps[1].get(&of_session).await;
            assert_eq!(read.header("etag"), patched.header("etag"), "nothing was applied twice");
            assert_eq!(read.json::<Session>().expect("a session").version, 4);

            let record = format!("session:{{{}}}:meta", id.digest());
            let delete =
                Write { method: "DELETE", path: &of_session, body: "", command: (&record, 0) };
            let deleted = delete.check(&apps, &proxy, cut, None).await;
            assert_same(&deleted, &delete.send(&apps[1], None).await);
            assert_eq!(apps[1].get(&of_session).await.status, 404);
        }
    }
}

/// The step before the create: the reply with the reserved id.
#[actix_web::test]
async fn a_create_whose_reservation_reply_was_lost_creates_one_session() {
    for store in ["redis", "hybrid"] {
        let server = RedisServer::start().await;
        let proxy = RedisProxy::to(&server);
        let apps = services(store, &server, &proxy);
        for (round, cut) in [(0, false), (1, true), (2, true)] {
            let key = format!("6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a{round:04x}");
            let create =
                Write { method: "POST", path: SESSIONS, body: "{}", command: ("reserved:", 0) };
            create.check(&apps, &proxy, cut, Some(&key)).await;
        }
    }
}

/// The response to an operation with a lost reply has the times of the operation, not of the retry.
#[actix_web::test]
async fn an_operation_whose_reply_was_lost_keeps_its_times() {
    for store in ["redis", "hybrid"] {
        let server = RedisServer::start().await;
        let proxy = RedisProxy::to(&server);
        let apps = services(store, &server, &proxy);
        for cut in [false, true] {
            let create =
                Write { method: "POST", path: SESSIONS, body: "{}", command: ("session:", 0) };
            let session =
                create.check(&apps, &proxy, cut, None).await.json::<Session>().expect("a session");
            let idle = session.expires_at.to_jiff().duration_since(session.created_at.to_jiff());
            assert_eq!(idle.as_secs(), 1800);
            let path = path(Endpoint::Session, &session.session_id);
            let body = r#"{"client_data":{"a":1}}"#;
            let patch = Write { method: "PATCH", path: &path, body, command: (r#"{"a":1}"#, 0) };
            let session =
                patch.check(&apps, &proxy, cut, None).await.json::<Session>().expect("a session");
            let [expires_at, last_activity] =
                [session.expires_at, session.last_activity].map(|time| time.to_jiff());
            assert_eq!(expires_at.duration_since(last_activity), idle);
        }
    }
}
