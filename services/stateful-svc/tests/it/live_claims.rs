//! Streams, WebSockets and tickets of a claimed id end.

use proto_contracts::live::{EventName, Ticket, close};
use proto_contracts::stateful::ClaimedSession;
use proto_contracts::{Endpoint, ErrorCode};
use serde_json::json;
use service_kit::testing::issuer::Issuer;

use crate::app::{assert_problem, path};
use crate::live_client::{Events, Socket};
use crate::live_events::instances;
use crate::redis_server::RedisServer;

#[actix_web::test]
async fn what_is_live_by_the_old_id_ends_at_any_instance() {
    let (issuer, redis) = (Issuer::new(), RedisServer::start().await);
    let pem = issuer.pem();
    let token = format!("Bearer {}", issuer.token("ada"));
    let owner = [("Authorization", token.as_str())];
    for store in ["redis", "hybrid"] {
        let [here, there] =
            instances(&redis, &[("SESSION_STORE", store), ("JWT_PUBLIC_KEY", &pem)]);
        let old = here.create("Ada").await.session_id;
        here.post_message(&old, "hi").await;
        let issued = here.post(&path(Endpoint::Tickets, &old), &json!({})).await;
        let ticket = format!("ticket={}", issued.json::<Ticket>().expect("a ticket").ticket);
        let mut streams = Vec::new();
        for (app, query) in [(&here, ""), (&there, ""), (&there, ticket.as_str())] {
            let mut stream = Events::open(app.addr, &old, query, &[]).await;
            let first = stream.next().await.map(|event| event.event);
            assert_eq!(first, Some(EventName::Session), "{store}");
            streams.push(stream);
        }
        let mut socket = Socket::open(there.addr, &old, "").await;
        socket.next_of(EventName::Session).await;

        let target = path(Endpoint::Claim, &old);
        let claimed = here.send("POST", &target, &owner, "").await;
        let new = claimed.json::<ClaimedSession>().expect("an id").session_id;
        // None of the new owner's messages reaches whoever knew the old id.
        let said = r#"{"message":"of the owner alone"}"#;
        let posted = here.send("POST", &path(Endpoint::Messages, &new), &owner, said).await;
        assert_eq!(posted.status, 201, "{posted:?}");
        for mut stream in streams {
            let mut last = None;
            while let Some(event) = stream.next().await {
                if event.event == EventName::Message {
                    assert_eq!(event.id, Some(1), "{store}: a message from before the claim");
                }
                last = Some(event.event);
            }
            assert_eq!(last, Some(EventName::Ended), "{store}");
        }
        assert_eq!(socket.closed().await, Some(close::SESSION_ENDED), "{store}");

        for app in [&here, &there] {
            for id in [&old, &new] {
                let events = path(Endpoint::Events, id);
                let by_ticket = app.get(&format!("{events}?{ticket}")).await;
                let expected = match id == &old {
                    true => ErrorCode::SessionNotFound,
                    false => ErrorCode::InvalidTicket,
                };
                assert_problem(&by_ticket, expected);
                assert_problem(&app.get(&events).await, ErrorCode::SessionNotFound);
            }
            let mut stream = Events::open(app.addr, &new, "", &owner).await;
            let first = stream.next().await.map(|event| event.event);
            assert_eq!(first, Some(EventName::Session), "{store}: the owner goes on");
        }
    }
}
