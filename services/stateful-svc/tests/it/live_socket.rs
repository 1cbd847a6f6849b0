//! `GET …/live`: messages over WebSockets, and the reasons for closing them.

use std::time::Duration;

use proto_contracts::live::{ClientFrame, EventName, MAX_FRAME_BYTES, MAX_REF_BYTES, close};
use proto_contracts::stateful::MessagePosted;
use proto_contracts::{Endpoint, ErrorCode, Problem};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::app::{assert_problem, path, spawn_app, spawn_with};
use crate::live_client::{Events, Socket, message_frame};
use crate::live_events::instances;
use crate::program::Program;
use crate::redis_server::RedisServer;

const KEY: &str = "00112233-4455-6677-8899-aabbccddeeff";

#[actix_web::test]
async fn two_clients_at_two_instances_receive_the_same_events_in_order() {
    let redis = RedisServer::start().await;
    let [here, there] = instances(&redis, &[]);
    let id = here.create("Ada").await.session_id;
    let mut sockets =
        [Socket::open(here.addr, &id, "").await, Socket::open(there.addr, &id, "").await];
    for number in 0..50 {
        // Both post concurrently, and a third by a plain request.
        for (author, socket) in sockets.iter_mut().enumerate() {
            socket.send(&message_frame(&format!("{author} writes {number}"))).await;
        }
        here.post_message(&id, &format!("somebody writes {number}")).await;
    }
    let mut received = Vec::new();
    for socket in &mut sockets {
        let mut events = Vec::new();
        while events.len() < 150 {
            events.push(socket.next_of(EventName::Message).await);
        }
        received.push(events);
    }
    assert_eq!(received[0], received[1]);
    assert_eq!(
        received[0].iter().filter_map(|event| event.id).collect::<Vec<_>>(),
        (1..=150).collect::<Vec<_>>()
    );
    for (author, events) in [("0", &received[0]), ("1", &received[1]), ("somebody", &received[0])] {
        let texts: Vec<_> =
            events.iter().filter_map(|event| event.data["message"].as_str()).collect();
        let own: Vec<_> = texts
            .iter()
            .filter_map(|text| text.strip_prefix(author)?.strip_prefix(" writes "))
            .collect();
        assert_eq!(
            own,
            (0..50).map(|number| number.to_string()).collect::<Vec<_>>(),
            "{author}'s messages are in order"
        );
    }
}

#[actix_web::test]
async fn a_frame_gets_a_response_and_may_be_repeated_over_another_connection() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    let mut socket = Socket::open(app.addr, &id, "").await;
    let frame = ClientFrame {
        reference: Some("r1".into()),
        idempotency_key: Some(KEY.into()),
        ..message_frame("hello")
    };
    socket.send(&frame).await;
    let posted = |event: &crate::live_client::LiveEvent| event.data::<MessagePosted>();
    let first = loop {
        let (event, reference) = socket.next().await.expect("open");
        if event.event == EventName::Posted {
            assert_eq!((reference.as_deref(), event.id, event.replayed), (Some("r1"), None, false));
            break posted(&event);
        }
    };
    assert_eq!((first.number, first.message.as_str()), (1, "hello"));
    drop(socket);
    let mut again = Socket::open(app.addr, &id, "last_event_id=0").await;
    again.send(&frame).await;
    let repeated = again.next_of(EventName::Posted).await;
    assert_eq!((posted(&repeated), repeated.replayed), (first.clone(), true), "posted once");
    let messages = path(Endpoint::Messages, &id);
    let by_request =
        app.send("POST", &messages, &[("Idempotency-Key", KEY)], "{\"message\":\"hello\"}").await;
    assert_eq!(by_request.json::<MessagePosted>().expect("the same"), first);
}

#[actix_web::test]
async fn an_invalid_frame_gets_an_error_and_the_connection_stays_open() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    let mut socket = Socket::open(app.addr, &id, "").await;
    let long = "x".repeat(MAX_REF_BYTES + 1);
    let (none, some) = (None, Some("r1"));
    for (text, code, reference) in [
        (String::new(), ErrorCode::MalformedJson, none),
        ("{\"ref\":\"r1\"".to_owned(), ErrorCode::MalformedJson, none),
        ("[\"hi\"]".to_owned(), ErrorCode::InvalidBody, none),
        (json!({"text": "hi", "ref": "r1"}).to_string(), ErrorCode::InvalidBody, some),
        (json!({"message": 1, "ref": "r1"}).to_string(), ErrorCode::InvalidBody, some),
        (
            json!({"message": "hi", "session_id": id.expose(), "ref": "r1"}).to_string(),
            ErrorCode::InvalidBody,
            some,
        ),
        (json!({"message": "hi", "ref": long}).to_string(), ErrorCode::InvalidBody, none),
        (json!({"message": "hi", "ref": 7}).to_string(), ErrorCode::InvalidBody, none),
        (r#"{"message": "hi", "ref": "r1", "ref": "r2"}"#.to_owned(), ErrorCode::InvalidBody, none),
        (json!({"message": "", "ref": "r1"}).to_string(), ErrorCode::InvalidBody, some),
        (
            json!({"message": "x".repeat(20_000), "ref": "r1"}).to_string(),
            ErrorCode::MessageTooLarge,
            some,
        ),
        (
            json!({"message": "hi", "idempotency_key": "1", "ref": "r1"}).to_string(),
            ErrorCode::InvalidIdempotencyKey,
            some,
        ),
    ] {
        socket.send_raw(Message::text(text.clone())).await;
        let (event, repeated) = socket.next_with_reference(EventName::Error).await;
        let problem: Problem = event.data();
        assert_eq!((problem.code, problem.status), (code, code.status()), "{text}: {problem:?}");
        assert_eq!(repeated.as_deref(), reference, "{text}");
    }
    socket.send(&message_frame("m1")).await;
    let posted: MessagePosted = socket.next_of(EventName::Posted).await.data();
    assert_eq!(posted.number, 1, "nothing of the above was posted");
}

#[actix_web::test]
async fn a_connection_is_closed_with_the_reason() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    for (frame, code) in [
        (Message::binary(&b"hi"[..]), close::UNSUPPORTED),
        (Message::text("x".repeat(MAX_FRAME_BYTES + 1)), close::TOO_BIG),
    ] {
        let mut socket = Socket::open(app.addr, &id, "").await;
        socket.send_raw(frame).await;
        assert_eq!(socket.closed().await, Some(code));
    }
    let mut socket = Socket::open(app.addr, &id, "").await;
    app.delete(&path(Endpoint::Session, &id)).await;
    assert_eq!(socket.closed().await, Some(close::SESSION_ENDED));
}

#[actix_web::test]
async fn a_request_without_upgrade_gets_426() {
    let app = spawn_app();
    let live = path(Endpoint::Live, &app.create("Ada").await.session_id);
    let plain = app.get(&live).await;
    assert_problem(&plain, ErrorCode::UpgradeRequired);
    assert_eq!(
        (plain.header("upgrade"), plain.header("sec-websocket-version")),
        ("websocket", "13")
    );
    assert!(plain.header("connection").contains("upgrade"), "{plain:?}");
    let upgrade = [("Connection", "upgrade"), ("Upgrade", "websocket")];
    for version in [None, Some(("Sec-WebSocket-Version", "8"))] {
        let headers: Vec<_> = upgrade.into_iter().chain(version).collect();
        assert_problem(&app.send("GET", &live, &headers, "").await, ErrorCode::UpgradeRequired);
    }
}

#[actix_web::test]
async fn the_clients_close_frame_is_echoed_and_the_server_closes_at_once() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    for (sent, echoed) in
        [(Some(1000), Some(1000)), (Some(1001), Some(1001)), (Some(4321), Some(4321)), (None, None)]
    {
        let mut socket = Socket::open(app.addr, &id, "").await;
        assert_eq!(socket.next_of(EventName::Session).await.id, None);
        let (close_code, took) = socket.close(sent).await;
        assert_eq!(close_code, Some(echoed), "{sent:?} after {took:?}");
        // The framework lingers for 2 s when nothing closes the connection before.
        assert!(took < Duration::from_millis(1_500), "{sent:?} after {took:?}");
    }
}

#[actix_web::test]
async fn a_permit_is_released_as_soon_as_its_client_disconnects() {
    // No heartbeat detects a disconnected client within this test.
    let settings =
        [("SESSION_STORE", "memory"), ("LIVE_MAX_CONNECTIONS", "2"), ("LIVE_HEARTBEAT_S", "300")];
    let app = spawn_with(&settings);
    let id = app.create("Ada").await.session_id;
    let events = path(Endpoint::Events, &id);
    for round in 0..60 {
        let reset = round % 2 == 0;
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while app.send("HEAD", &events, &[], "").await.status != 200 {
            assert!(
                std::time::Instant::now() < deadline,
                "round {round}: the permit is not released"
            );
        }
        // Each takes a permit and disconnects, by a FIN or by a reset.
        if round % 4 < 2 {
            let stream = Events::open(app.addr, &id, "", &[]).await;
            stream.leave(reset);
        } else {
            let socket = Socket::open(app.addr, &id, "").await;
            socket.leave(reset);
        }
    }
}

#[actix_web::test]
async fn a_page_of_another_origin_is_rejected() {
    let app =
        spawn_with(&[("SESSION_STORE", "memory"), ("LIVE_ALLOWED_ORIGINS", "https://app.example")]);
    let id = app.create("Ada").await.session_id;
    let live = path(Endpoint::Live, &id);
    for origin in
        ["https://evil.example", "null", "http://app.example", "http://127.0.0.1.evil.example", ""]
    {
        let rejected =
            app.send("GET", &live, &[("Upgrade", "websocket"), ("Origin", origin)], "").await;
        assert_problem(&rejected, ErrorCode::OriginNotAllowed);
    }
    let own = format!("http://{}", app.addr);
    for origin in ["https://app.example", own.as_str()] {
        let mut socket = Socket::open_with(app.addr, &id, "", &[("origin", origin)]).await;
        socket.next_of(EventName::Session).await;
    }
}

#[actix_web::test]
async fn messages_count_against_the_rate_of_their_client() {
    let app = spawn_app();
    let id = app.create("Ada").await.session_id;
    // As the gateway passes it: a burst of 5, and 5 more in an hour.
    let rate = [("x-client-rate", "192.0.2.1;q=5;w=3600")];
    let mut socket = Socket::open_with(app.addr, &id, "", &rate).await;
    for number in 1..=10_u64 {
        let reference = Some(format!("r{number}"));
        socket.send(&ClientFrame { reference, ..message_frame(&format!("m{number}")) }).await;
        if number <= 5 {
            assert_eq!(
                socket.next_of(EventName::Posted).await.data::<MessagePosted>().number,
                number
            );
        } else {
            let (event, reference) = socket.next_with_reference(EventName::Error).await;
            assert_eq!(event.data::<Problem>().code, ErrorCode::RateLimited);
            assert_eq!(reference, Some(format!("r{number}")));
        }
    }
    // A client that ignores the limit is disconnected, and a new connection does not reset the
    // limit.
    socket.send(&message_frame("m11")).await;
    assert_eq!(socket.closed().await, Some(close::RATE_LIMITED));
    let mut again = Socket::open_with(app.addr, &id, "", &rate).await;
    again.send_raw(Message::Ping("x".into())).await;
    let problem: Problem = again.next_of(EventName::Error).await.data();
    assert_eq!(problem.code, ErrorCode::RateLimited, "pings count, too");
    let mut other =
        Socket::open_with(app.addr, &id, "", &[("x-client-rate", "192.0.2.2;q=5;w=3600")]).await;
    other.send(&message_frame("m6")).await;
    let posted: MessagePosted = other.next_of(EventName::Posted).await.data();
    assert_eq!(
        posted.number, 6,
        "rejected messages were not posted, and another client is not limited"
    );
}

#[actix_web::test]
async fn a_slow_reader_is_disconnected_with_the_reason() {
    let app = spawn_with(&[("SESSION_STORE", "memory"), ("LIVE_SEND_TIMEOUT_S", "4")]);
    let id = app.create("Ada").await.session_id;
    let text = "x".repeat(16 * 1024);
    // More than the sockets' buffers hold.
    for _ in 0..1_000 {
        app.post_message(&id, &text).await;
    }
    let mut socket = Socket::open(app.addr, &id, "last_event_id=0").await;
    // It reads nothing until the send timeout, 4 s after the buffers were full. It reads again
    // within the 4 s in which the server tries to send the Close frame. The buffers may take up to
    // 2 s to fill.
    let pause = Duration::from_secs(6);
    tokio::time::sleep(pause).await;
    assert_eq!(socket.closed().await, Some(close::TOO_SLOW));
    // A stream of events just ends, after the events that were queued.
    let mut events = Events::open(app.addr, &id, "last_event_id=0", &[]).await;
    tokio::time::sleep(pause).await;
    let mut count = 0;
    while events.next().await.is_some() {
        count += 1;
    }
    assert!((1..1_000).contains(&count), "{count} of 1000");
}

#[actix_web::test]
async fn a_draining_instance_closes_live_connections_and_stops() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let [here, _] = instances(&redis, &[]);
    let leaving = Program::start(&[("SESSION_REDIS_URL", &url), ("SHUTDOWN_TIMEOUT_S", "20")]);
    let id = here.create("Ada").await.session_id;
    let mut socket = Socket::open(leaving.addr, &id, "").await;
    let mut events = Events::open(leaving.addr, &id, "", &[]).await;
    here.post_message(&id, "m1").await;
    assert_eq!(socket.next_of(EventName::Message).await.id, Some(1));
    let started = std::time::Instant::now();
    leaving.terminate();
    assert_eq!(socket.closed().await, Some(close::GOING_AWAY));
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.event);
    }
    assert_eq!(last, Some(EventName::GoingAway));
    leaving.stop();
    assert!(started.elapsed() < Duration::from_secs(10), "live connections do not delay the stop");
    // They reconnect without a gap.
    here.post_message(&id, "m2").await;
    let mut again = Socket::open(here.addr, &id, "last_event_id=1").await;
    assert_eq!(again.next_of(EventName::Message).await.id, Some(2));
}
