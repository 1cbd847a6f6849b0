//! Cache-aside: serialized JSON documents in Redis. A failing cache is bypassed and counted, never
//! an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use redis::RedisError;
use service_kit::redis::{NoConnection, RedisPool};
use service_kit::telemetry::chain;

use super::StoreError;
use super::flights::Flights;

/// TTL in seconds, and the random part added to it, so that documents cached together do not expire
/// together.
const TTL_S: u64 = 60;
const TTL_JITTER_S: u64 = 15;
/// How long a failed cache is bypassed. Otherwise each request would wait for it.
const PAUSE: Duration = Duration::from_secs(1);
/// Prefix of all keys. The version changes with the format of documents, so that releases can share
/// a cache.
const PREFIX: &str = "tandem:v1:";

/// Why a document could not be loaded, shared by all callers that waited for it.
pub type LoadError = Arc<StoreError>;

type Loaded = Result<Option<Bytes>, LoadError>;

/// Recently loaded documents.
pub struct DocumentCache {
    redis: RedisPool,
    flights: Arc<Flights<Loaded>>,
    started: Instant,
    /// The cache is bypassed until this many milliseconds after `started`.
    paused_until: AtomicU64,
    counts: Counts,
}

/// `cache_requests_total` by outcome, with the label values resolved once.
struct Counts {
    hit: IntCounter,
    miss: IntCounter,
    error: IntCounter,
    skipped: IntCounter,
}

#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("no connection to the cache")]
    NoConnection(#[from] NoConnection),
    #[error("the cache command failed")]
    Command(#[from] RedisError),
}

impl DocumentCache {
    /// A cache over this pool, with its counters in the registry.
    ///
    /// # Errors
    /// When the metric is already registered.
    pub fn new(redis: RedisPool, registry: &Registry) -> Result<Self, prometheus::Error> {
        let counts = IntCounterVec::new(
            Opts::new("cache_requests_total", "Cache lookups by outcome."),
            &["outcome"],
        )?;
        registry.register(Box::new(counts.clone()))?;
        let count = |outcome| counts.with_label_values(&[outcome]);
        let counts = Counts {
            hit: count("hit"),
            miss: count("miss"),
            error: count("error"),
            skipped: count("skipped"),
        };
        Ok(Self {
            redis,
            flights: Flights::new(),
            started: Instant::now(),
            paused_until: AtomicU64::new(0),
            counts,
        })
    }

    /// The document under `key`, from the cache or else from `load`; `None`, which is not cached,
    /// when `load` finds nothing. Concurrent misses of one key share one load.
    ///
    /// # Errors
    /// Those of `load`; the cache's own are bypassed.
    pub async fn get_or_load<F>(self: &Arc<Self>, key: String, load: impl FnOnce() -> F) -> Loaded
    where
        F: Future<Output = Result<Option<Bytes>, StoreError>> + Send + 'static,
    {
        if let Some(document) = self.get(&key).await {
            return Ok(Some(document));
        }
        let start = || {
            let (cache, key, load) = (Arc::clone(self), key.clone(), load());
            async move {
                let document = load.await?;
                if let Some(document) = &document {
                    cache.put(&key, document).await;
                }
                Ok(document)
            }
        };
        self.flights.join(&key, start).await
    }

    async fn get(&self, key: &str) -> Option<Bytes> {
        if self.is_paused() {
            self.counts.skipped.inc();
            return None;
        }
        match self.fetch(key).await {
            Ok(Some(document)) => {
                self.counts.hit.inc();
                Some(document.into())
            }
            Ok(None) => {
                self.counts.miss.inc();
                None
            }
            Err(error) => {
                self.pause(&error);
                None
            }
        }
    }

    async fn put(&self, key: &str, document: &Bytes) {
        if self.is_paused() {
            return;
        }
        if let Err(error) = self.store(key, document).await {
            self.pause(&error);
        }
    }

    async fn fetch(&self, key: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let mut connection = self.redis.get().await?;
        Ok(redis::cmd("GET").arg(format!("{PREFIX}{key}")).query_async(&mut *connection).await?)
    }

    async fn store(&self, key: &str, document: &[u8]) -> Result<(), CacheError> {
        let mut connection = self.redis.get().await?;
        let ttl = TTL_S + rand::random_range(0..=TTL_JITTER_S);
        let mut set = redis::cmd("SET");
        set.arg(format!("{PREFIX}{key}")).arg(document).arg("EX").arg(ttl);
        Ok(set.exec_async(&mut *connection).await?)
    }

    fn is_paused(&self) -> bool {
        self.now() < self.paused_until.load(Ordering::Relaxed)
    }

    fn pause(&self, error: &CacheError) {
        self.counts.error.inc();
        let until = self.now() + u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
        // One log line, however many requests fail together.
        if self.paused_until.swap(until, Ordering::Relaxed) <= self.now() {
            tracing::warn!(cause = chain(error), "cache failed; bypassing it");
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
