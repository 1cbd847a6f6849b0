//! How a client sends a request, and what the response means for the ledger.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::{HeaderValue, Method, StatusCode};
use proto_contracts::headers::{AFFINITY_KEY, IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
use proto_contracts::stateful::{CreateSession, MAX_HISTORY_PAGE, PatchSession, PostMessage};
use proto_contracts::{AffinityKey, Endpoint, ErrorCode, SessionId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use uuid::Uuid;

use crate::chaos::failed::{Ending, Sent};
use crate::chaos::ledger::{
    Act, ClientNumber, Entry, FailedRequest, IdUsed, Interval, Ledger, Message, Moment, Outcome,
    Seen, SessionNumber,
};
use crate::chaos::responses;
use crate::chaos::run::{Claim, OpenSession, Repeats, Run};
use crate::client::{CallError, Client, Response, ScenarioRequest};
use crate::outcome::ErrorKind;
use crate::target::Target;
use crate::{request, scenario};

/// How long a write of unknown outcome is repeated.
const REPEAT_FOR: Duration = Duration::from_secs(30);
/// Pause of a client after a failure, milliseconds, so that it does not spin.
const BACK_OFF_MS: std::ops::RangeInclusive<u64> = 20..=120;
/// One of this many acknowledged writes is sent again, to check that it is not executed twice.
const REPEATED: u32 = 32;

/// The result of one request.
enum Attempt {
    Done(Response, Sent),
    /// There is no such session.
    Absent,
    /// An error response which means that nothing was executed.
    Refused,
    /// Never sent.
    Unsent,
    Unknown,
}

/// Sends requests and keeps the ledger of one client.
pub(crate) struct Caller {
    pub(crate) number: ClientNumber,
    pub(crate) run: Arc<Run>,
    pub(crate) random: StdRng,
    pub(crate) ledger: Ledger,
    client: Client,
    /// A second gateway, and the connection to it.
    second: Option<(Arc<Target>, Client)>,
}

impl Caller {
    pub(crate) fn new(number: ClientNumber, seed: u64, run: Arc<Run>) -> Self {
        let client = Client::new(Arc::clone(&run.target));
        let random = StdRng::seed_from_u64(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(number)),
        );
        Self { number, run, random, ledger: Ledger::default(), client, second: None }
    }

    /// Creates a session. Without an acknowledgement its id stays unknown.
    pub(crate) async fn create(
        &mut self,
        number: SessionNumber,
    ) -> (Outcome, Option<Arc<OpenSession>>) {
        let body =
            CreateSession { client_data: responses::initial_data(number), ..Default::default() };
        let request = request::post(Endpoint::Sessions.templates().canonical, &body);
        let mut id = None;
        let read = |response: &Response| {
            let (found, seen) = responses::created(response, number)?;
            id = Some(found);
            Some(seen)
        };
        let outcome = self.write(number, IdUsed::Original, Act::Create, request, read).await;
        (outcome, id.map(|id| Arc::new(OpenSession::new(number, id))))
    }

    /// Posts a message.
    pub(crate) async fn append(&mut self, session: &OpenSession, message: Message) -> Outcome {
        let body = PostMessage { message: message.to_string() };
        let request = request::post(&path(Endpoint::Messages, &session.id), &body);
        let request = session.authorized(request);
        let read = |response: &Response| responses::posted(response, message, &session.id);
        self.write(session.number, session.id_used, Act::Append(message), request, read).await
    }

    /// Sets the client's own member of the client data.
    pub(crate) async fn patch(&mut self, session: &OpenSession, sequence: u32) -> Outcome {
        let body = PatchSession { client_data: responses::patch_data(self.number, sequence) };
        let request =
            request::with_json(Method::PATCH, &path(Endpoint::Session, &session.id), &body);
        let request = session.authorized(request);
        let read = |response: &Response| responses::session(response, session.number, &session.id);
        self.write(session.number, session.id_used, Act::Patch(sequence), request, read).await
    }

    /// Reads the session.
    pub(crate) async fn read(&mut self, session: &OpenSession) -> Outcome {
        let begin = self.run.now();
        let request = session.authorized(request::get(&path(Endpoint::Session, &session.id)));
        let attempt = self.attempt(request).await;
        let read = |response: &Response| responses::session(response, session.number, &session.id);
        let outcome = self.outcome(begin, attempt, read);
        self.enter(session.number, session.id_used, begin, Act::Read, outcome)
    }

    /// Reads all messages, page by page.
    pub(crate) async fn history(&mut self, session: &OpenSession) -> Outcome {
        let begin = self.run.now();
        let mut seen = responses::no_history();
        let mut cursor = String::new();
        let outcome = loop {
            let path = format!(
                "{}?limit={MAX_HISTORY_PAGE}{cursor}",
                path(Endpoint::History, &session.id)
            );
            let attempt = self.attempt(session.authorized(request::get(&path))).await;
            let before = std::mem::replace(&mut seen, responses::no_history());
            let mut next = None;
            let read = |response: &Response| {
                let (seen, following) =
                    responses::history(response, before, session.number, &session.id)?;
                next = following;
                Some(seen)
            };
            match (self.outcome(begin, attempt, read), next) {
                (Outcome::Done(page), Some(next)) => {
                    seen = page;
                    cursor = format!("&cursor={next}");
                }
                (outcome, _) => break outcome,
            }
        };
        self.enter(session.number, session.id_used, begin, Act::History, outcome)
    }

    /// Deletes the session. A delete of unknown outcome needs no key to be sent again.
    pub(crate) async fn delete(&mut self, session: &OpenSession) -> Outcome {
        let begin = self.run.now();
        let request = request::bare(Method::DELETE, &path(Endpoint::Session, &session.id));
        let attempt = self.attempt(session.authorized(request)).await;
        let outcome = self.outcome(begin, attempt, |_| Some(responses::deleted()));
        self.enter(session.number, session.id_used, begin, Act::Delete, outcome)
    }

    /// Claims a session. Without an acknowledgement its new id stays unknown.
    pub(crate) async fn claim(&mut self, claim: &Claim) -> (Outcome, Option<Arc<OpenSession>>) {
        let Claim { session, user, key } = claim;
        let mut request = request::post(&path(Endpoint::Claim, &session.id), &json!({}));
        user.authorize(&mut request);
        request.headers_mut().insert(IDEMPOTENCY_KEY, key.clone());
        let mut new = None;
        let read = |response: &Response| {
            let (found, seen) = responses::claimed(response, &session.id)?;
            new = Some(found);
            Some(seen)
        };
        let act = Act::Claim(user.number);
        let outcome = self.write(session.number, session.id_used, act, request, read).await;
        (outcome, new.map(|id| Arc::new(session.claimed(id, user))))
    }

    /// Whether the system replays the first response to a repeated message.
    pub(crate) async fn probe_repeats(&mut self) -> Result<Repeats> {
        let (_, session) = self.create(0).await;
        let session =
            session.context("the system rejects a create before any fault was injected")?;
        let body = PostMessage { message: "once".to_owned() };
        let mut request = request::post(&path(Endpoint::Messages, &session.id), &body);
        request.headers_mut().insert(IDEMPOTENCY_KEY, fresh_key());
        self.attempt(request.clone()).await;
        let again = self.attempt(request).await;
        let Attempt::Done(again, _) = again else {
            bail!("the system rejects a message before any fault was injected")
        };
        let replayed = again.headers.contains_key(IDEMPOTENCY_REPLAYED);
        Ok(if replayed { Repeats::UnderTheirKey } else { Repeats::Never })
    }

    /// Waits a moment after a failure.
    pub(crate) async fn back_off(&mut self) {
        let millis = self.random.random_range(BACK_OFF_MS);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Sends a write. If the run retries, repeats it under its key while its outcome is unknown.
    async fn write(
        &mut self,
        session: SessionNumber,
        id: IdUsed,
        act: Act,
        mut request: ScenarioRequest,
        mut read: impl FnMut(&Response) -> Option<Seen>,
    ) -> Outcome {
        // Not from the seed: a second run with that seed against the same system would get replayed
        // responses, with the first run's sessions.
        request.headers_mut().entry(IDEMPOTENCY_KEY).or_insert_with(fresh_key);
        let begin = self.run.now();
        let attempt = self.attempt(request.clone()).await;
        let first =
            if let Attempt::Done(response, _) = &attempt { Some(response.clone()) } else { None };
        let mut outcome = self.outcome(begin, attempt, &mut read);
        if outcome == Outcome::Unknown && matches!(act, Act::Claim(_)) {
            self.ledger.claims_unknown += 1;
        }
        if self.run.repeats == Repeats::Never {
            return self.enter(session, id, begin, act, outcome);
        }
        if outcome == Outcome::Unknown {
            while self.run.now().saturating_sub(begin) < REPEAT_FOR {
                self.back_off().await;
                let begin = self.run.now();
                self.vary_affinity_key(&act, &mut request);
                let attempt = self.attempt(request.clone()).await;
                // An error on a retry leaves the first attempt's outcome unknown: it may have been
                // executed, and the session deleted since.
                let rejected = matches!(attempt, Attempt::Absent | Attempt::Refused);
                if let Outcome::Done(seen) = self.outcome(begin, attempt, &mut read) {
                    self.ledger.unknown_resolved += 1;
                    outcome = Outcome::Done(seen);
                }
                if rejected || outcome != Outcome::Unknown {
                    break;
                }
            }
        }
        let outcome = self.enter(session, id, begin, act, outcome);
        let is_chosen = self.random.random_range(0..REPEATED) == 0 || self.run.repeats_each_write();
        if let Some(first) = first.filter(|_| is_chosen) {
            self.vary_affinity_key(&act, &mut request);
            self.repeat(session, id, act, request, &first).await;
        }
        outcome
    }

    /// Repeats an acknowledged write.
    async fn repeat(
        &mut self,
        session: SessionNumber,
        id: IdUsed,
        write: Act,
        request: ScenarioRequest,
        first: &Response,
    ) {
        let begin = self.run.now();
        let attempt = self.attempt(request).await;
        let outcome =
            self.outcome(begin, attempt, |response| Some(responses::repeated(response, first)));
        self.enter(session, id, begin, Act::Repeat(write.as_str()), outcome);
    }

    /// Gives a repeated create another affinity key than the first, like a browser that received a
    /// cookie in between.
    fn vary_affinity_key(&mut self, act: &Act, request: &mut ScenarioRequest) {
        if *act == Act::Create && self.run.varies_affinity_key {
            let key = AffinityKey::from_bits(self.random.random()).to_string();
            let key = HeaderValue::try_from(key).unwrap_or_else(|_| HeaderValue::from_static(""));
            request.headers_mut().insert(AFFINITY_KEY, key);
        }
    }

    fn enter(
        &mut self,
        session: SessionNumber,
        id: IdUsed,
        begin: Moment,
        act: Act,
        outcome: Outcome,
    ) -> Outcome {
        let time = Interval { begin, end: self.run.now() };
        self.ledger.entries.push(Entry {
            client: self.number,
            session,
            id,
            time,
            act,
            outcome: outcome.clone(),
        });
        outcome
    }

    /// The outcome of an act by this attempt. A success that cannot be parsed leaves it unknown.
    fn outcome(
        &mut self,
        begin: Moment,
        attempt: Attempt,
        read: impl FnOnce(&Response) -> Option<Seen>,
    ) -> Outcome {
        match attempt {
            Attempt::Done(response, sent) => match read(&response) {
                Some(seen) => Outcome::Done(seen),
                None => {
                    let end = Ending::from(&response);
                    self.error(begin, sent, ErrorKind::WrongResponse, end);
                    Outcome::Unknown
                }
            },
            Attempt::Absent => Outcome::Absent,
            Attempt::Refused | Attempt::Unsent => Outcome::Refused,
            Attempt::Unknown => Outcome::Unknown,
        }
    }

    async fn attempt(&mut self, request: ScenarioRequest) -> Attempt {
        let (begin, sent) = (self.run.now(), Sent::from(&request));
        self.ledger.requests += 1;
        let timeout = self.run.timeout;
        let response = tokio::time::timeout(timeout, self.client().send(request)).await;
        if let Ok(Ok(response)) = &response {
            self.ledger.spilled += u64::from(response.is_spilled());
        }
        let (attempt, kind, end) = match response {
            Err(_elapsed) => (Attempt::Unknown, ErrorKind::Timeout, Ending::TimedOut),
            Ok(Err(error)) => {
                let attempt = match error {
                    CallError::Connect(_) => Attempt::Unsent,
                    CallError::Broken(_) => Attempt::Unknown,
                };
                (attempt, ErrorKind::from(&error), Ending::from(error))
            }
            Ok(Ok(response)) if response.status.is_success() => {
                return Attempt::Done(response, sent);
            }
            Ok(Ok(response)) => {
                let code = scenario::problem_code(&response);
                if code == Some(ErrorCode::SessionNotFound) {
                    return Attempt::Absent;
                }
                let attempt = if response.status.is_client_error() {
                    Attempt::Refused
                } else {
                    Attempt::Unknown
                };
                (attempt, error_kind(response.status, code), Ending::from(&response))
            }
        };
        self.error(begin, sent, kind, end);
        attempt
    }

    /// The connection for the next request.
    fn client(&mut self) -> &mut Client {
        self.second = self.run.second().map(|target| match self.second.take() {
            Some((same, client)) if Arc::ptr_eq(&same, &target) => (same, client),
            _ => (Arc::clone(&target), Client::new(target)),
        });
        match &mut self.second {
            Some((_, client)) if self.random.random_range(0..2) == 0 => client,
            _ => &mut self.client,
        }
    }

    fn error(&mut self, begin: Moment, request: Sent, kind: ErrorKind, end: Ending) {
        let time = Interval { begin, end: self.run.now() };
        self.ledger.errors.push(FailedRequest { time, kind, request, end });
    }
}

fn error_kind(status: StatusCode, code: Option<ErrorCode>) -> ErrorKind {
    code.map_or(ErrorKind::Status(status.as_u16()), ErrorKind::Problem)
}

fn path(endpoint: Endpoint, id: &SessionId) -> String {
    endpoint.templates().canonical.replace("{session_id}", &id.expose())
}

/// A key for one write.
pub(super) fn fresh_key() -> HeaderValue {
    let key = Uuid::new_v4().to_string();
    // Hex digits and hyphens are always valid in a header value.
    HeaderValue::try_from(key).unwrap_or_else(|_| HeaderValue::from_static(""))
}
