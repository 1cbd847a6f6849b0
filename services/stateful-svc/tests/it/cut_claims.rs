//! A claim whose instance loses a reply of Redis, or is killed in between: one id lives, the same
//! for each repetition.

use proto_contracts::stateful::{ClaimedSession, Session, SessionPage};
use proto_contracts::{Endpoint, ErrorCode, SessionId};
use service_kit::testing::Response;
use service_kit::testing::issuer::Issuer;
use stateful_svc::domain::keyed::Keyed;
use stateful_svc::store::{AdoptError, SessionStore, WriteOutcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::{App, assert_problem, path, send_with, spawn_with};
use crate::behaviour::{all_messages, append_messages, assert_gone};
use crate::claims::{claim, listed};
use crate::program::Program;
use crate::redis_proxy::RedisProxy;
use crate::redis_server::RedisServer;
use crate::redis_store::SECRET;
use crate::subject::{LIFETIME, any_session, as_subject, data, key, redis_store};

#[tokio::test]
async fn a_claim_whose_reply_is_lost_is_executed_once() {
    let server = RedisServer::start().await;
    let proxy = RedisProxy::to(&server);
    let (store, beside) = (proxy.store(), redis_store(&server, LIFETIME));
    for keyed in [None, Some(Keyed::claim(key(1)))] {
        // Loads the scripts into Redis, and opens a connection.
        let warm = any_session();
        store.create(warm, data("{}"), None).await.expect("created");
        claim(&store, as_subject(warm, "warm"), None).await.expect("claimed");
        let name = if keyed.is_some() { "ada" } else { "eve" };
        let mut lost = 0;
        // Each reply in turn: to the look, to the index, to the claim, and to what follows.
        loop {
            let old = any_session();
            let (owner, other) = (as_subject(old, name), as_subject(old, "bob"));
            beside.create(old, data("{}"), None).await.expect("created");
            let messages = append_messages(&beside, old, 2).await;
            proxy.cut_at_once_after(lost);
            let claimed = claim(&store, owner, keyed).await.expect("claimed");
            if !proxy.was_cut() {
                break;
            }
            lost += 1;
            assert_eq!(claimed.outcome, WriteOutcome::Applied, "reply {lost}");
            let new = claimed.value;
            for caller in [old, owner, other] {
                assert_gone(&beside, caller).await;
            }
            assert_eq!(all_messages(&beside, new, 50).await, messages, "reply {lost}");
            let again = claim(&beside, owner, keyed).await.expect("claimed before");
            assert_eq!((again.value, again.outcome), (new, WriteOutcome::Replayed));
            let theirs = claim(&beside, other, None).await;
            assert!(matches!(theirs, Err(AdoptError::NotFound)), "{theirs:?}");
            assert!(listed(&beside, owner).await.contains(&new.session), "reply {lost}");
        }
        assert!(lost >= 3, "a claim awaits at least three replies, not {lost}");
        let all = listed(&beside, as_subject(any_session(), name)).await;
        assert_eq!(all.len(), lost + 1, "each claim left one id in the index");
    }
}

/// Sends a claim, and ignores what becomes of its connection.
async fn send_claim(addr: std::net::SocketAddr, old: SessionId, headers: String) {
    let target = path(Endpoint::Claim, &old);
    let head =
        format!("POST {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut response = Vec::new();
    let _broken = stream.read_to_end(&mut response).await;
}

async fn with(app: &App, token: &str, method: &str, target: &str, key: Option<&str>) -> Response {
    let credentials = format!("Bearer {token}");
    let mut headers = vec![("Authorization", credentials.as_str())];
    headers.extend(key.map(|key| ("Idempotency-Key", key)));
    app.send(method, target, &headers, "").await
}

/// The process is killed when Redis has executed a step, and its reply was not yet delivered.
#[actix_web::test]
async fn a_claim_of_a_killed_instance_is_completed_by_its_repetition() {
    let (issuer, server) = (Issuer::new(), RedisServer::start().await);
    let proxy = RedisProxy::to(&server);
    let (pem, url, behind) = (issuer.pem(), server.url(), proxy.url());
    let settings = |url| {
        [
            ("SESSION_STORE", "hybrid"),
            ("SESSION_REDIS_URL", url),
            ("SESSION_ID_SECRET", SECRET),
            ("JWT_PUBLIC_KEY", pem.as_str()),
        ]
    };
    let beside = spawn_with(&settings(&url));
    let token = issuer.token("ada");
    let key = "6f1d5a0e-4a53-4a9c-8a54-0d5c1c3a0b01";
    let mut claimed = Vec::new();
    // The look and the claim name the old id's record, the index its owner.
    for (step, nth) in [("meta", 0), ("owned:", 0), ("meta", 1)] {
        let program = Program::start(&settings(&behind));
        let old = beside.create("Ada").await.session_id;
        beside.post_message(&old, "hi").await;
        // From now on the killed instance has the copy.
        let target = path(Endpoint::Session, &old);
        assert_eq!(send_with(program.addr, "GET", &target, &[], "").await.status, 200);
        let marker = match step {
            "meta" => format!("session:{{{}}}:meta", old.digest()),
            other => other.to_owned(),
        };
        let (is_done, go_on) = proxy.order(&marker, nth);
        let headers = format!("Authorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n");
        let request = tokio::spawn(send_claim(program.addr, old.clone(), headers));
        is_done.await.expect("Redis has executed the step");
        program.kill();
        go_on.send(()).expect("the proxy waits");
        request.await.expect("sent");
        drop(program);

        let target = path(Endpoint::Claim, &old);
        let again = with(&beside, &token, "POST", &target, Some(key)).await;
        assert_eq!(again.status, 200, "{step} {nth}: {again:?}");
        let is_replay = again.header("idempotency-replayed") == "true";
        assert_eq!(is_replay, (step, nth) == ("meta", 1), "executed by the killed instance");
        let new = again.json::<ClaimedSession>().expect("an id").session_id;
        assert_ne!(new, old);
        assert_eq!(new.affinity_key(), old.affinity_key());
        let third = with(&beside, &token, "POST", &target, Some(key)).await;
        assert_eq!((third.status, &third.body), (200, &again.body));
        for token in [None, Some(&token)] {
            let read = match token {
                None => beside.get(&path(Endpoint::Session, &old)).await,
                Some(token) => {
                    with(&beside, token, "GET", &path(Endpoint::Session, &old), None).await
                }
            };
            assert_problem(&read, ErrorCode::SessionNotFound);
        }
        let read = with(&beside, &token, "GET", &path(Endpoint::Session, &new), None).await;
        let session = read.json::<Session>().expect("a session");
        assert_eq!((session.version, session.message_count), (3, 1));
        claimed.push(new.digest().to_string());
    }
    let listed = with(&beside, &token, "GET", "/api/v1/stateful/sessions", None).await;
    let listed = listed.json::<SessionPage>().expect("a page").sessions;
    let mut handles: Vec<_> = listed.into_iter().map(|session| session.handle).collect();
    handles.sort();
    claimed.sort();
    assert_eq!(handles, claimed, "one live id of each");
}
