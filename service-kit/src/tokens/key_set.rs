//! The keys that verify tokens: fixed, or those that their issuer publishes.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounterVec, Opts, Registry};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep_until, timeout_at};

use super::fetch::{FetchError, Fetcher};
use super::keys::PublicKey;
use super::settings::{JwksUrl, KeySource};
use crate::telemetry::chain;

/// The shortest time between two fetches of the keys.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The same until the first set has come.
const FIRST_INTERVAL: Duration = Duration::from_millis(200);

/// The keys of the issuer. Cheap to clone; the clones share everything.
#[derive(Clone)]
pub struct KeySet(Arc<Shared>);

struct Shared {
    source: Option<JwksUrl>,
    /// `None` until the first set has come.
    keys: ArcSwapOption<Keys>,
    /// A token named a key that is not in the set.
    wanted: Notify,
    began: Instant,
    /// When the last successful fetch began, in milliseconds since `began`.
    fetched: AtomicU64,
    is_failing: AtomicBool,
    /// Whether the first fetch has ended, successful or not.
    tried: watch::Sender<bool>,
    /// Set when the metrics are registered.
    fetches: OnceLock<IntCounterVec>,
}

/// One version of the set.
pub(super) struct Keys {
    pub(super) list: Vec<PublicKey>,
    /// Grows with each change, so that tokens verified by earlier keys are verified again.
    pub(super) generation: u64,
}

impl KeySet {
    pub(super) fn new(source: KeySource) -> Self {
        let (source, keys) = match source {
            KeySource::Fixed(list) => (None, Some(Arc::new(Keys { list, generation: 0 }))),
            KeySource::Fetched(url) => (Some(url), None),
        };
        Self(Arc::new(Shared {
            source,
            keys: ArcSwapOption::new(keys),
            wanted: Notify::new(),
            began: Instant::now(),
            fetched: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            tried: watch::Sender::new(false),
            fetches: OnceLock::new(),
        }))
    }

    /// Whether the keys are fetched from their issuer.
    pub fn is_fetched(&self) -> bool {
        self.0.source.is_some()
    }

    /// Readiness probe: the first set has come.
    ///
    /// # Errors
    /// Why there is no set yet.
    pub fn probe(&self) -> Result<(), Cow<'static, str>> {
        match (&self.0.source, self.0.keys.load().is_some()) {
            (Some(JwksUrl { url, .. }), false) => {
                Err(format!("no keys of tokens could be fetched from {url} yet").into())
            }
            _ => Ok(()),
        }
    }

    /// The same probe, once the first fetch has ended. So an instance that can fetch the keys is not
    /// ready before it has them, and one that cannot becomes ready nevertheless.
    ///
    /// # Errors
    /// See [`KeySet::probe`].
    pub async fn probe_after_first_fetch(&self) -> Result<(), Cow<'static, str>> {
        if self.is_fetched() {
            // It ends with an error only when the sender is gone, which `self` holds.
            let mut tried = self.0.tried.subscribe();
            let _ended = tried.wait_for(|tried| *tried).await;
        }
        self.probe()
    }

    /// Registers the metrics of fetched keys; there are none of fixed ones.
    ///
    /// # Errors
    /// When a metric of the same name is registered.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        if !self.is_fetched() {
            return Ok(());
        }
        let fetches = IntCounterVec::new(
            Opts::new("token_keys_fetches_total", "Fetches of the issuer's public keys."),
            &["outcome"],
        )?;
        // So that rates begin at 0.
        for outcome in ["fetched", "failed"] {
            fetches.with_label_values(&[outcome]);
        }
        registry.register(Box::new(fetches.clone()))?;
        let _registered_once = self.0.fetches.set(fetches);
        let age = Gauge::new(
            "token_keys_age_seconds",
            "Seconds since the issuer's public keys were last fetched, or since the start.",
        )?;
        registry.register(Box::new(Age { keys: self.clone(), age }))
    }

    /// Fetches the keys again and again: at each interval, and soon after a token has named an
    /// unknown one. The last set is kept until the next has come. Returns at once for fixed keys.
    pub async fn follow(self) {
        let Some(JwksUrl { url, every, trust }) = self.0.source.clone() else { return };
        let mut fetcher = None;
        loop {
            let began = Instant::now();
            let fetched = Fetcher::fetch(&mut fetcher, &url, &trust).await;
            let is_fetched = fetched.is_ok();
            self.record(began, fetched);
            let has_keys = self.0.keys.load().is_some();
            let pause = if has_keys { MIN_INTERVAL } else { FIRST_INTERVAL };
            sleep_until((began + pause).into()).await;
            if is_fetched {
                let next = (began + every).into();
                let _at_the_latest = timeout_at(next, self.0.wanted.notified()).await;
            }
        }
    }

    fn record(&self, began: Instant, fetched: Result<Vec<PublicKey>, FetchError>) {
        let shared = &*self.0;
        let outcome = if fetched.is_ok() { "fetched" } else { "failed" };
        shared.fetches.get().inspect(|fetches| fetches.with_label_values(&[outcome]).inc());
        match fetched {
            Ok(list) => {
                if shared.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the keys of tokens are fetched again");
                }
                self.replace(list);
                let began = began.saturating_duration_since(shared.began);
                shared.fetched.store(millis(began), Ordering::Release);
            }
            Err(error) => {
                if !shared.is_failing.swap(true, Ordering::Relaxed) {
                    let kept = shared.keys.load().as_ref().map_or(0, |keys| keys.list.len());
                    tracing::warn!(
                        kept,
                        cause = chain(&error),
                        "cannot fetch the keys of tokens; retrying"
                    );
                }
            }
        }
        shared.tried.send_replace(true);
    }

    fn replace(&self, list: Vec<PublicKey>) {
        let current = self.0.keys.load();
        if current.as_ref().is_some_and(|current| current.list == list) {
            return;
        }
        let generation = current.as_ref().map_or(0, |current| current.generation + 1);
        tracing::info!(keys = list.len(), "the keys of tokens changed");
        self.0.keys.store(Some(Arc::new(Keys { list, generation })));
    }

    /// The current set; `None` until the first has come.
    pub(super) fn current(&self) -> Option<Arc<Keys>> {
        self.0.keys.load_full()
    }

    /// Whether a key that is not in the set may be a new one. It is then fetched soon.
    pub(super) fn may_be_outdated(&self) -> bool {
        let shared = &*self.0;
        if shared.source.is_none() || self.age() < MIN_INTERVAL {
            return false;
        }
        shared.wanted.notify_one();
        true
    }

    /// The time since the last successful fetch began, or since the start.
    fn age(&self) -> Duration {
        let fetched = Duration::from_millis(self.0.fetched.load(Ordering::Acquire));
        self.0.began.elapsed().saturating_sub(fetched)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Computes the age at each scrape.
struct Age {
    keys: KeySet,
    age: Gauge,
}

impl Collector for Age {
    fn desc(&self) -> Vec<&Desc> {
        self.age.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.age.set(self.keys.age().as_secs_f64());
        self.age.collect()
    }
}
