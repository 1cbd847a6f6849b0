//! `GET /sessions/{session_id}/events`: server-sent events.

use std::fmt::Write as _;
use std::time::Duration;

use actix_web::body;
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{Error, HttpRequest, HttpResponse, rt, web};
use futures_util::stream;
use proto_contracts::live::{EventName, LiveQuery};
use serde::Serialize;
use service_kit::body::Query;
use service_kit::problem::ApiError;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::open::Subscription;
use crate::feed::Event;
use crate::metrics::{Closed, LiveConnection, LiveKind};
use crate::routes::context::Sessions;
use crate::routes::history::body as message_body;
use crate::routes::session::body as session_body;
use crate::routes::session_path::SessionPath;

/// How many events are buffered for a slow reader.
const QUEUE: usize = 16;
/// The reconnection delay of browsers, in milliseconds.
const RETRY_MS: u32 = 500;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Streams a session's events.
pub(in crate::routes) async fn stream(
    request: HttpRequest,
    SessionPath(id): SessionPath,
    Query(query): Query<LiveQuery>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, ApiError> {
    let subscription = sessions.subscribe(&request, id, query, LiveKind::Events).await?;
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream");
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    // Any Nginx on the way must forward each event at once.
    response.insert_header((X_ACCEL_BUFFERING, HeaderValue::from_static("no")));
    if request.method() == Method::HEAD {
        // A stream has no known length.
        return Ok(response.body(body::None::new()));
    }
    let (sender, receiver) = mpsc::channel(QUEUE);
    let connection = sessions.metrics.live.open(LiveKind::Events);
    rt::spawn(forward(subscription, sender, sessions.live.send_timeout, connection));
    let texts = stream::unfold(receiver, async |mut receiver| {
        let text = receiver.recv().await?;
        Some((Ok::<_, Error>(text), receiver))
    });
    Ok(response.streaming(texts))
}

async fn forward(
    mut subscription: Subscription,
    sender: mpsc::Sender<Bytes>,
    send_timeout: Duration,
    connection: LiveConnection,
) {
    let mut text = format!("retry: {RETRY_MS}\n\n");
    let reason = loop {
        let event = tokio::select! {
            event = subscription.feed.next() => event,
            () = sender.closed() => break Closed::ByClient,
        };
        let last = match &event {
            Event::Ended => Some(Closed::Ended),
            Event::GoingAway => Some(Closed::GoingAway),
            Event::Session(_) | Event::Message(_) | Event::Quiet => None,
        };
        match event {
            Event::Session(session) => {
                write(
                    &mut text,
                    None,
                    EventName::Session,
                    &session_body(&subscription.id, &session),
                );
            }
            Event::Message(message) => {
                let number = message.number;
                write(&mut text, Some(number), EventName::Message, &message_body(message));
                connection.sent(EventName::Message);
            }
            Event::Ended => write(&mut text, None, EventName::Ended, &Nothing {}),
            Event::GoingAway => write(&mut text, None, EventName::GoingAway, &Nothing {}),
            // A comment, which clients ignore.
            Event::Quiet => text.push_str(":\n\n"),
        }
        match timeout(send_timeout, sender.send(Bytes::from(std::mem::take(&mut text)))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break Closed::ByClient,
            // The stream ends after the queued events; a browser reconnects with the id of the last
            // one.
            Err(_) => break Closed::TooSlow,
        }
        if let Some(reason) = last {
            break reason;
        }
    };
    connection.close(reason);
}

/// Writes one event. The JSON is on one line, so no line break ends the field early.
fn write(text: &mut String, id: Option<u64>, name: EventName, data: &impl Serialize) {
    if let Some(id) = id {
        let _infallible = writeln!(text, "id: {id}");
    }
    let data = serde_json::to_string(data).unwrap_or_default();
    let _infallible = write!(text, "event: {}\ndata: {data}\n\n", name.as_str());
}

/// `{}`.
#[derive(Serialize)]
struct Nothing {}
