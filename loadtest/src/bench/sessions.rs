//! Sessions for measurements.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use proto_contracts::headers::{SESSION_AFFINITY, SESSION_AFFINITY_REQUIRED};
use proto_contracts::stateful::{PostMessage, Session};
use proto_contracts::{Endpoint, SessionId};
use serde_json::json;

use super::drive::drive;
use crate::client::ScenarioRequest;
use crate::request;
use crate::target::Target;

/// The text of each message.
const MESSAGE: &str = "Do you remember what I said before?";

/// Whether requests have the header by which the gateway marks the session's home. Through the
/// gateway it makes no difference: the gateway replaces it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routed {
    Home,
    Unmarked,
}

impl Routed {
    fn stamp(self, mut request: ScenarioRequest) -> ScenarioRequest {
        if self == Self::Home {
            let header = HeaderName::from_static(SESSION_AFFINITY);
            request
                .headers_mut()
                .insert(header, HeaderValue::from_static(SESSION_AFFINITY_REQUIRED));
        }
        request
    }
}

/// Created sessions.
#[derive(Clone)]
pub(crate) struct Sessions {
    paths: Arc<Vec<(Uri, Uri)>>,
    routed: Routed,
    /// The `Authorization` of reads.
    authorization: Option<HeaderValue>,
}

impl Sessions {
    /// Creates sessions at the target.
    pub(crate) async fn create(
        target: &Arc<Target>,
        connections: usize,
        count: usize,
        routed: Routed,
    ) -> Result<Self> {
        let mut left = count;
        let next = move || {
            left = left.checked_sub(1)?;
            Some(
                routed
                    .stamp(request::post(Endpoint::Sessions.templates().canonical, &client_data())),
            )
        };
        let created = Arc::new(Mutex::new(Vec::with_capacity(count)));
        let ids = Arc::clone(&created);
        let driven = drive(target, connections, next, move |response| {
            let session = serde_json::from_slice::<Session>(&response.body);
            let id = session.map(|session| session.session_id);
            id.map(|id| ids.lock().unwrap_or_else(PoisonError::into_inner).push(paths(&id))).is_ok()
        });
        let driven = driven.await?;
        ensure!(driven.failed == 0, "{} of {count} sessions were not created", driven.failed);
        let paths = std::mem::take(&mut *created.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Self { paths: Arc::new(paths), routed, authorization: None })
    }

    /// The same sessions, read with these credentials.
    pub(crate) fn read_with(&self, authorization: HeaderValue) -> Self {
        Self { authorization: Some(authorization), ..self.clone() }
    }

    /// Posts messages to each session.
    pub(crate) async fn post_messages(
        &self,
        target: &Arc<Target>,
        connections: usize,
        messages: usize,
    ) -> Result<()> {
        let (sessions, mut number, all) = (self.clone(), 0, messages * self.paths.len());
        let next = move || {
            number += 1;
            (number <= all).then(|| sessions.message(number))
        };
        let driven =
            drive(target, connections, next, |response| response.status == StatusCode::CREATED)
                .await?;
        ensure!(driven.failed == 0, "{} of {all} messages were not accepted", driven.failed);
        Ok(())
    }

    /// A read of the session of this number, modulo their count.
    pub(crate) fn read(&self, number: usize) -> ScenarioRequest {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = self.paths[number % self.paths.len()].0.clone();
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        self.routed.stamp(request)
    }

    /// A message to the session of this number, modulo their count.
    pub(crate) fn message(&self, number: usize) -> ScenarioRequest {
        let mut request =
            request::with_json(Method::POST, "/", &PostMessage { message: MESSAGE.to_owned() });
        *request.uri_mut() = self.paths[number % self.paths.len()].1.clone();
        self.routed.stamp(request)
    }
}

fn client_data() -> serde_json::Value {
    json!({ "client_data": { "name": "Ada" } })
}

/// The paths by which a session is read, and posted to.
fn paths(id: &SessionId) -> (Uri, Uri) {
    let path = |endpoint: Endpoint| {
        let path = endpoint.templates().canonical.replace("{session_id}", &id.expose());
        // Hex digits in a template always parse; otherwise 404 would be counted.
        path.parse().unwrap_or_default()
    };
    (path(Endpoint::Session), path(Endpoint::Messages))
}
