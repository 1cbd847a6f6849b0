//! Streams of events that are followed, and resumed when they end.

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

/// Between two messages to a session whose stream is followed.
const PAUSE: Duration = Duration::from_millis(250);

/// What came of the streams.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Streams {
    /// Streams that were followed.
    pub followed: u64,
    /// Messages that were heard in them.
    pub heard: u64,
    /// How often one had ended and was resumed.
    pub resumed: u64,
}

impl Sum for Streams {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            followed: sum.followed + one.followed,
            heard: sum.heard + one.heard,
            resumed: sum.resumed + one.resumed,
        })
    }
}

/// Posts messages to a session of its own and hears them, resuming the stream after the last one
/// that was heard.
pub(super) async fn follow(
    target: Arc<Target>,
    patience: Duration,
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
        let message = PostMessage { message: format!("number {}", streams.heard + 1) };
        let post = keyed(request::post(&path(Endpoint::Messages), &message));
        let posted = timeout(patience, client.send(post)).await;
        if !matches!(&posted, Ok(Ok(response)) if response.status == StatusCode::CREATED) {
            failures.add(format!("stream: a message, {}", told(posted)));
            return streams;
        }
        // The message that was just posted is the next to hear, through as many streams as it
        // takes.
        let heard = timeout(patience, async {
            loop {
                let stream = match &mut open {
                    Some(stream) => stream,
                    None => {
                        streams.resumed += u64::from(streams.heard > 0);
                        open.insert(
                            Stream::open(&target, &path(Endpoint::Events), streams.heard).await?,
                        )
                    }
                };
                match stream.next_id().await {
                    Some(id) => return Ok::<_, String>(id),
                    None => open = None,
                }
            }
        });
        match heard.await {
            Ok(Ok(id)) if id == streams.heard + 1 => streams.heard += 1,
            Ok(Ok(id)) => {
                return gap(
                    streams,
                    &failures,
                    &format!("heard message {id} after {}", streams.heard),
                );
            }
            Ok(Err(error)) => return gap(streams, &failures, &error),
            Err(_elapsed) => {
                return gap(
                    streams,
                    &failures,
                    &format!("message {} never came", streams.heard + 1),
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

fn told(
    posted: Result<Result<client::Response, client::CallError>, tokio::time::error::Elapsed>,
) -> String {
    match posted {
        Ok(Ok(response)) => response.status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => "timeout".to_owned(),
    }
}

/// A stream of a session's events.
struct Stream {
    body: Incoming,
    unread: String,
}

impl Stream {
    /// Opens it after this message.
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

    /// The id of the next message; `None` when the stream has ended, in whatever way.
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
