//! `GET` and `DELETE /sessions`, over HTTP.

use proto_contracts::stateful::{Session, SessionPage};
use proto_contracts::{Endpoint, ErrorCode, SessionId};
use service_kit::testing::issuer::Issuer;

use super::{SESSIONS, app_of, with};
use crate::app::{App, assert_problem, path, spawn_app};

async fn create(app: &App, token: &str) -> SessionId {
    let created = with(app, Some(token), "POST", SESSIONS, "{}").await;
    created.json::<Session>().expect("a session").session_id
}

async fn list(app: &App, token: &str, query: &str) -> SessionPage {
    let page = with(app, Some(token), "GET", &format!("{SESSIONS}{query}"), "").await;
    assert_eq!((page.status, page.header("cache-control")), (200, "no-store"), "{page:?}");
    page.json().expect("a page")
}

async fn exists(app: &App, token: &str, id: &SessionId) -> bool {
    with(app, Some(token), "GET", &path(Endpoint::Session, id), "").await.status == 200
}

#[actix_web::test]
async fn a_user_lists_and_ends_its_own_sessions() {
    let issuer = Issuer::new();
    let app = app_of(&issuer);
    let (ada, bob) = (issuer.token("ada"), issuer.token("bob"));
    let ids = [create(&app, &ada).await, create(&app, &ada).await, create(&app, &ada).await];
    let other = create(&app, &bob).await;
    let open = app.create("nobody").await.session_id;

    let first = list(&app, &ada, "?limit=2").await;
    let cursor = first.next_cursor.expect("a next page");
    let second = list(&app, &ada, &format!("?limit=2&cursor={cursor}")).await;
    assert_eq!((first.sessions.len(), second.sessions.len(), second.next_cursor), (2, 1, None));
    let listed: Vec<_> = first.sessions.iter().chain(&second.sessions).collect();
    for id in &ids {
        let shown = listed.iter().find(|shown| shown.handle == id.digest().to_string());
        assert_eq!(shown.expect("listed").affinity_key, id.affinity_key());
    }
    let page = with(&app, Some(&ada), "GET", SESSIONS, "").await;
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(ids.iter().all(|id| !text.contains(&id.expose()[9..])), "no id is shown: {text}");

    // Another user's handle, and one of a session without owner, name nothing.
    for id in [&other, &open] {
        let target = format!("{SESSIONS}?handle={}", id.digest());
        let rejected = with(&app, Some(&ada), "DELETE", &target, "").await;
        assert_problem(&rejected, ErrorCode::SessionNotFound);
    }
    let target = format!("{SESSIONS}?handle={}", ids[0].digest());
    assert_eq!(with(&app, Some(&ada), "DELETE", &target, "").await.status, 204);
    assert_problem(
        &with(&app, Some(&ada), "DELETE", &target, "").await,
        ErrorCode::SessionNotFound,
    );
    assert!(!exists(&app, &ada, &ids[0]).await && exists(&app, &ada, &ids[1]).await);

    let ended = with(&app, Some(&ada), "DELETE", SESSIONS, "").await;
    assert_eq!(
        (ended.status, ended.body.len(), ended.header("cache-control")),
        (204, 0, "no-store")
    );
    assert_eq!(with(&app, Some(&ada), "DELETE", SESSIONS, "").await.status, 204);
    assert_eq!(list(&app, &ada, "").await.sessions, []);
    assert!(!exists(&app, &ada, &ids[1]).await && !exists(&app, &ada, &ids[2]).await);
    assert!(exists(&app, &bob, &other).await && exists(&app, &bob, &open).await);
    let metrics = app.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let counted = metrics.lines().find(|line| {
        line.starts_with("stateful_session_writes_total{act=\"delete\"")
            && line.contains("outcome=\"ok\"")
    });
    assert!(counted.is_some_and(|line| line.ends_with(" 3")), "{counted:?}");
}

#[actix_web::test]
async fn nobody_has_no_sessions_to_list() {
    let issuer = Issuer::new();
    for app in [app_of(&issuer), spawn_app()] {
        for method in ["GET", "DELETE"] {
            let rejected = with(&app, None, method, SESSIONS, "").await;
            assert_problem(&rejected, ErrorCode::Unauthorized);
            assert_eq!(rejected.header("www-authenticate"), "Bearer");
        }
    }
}

#[actix_web::test]
async fn hostile_queries_are_rejected() {
    let issuer = Issuer::new();
    let app = app_of(&issuer);
    let ada = issuer.token("ada");
    let id = create(&app, &ada).await;
    let digest = id.digest().to_string();
    let long = "9".repeat(2000);
    for (query, code) in [
        ("limit=0".to_owned(), ErrorCode::InvalidQuery),
        ("limit=101".to_owned(), ErrorCode::InvalidQuery),
        ("limit=-1".to_owned(), ErrorCode::InvalidQuery),
        ("sort=asc".to_owned(), ErrorCode::InvalidQuery),
        ("cursor=".to_owned(), ErrorCode::InvalidCursor),
        ("cursor=%00".to_owned(), ErrorCode::InvalidCursor),
        (format!("cursor={digest}"), ErrorCode::InvalidCursor),
        (format!("cursor={long}-{digest}"), ErrorCode::InvalidCursor),
        (format!("cursor=-{digest}"), ErrorCode::InvalidCursor),
        (format!("cursor=01-{digest}"), ErrorCode::InvalidCursor),
    ] {
        let target = format!("{SESSIONS}?{query}");
        assert_problem(&with(&app, Some(&ada), "GET", &target, "").await, code);
    }
    for query in [
        "handle=".to_owned(),
        "handle=%00".to_owned(),
        format!("handle={}", digest.to_uppercase() + "0"),
        format!("handle={}", id.expose()),
        format!("handle={digest}&handle={digest}"),
        format!("hande={digest}"),
        "limit=1".to_owned(),
    ] {
        let target = format!("{SESSIONS}?{query}");
        assert_problem(
            &with(&app, Some(&ada), "DELETE", &target, "").await,
            ErrorCode::InvalidQuery,
        );
    }
    // Legacy paths ignore unknown parameters, but not where that would end all sessions.
    let legacy = format!("/api/stateful/session?hande={digest}");
    assert_problem(&with(&app, Some(&ada), "DELETE", &legacy, "").await, ErrorCode::InvalidQuery);
    assert!(exists(&app, &ada, &id).await, "no malformed request ended anything");
}
