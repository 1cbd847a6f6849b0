//! Cache-aside: serialized JSON documents in Redis, each of a generation that ends with the next
//! write (ADR 28). A failing cache is bypassed by reads and counted, never an error. A write fails
//! that cannot end the generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use redis::{RedisError, Script};
use service_kit::outage::{Outage, RetryDeadline};
use service_kit::redis::{NoConnection, RedisPool};
use service_kit::telemetry::chain;
use service_kit::telemetry::traces::spans::name_script;
use uuid::Uuid;

use super::StoreError;
use super::failpoints::{FILL_PAUSE, Failpoint, is_active};
use super::flights::Flights;
use crate::domain::product::ProductId;

#[cfg(test)]
mod model;

/// TTL in seconds, and the random part added to it, so that documents cached together do not expire
/// together.
const TTL_S: u64 = 60;
const TTL_JITTER_S: u64 = 15;
/// How long a generation waits for its first document, in seconds: longer than a read takes.
const EMPTY_TTL_S: u64 = 30;
/// How long a generation with documents is kept, in seconds: longer than its documents.
const GENERATION_TTL_S: u64 = 3_600;
/// How long a failed cache is bypassed. Otherwise each request would wait for it.
const PAUSE: Duration = Duration::from_secs(1);
/// Prefix of all keys. The version changes with the format of documents, so that releases can share
/// a cache.
const PREFIX: &str = "tandem:v2:";

/// Why a document could not be loaded, shared by all callers that waited for it.
pub type LoadError = Arc<StoreError>;

/// A document that was loaded from the database.
#[derive(Clone)]
pub struct Loaded {
    /// `None`, which is not cached, when there is nothing.
    pub document: Option<Bytes>,
    /// Whether no write of it was in progress; else it is not cached.
    pub is_settled: bool,
}

/// Where a document is cached.
#[derive(Clone, Debug)]
pub struct Place {
    generation: String,
    document: String,
}

impl Place {
    /// Of a product.
    pub fn product(id: &ProductId) -> Self {
        let document = format!("{PREFIX}product:{id}");
        Self { generation: generation_of(id), document }
    }

    /// Of a page of the catalogue, by the query that names it.
    pub fn page(query: &str) -> Self {
        let document = format!("{PREFIX}page:{query}");
        Self { generation: CATALOGUE.to_owned(), document }
    }
}

/// The generation of all pages.
const CATALOGUE: &str = "tandem:v2:generation";

fn generation_of(id: &ProductId) -> String {
    format!("{PREFIX}generation:{id}")
}

/// Recently loaded documents.
pub struct DocumentCache {
    redis: RedisPool,
    lookup: Script,
    store: Script,
    flights: Arc<Flights<Result<Loaded, LoadError>>>,
    started: Instant,
    /// The cache is bypassed until this many milliseconds after `started`.
    paused_until: AtomicU64,
    /// For writes, which wait for the end of a short outage.
    outage: Outage,
    counts: Counts,
}

/// Lookups, fills and marks by outcome, with the label values resolved once.
struct Counts {
    hit: IntCounter,
    miss: IntCounter,
    error: IntCounter,
    skipped: IntCounter,
    stored: IntCounter,
    outdated: IntCounter,
    unsettled: IntCounter,
    marked: IntCounter,
    not_marked: IntCounter,
}

impl Counts {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let register = |name: &str, help: &str| {
            let counts = IntCounterVec::new(Opts::new(name, help), &["outcome"])?;
            registry.register(Box::new(counts.clone()))?;
            Ok::<_, prometheus::Error>(counts)
        };
        let lookups = register("cache_requests_total", "Cache lookups by outcome.")?;
        let help = "Documents that were loaded for the cache, by outcome: stored, outdated by a \
                    write meanwhile, or unsettled, as a write was in progress.";
        let fills = register("cache_fills_total", help)?;
        let help = "Generations that writes ended, by outcome; without it the write fails.";
        let marks = register("cache_marks_total", help)?;
        Ok(Self {
            hit: lookups.with_label_values(&["hit"]),
            miss: lookups.with_label_values(&["miss"]),
            error: lookups.with_label_values(&["error"]),
            skipped: lookups.with_label_values(&["skipped"]),
            stored: fills.with_label_values(&["stored"]),
            outdated: fills.with_label_values(&["outdated"]),
            unsettled: fills.with_label_values(&["unsettled"]),
            marked: marks.with_label_values(&["done"]),
            not_marked: marks.with_label_values(&["failed"]),
        })
    }
}

/// What the cache knows.
enum Lookup {
    Hit(Bytes),
    /// The generation that a document must be of to be stored.
    Miss(String),
    Bypassed,
}

/// Why the cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The pool returned no connection.
    #[error("no connection to the cache")]
    NoConnection(#[from] NoConnection),
    /// The command failed.
    #[error("the cache command failed")]
    Command(#[from] RedisError),
}

impl DocumentCache {
    /// A cache over this pool, with its counters in the registry.
    ///
    /// # Errors
    /// When the metric is already registered.
    pub fn new(redis: RedisPool, registry: &Registry) -> Result<Self, prometheus::Error> {
        let lookup = Script::new(include_str!("cache_lookup.lua"));
        let store = Script::new(include_str!("cache_store.lua"));
        name_script(&lookup, "cache_lookup");
        name_script(&store, "cache_store");
        Ok(Self {
            redis,
            lookup,
            store,
            flights: Flights::new(),
            started: Instant::now(),
            paused_until: AtomicU64::new(0),
            outage: Outage::of("cache"),
            counts: Counts::register(registry)?,
        })
    }

    /// The document at a place, from the cache or else from `load`. It has all changes that were
    /// acknowledged before this call.
    ///
    /// # Errors
    /// Those of `load`; the cache's own are bypassed.
    pub async fn get_or_load<F>(
        self: &Arc<Self>,
        place: Place,
        load: impl Fn() -> F,
    ) -> Result<Option<Bytes>, LoadError>
    where
        F: Future<Output = Result<Loaded, StoreError>> + Send + 'static,
    {
        let generation = match self.look_up(&place).await {
            Lookup::Hit(document) => return Ok(Some(document)),
            Lookup::Miss(generation) => generation,
            Lookup::Bypassed => return Ok(load().await?.document),
        };
        // A load of the same generation began after all writes that this caller can know of, unless
        // one was in progress. See ADR 28.
        let flight = format!("{generation}{}", place.document);
        let mut is_own = false;
        let start = || {
            is_own = true;
            let (cache, load) = (Arc::clone(self), load());
            async move {
                let loaded = load.await?;
                cache.fill(&place, &generation, &loaded).await;
                Ok(loaded)
            }
        };
        let loaded = self.flights.join(&flight, start).await?;
        if is_own || loaded.is_settled {
            return Ok(loaded.document);
        }
        Ok(load().await?.document)
    }

    /// Ends the generations of these products and of all pages. A write calls it under its locks,
    /// before its commit: nothing that was read before can be stored from then on.
    ///
    /// # Errors
    /// When that is not certain. Then the write must not be committed.
    pub async fn mark(&self, ids: &[&ProductId]) -> Result<(), CacheError> {
        let marked = self.try_mark(ids).await;
        let count = if marked.is_ok() { &self.counts.marked } else { &self.counts.not_marked };
        count.inc();
        if marked.is_ok() {
            self.outage.responded();
        }
        marked
    }

    /// Waits after a failed mark, and returns true while another one may succeed.
    pub async fn is_worth_another_mark(&self, error: &CacheError, until: RetryDeadline) -> bool {
        self.outage.failed(|| chain(error));
        if !self.outage.is_worth_another_attempt(until).await {
            return false;
        }
        let responds = || async { service_kit::redis::probe(self.redis.clone()).await.is_ok() };
        self.outage.wait_until_recovered(until, responds).await;
        true
    }

    async fn try_mark(&self, ids: &[&ProductId]) -> Result<(), CacheError> {
        let mut connection = self.redis.get().await?;
        let mut delete = redis::cmd("DEL");
        delete.arg(CATALOGUE);
        for id in ids {
            let Place { generation, document } = Place::product(id);
            delete.arg(generation).arg(document);
        }
        Ok(delete.exec_async(&mut *connection).await?)
    }

    async fn look_up(&self, place: &Place) -> Lookup {
        if self.is_paused() {
            self.counts.skipped.inc();
            return Lookup::Bypassed;
        }
        match self.try_look_up(place).await {
            Ok((_, Some(document))) => {
                self.counts.hit.inc();
                Lookup::Hit(document.into())
            }
            Ok((generation, None)) => {
                self.counts.miss.inc();
                Lookup::Miss(generation)
            }
            Err(error) => {
                self.pause(&error);
                Lookup::Bypassed
            }
        }
    }

    async fn try_look_up(&self, place: &Place) -> Result<(String, Option<Vec<u8>>), CacheError> {
        let mut connection = self.redis.get().await?;
        let mut call = self.lookup.key(&place.generation);
        // Random, so that none recurs, whatever the server has lost.
        call.key(&place.document).arg(Uuid::new_v4().simple().to_string()).arg(EMPTY_TTL_S);
        Ok(call.invoke_async(&mut *connection).await?)
    }

    async fn fill(&self, place: &Place, generation: &str, loaded: &Loaded) {
        let Some(document) = &loaded.document else { return };
        if !loaded.is_settled {
            self.counts.unsettled.inc();
            return;
        }
        if self.is_paused() {
            return;
        }
        let is_unchecked = is_active(Failpoint::NoGenerationCheck);
        if is_unchecked || is_active(Failpoint::SlowFill) {
            tokio::time::sleep(FILL_PAUSE).await;
        }
        let current = if is_unchecked { self.try_look_up(place).await.ok() } else { None };
        let generation = current.as_ref().map_or(generation, |(current, _)| current);
        match self.try_fill(place, generation, document).await {
            Ok(true) => self.counts.stored.inc(),
            Ok(false) => self.counts.outdated.inc(),
            Err(error) => self.pause(&error),
        }
    }

    async fn try_fill(
        &self,
        place: &Place,
        generation: &str,
        document: &[u8],
    ) -> Result<bool, CacheError> {
        let mut connection = self.redis.get().await?;
        let ttl = TTL_S + rand::random_range(0..=TTL_JITTER_S);
        let mut call = self.store.key(&place.generation);
        call.key(&place.document).arg(generation).arg(document).arg(ttl).arg(GENERATION_TTL_S);
        Ok(call.invoke_async(&mut *connection).await?)
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
