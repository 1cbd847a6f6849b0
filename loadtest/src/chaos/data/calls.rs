//! How a client sends a request about products, files and accounts, and what the response means for
//! the ledger.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::RANGE;
use proto_contracts::files::FilePage;
use proto_contracts::headers::IDEMPOTENCY_KEY;
use proto_contracts::{Endpoint, ErrorCode};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::chaos::calls::fresh_key;
use crate::chaos::data::content;
use crate::chaos::data::ledger::{Act, Entry, Outcome, Seen, Via};
use crate::chaos::data::requests::request_of;
use crate::chaos::data::responses;
use crate::chaos::data::shop::Shop;
use crate::chaos::failed::{Ending, Sent};
use crate::chaos::ledger::{FailedRequest, Interval, Moment, Repetition};
use crate::chaos::users::User;
use crate::client::{CallError, Client, Response, ScenarioRequest};
use crate::outcome::ErrorKind;
use crate::target::Target;
use crate::{request, scenario};

/// How long a write of unknown outcome is repeated.
const REPEAT_FOR: Duration = Duration::from_secs(30);
/// Pause of a client after a failure, milliseconds.
const BACK_OFF_MS: std::ops::RangeInclusive<u64> = 20..=150;
/// One of this many acknowledged writes is sent again, to check that it is not executed twice.
const REPEATED: u32 = 8;
/// One of this many downloads reads only a part.
const PARTS: u32 = 3;

/// A write of unknown outcome, with what its repetition needs.
pub(crate) struct Pending {
    pub(crate) act: Act,
    pub(crate) user: Option<Arc<User>>,
    request: ScenarioRequest,
    begin: Moment,
}

/// Everything that one client, or all of them, did.
#[derive(Default)]
pub(crate) struct DataLedger {
    pub(crate) entries: Vec<Entry>,
    pub(crate) requests: u64,
    pub(crate) errors: Vec<FailedRequest>,
    /// Writes of unknown outcome that became known by repeating them.
    pub(crate) unknown_resolved: u64,
    pub(crate) pending: Vec<Pending>,
}

impl DataLedger {
    pub(crate) fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.requests += other.requests;
        self.errors.extend(other.errors);
        self.unknown_resolved += other.unknown_resolved;
        self.pending.extend(other.pending);
    }
}

/// The result of one request.
enum Attempt {
    Done(Response),
    Absent(Response),
    OutOfStock,
    /// An error response which means that nothing was executed, or nothing was sent.
    Refused,
    Unknown,
}

/// Sends requests as one user, or without a token, and keeps the ledger of one client.
pub(crate) struct DataCaller {
    pub(crate) shop: Arc<Shop>,
    pub(crate) user: Option<Arc<User>>,
    pub(crate) random: StdRng,
    pub(crate) ledger: DataLedger,
    via: Via,
    client: Client,
}

impl DataCaller {
    /// A client of the gateway.
    pub(crate) fn new(shop: &Arc<Shop>, seed: u64, user: Option<Arc<User>>) -> Self {
        Self::at(shop, seed, user, Via::Gateway, &shop.run.target)
    }

    /// A client of another part of the system.
    pub(crate) fn at(
        shop: &Arc<Shop>,
        seed: u64,
        user: Option<Arc<User>>,
        via: Via,
        target: &Arc<Target>,
    ) -> Self {
        Self {
            shop: Arc::clone(shop),
            user,
            random: StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            ledger: DataLedger::default(),
            via,
            client: Client::new(Arc::clone(target)),
        }
    }

    /// Waits so many milliseconds, or until the run is interrupted.
    pub(crate) async fn pause(&mut self, millis: std::ops::RangeInclusive<u64>) {
        let millis = self.random.random_range(millis);
        self.shop.run.pause(Duration::from_millis(millis)).await;
    }

    /// Sends a write, and repeats it under its key while its outcome is unknown. Also returns the
    /// response that acknowledged it.
    pub(crate) async fn write(&mut self, act: Act) -> (Outcome, Option<Response>) {
        let mut request = request_of(&self.shop, &act);
        request.headers_mut().insert(IDEMPOTENCY_KEY, fresh_key());
        let begin = self.shop.run.now();
        let (mut outcome, mut response) = self.attempt(&act, request.clone()).await;
        if outcome == Outcome::Unknown && self.shop.repeats {
            let since = |run: &DataCaller| run.shop.run.now().saturating_sub(begin);
            while outcome == Outcome::Unknown && since(self) < REPEAT_FOR {
                self.back_off().await;
                (outcome, response) = self.again(&act, request.clone()).await;
            }
            let is_over = matches!(outcome, Outcome::Absent | Outcome::OutOfStock);
            if is_over || outcome == Outcome::Refused {
                outcome = Outcome::Unknown;
            }
        }
        if outcome == Outcome::Unknown {
            let user = self.user.clone();
            self.ledger.pending.push(Pending { act, user, request, begin });
            return (Outcome::Unknown, None);
        }
        self.enter(begin, act.clone(), outcome.clone(), response.as_ref());
        if let Outcome::Done(_) = outcome
            && let Some(first) = &response
            && (self.random.random_range(0..REPEATED) == 0 || self.shop.run.repeats_each_write())
        {
            self.repeat(&act, request, first).await;
        }
        (outcome, response)
    }

    /// Repeats a write once more, after all faults. Returns it if its outcome is still unknown.
    pub(crate) async fn settle(&mut self, pending: Pending) -> Option<Pending> {
        let Pending { act, user, request, begin } = pending;
        self.user.clone_from(&user);
        let (outcome, response) = self.again(&act, request.clone()).await;
        match outcome {
            Outcome::Unknown => return Some(Pending { act, user, request, begin }),
            Outcome::Done(_) => self.enter(begin, act, outcome, response.as_ref()),
            // The first attempt may have been executed, and what it made be gone since.
            _ => self.enter(begin, act, Outcome::Unknown, None),
        }
        None
    }

    /// Gives up on a write, whose outcome stays unknown.
    pub(crate) fn give_up(&mut self, pending: Pending) {
        self.enter(pending.begin, pending.act, Outcome::Unknown, None);
    }

    /// Sends a read, or a login.
    pub(crate) async fn read(&mut self, act: Act) -> (Outcome, Option<Response>) {
        let begin = self.shop.run.now();
        let (outcome, response) = self.try_read(&act).await;
        self.enter(begin, act, outcome.clone(), response.as_ref());
        (outcome, response)
    }

    /// Reads until there is a response, and enters that alone.
    pub(crate) async fn read_surely(&mut self, act: Act, within: Duration) -> Outcome {
        let first = self.shop.run.now();
        loop {
            let begin = self.shop.run.now();
            let (outcome, response) = self.try_read(&act).await;
            let is_known = matches!(outcome, Outcome::Done(_) | Outcome::Absent);
            if is_known || self.shop.run.now().saturating_sub(first) > within {
                self.enter(begin, act, outcome.clone(), response.as_ref());
                return outcome;
            }
            self.back_off().await;
        }
    }

    /// Sends a request that is no act of the ledger. Returns a success alone.
    pub(crate) async fn fetch(&mut self, path: &str) -> Option<Response> {
        match self.send(request::get(path)).await {
            Attempt::Done(response) => Some(response),
            _ => None,
        }
    }

    pub(crate) async fn back_off(&mut self) {
        let millis = self.random.random_range(BACK_OFF_MS);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    async fn try_read(&mut self, act: &Act) -> (Outcome, Option<Response>) {
        if let Act::ListFiles(_) = act {
            return self.list_files(act).await;
        }
        let mut request = request_of(&self.shop, act);
        if let Act::Download(file) = act
            && let Some(last) = content::size(*file).checked_sub(1)
            && self.random.random_range(0..PARTS) == 0
        {
            let from = self.random.random_range(0..=last);
            let range = HeaderValue::try_from(format!("bytes={from}-{last}"));
            request.headers_mut().extend(range.ok().map(|range| (RANGE, range)));
        }
        self.attempt(act, request).await
    }

    /// Reads all pages.
    async fn list_files(&mut self, act: &Act) -> (Outcome, Option<Response>) {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("{}?limit=100{cursor}", Endpoint::Files.templates().canonical);
            let (outcome, response) = self.attempt(act, request::get(&path)).await;
            let Outcome::Done(Seen::Files(page)) = outcome else { return (outcome, response) };
            all.extend(page);
            let next = response.as_ref().and_then(responses::parsed);
            let next = next.and_then(|page: FilePage| page.next_cursor);
            match next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (Outcome::Done(Seen::Files(all)), response),
            }
        }
    }

    /// Repeats a write of unknown outcome.
    async fn again(&mut self, act: &Act, request: ScenarioRequest) -> (Outcome, Option<Response>) {
        let (outcome, response) = self.attempt(act, request).await;
        self.ledger.unknown_resolved += u64::from(matches!(outcome, Outcome::Done(_)));
        (outcome, response)
    }

    /// Repeats an acknowledged write.
    async fn repeat(&mut self, write: &Act, request: ScenarioRequest, first: &Response) {
        let begin = self.shop.run.now();
        let outcome = match self.send(request).await {
            Attempt::Done(again) => {
                Outcome::Done(Seen::Repeated(responses::repeated(&again, first)))
            }
            // Its key is known, so it must not be rejected.
            Attempt::Absent(_) | Attempt::OutOfStock => {
                Outcome::Done(Seen::Repeated(Repetition::Different))
            }
            Attempt::Refused => Outcome::Refused,
            Attempt::Unknown => Outcome::Unknown,
        };
        self.enter(begin, Act::Repeat(write.as_str()), outcome, None);
    }

    /// The outcome of one attempt. A success that cannot be parsed leaves it unknown.
    async fn attempt(
        &mut self,
        act: &Act,
        request: ScenarioRequest,
    ) -> (Outcome, Option<Response>) {
        let (begin, sent) = (self.shop.run.now(), Sent::from(&request));
        let outcome = match self.send(request).await {
            Attempt::Done(response) => match responses::seen(&self.shop.names, act, &response) {
                Some(seen) => return (Outcome::Done(seen), Some(response)),
                None => {
                    self.error(begin, sent, ErrorKind::WrongResponse, Ending::from(&response));
                    Outcome::Unknown
                }
            },
            Attempt::Absent(response) => return (Outcome::Absent, Some(response)),
            Attempt::OutOfStock => Outcome::OutOfStock,
            Attempt::Refused => Outcome::Refused,
            Attempt::Unknown => Outcome::Unknown,
        };
        (outcome, None)
    }

    async fn send(&mut self, mut request: ScenarioRequest) -> Attempt {
        let (begin, sent) = (self.shop.run.now(), Sent::from(&request));
        self.ledger.requests += 1;
        if let Some(user) = &self.user {
            user.authorize(&mut request);
        }
        let response = tokio::time::timeout(self.shop.run.timeout, self.client.send(request)).await;
        let (attempt, kind, end) = match response {
            Err(_elapsed) => (Attempt::Unknown, ErrorKind::Timeout, Ending::TimedOut),
            Ok(Err(error)) => {
                let attempt = match error {
                    CallError::Connect(_) => Attempt::Refused,
                    CallError::Broken(_) => Attempt::Unknown,
                };
                (attempt, ErrorKind::from(&error), Ending::from(error))
            }
            Ok(Ok(response)) if response.status.is_success() => return Attempt::Done(response),
            Ok(Ok(response)) => match scenario::problem_code(&response) {
                Some(
                    ErrorCode::ProductNotFound
                    | ErrorCode::FileNotFound
                    | ErrorCode::UserNotFound
                    | ErrorCode::InvalidCredentials,
                ) => return Attempt::Absent(response),
                Some(ErrorCode::OutOfStock) => return Attempt::OutOfStock,
                code => {
                    let status = response.status.as_u16();
                    let kind = code.map_or(ErrorKind::Status(status), ErrorKind::Problem);
                    let attempt = match response.status.is_client_error() {
                        true => Attempt::Refused,
                        false => Attempt::Unknown,
                    };
                    (attempt, kind, Ending::from(&response))
                }
            },
        };
        self.error(begin, sent, kind, end);
        attempt
    }

    fn enter(&mut self, begin: Moment, act: Act, outcome: Outcome, response: Option<&Response>) {
        if let Outcome::Done(Seen::File(seen)) = &outcome {
            self.shop.note_file(seen);
        }
        if let (Act::DeleteFile(file), Outcome::Done(_)) = (&act, &outcome) {
            self.shop.note_deleted(*file);
        }
        let time = Interval { begin, end: self.shop.run.now() };
        let is_copy = response.is_some_and(responses::is_copy);
        let via = self.via.clone();
        self.ledger.entries.push(Entry { via, time, act, outcome, is_copy });
    }

    fn error(&mut self, begin: Moment, request: Sent, kind: ErrorKind, end: Ending) {
        let time = Interval { begin, end: self.shop.run.now() };
        self.ledger.errors.push(FailedRequest { time, kind, request, end });
    }
}
