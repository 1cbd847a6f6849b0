//! `POST /sessions/{session_id}/claim`, over HTTP.

use proto_contracts::stateful::ClaimedSession;
use proto_contracts::{Endpoint, ErrorCode};
use service_kit::testing::issuer::Issuer;

use super::{app_of, with};
use crate::app::{assert_problem, path, spawn_with};
use crate::http_api::contains_secret;
use crate::redis_server::RedisServer;
use crate::redis_store::SECRET;

#[actix_web::test]
async fn a_claim_gives_the_session_a_new_id_that_redis_does_not_hold() {
    let (issuer, server) = (Issuer::new(), RedisServer::start().await);
    let (pem, url) = (issuer.pem(), server.url());
    let app = spawn_with(&[
        ("SESSION_STORE", "redis"),
        ("SESSION_REDIS_URL", &url),
        ("SESSION_ID_SECRET", SECRET),
        ("JWT_PUBLIC_KEY", &pem),
    ]);
    let ada = issuer.token("ada");
    let old = app.create("Ada").await.session_id;
    app.post_message(&old, "hi").await;
    let target = path(Endpoint::Claim, &old);
    let claimed = with(&app, Some(&ada), "POST", &target, "{}").await;
    assert_eq!((claimed.status, claimed.header("cache-control")), (200, "no-store"));
    let new = claimed.json::<ClaimedSession>().expect("an id").session_id;
    assert_eq!(new.affinity_key(), old.affinity_key());
    assert_eq!(claimed.header("x-affinity-key"), old.affinity_key().to_string());
    let again = with(&app, Some(&ada), "POST", &target, "").await;
    assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &claimed.body));
    assert_problem(&app.get(&path(Endpoint::Session, &new)).await, ErrorCode::SessionNotFound);
    assert_problem(&app.get(&path(Endpoint::Session, &old)).await, ErrorCode::SessionNotFound);
    let history = with(&app, Some(&ada), "GET", &path(Endpoint::History, &new), "").await;
    assert_eq!(history.status, 200);

    let mut redis = server.connect().await.expect("a connection");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("*").query_async(&mut redis).await.expect("keys");
    for key in &keys {
        let kind: String =
            redis::cmd("TYPE").arg(key).query_async(&mut redis).await.expect("a type");
        let values: Vec<String> = if kind == "hash" {
            redis::cmd("HGETALL").arg(key).query_async(&mut redis).await.expect("fields")
        } else {
            Vec::new()
        };
        let text = format!("{key} {}", values.join(" "));
        assert!(!contains_secret(&text, &old) && !contains_secret(&text, &new), "{text}");
    }
}

#[actix_web::test]
async fn only_users_claim_and_only_sessions_without_owner() {
    let issuer = Issuer::new();
    let app = app_of(&issuer);
    let (ada, bob) = (issuer.token("ada"), issuer.token("bob"));
    let id = app.create("Ada").await.session_id;
    let target = path(Endpoint::Claim, &id);
    assert_problem(&with(&app, None, "POST", &target, "{}").await, ErrorCode::Unauthorized);
    for (body, code) in [
        ("[]", ErrorCode::InvalidBody),
        (r#"{"owner":"bob"}"#, ErrorCode::InvalidBody),
        ("{", ErrorCode::MalformedJson),
    ] {
        assert_problem(&with(&app, Some(&ada), "POST", &target, body).await, code);
    }
    let malformed = target.replace('-', "_");
    let rejected = with(&app, Some(&ada), "POST", &malformed, "{}").await;
    assert_problem(&rejected, ErrorCode::InvalidSessionId);
    assert_eq!(app.get(&path(Endpoint::Session, &id)).await.status, 200, "still nobody's");
    assert_eq!(with(&app, Some(&ada), "POST", &target, "{}").await.status, 200);
    let late = with(&app, Some(&bob), "POST", &target, "{}").await;
    assert_problem(&late, ErrorCode::SessionNotFound);
}
