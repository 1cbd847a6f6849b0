//! Event streams, which are resumed when they end.

use std::iter::Sum;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proto_contracts::stateful::{CreateSession, PostMessage, Session};
use proto_contracts::{Endpoint, headers};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::{self, Client};
use crate::request;
use crate::rollout::failures::Failures;
use crate::scenario::with_idempotency_key;
use crate::target::Target;

/// Pause between two messages to a session.
const PAUSE: Duration = Duration::from_millis(250);

/// Counts of the streams.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Streams {
    /// Streams that were followed.
    pub followed: u64,
    /// Messages received in them.
    pub received: u64,
    /// How often a stream was resumed.
    pub resumed: u64,
}

impl Sum for Streams {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            followed: sum.followed + one.followed,
            received: sum.received + one.received,
            resumed: sum.resumed + one.resumed,
        })
    }
}

/// Creates a session, posts messages to it and receives them as events. If the stream ends, it is
/// resumed after the last received message.
pub(super) async fn follow(
    target: Arc<Target>,
    limit: Duration,
    idempotency_keys: bool,
    failures: Arc<Failures>,
    stopped: watch::Receiver<bool>,
) -> Streams {
    let mut streams = Streams { followed: 1, ..Streams::default() };
    let mut client = Client::new(Arc::clone(&target));
    let keyed = |request| if idempotency_keys { with_idempotency_key(request) } else { request };
    let create =
        keyed(request::post(Endpoint::Sessions.templates().canonical, &<CreateSession>::default()));
    let session = match client.send(create).await {
        Ok(response) => serde_json::from_slice::<Session>(&response.body).ok(),
        Err(_) => None,
    };
    let Some(session) = session else {
        failures.add("stream: no session".to_owned());
        return streams;
    };
    let path = |endpoint: Endpoint| {
        endpoint.templates().canonical.replace("{session_id}", &session.session_id.expose())
    };
    let mut open: Option<Stream> = None;
    while !*stopped.borrow() {
        let message = PostMessage { message: format!("number {}", streams.received + 1) };
        let post = keyed(request::post(&path(Endpoint::Messages), &message));
        let posted = timeout(limit, client.send(post)).await;
        if !matches!(&posted, Ok(Ok(response)) if response.status == StatusCode::CREATED) {
            failures.add(format!("stream: a message, {}", failure(posted)));
            return streams;
        }
        // The next event must be the message that was just posted. The stream is reopened as often
        // as needed.
        let received = timeout(limit, async {
            loop {
                let stream = match &mut open {
                    Some(stream) => stream,
                    None => {
                        streams.resumed += u64::from(streams.received > 0);
                        open.insert(
                            Stream::open(&target, &path(Endpoint::Events), streams.received)
                                .await?,
                        )
                    }
                };
                match stream.next_id().await {
                    Some(id) => return Ok::<_, String>(id),
                    None => open = None,
                }
            }
        });
        match received.await {
            Ok(Ok(id)) if id == streams.received + 1 => streams.received += 1,
            Ok(Ok(id)) => {
                return gap(
                    streams,
                    &failures,
                    &format!("received message {id} after {}", streams.received),
                );
            }
            Ok(Err(error)) => return gap(streams, &failures, &error),
            Err(_elapsed) => {
                return gap(
                    streams,
                    &failures,
                    &format!("message {} did not arrive", streams.received + 1),
                );
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    streams
}

fn gap(streams: Streams, failures: &Failures, what: &str) -> Streams {
    failures.add(format!("stream: {what}"));
    streams
}

fn failure(
    posted: Result<Result<client::Response, client::CallError>, tokio::time::error::Elapsed>,
) -> String {
    match posted {
        Ok(Ok(response)) => response.status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => "timeout".to_owned(),
    }
}

/// The event stream of a session.
struct Stream {
    body: Incoming,
    unread: String,
}

impl Stream {
    /// Opens the stream after this message.
    async fn open(target: &Target, path: &str, last: u64) -> Result<Self, String> {
        let mut request = request::get(path);
        request.headers_mut().insert(headers::LAST_EVENT_ID, HeaderValue::from(last));
        let response = client::stream(target, request)
            .await
            .map_err(|error| format!("not opened: {error}"))?;
        if response.status() != StatusCode::OK {
            return Err(format!("not opened: {}", response.status()));
        }
        Ok(Self { body: response.into_body(), unread: String::new() })
    }

    /// The id of the next message; `None` when the stream has ended or failed.
    async fn next_id(&mut self) -> Option<u64> {
        loop {
            while let Some((event, rest)) = self.unread.split_once("\n\n") {
                let id = event.lines().find_map(|line| line.strip_prefix("id: ")?.parse().ok());
                self.unread = rest.to_owned();
                if id.is_some() {
                    return id;
                }
            }
            let frame = self.body.frame().await?.ok()?;
            self.unread += std::str::from_utf8(frame.data_ref()?).ok()?;
        }
    }
}
