//! `GET …/events`: no event is missed or sent twice, whichever instance is written to.

use std::time::Duration;

use proto_contracts::live::{EventName, Ticket};
use proto_contracts::stateful::{HistoryMessage, Session};
use proto_contracts::{Endpoint, ErrorCode, SessionId};
use serde_json::json;

use crate::app::{App, assert_problem, path, spawn_app, spawn_with};
use crate::live_client::{Events, LiveEvent};
use crate::redis_server::RedisServer;
use crate::redis_store::SECRET;
use service_kit::testing::issuer::Issuer;

/// Two instances over one Redis.
pub(crate) fn instances(redis: &RedisServer, settings: &[(&str, &str)]) -> [App; 2] {
    ["stateful-1", "stateful-2"].map(|name| {
        let url = redis.url();
        let own =
            [("INSTANCE_ID", name), ("SESSION_REDIS_URL", &url), ("SESSION_ID_SECRET", SECRET)];
        spawn_with(&[&own, settings].concat())
    })
}

/// The messages of these numbers, in this order, with the ids that they are resumed by.
pub(crate) fn assert_messages(events: &[LiveEvent], numbers: std::ops::RangeInclusive<u64>) {
    let ids: Vec<_> = events.iter().map(|event| event.id.expect("messages have ids")).collect();
    assert_eq!(ids, numbers.collect::<Vec<_>>());
    for event in events {
        let message: HistoryMessage = event.data();
        assert_eq!(
            (Some(message.number), message.message),
            (event.id, format!("m{}", event.id.unwrap_or(0)))
        );
    }
}

async fn messages(events: &mut Events, count: usize) -> Vec<LiveEvent> {
    let mut received = Vec::new();
    while received.len() < count {
        let event = events.next().await.expect("an open stream");
        if event.event == EventName::Message {
            received.push(event);
        }
    }
    received
}

async fn post_messages(app: &App, id: &SessionId, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        app.post_message(id, &format!("m{number}")).await;
    }
}

#[actix_web::test]
async fn a_stream_sends_the_session_and_then_each_message_of_any_instance() {
    let redis = RedisServer::start().await;
    for store in ["hybrid", "redis"] {
        let [here, there] = instances(&redis, &[("SESSION_STORE", store)]);
        let id = here.create("Ada").await.session_id;
        post_messages(&here, &id, 1..=2).await;
        let mut events = Events::open(here.addr, &id, "", &[]).await;
        let first = events.next().await.expect("an event");
        assert_eq!((first.event, first.id), (EventName::Session, None));
        let session: Session = first.data();
        assert_eq!((session.session_id.clone(), session.message_count), (id.clone(), 2));

        post_messages(&there, &id, 3..=40).await;
        assert_messages(&messages(&mut events, 38).await, 3..=40);
        // Again from the start: more messages than are read ahead at a time.
        assert_messages(
            &messages(&mut Events::open(there.addr, &id, "last_event_id=0", &[]).await, 40).await,
            1..=40,
        );

        there
            .patch(&path(Endpoint::Session, &id), &json!({"client_data": {"name": "Lovelace"}}))
            .await;
        let changed = events.next().await.expect("an event");
        assert_eq!(
            (changed.event, &changed.data["client_data"]["name"]),
            (EventName::Session, &json!("Lovelace"))
        );
        there.delete(&path(Endpoint::Session, &id)).await;
        assert_eq!(events.next().await.map(|event| event.event), Some(EventName::Ended));
        assert_eq!(events.next().await, None, "nothing follows");
    }
}

#[actix_web::test]
async fn a_stream_that_is_resumed_has_no_gap_and_no_repeat() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    post_messages(&app, &id, 1..=3).await;
    let mut events = Events::open(app.addr, &id, "last_event_id=0", &[]).await;
    assert_messages(&messages(&mut events, 3).await, 1..=3);
    drop(events);
    post_messages(&app, &id, 4..=5).await;
    // A browser reconnects with the header, and with the original query.
    let mut events =
        Events::open(app.addr, &id, "last_event_id=0", &[("Last-Event-ID", "3")]).await;
    post_messages(&app, &id, 6..=6).await;
    assert_messages(&messages(&mut events, 3).await, 4..=6);
    // An id beyond the newest message is treated as the newest.
    let mut ahead = Events::open(app.addr, &id, "last_event_id=1000", &[]).await;
    assert_eq!(ahead.next().await.map(|event| event.event), Some(EventName::Session));
    post_messages(&app, &id, 7..=7).await;
    assert_messages(&messages(&mut ahead, 1).await, 7..=7);
}

#[actix_web::test]
async fn a_restart_of_redis_makes_no_gap() {
    let mut redis = RedisServer::start().await;
    let [here, there] = instances(&redis, &[("SESSION_STORE", "redis")]);
    let id = here.create("Ada").await.session_id;
    let mut events = Events::open(here.addr, &id, "", &[]).await;
    post_messages(&there, &id, 1..=1).await;
    assert_messages(&messages(&mut events, 1).await, 1..=1);
    redis.crash();
    redis.restart().await;
    post_messages(&there, &id, 2..=3).await;
    assert_messages(&messages(&mut events, 2).await, 2..=3);
}

#[actix_web::test]
async fn an_open_stream_keeps_its_session_alive() {
    let app = spawn_with(&[
        ("SESSION_STORE", "memory"),
        ("SESSION_IDLE_S", "2"),
        ("LIVE_HEARTBEAT_S", "1"),
    ]);
    let (listened, left) = (app.create("Ada").await.session_id, app.create("Bob").await.session_id);
    let mut events = Events::open(app.addr, &listened, "", &[]).await;
    assert_eq!(events.next().await.map(|event| event.event), Some(EventName::Session));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_problem(&app.get(&path(Endpoint::Session, &left)).await, ErrorCode::SessionNotFound);
    post_messages(&app, &listened, 1..=1).await;
    assert_messages(&messages(&mut events, 1).await, 1..=1);
}

#[actix_web::test]
async fn a_rejected_stream_gets_a_problem() {
    let app = spawn_with(&[
        ("SESSION_STORE", "memory"),
        ("LIVE_MAX_CONNECTIONS", "1"),
        ("LIVE_HEARTBEAT_S", "300"),
    ]);
    let id = app.create("Ada").await.session_id;
    let events = path(Endpoint::Events, &id);
    for bad in ["-1", "x", "99999999999", "1.5", ""] {
        let response = app.send("GET", &events, &[("Last-Event-ID", bad)], "").await;
        assert_problem(&response, ErrorCode::InvalidLastEventId);
    }
    for query in ["last_event_id=x", "since=1"] {
        assert_problem(&app.get(&format!("{events}?{query}")).await, ErrorCode::InvalidQuery);
    }
    assert_problem(
        &app.get(&format!("{events}?last_event_id=99999999999")).await,
        ErrorCode::InvalidLastEventId,
    );
    let never = path(
        Endpoint::Events,
        &"0badcafe-00112233445566778899aabbccddeeff".parse().expect("well formed"),
    );
    assert_problem(&app.get(&never).await, ErrorCode::SessionNotFound);
    assert_problem(
        &app.get("/api/v1/stateful/sessions/x/events").await,
        ErrorCode::InvalidSessionId,
    );
    assert_problem(&app.post(&events, &json!({})).await, ErrorCode::MethodNotAllowed);
    let head = app.send("HEAD", &events, &[], "").await;
    assert_eq!(
        (head.status, head.headers.get("content-length")),
        (200, None),
        "a stream has no length: {head:?}"
    );

    let open = Events::open(app.addr, &id, "", &[]).await;
    let full = app.get(&events).await;
    assert_problem(&full, ErrorCode::TooManyStreams);
    assert_eq!(full.header("retry-after"), "1");
    drop(open);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while app.send("HEAD", &events, &[], "").await.status != 200 {
        assert!(std::time::Instant::now() < deadline, "the permit is not released");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_web::test]
async fn a_ticket_replaces_the_token_of_its_owner() {
    let issuer = Issuer::new();
    let redis = RedisServer::start().await;
    let pem = issuer.pem();
    let [here, there] = instances(&redis, &[("JWT_PUBLIC_KEY", &pem)]);
    let token = format!("Bearer {}", issuer.token("ada"));
    let owner = [("Authorization", token.as_str())];
    let created = here.send("POST", "/api/v1/stateful/sessions", &owner, "{}").await;
    let id = created.json::<Session>().expect("a session").session_id;
    let (events, tickets) = (path(Endpoint::Events, &id), path(Endpoint::Tickets, &id));

    assert_problem(&here.get(&events).await, ErrorCode::SessionNotFound);
    assert_problem(&here.post(&tickets, &json!({})).await, ErrorCode::SessionNotFound);
    assert_problem(
        &here.send("POST", &tickets, &owner, "{\"ttl\": 9}").await,
        ErrorCode::InvalidBody,
    );
    let issued = here.send("POST", &tickets, &owner, "").await;
    assert_eq!((issued.status, issued.header("cache-control")), (201, "no-store"), "{issued:?}");
    let Ticket { ticket, expires_at } = issued.json().expect("a ticket");
    let left = expires_at.to_jiff().duration_since(jiff::Timestamp::now()).as_secs();
    assert!((50..=60).contains(&left), "{left} s");

    let mut opened = Events::open(there.addr, &id, &format!("ticket={ticket}"), &[]).await;
    assert_eq!(opened.next().await.map(|event| event.event), Some(EventName::Session));
    Events::open(there.addr, &id, "", &owner).await;
    let other = there.create("Bob").await.session_id;
    let elsewhere = format!("{}?ticket={ticket}", path(Endpoint::Events, &other));
    for target in [elsewhere, format!("{events}?ticket=x"), format!("{events}?ticket=")] {
        let rejected = there.get(&target).await;
        assert_problem(&rejected, ErrorCode::InvalidTicket);
        assert_eq!(rejected.header("www-authenticate"), "Bearer");
    }
    // It authorizes live connections alone.
    assert_problem(
        &there.get(&format!("{}?ticket={ticket}", path(Endpoint::Session, &id))).await,
        ErrorCode::InvalidQuery,
    );
}

#[actix_web::test]
async fn a_ticket_in_use_reopens_its_connection() {
    let redis = RedisServer::start().await;
    for store in ["memory", "redis", "hybrid"] {
        let url = redis.url();
        let settings = [
            ("SESSION_STORE", store),
            ("SESSION_REDIS_URL", url.as_str()),
            ("SESSION_ID_SECRET", SECRET),
            ("LIVE_TICKET_S", "3"),
        ];
        let (here, there) = (spawn_with(&settings), spawn_with(&settings));
        // With the memory store, another instance does not have the session.
        let elsewhere = if store == "memory" { &here } else { &there };
        let id = here.create("Ada").await.session_id;
        let tickets = path(Endpoint::Tickets, &id);
        let issue = async || {
            here.post(&tickets, &json!({})).await.json::<Ticket>().expect("a ticket").ticket
        };
        let used = issue().await;
        // Two tickets of one millisecond are the same ticket.
        let unused = loop {
            let ticket = issue().await;
            if ticket != used {
                break ticket;
            }
        };
        let target = |ticket: &str| format!("{}?ticket={ticket}", path(Endpoint::Events, &id));
        let head =
            async |app: &App, ticket: &str| app.send("HEAD", &target(ticket), &[], "").await.status;
        let query = format!("ticket={used}");
        let mut stream = Events::open(here.addr, &id, &query, &[]).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(head(&here, &unused).await, 401, "{store}: an unused ticket expires");
        // The stream is cut and reopened three times, at both instances, long after the ticket was
        // fresh.
        for round in 1..=3_u64 {
            stream.leave(round % 2 == 0);
            let app = if round % 2 == 0 { &here } else { elsewhere };
            let last = [("Last-Event-ID", (round - 1).to_string())];
            let last: Vec<_> = last.iter().map(|(name, value)| (*name, value.as_str())).collect();
            stream = Events::open(app.addr, &id, &query, &last).await;
            post_messages(&here, &id, round..=round).await;
            assert_messages(&messages(&mut stream, 1).await, round..=round);
        }
        let live = format!("{}?ticket={used}", path(Endpoint::Live, &id));
        let upgrade = [
            ("Connection", "upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_problem(&here.send("GET", &live, &upgrade, "").await, ErrorCode::InvalidTicket);
        // It expires 3 s, and up to two intervals of 1.5 s, after its last use. A check would be a
        // use.
        stream.leave(false);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(head(&here, &used).await, 401, "{store}: it was unused for a while");
    }
}
