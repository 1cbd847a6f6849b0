//! The simulated clients. All of them exist from the start, and wait until they are wanted.

use std::sync::Arc;
use std::time::Duration;

use http::header::{COOKIE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use proto_contracts::control::TrafficSettings;
use proto_contracts::stateful::{CreateSession, MessagePosted, PostConversation, Session};
use proto_contracts::{Endpoint, ErrorCode, PoolName, SessionId, headers};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::client::{Response, ScenarioRequest};
use crate::drive::connection::Connection;
use crate::drive::driver::{Driver, Orders};
use crate::outcome::ErrorKind;
use crate::request;
use crate::scenario::{affinity_cookie, expect_status};

/// When a request counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after the first of several failures; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest pause after failures.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// After so many messages a client ends its session and creates another, so that none grows.
const MESSAGES: u64 = 100;
/// A client gives a session up that was not found so often in a row. Less would make round robin
/// over memory look like sessions that are created all the time.
const NOT_FOUND_LIMIT: u32 = 10;
/// Sessions that were given up but may still be somewhere. More are left to expire.
const MAX_GIVEN_UP: usize = 8;
/// How often a session is deleted at the end, if that fails.
const DELETIONS: u32 = 3;

/// Starts every client that can be wanted. They send nothing before.
pub(super) fn spawn(driver: &Arc<Driver>) {
    for number in 0..*TrafficSettings::CLIENTS.end() {
        tokio::spawn(live(number, Arc::clone(driver)));
    }
}

/// One client, for the life of the program.
async fn live(number: u16, driver: Arc<Driver>) {
    let mut orders = driver.orders();
    // Ends with the driver.
    while orders.wait_for(|orders| orders.want(number)).await.is_ok() {
        if driver.enter(number) {
            let mut client = SimulatedClient::new(number, &driver);
            client.work(&mut orders).await;
            client.clean_up().await;
            driver.exit();
        }
    }
}

/// The address of a client, in the range for benchmarks (RFC 2544), which the gateway believes from
/// a trusted proxy such as this machine.
fn address(number: u16, clients_per_address: u16) -> String {
    let place = number / clients_per_address.max(1);
    format!("198.18.{}.{}", place / 250, place % 250 + 1)
}

/// A session as its client knows it.
struct HeldSession {
    id: SessionId,
    /// The affinity cookie that came with it.
    cookie: Option<HeaderValue>,
    messages: u64,
    /// How often in a row it was not found.
    not_found: u32,
}

struct SimulatedClient<'a> {
    driver: &'a Driver,
    number: u16,
    /// Absent before the first request and after a failed connect: the name is resolved again.
    connection: Connection,
    random: StdRng,
    session: Option<HeldSession>,
    given_up: Vec<SessionId>,
    /// Failures in a row that say that the system is away or overloaded.
    failures: u32,
}

impl<'a> SimulatedClient<'a> {
    fn new(number: u16, driver: &'a Driver) -> Self {
        Self {
            driver,
            number,
            connection: Connection::default(),
            random: StdRng::seed_from_u64(number.into()),
            session: None,
            given_up: Vec::new(),
            failures: 0,
        }
    }

    /// Sends requests while it is wanted.
    async fn work(&mut self, orders: &mut watch::Receiver<Orders>) {
        // Clients that start at once don't keep step.
        let first = orders.borrow().settings.think_time_ms;
        let mut pause = Duration::from_millis(self.random.random_range(0..first.max(1)).into());
        loop {
            let now = *orders.borrow_and_update();
            if !now.want(self.number) {
                return;
            }
            let number = self.number;
            let changed = |orders: &Orders| orders.settings != now.settings || !orders.want(number);
            let was_changed = tokio::select! {
                () = sleep(pause) => false,
                _ = orders.wait_for(changed) => true,
            };
            if !was_changed {
                let asked_to_wait = self.request(&now.settings).await;
                pause = self.pause(&now.settings).max(asked_to_wait);
            } else {
                // A long pause must not outlast the setting.
                pause = pause.min(self.pause(&orders.borrow().settings));
            }
        }
    }

    /// The pause before the next request: half to one and a half times the mean.
    fn pause(&mut self, settings: &TrafficSettings) -> Duration {
        let mean = settings.think_time_ms;
        let think = self.random.random_range(mean / 2..=mean + mean / 2);
        let backoff = match self.failures {
            0 => Duration::ZERO,
            failures => FIRST_BACKOFF.saturating_mul(1 << (failures - 1).min(10)).min(MAX_BACKOFF),
        };
        Duration::from_millis(think.into()).max(backoff)
    }

    /// Sends one request and counts it. Returns how long the response asks to wait.
    async fn request(&mut self, settings: &TrafficSettings) -> Duration {
        let pool = if self.random.random_range(0..100) < settings.stateless_percent {
            PoolName::Stateless
        } else {
            PoolName::Stateful
        };
        let (outcome, wait) = match pool {
            PoolName::Stateless => self.info(settings).await,
            PoolName::Stateful => self.converse(settings).await,
        };
        let is_away = match outcome {
            Ok(()) => false,
            Err(ErrorKind::Problem(code)) => matches!(code.status(), 429 | 500..),
            Err(ErrorKind::Status(status)) => matches!(status, 429 | 500..),
            Err(ErrorKind::WrongResponse) => false,
            Err(_no_response) => true,
        };
        self.failures = if is_away { self.failures.saturating_add(1) } else { 0 };
        self.driver.count(pool, outcome);
        wait
    }

    async fn info(&mut self, settings: &TrafficSettings) -> (Result<(), ErrorKind>, Duration) {
        let info = request::get(Endpoint::Info.templates().canonical);
        match self.send(info, settings).await {
            Ok(response) => (expect_status(&response, StatusCode::OK), retry_after(&response)),
            Err(error) => (Err(error), Duration::ZERO),
        }
    }

    /// Creates a session, reads it, writes to it, or ends it.
    async fn converse(&mut self, settings: &TrafficSettings) -> (Result<(), ErrorKind>, Duration) {
        let Some(session) = &self.session else { return self.create(settings).await };
        let reads = self.random.random_range(0..100) < settings.reads_percent;
        let is_full = session.messages >= MESSAGES;
        let (mut request, expected) = if is_full {
            (request::bare(Method::DELETE, &path_of(&session.id)), StatusCode::NO_CONTENT)
        } else if reads {
            (request::get(&path_of(&session.id)), StatusCode::OK)
        } else {
            let message = "tandem ".repeat(self.random.random_range(2..32));
            let body = PostConversation { session_id: session.id.clone(), message };
            let path = Endpoint::Conversations.templates().canonical;
            (request::post(path, &body), StatusCode::CREATED)
        };
        if let Some(cookie) = session.cookie.as_ref().filter(|_| settings.cookie_jar) {
            request.headers_mut().insert(COOKIE, cookie.clone());
        }
        let response = match self.send(request, settings).await {
            Ok(response) => response,
            Err(error) => return (Err(error), Duration::ZERO),
        };
        let outcome = expect_status(&response, expected).and_then(|()| match expected {
            StatusCode::CREATED => read::<MessagePosted>(&response).map(|posted| posted.number),
            StatusCode::OK => read::<Session>(&response).map(|session| session.message_count),
            _ => Ok(0),
        });
        self.remember(outcome, is_full, settings.cookie_jar, &response);
        (outcome.map(drop), retry_after(&response))
    }

    /// What a response says of the session.
    fn remember(
        &mut self,
        outcome: Result<u64, ErrorKind>,
        was_ended: bool,
        cookie_jar: bool,
        response: &Response,
    ) {
        let Some(session) = &mut self.session else { return };
        match outcome {
            Ok(_) if was_ended => {
                self.session = None;
                self.driver.session_gone();
            }
            Ok(messages) => {
                session.messages = messages;
                session.not_found = 0;
                // Without a jar, the gateway gives each write a new key.
                if cookie_jar && let Some(cookie) = affinity_cookie(response) {
                    session.cookie = Some(cookie);
                }
            }
            Err(ErrorKind::Problem(ErrorCode::SessionNotFound)) => {
                session.not_found += 1;
                if session.not_found >= NOT_FOUND_LIMIT
                    && let Some(session) = self.session.take()
                {
                    self.given_up.push(session.id);
                    if self.given_up.len() > MAX_GIVEN_UP {
                        self.given_up.remove(0);
                        self.driver.session_gone();
                    }
                }
            }
            Err(_) => {}
        }
    }

    /// Creates its session. No cookie is sent: with the key of another session both would have one
    /// home.
    async fn create(&mut self, settings: &TrafficSettings) -> (Result<(), ErrorKind>, Duration) {
        let path = Endpoint::Sessions.templates().canonical;
        let create = request::post(path, &<CreateSession>::default());
        let response = match self.send(create, settings).await {
            Ok(response) => response,
            Err(error) => return (Err(error), Duration::ZERO),
        };
        let created = expect_status(&response, StatusCode::CREATED)
            .and_then(|()| read::<Session>(&response))
            .map(|created| {
                self.driver.session_created();
                self.session = Some(HeldSession {
                    id: created.session_id,
                    cookie: affinity_cookie(&response),
                    messages: 0,
                    not_found: 0,
                });
            });
        (created, retry_after(&response))
    }

    async fn send(
        &mut self,
        mut request: ScenarioRequest,
        settings: &TrafficSettings,
    ) -> Result<Response, ErrorKind> {
        if let Ok(from) = HeaderValue::try_from(address(self.number, settings.clients_per_address))
        {
            request.headers_mut().insert(HeaderName::from_static(headers::FORWARDED_FOR), from);
        }
        self.connection.send(&self.driver.target, request, REQUEST_TIMEOUT).await
    }

    /// Deletes its sessions, as far as that is possible. Others expire.
    async fn clean_up(&mut self) {
        let held = self.session.take().map(|session| session.id);
        let settings = TrafficSettings::default();
        for id in held.into_iter().chain(std::mem::take(&mut self.given_up)) {
            for attempt in 1..=DELETIONS {
                let delete = request::bare(Method::DELETE, &path_of(&id));
                let outcome = self.send(delete, &settings).await;
                // 404: it is gone, or at another instance, which only another attempt may reach.
                let is_done = outcome.is_ok_and(|response| response.status.is_success());
                if is_done || attempt == DELETIONS {
                    break;
                }
                sleep(FIRST_BACKOFF * attempt).await;
            }
            self.driver.session_gone();
        }
    }
}

fn path_of(id: &SessionId) -> String {
    Endpoint::Session.templates().canonical.replace("{session_id}", &id.expose())
}

fn read<T: DeserializeOwned>(response: &Response) -> Result<T, ErrorKind> {
    serde_json::from_slice(&response.body).map_err(|_| ErrorKind::WrongResponse)
}

/// How long the response asks to wait: seconds, at most [`MAX_BACKOFF`].
fn retry_after(response: &Response) -> Duration {
    let seconds =
        response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn clients_share_addresses_as_set() {
        let addresses = |per_address| {
            (0..200).map(|number| address(number, per_address)).collect::<BTreeSet<_>>().len()
        };
        assert_eq!([1, 2, 3, 199, 200].map(addresses), [200, 100, 67, 2, 1]);
        assert_eq!([address(0, 1), address(199, 1)], ["198.18.0.1", "198.18.0.200"]);
        assert_eq!(address(29, 30), address(0, 30));
        assert_ne!(address(30, 30), address(29, 30));
    }
}
