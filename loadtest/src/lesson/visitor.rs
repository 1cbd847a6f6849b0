//! A client of a lesson: one connection, with what it knows of its session.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderName, HeaderValue, Method};
use proto_contracts::AffinityKey;
use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::stateful::Session;
use proto_contracts::{SessionId, Verdict, headers};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::client::{Client, Response, ScenarioRequest};
use crate::lesson::stop::Stop;
use crate::request;
use crate::target::Target;

const SESSIONS: &str = "/api/v1/stateful/sessions";
const CONVERSATIONS: &str = "/api/v1/stateful/conversations";
const AUDIT: &str = "/api/v1/audit";
const INFO: &str = "/api/v1/stateless/info";

/// What a response says of its way.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) status: u16,
    /// The instance; empty for a response of the gateway itself.
    pub(crate) served_by: String,
    /// `X-Session-Source`.
    pub(crate) source: Option<String>,
    pub(crate) verdict: Option<Verdict>,
    body: hyper::body::Bytes,
    cookie: Option<HeaderValue>,
}

impl Visit {
    fn of(response: &Response) -> Self {
        let text = |name: &str| Some(response.headers.get(name)?.to_str().ok()?.to_owned());
        let is_ours = |value: &&HeaderValue| {
            value
                .as_bytes()
                .strip_prefix(COOKIE_NAME.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'='))
        };
        let cookie = response.headers.get_all(SET_COOKIE).iter().find(is_ours);
        Self {
            status: response.status.as_u16(),
            served_by: text(headers::SERVED_BY).unwrap_or_default(),
            source: text(headers::SESSION_SOURCE),
            verdict: response.verdict(),
            body: response.body.clone(),
            cookie: cookie.and_then(|cookie| {
                HeaderValue::from_bytes(cookie.as_bytes().split(|&byte| byte == b';').next()?).ok()
            }),
        }
    }

    /// The body.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).context("another body than expected")
    }
}

/// One client.
pub(crate) struct Visitor {
    client: Client,
    /// Sent with each request.
    extra: Vec<(HeaderName, HeaderValue)>,
    cookie: Option<HeaderValue>,
    session: Option<SessionId>,
    stop: Stop,
}

impl Visitor {
    pub(crate) fn new(target: &Arc<Target>, stop: Stop) -> Self {
        Self {
            client: Client::new(Arc::clone(target)),
            extra: Vec::new(),
            cookie: None,
            session: None,
            stop,
        }
    }

    /// The same client with its session on another connection.
    pub(crate) fn on_another_connection(&self) -> Self {
        Self {
            client: Client::new(self.client.target()),
            extra: self.extra.clone(),
            cookie: self.cookie.clone(),
            session: self.session.clone(),
            stop: self.stop.clone(),
        }
    }

    /// The path of its session.
    pub(crate) fn path(&self) -> Option<String> {
        Some(format!("{SESSIONS}/{}", self.session.as_ref()?.expose()))
    }

    /// The key of its session.
    pub(crate) fn key(&self) -> Option<u32> {
        Some(self.session.as_ref()?.affinity_key().bits())
    }

    /// A stateless request.
    pub(crate) async fn info(&mut self) -> Result<Visit> {
        self.send(request::get(INFO)).await
    }

    /// Asks for the audit log, which admins may read.
    pub(crate) async fn audit(&mut self) -> Result<Visit> {
        self.send(request::get(AUDIT)).await
    }

    /// Creates its session, and keeps the cookie.
    pub(crate) async fn create(&mut self) -> Result<Visit> {
        let visit = self.send(request::post(SESSIONS, &json!({}))).await?;
        ensure!(visit.status == 201, "a session was not created: {}", visit.status);
        self.session = Some(visit.json::<Session>()?.session_id);
        if visit.cookie.is_some() {
            self.cookie.clone_from(&visit.cookie);
        }
        Ok(visit)
    }

    /// Reads its session, by the path.
    pub(crate) async fn read(&mut self) -> Result<Visit> {
        let path = self.path().context("there is no session")?;
        self.send(request::get(&path)).await
    }

    /// Posts a message to its session. Only the cookie, if it is kept, tells the gateway the key.
    pub(crate) async fn say(&mut self) -> Result<Visit> {
        let session = self.session.as_ref().context("there is no session")?;
        let body = json!({"session_id": session.expose(), "message": "hello"});
        self.send(request::post(CONVERSATIONS, &body)).await
    }

    /// Whether the instance itself, as its target, is ready.
    pub(crate) async fn is_ready(&mut self) -> bool {
        self.send(request::get("/readyz")).await.is_ok_and(|ready| ready.status == 200)
    }

    /// Deletes a session.
    pub(crate) async fn delete(&mut self, path: &str) -> Result<Visit> {
        self.send(request::bare(Method::DELETE, path)).await
    }

    /// Comes from this address from now on, which the gateway believes from this machine.
    pub(crate) fn come_from(&mut self, address: &str) -> Result<()> {
        let name = HeaderName::from_static(headers::FORWARDED_FOR);
        self.extra = vec![(name, HeaderValue::from_str(address)?)];
        Ok(())
    }

    /// Has a random key from an earlier visit.
    pub(crate) fn bring_cookie(&mut self) -> Result<()> {
        let cookie = format!("{COOKIE_NAME}={}", AffinityKey::random());
        self.cookie = Some(HeaderValue::try_from(cookie)?);
        Ok(())
    }

    /// Has this access token from now on.
    pub(crate) fn authorize(&mut self, token: &str) -> Result<()> {
        let value = HeaderValue::try_from(format!("Bearer {token}"))?;
        self.extra = vec![(AUTHORIZATION, value)];
        Ok(())
    }

    /// Has no cookie jar from now on.
    pub(crate) fn drop_cookie(&mut self) {
        self.cookie = None;
    }

    /// Sends a request with what the client always sends.
    pub(crate) async fn send(&mut self, mut request: ScenarioRequest) -> Result<Visit> {
        self.stop.check()?;
        for (name, value) in &self.extra {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        if let Some(cookie) = &self.cookie {
            request.headers_mut().insert(COOKIE, cookie.clone());
        }
        Ok(Visit::of(&self.client.send(request).await?))
    }
}
