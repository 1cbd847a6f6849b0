//! Requests of each kind, sent during a fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use http::HeaderValue;
use local_stack::Stack;
use proto_contracts::headers::{IDEMPOTENCY_KEY, SERVED_BY};
use proto_contracts::stateful::{CreateSession, PostMessage, Session};
use proto_contracts::{Endpoint, SessionId};
use tokio::time::timeout;
use uuid::Uuid;

use crate::client::{CallError, Client, Response, ScenarioRequest};
use crate::faults::table::{Outcome, Part, Request};
use crate::request;
use crate::scenario::{Scenario as _, UncachedPages, problem_code};
use crate::target::{Reach, Target};

/// Timeout of a request; longer than any deadline of the gateway.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Concurrent requests of each kind: enough for round robin to reach every instance and gateway.
const OF_EACH: usize = 4;
/// Most sessions that are created to find some whose home is the part that fails.
const ATTEMPTS: usize = 200;

/// The outcome of one request.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

/// The sessions that the requests use.
pub(super) struct Probes {
    target: Arc<Target>,
    sessions: Vec<SessionId>,
}

impl Probes {
    /// Creates sessions. If a stateful instance is to fail, it is the home of all of them.
    pub(super) async fn prepare(stack: &Stack, part: Part) -> Result<Self> {
        let https = stack.urls().https.context("Nginx runs")?;
        let target =
            Arc::new(Target::resolve(&https, Some(&stack.ca_path()), Reach::ThisMachine).await?);
        let mut sessions = Vec::new();
        for _ in 0..ATTEMPTS {
            let create = request::post(
                Endpoint::Sessions.templates().canonical,
                &<CreateSession>::default(),
            );
            let created = Client::new(Arc::clone(&target))
                .send(create)
                .await
                .context("cannot create a session")?;
            let at = created
                .headers
                .get(SERVED_BY)
                .and_then(|name| name.to_str().ok())
                .unwrap_or_default();
            if part == Part::StatefulInstance && at != part.component() {
                continue;
            }
            sessions.push(
                serde_json::from_slice::<Session>(&created.body).context("no session")?.session_id,
            );
            if sessions.len() == OF_EACH {
                return Ok(Self { target, sessions });
            }
        }
        ensure!(
            sessions.len() == OF_EACH,
            "too few sessions have their home at {}",
            part.component()
        );
        Ok(Self { target, sessions })
    }

    /// Sends requests of each kind concurrently, each over its own connection.
    pub(super) async fn send(&self) -> Vec<(Request, Vec<Seen>)> {
        join_all(Request::ALL.map(|kind| async move {
            (kind, join_all(self.sessions.iter().map(|session| self.send_one(kind, session))).await)
        }))
        .await
    }

    async fn send_one(&self, kind: Request, session: &SessionId) -> Seen {
        let begin = Instant::now();
        let mut client = Client::new(Arc::clone(&self.target));
        let outcome = match timeout(REQUEST_TIMEOUT, client.send(request_of(kind, session))).await {
            Err(_elapsed) => Outcome::NoResponse,
            Ok(Err(CallError::Connect(_))) => Outcome::NoConnection,
            Ok(Err(CallError::Broken(_))) => Outcome::Broken,
            Ok(Ok(response)) => outcome_of(&response),
        };
        Seen { outcome, took: begin.elapsed() }
    }
}

fn outcome_of(response: &Response) -> Outcome {
    if response.status.is_success() {
        return Outcome::Served;
    }
    problem_code(response).map_or(Outcome::Status(response.status.as_u16()), Outcome::Problem)
}

fn request_of(kind: Request, session: &SessionId) -> ScenarioRequest {
    let path = |endpoint: Endpoint| {
        endpoint.templates().canonical.replace("{session_id}", &session.expose())
    };
    let message = PostMessage { message: "what happens now?".to_owned() };
    match kind {
        Request::Stateless => request::get(Endpoint::Info.templates().canonical),
        Request::Products => UncachedPages::new().next().1,
        Request::Read => request::get(&path(Endpoint::Session)),
        Request::Unkeyed => request::post(&path(Endpoint::Messages), &message),
        Request::Keyed => {
            let mut request = request::post(&path(Endpoint::Messages), &message);
            let key = HeaderValue::from_str(&Uuid::new_v4().to_string());
            // A UUID is always a valid header value.
            request
                .headers_mut()
                .extend(key.ok().map(|key| (http::HeaderName::from_static(IDEMPOTENCY_KEY), key)));
            request
        }
    }
}
