//! Requests of each kind, sent during a fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use local_stack::Stack;
use proto_contracts::headers::SERVED_BY;
use proto_contracts::stateful::{CreateSession, PostMessage, Session};
use proto_contracts::{Endpoint, SessionId};
use tokio::time::timeout;

use crate::client::{CallError, Client, Response, ScenarioRequest};
use crate::faults::owner::{Owner, with_key};
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

/// The sessions and data that the requests use.
pub(super) struct Probes {
    target: Arc<Target>,
    sessions: Vec<SessionId>,
    owner: Owner,
}

impl Probes {
    /// Creates sessions. If a stateful instance is to fail, it is the home of all of them.
    pub(super) async fn prepare(stack: &Stack, part: Part) -> Result<Self> {
        let owner = Owner::register(stack).await?;
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
                return Ok(Self { target, sessions, owner });
            }
        }
        ensure!(
            sessions.len() == OF_EACH,
            "too few sessions have their home at {}",
            part.component()
        );
        Ok(Self { target, sessions, owner })
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
        let outcome =
            match timeout(REQUEST_TIMEOUT, client.send(self.request_of(kind, session))).await {
                Err(_elapsed) => Outcome::NoResponse,
                Ok(Err(CallError::Connect(_))) => Outcome::NoConnection,
                Ok(Err(CallError::Broken(_))) => Outcome::Broken,
                Ok(Ok(response)) => outcome_of(&response),
            };
        Seen { outcome, took: begin.elapsed() }
    }

    fn request_of(&self, kind: Request, session: &SessionId) -> ScenarioRequest {
        let path = |endpoint: Endpoint| {
            endpoint.templates().canonical.replace("{session_id}", &session.expose())
        };
        let message = PostMessage { message: "what happens now?".to_owned() };
        match kind {
            Request::Stateless => request::get(Endpoint::Info.templates().canonical),
            Request::Products => UncachedPages::new().next().1,
            Request::Read => request::get(&path(Endpoint::Session)),
            Request::Unkeyed => request::post(&path(Endpoint::Messages), &message),
            Request::Keyed => with_key(request::post(&path(Endpoint::Messages), &message)),
            Request::Reserve => self.owner.reserve(),
            Request::Upload => with_key(self.owner.upload()),
            Request::Download => self.owner.download(),
        }
    }
}

fn outcome_of(response: &Response) -> Outcome {
    if response.status.is_success() {
        return Outcome::Served;
    }
    problem_code(response).map_or(Outcome::Status(response.status.as_u16()), Outcome::Problem)
}
