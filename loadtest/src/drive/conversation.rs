//! People at the board: each of their requests is sent at once, and shown with its response.

use std::time::{Duration, Instant};

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proto_contracts::control::{
    Conversation, ConversationAct, Converse, Exchanged, Header, Speaker,
};
use proto_contracts::stateful::{CreateSession, PostConversation, Session};
use proto_contracts::{Endpoint, SessionId, headers};
use tokio::sync::Mutex;

use crate::client::{Response, ScenarioRequest};
use crate::drive::args::TargetUrl;
use crate::drive::connection::Connection;
use crate::outcome::ErrorKind;
use crate::request;
use crate::scenario::affinity_cookie;

/// When a request counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// The longest part of a body that is shown, in characters.
const SHOWN_BODY: usize = 600;
/// Headers of requests that are shown, where they are sent.
const SENT: [&str; 2] = ["cookie", headers::FORWARDED_FOR];
/// Headers of responses that are shown, where they are there.
const SHOWN: [&str; 11] = [
    headers::SERVED_BY,
    headers::AFFINITY,
    headers::AFFINITY_KEY,
    headers::SESSION_SOURCE,
    "set-cookie",
    "etag",
    "retry-after",
    headers::RATE_LIMIT,
    headers::RATE_LIMIT_POLICY,
    "content-type",
    headers::REQUEST_ID,
];

/// All people.
pub(super) struct People([Mutex<Person>; Speaker::ALL.len()]);

/// One of them.
#[derive(Default)]
struct Person {
    connection: Connection,
    session: Option<SessionId>,
    /// The jar, which the affinity cookie alone is in.
    cookie: Option<HeaderValue>,
}

impl People {
    /// Nobody has a session yet.
    pub(super) fn new() -> Self {
        Self(Speaker::ALL.map(|_| Mutex::default()))
    }

    /// Sends what the person wants to send. One act of a person follows the other.
    pub(super) async fn act(&self, target: &TargetUrl, converse: &Converse) -> Conversation {
        let mut person = self.0[converse.person as usize].lock().await;
        let wire =
            Wire { target, cookie_jar: converse.cookie_jar, place: converse.person as usize };
        let exchanges = match converse.act {
            ConversationAct::Say => {
                person.say(&wire, converse.message.as_deref().unwrap_or_default()).await
            }
            ConversationAct::Read => person.read(&wire).await,
            ConversationAct::Info => {
                let info = request::get(Endpoint::Info.templates().canonical);
                vec![person.exchange(&wire, info).await.0]
            }
            ConversationAct::End => person.end(&wire).await,
        };
        let has_session = person.session.is_some();
        let mut conversation = Conversation { person: converse.person, has_session, exchanges };
        shorten(&mut conversation);
        conversation
    }

    /// Deletes all sessions, once each.
    pub(super) async fn leave(&self, target: &TargetUrl) {
        for (place, person) in self.0.iter().enumerate() {
            let mut person = person.lock().await;
            person.connection = Connection::default();
            if person.session.is_some() {
                person.end(&Wire { target, cookie_jar: false, place }).await;
            }
        }
    }
}

/// How a person's requests are sent.
struct Wire<'a> {
    target: &'a TargetUrl,
    cookie_jar: bool,
    /// The number of the person, from 0.
    place: usize,
}

impl Person {
    /// Creates a session unless there is one, and writes to it.
    async fn say(&mut self, wire: &Wire<'_>, message: &str) -> Vec<Exchanged> {
        let mut exchanges = Vec::new();
        if self.session.is_none() {
            let path = Endpoint::Sessions.templates().canonical;
            let create = request::post(path, &<CreateSession>::default());
            let (mut created, response) = self.exchange(wire, create).await;
            let body = response.filter(|response| response.status == StatusCode::CREATED);
            let session: Option<Session> =
                body.and_then(|response| serde_json::from_slice(&response.body).ok());
            self.session = session.map(|session| session.session_id);
            if let Some(id) = &self.session {
                mask(&mut created, id);
            }
            exchanges.push(created);
        }
        if let Some(session_id) = self.session.clone() {
            let body = PostConversation { session_id, message: message.to_owned() };
            let path = Endpoint::Conversations.templates().canonical;
            exchanges.push(self.exchange(wire, request::post(path, &body)).await.0);
        }
        exchanges
    }

    async fn read(&mut self, wire: &Wire<'_>) -> Vec<Exchanged> {
        match self.path() {
            Some(path) => vec![self.exchange(wire, request::get(&path)).await.0],
            None => Vec::new(),
        }
    }

    /// Forgets the session if it was deleted, or is not there.
    async fn end(&mut self, wire: &Wire<'_>) -> Vec<Exchanged> {
        let Some(path) = self.path() else { return Vec::new() };
        let ended = self.exchange(wire, request::bare(Method::DELETE, &path)).await.0;
        if matches!(ended.status, Some(204 | 404)) {
            self.session = None;
        }
        vec![ended]
    }

    fn path(&self) -> Option<String> {
        let id = self.session.as_ref()?.expose();
        Some(Endpoint::Session.templates().canonical.replace("{session_id}", &id))
    }

    /// Sends a request, and describes it with its response.
    async fn exchange(
        &mut self,
        wire: &Wire<'_>,
        mut request: ScenarioRequest,
    ) -> (Exchanged, Option<Response>) {
        if let Ok(from) = HeaderValue::try_from(format!("198.18.255.{}", wire.place + 1)) {
            request.headers_mut().insert(HeaderName::from_static(headers::FORWARDED_FOR), from);
        }
        if let Some(cookie) = self.cookie.as_ref().filter(|_| wire.cookie_jar) {
            request.headers_mut().insert(COOKIE, cookie.clone());
        }
        let mut exchanged = Exchanged {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            sent: shown(request.headers(), &SENT),
            status: None,
            failure: None,
            duration_ms: 0.0,
            headers: Vec::new(),
            body: String::new(),
        };
        let begin = Instant::now();
        let outcome = self.send(wire, request).await;
        exchanged.duration_ms = (begin.elapsed().as_secs_f64() * 1e5).round() / 100.0;
        let response = match outcome {
            Ok(response) => {
                exchanged.status = Some(response.status.as_u16());
                exchanged.headers = shown(&response.headers, &SHOWN);
                exchanged.body = String::from_utf8_lossy(&response.body).into_owned();
                if let Some(cookie) = affinity_cookie(&response).filter(|_| wire.cookie_jar) {
                    self.cookie = Some(cookie);
                }
                Some(response)
            }
            Err(error) => {
                exchanged.failure = Some(error.to_string());
                None
            }
        };
        if let Some(id) = &self.session {
            mask(&mut exchanged, id);
        }
        (exchanged, response)
    }

    async fn send(
        &mut self,
        wire: &Wire<'_>,
        request: ScenarioRequest,
    ) -> Result<Response, ErrorKind> {
        self.connection.send(wire.target, request, REQUEST_TIMEOUT).await
    }
}

fn shown(headers: &HeaderMap, names: &[&str]) -> Vec<Header> {
    let mut shown = Vec::new();
    for &name in names {
        for value in headers.get_all(name) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            shown.push(Header { name: name.to_owned(), value });
        }
    }
    shown
}

/// Replaces the session's id, which is a secret, by its digest.
fn mask(exchanged: &mut Exchanged, id: &SessionId) {
    let (secret, name) = (id.expose().to_string(), format!("<session {}>", id.digest()));
    let Exchanged { path, headers, body, .. } = exchanged;
    for text in [path, body].into_iter().chain(headers.iter_mut().map(|header| &mut header.value)) {
        if text.contains(&secret) {
            *text = text.replace(&secret, &name);
        }
    }
}

/// Cuts what is shown of bodies. After [`mask`]: a part of an id would not be found.
fn shorten(conversation: &mut Conversation) {
    for exchanged in &mut conversation.exchanges {
        if let Some((at, _)) = exchanged.body.char_indices().nth(SHOWN_BODY) {
            exchanged.body.truncate(at);
            exchanged.body.push('…');
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::AffinityKey;

    use super::*;

    fn exchanged(body: String) -> Exchanged {
        Exchanged {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            sent: Vec::new(),
            status: Some(200),
            failure: None,
            duration_ms: 1.0,
            headers: Vec::new(),
            body,
        }
    }

    #[test]
    fn an_id_is_masked_wherever_it_is() {
        let id = SessionId::generate(AffinityKey::from_bits(7));
        let secret = id.expose().to_string();
        let mut shown = exchanged(format!("{{\"session_id\":\"{secret}\"}} {secret}"));
        shown.path = format!("/api/v1/stateful/sessions/{secret}");
        let header = Header { name: "etag".to_owned(), value: secret.clone() };
        shown.headers.push(header);
        mask(&mut shown, &id);
        let text = format!("{shown:?}");
        assert!(!text.contains(&secret), "{text}");
        assert_eq!(text.matches(&id.digest().to_string()).count(), 4);
    }

    #[test]
    fn a_long_body_is_cut_at_a_character() {
        let long = exchanged("ä".repeat(10_000));
        let (person, has_session) = (Speaker::A, false);
        let mut conversation =
            Conversation { person, has_session, exchanges: vec![long, exchanged("x".to_owned())] };
        shorten(&mut conversation);
        assert_eq!(conversation.exchanges[0].body.chars().count(), SHOWN_BODY + 1);
        assert_eq!(conversation.exchanges[1].body, "x");
    }
}
