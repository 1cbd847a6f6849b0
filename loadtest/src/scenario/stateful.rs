//! Sessions: each is created, written to and read, then the next one is created.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use proto_contracts::affinity::COOKIE_NAME;
use proto_contracts::stateful::{
    CreateSession, MessagePosted, PostConversation, PostMessage, Session,
};
use proto_contracts::{Endpoint, SessionId};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::de::DeserializeOwned;

use super::{Operation, Scenario, expect_status};
use crate::client::{Response, ScenarioRequest};
use crate::outcome::ErrorKind;
use crate::plan::{Affinity, SessionMix};
use crate::request;

/// Length of a message, in bytes, like chat lines.
const MESSAGE_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

/// A client with one session after the other.
pub(crate) struct Conversations {
    mix: SessionMix,
    random: StdRng,
    /// Absent before the first session and after a failure: the next request creates one.
    current: Option<OpenSession>,
    last: Operation,
}

struct OpenSession {
    id: SessionId,
    cookie: Option<HeaderValue>,
    /// Acknowledged messages.
    messages: u64,
    /// The remaining requests, the next one last.
    left: Vec<Operation>,
}

impl Conversations {
    /// Clients with different numbers send different messages.
    pub(crate) fn new(mix: SessionMix, seed: u64, number: u64) -> Self {
        let random =
            StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
        Self { mix, random, current: None, last: Operation::Create }
    }

    fn shuffled_calls(&mut self) -> Vec<Operation> {
        let messages = (0..self.mix.messages).map(|_| Operation::Message);
        let mut calls: Vec<_> =
            messages.chain((0..self.mix.reads).map(|_| Operation::Read)).collect();
        calls.shuffle(&mut self.random);
        calls
    }
}

impl Scenario for Conversations {
    fn next(&mut self) -> (Operation, ScenarioRequest) {
        let next = self.current.as_mut().and_then(|session| Some((session.left.pop()?, session)));
        let (operation, request) = match next {
            None => (
                Operation::Create,
                request::post(
                    Endpoint::Sessions.templates().canonical,
                    &<CreateSession>::default(),
                ),
            ),
            Some((Operation::Message, session)) => {
                let length = self.random.random_range(MESSAGE_BYTES);
                let message = "tandem ".chars().cycle().take(length).collect();
                (Operation::Message, session.message(message, self.mix.affinity))
            }
            Some((operation, session)) => (operation, session.read(self.mix.affinity)),
        };
        self.last = operation;
        (operation, request)
    }

    fn check(&mut self, response: &Response) -> Result<(), ErrorKind> {
        if self.last == Operation::Create {
            expect_status(response, StatusCode::CREATED)?;
            let created: Session = read(response)?;
            let left = self.shuffled_calls();
            let cookie = affinity_cookie(response);
            self.current = Some(OpenSession { id: created.session_id, cookie, messages: 0, left });
            return Ok(());
        }
        let Some(session) = self.current.as_mut() else { return Err(ErrorKind::WrongResponse) };
        let count = match self.last {
            Operation::Message => {
                expect_status(response, StatusCode::CREATED)?;
                session.messages += 1;
                read::<MessagePosted>(response)?.number
            }
            _ => {
                expect_status(response, StatusCode::OK)?;
                read::<Session>(response)?.message_count
            }
        };
        // Only this client writes to the session: it contains each acknowledged message once.
        if count == session.messages { Ok(()) } else { Err(ErrorKind::WrongResponse) }
    }

    fn abandon(&mut self) {
        self.current = None;
    }
}

impl OpenSession {
    fn message(&self, message: String, affinity: Affinity) -> ScenarioRequest {
        match affinity {
            Affinity::Path => {
                request::post(&self.path(Endpoint::Messages), &PostMessage { message })
            }
            Affinity::Cookie => {
                let body = PostConversation { session_id: self.id.clone(), message };
                self.with_cookie(request::post(
                    Endpoint::Conversations.templates().canonical,
                    &body,
                ))
            }
        }
    }

    fn read(&self, affinity: Affinity) -> ScenarioRequest {
        let request = request::get(&self.path(Endpoint::Session));
        match affinity {
            Affinity::Path => request,
            Affinity::Cookie => self.with_cookie(request),
        }
    }

    fn path(&self, endpoint: Endpoint) -> String {
        endpoint.templates().canonical.replace("{session_id}", &self.id.expose())
    }

    fn with_cookie(&self, mut request: ScenarioRequest) -> ScenarioRequest {
        if let Some(cookie) = &self.cookie {
            request.headers_mut().insert(COOKIE, cookie.clone());
        }
        request
    }
}

fn read<T: DeserializeOwned>(response: &Response) -> Result<T, ErrorKind> {
    serde_json::from_slice(&response.body).map_err(|_| ErrorKind::WrongResponse)
}

/// The affinity cookie of the response, as the client sends it.
pub(crate) fn affinity_cookie(response: &Response) -> Option<HeaderValue> {
    response.headers.get_all(SET_COOKIE).iter().find_map(|cookie| {
        let pair = cookie.as_bytes().split(|&byte| byte == b';').next()?;
        let value = pair.strip_prefix(COOKIE_NAME.as_bytes())?;
        value.starts_with(b"=").then(|| HeaderValue::from_bytes(pair).ok())?
    })
}
