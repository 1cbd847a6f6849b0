//! Sends events through the gateway, past instances that do not respond.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use proto_contracts::headers::AFFINITY_KEY;
use proto_contracts::security_event::MEDIA_TYPE;
use proto_contracts::{AffinityKey, Endpoint};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use service_kit::tls::Trust;
use tokio::time::{Instant, sleep_until, timeout_at};

/// When an attempt is given up. Another relay takes the row soon after that.
const ATTEMPT: Duration = Duration::from_millis(1_900);
/// After this time without acceptance, the event is also sent by other keys, so to other instances:
/// the one that it was sent to may be stopped.
const HEDGE_AFTER: Duration = Duration::from_millis(150);
/// By how many other keys it is sent in each round.
const OTHER_KEYS: [usize; 4] = [0, 1, 2, 4];

/// The stateful service, behind the gateway.
pub(super) struct Target {
    client: Client,
    url: Url,
    /// The affinity key of the last request that was accepted: its home responds.
    key: AtomicU32,
}

/// Why an event was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAccepted {
    #[error("the request failed")]
    Request(#[from] reqwest::Error),
    #[error("the response has the status {0}")]
    Status(StatusCode),
    #[error("no response within {} ms", ATTEMPT.as_millis())]
    Timeout,
}

impl NotAccepted {
    /// Whether the event itself was rejected.
    pub(super) fn is_rejection(&self) -> bool {
        matches!(self, Self::Status(status)
            if status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS)
    }
}

impl Target {
    pub(super) fn new(gateway: &Url, trust: &Trust) -> Result<Self, reqwest::Error> {
        let mut url = gateway.clone();
        url.set_path(Endpoint::SecurityEvents.templates().canonical);
        let client = service_kit::http_client::client(ATTEMPT, trust)?;
        Ok(Self { client, url, key: AtomicU32::new(rand::random()) })
    }

    /// Sends a signed event until an instance accepts it.
    pub(super) async fn send(&self, event: &str) -> Result<(), NotAccepted> {
        let begin = Instant::now();
        let mut posts = FuturesUnordered::new();
        let (mut outcome, mut tried) = (NotAccepted::Timeout, None);
        for (round, others) in (1..).zip(OTHER_KEYS) {
            // The key that worked last, which another event may have found meanwhile.
            let key = self.key.load(Ordering::Relaxed);
            if tried.replace(key) != Some(key) {
                posts.push(self.post(event, key));
            }
            (0..others).for_each(|_| posts.push(self.post(event, rand::random())));
            let is_last = round == OTHER_KEYS.len();
            let end = begin + if is_last { ATTEMPT } else { HEDGE_AFTER * round as u32 };
            while let Ok(posted) = timeout_at(end, posts.next()).await {
                match posted {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(error)) => outcome = error,
                    // All have failed.
                    None if is_last => return Err(outcome),
                    None => sleep_until(end).await,
                }
            }
        }
        Err(outcome)
    }

    async fn post(&self, event: &str, key: u32) -> Result<(), NotAccepted> {
        let response = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(AFFINITY_KEY, AffinityKey::from_bits(key).to_string())
            .body(event.to_owned())
            .send()
            .await?;
        if !response.status().is_success() {
            return Err(NotAccepted::Status(response.status()));
        }
        self.key.store(key, Ordering::Relaxed);
        Ok(())
    }
}
