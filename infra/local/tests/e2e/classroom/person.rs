//! A person with a phone, who does what the page for phones does, and a record of what was
//! acknowledged to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_stack::Stack;
use proto_contracts::stateful::{HistoryPage, MessagePosted, Session};
use proto_contracts::{MessageId, Verdict, headers};
use rand::RngExt as _;
use reqwest::Method;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};

use super::{CODE, Phone, SESSIONS};
use crate::response::Response;

/// The page repeats these, as often as it takes; here a repetition has an end.
const BUSY: [u16; 4] = [429, 502, 503, 504];
const MOST_REPETITIONS: usize = 60;

/// A person of the class.
pub(super) struct Person {
    pub(super) nickname: String,
    phone: Phone,
    at_gateway: reqwest::Client,
    gateway: String,
    session: String,
    /// The ledger: the acknowledged messages, in order.
    acknowledged: Vec<MessageId>,
    /// Who may have the session in memory: the last writer, and who served it since. `None` while
    /// the writer is unknown.
    current: Option<BTreeSet<String>>,
    /// What the last response showed.
    pub(super) shown: Shown,
    pub(super) seen: Seen,
    /// What a response showed that the ledger does not say.
    pub(super) faults: Vec<String>,
}

/// What a response shows of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) instance: String,
    pub(super) source: String,
    pub(super) count: u64,
}

/// How often each of these was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) verdicts: BTreeMap<&'static str, u64>,
    pub(super) sources: BTreeMap<String, u64>,
    pub(super) repetitions: u64,
}

impl Person {
    /// Joins with this nickname, from this address.
    pub(super) async fn join(stack: &Stack, nickname: String, from: Ipv4Addr) -> Result<Self> {
        let mut person = Self {
            nickname,
            phone: Phone::from(stack, from)?,
            at_gateway: stack.client()?.local_address(IpAddr::from(from)).build()?,
            gateway: stack.urls().gateway,
            session: String::new(),
            acknowledged: Vec::new(),
            current: None,
            shown: Shown::default(),
            seen: Seen::default(),
            faults: Vec::new(),
        };
        let body = json!({"client_data": {"nickname": person.nickname}});
        let (response, is_first) = person.write(SESSIONS, &body).await?;
        ensure!(response.status == 201, "{}: {response}", person.nickname);
        person.session = response.json::<Session>().session_id.expose().to_string();
        person.check(&response, 0, is_first)?;
        Ok(person)
    }

    /// Talks and looks in turn until `stop`, and counts what it has done.
    pub(super) async fn talk(
        mut self,
        think: Duration,
        done: &AtomicU64,
        stop: &tokio::sync::watch::Receiver<bool>,
    ) -> Result<Self> {
        while !*stop.borrow() {
            // So that the room does not act all at once.
            let pause = think.mul_f64(rand::rng().random_range(0.5..1.5));
            tokio::time::sleep(pause).await;
            let says = rand::rng().random_bool(0.6);
            if says {
                self.say().await?;
            } else {
                self.look().await?;
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self)
    }

    async fn say(&mut self) -> Result<()> {
        let path = format!("{SESSIONS}/{}/messages", self.session);
        let message = format!("{} of {}", self.acknowledged.len() + 1, self.nickname);
        let (response, is_first) = self.write(&path, &json!({"message": message})).await?;
        if response.status != 201 {
            self.faults.push(format!("{message}: {response}"));
            return Ok(());
        }
        let posted: MessagePosted = response.json();
        self.acknowledged.push(posted.message_id);
        let expected = self.acknowledged.len() as u64;
        if posted.number != expected {
            self.faults.push(format!("{message} has the number {}: {response}", posted.number));
        }
        self.check(&response, posted.message_count, is_first)
    }

    /// The page looks once, and shows nothing new while the system is busy.
    async fn look(&mut self) -> Result<()> {
        let path = format!("{SESSIONS}/{}", self.session);
        let request = self.phone.request(Method::GET, &path).header(CODE, &self.phone.code);
        let response = Response::to(request).await;
        match response {
            Ok(response) if response.status == 200 => {
                let count = response.json::<Session>().message_count;
                self.memory_is_current(&response);
                self.check(&response, count, false)
            }
            Ok(response) if BUSY.contains(&response.status) => Ok(()),
            Ok(response) => {
                self.faults.push(format!("a look: {response}"));
                Ok(())
            }
            Err(error) => Err(error).context("the listener is away"),
        }
    }

    /// A copy in memory is of the instance that wrote last, or has read since.
    fn memory_is_current(&mut self, response: &Response) {
        let instance = response.served_by();
        let source = response.header(headers::SESSION_SOURCE).unwrap_or_default();
        if source == "memory"
            && let Some(current) = &self.current
            && !current.contains(instance)
        {
            self.faults.push(format!("memory of {instance}, but {current:?} have it: {response}"));
        }
    }

    /// Compares a response of success with the ledger, and keeps what it shows.
    fn check(&mut self, response: &Response, count: u64, is_clean_write: bool) -> Result<()> {
        let (instance, verdict) = (response.served_by().to_owned(), response.stamp().verdict);
        let source = response.header(headers::SESSION_SOURCE).context("a source")?.to_owned();
        if count != self.acknowledged.len() as u64 {
            let acknowledged = self.acknowledged.len();
            self.faults.push(format!("{count} messages of {acknowledged}: {response}"));
        }
        // Whoever is exempt from limits has none.
        ensure!(response.header(headers::RATE_LIMIT).is_some(), "no limit: {response}");
        *self.seen.verdicts.entry(verdict.as_str()).or_default() += 1;
        *self.seen.sources.entry(source.clone()).or_default() += 1;
        if is_clean_write {
            self.current = Some(BTreeSet::new());
        }
        if let Some(current) = &mut self.current {
            current.insert(instance.clone());
        }
        self.shown = Shown { instance, source, count };
        Ok(())
    }

    /// Sends a write, and repeats it under its key while the system is busy. Returns whether the
    /// first response was the last one.
    async fn write(&mut self, path: &str, body: &Value) -> Result<(Response, bool)> {
        let key = format!("{:032x}", rand::random::<u128>());
        // Until a response tells who wrote.
        self.current = None;
        for attempt in 1..=MOST_REPETITIONS {
            let request = self.phone.request(Method::POST, path).json(body);
            let request =
                request.header(CODE, &self.phone.code).header(headers::IDEMPOTENCY_KEY, &key);
            let wait = match Response::to(request).await {
                Ok(response) if !BUSY.contains(&response.status) => {
                    return Ok((response, attempt == 1));
                }
                Ok(response) => response.header(RETRY_AFTER.as_str()).and_then(|s| s.parse().ok()),
                Err(_) => None,
            };
            self.seen.repetitions += 1;
            let wait = wait.unwrap_or(attempt as f64).clamp(0.5, 5.0);
            let jitter = rand::rng().random_range(0.75..1.25);
            tokio::time::sleep(Duration::from_secs_f64(wait * jitter)).await;
        }
        anyhow::bail!("{} had no response to {MOST_REPETITIONS} repetitions", self.nickname)
    }

    /// Compares the session's history with the ledger.
    pub(super) async fn reconcile(&mut self) -> Result<()> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("{SESSIONS}/{}/history?limit=200{cursor}", self.session);
            let page = self.read(&path).await?;
            found.extend(page.messages.into_iter().map(|message| message.message_id));
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
        if found != self.acknowledged {
            self.faults.push(format!(
                "{} messages in the history, {} were acknowledged",
                found.len(),
                self.acknowledged.len()
            ));
        }
        Ok(())
    }

    /// The listener of the class has no history, so it is read at the gateway.
    async fn read(&self, path: &str) -> Result<HistoryPage> {
        for _ in 0..MOST_REPETITIONS {
            let request = self.at_gateway.get(format!("{}{path}", self.gateway));
            let response = Response::to(request).await?;
            if !BUSY.contains(&response.status) {
                ensure!(response.status == 200, "{response}");
                return Ok(response.json());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        anyhow::bail!("no history of {}", self.nickname)
    }
}

impl Seen {
    /// Adds another person's.
    pub(super) fn add(&mut self, other: &Self) {
        self.repetitions += other.repetitions;
        for (verdict, count) in &other.verdicts {
            *self.verdicts.entry(verdict).or_default() += count;
        }
        for (source, count) in &other.sources {
            *self.sources.entry(source.clone()).or_default() += count;
        }
    }

    pub(super) fn verdict(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(verdict.as_str()).copied().unwrap_or_default()
    }
}
