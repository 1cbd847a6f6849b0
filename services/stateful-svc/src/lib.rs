//! The stateful service: sessions and their conversations.
//!
//! A handler in `routes/` parses the request into types of `domain/`, performs one operation on a
//! store of `store/`, and returns the result as a wire type.
//!
//! **Invariant:** a session's id never leaves `routes/`. Stores, logs and metrics see its digest
//! alone.

use std::sync::Arc;
use std::time::Duration;

use proto_contracts::headers::{HOT_SESSIONS, LIVE_SESSIONS, MEMORY_READS, SESSION_READS};
use secrecy::SecretString;
use service_kit::health::{Health, HealthBuilder, Need};
use service_kit::redis::{Acks, PoolUnusable, RedisTimeouts, probe};
use service_kit::server::{BindError, Server};
use service_kit::telemetry::Metrics;
use service_kit::tokens::{KeySet, TokenVerifier};
use tokio::time::timeout;

pub use crate::config::SERVICE;
use crate::config::{Classroom, Config, StoreConfig};
use crate::domain::caller::{Caller, Credentials, IssuedAt};
use crate::domain::clock::{BootClock, SystemClock};
use crate::domain::lifetime::Lifetime;
use crate::domain::roster::Roster;
use crate::domain::session_ids::SessionIds;
use crate::domain::shared_secret::SharedSecret;
use crate::domain::tickets::Tickets;
use crate::metrics::SessionMetrics;
use crate::routes::{Live, Sessions};
use crate::store::hybrid::HybridStore;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;
use crate::store::{SessionStore, Source};

pub mod config;
pub mod domain;
pub mod feed;
pub mod metrics;
pub mod routes;
pub mod store;

/// The prefix of instance names whose number is resolved by DNS: `stateful-3`.
pub const KIND: &str = "stateful";
/// The text of `--help`.
pub const ABOUT: &str = "Tandem's stateful service: sessions and their conversations.\n\n\
                         All settings are environment variables; docs/SETTINGS.md lists them. On \
                         SIGTERM the service announces its shutdown, drains open requests and \
                         exits.";

/// The service could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The settings of the Redis pool are invalid.
    #[error(transparent)]
    Redis(#[from] PoolUnusable),
    /// Two metrics have the same name.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Builds the store and binds the server; must be called within a Tokio runtime. Redis need not be
/// reachable yet.
///
/// # Errors
/// See [`BuildError`].
pub fn build(config: Config) -> Result<Server, BuildError> {
    let Config { service, store, acks, lifetime, live, classroom, secret, tokens } = config;
    let secret = shared_secret(secret.as_ref(), &store);
    let (ids, tickets) =
        (SessionIds::new(secret.clone()), Tickets::new(secret, live.ticket_validity));
    let health = HealthBuilder::new(SERVICE, service.instance.clone());
    let metrics = Metrics::new(SERVICE, &service.instance)?;
    let (store, health) = session_store(store, acks, lifetime, health, &metrics)?;
    let session_metrics = SessionMetrics::register(metrics.registry(), Arc::clone(&store))?;
    let tokens = tokens.map(|settings| {
        Arc::new(TokenVerifier::new(settings, |claims| Credentials {
            caller: Caller::subject(&claims.iss, &claims.sub),
            issued_at: IssuedAt::at(claims.issued_at()),
        }))
    });
    let health = match &tokens {
        Some(tokens) => follow_keys(tokens.keys(), health, &metrics)?,
        None => health,
    };
    let keys = tokens.as_ref().map(|tokens| tokens.keys().clone());
    let health = report_sessions(health, Arc::clone(&store), &session_metrics);
    let live = Live::new(live, tickets, health.draining());
    let sessions = Sessions {
        store: Arc::clone(&store),
        ids,
        tokens,
        live,
        roster: (classroom == Classroom::Open).then(Roster::default),
        metrics: session_metrics,
    };
    let server = Server::bind(&service, health, metrics, Box::new(|_| Ok(())), move |app| {
        routes::mount(app, sessions.clone())
    })?;
    // A gateway may send requests as soon as they are accepted, and their tokens need the keys.
    let server = server.start_after(async move {
        if let Some(keys) = keys {
            let _at_the_latest = timeout(FIRST_KEYS_TIMEOUT, keys.probe_after_first_fetch()).await;
        }
    });
    Ok(server.on_stop(async move { store.close().await }))
}

fn session_store(
    config: StoreConfig,
    acks: Option<Acks>,
    lifetime: Lifetime,
    health: HealthBuilder,
    metrics: &Metrics,
) -> Result<(Arc<dyn SessionStore>, HealthBuilder), BuildError> {
    let (store, pool, collectors): (Arc<dyn SessionStore>, _, _) = match config {
        StoreConfig::Memory => {
            let store = Arc::new(MemoryStore::new(lifetime, SystemClock));
            tokio::spawn(store.sweeping());
            return Ok((store, health));
        }
        StoreConfig::Redis(target) => {
            let pool = target.pool(RedisTimeouts::STORE)?;
            let store = RedisStore::new(&target, pool.clone(), lifetime).acknowledged(acks);
            let collectors = store.collectors();
            (Arc::new(store), pool, collectors)
        }
        StoreConfig::Hybrid { redis, hot_set_bytes } => {
            let (store, pool) = HybridStore::new(&redis, lifetime, hot_set_bytes, acks, BootClock)?;
            let collectors = store.collectors()?;
            (Arc::new(store), pool, collectors)
        }
    };
    collectors.into_iter().try_for_each(|collector| metrics.registry().register(collector))?;
    let shown = pool.clone();
    metrics.show_pool("redis-sessions", move || shown.status())?;
    Ok((store, health.dependency("session_store", Need::Required, move || probe(pool.clone()))))
}

/// The configured secret, or a random one of this process.
fn shared_secret(secret: Option<&SecretString>, store: &StoreConfig) -> SharedSecret {
    match (secret, store) {
        (Some(secret), _) => SharedSecret::new(secret),
        // No other process has these sessions, nor has this one after a restart.
        (None, StoreConfig::Memory) => SharedSecret::of_this_process(),
        (None, StoreConfig::Redis { .. } | StoreConfig::Hybrid { .. }) => {
            tracing::warn!(
                "SESSION_ID_SECRET is not set: a ticket is valid only at the instance that issued \
                 it"
            );
            SharedSecret::of_this_process()
        }
    }
}

/// How long a start waits for the first fetch of the keys. The issuer may be away.
const FIRST_KEYS_TIMEOUT: Duration = Duration::from_secs(1);

/// Optional: anonymous requests need no key. And the issuer is behind the gateway, so a stack that
/// waits for its instances before it starts the gateway would wait forever. But readiness waits for
/// the first fetch to end: a new instance would reject tokens in between.
fn follow_keys(
    keys: &KeySet,
    health: HealthBuilder,
    metrics: &Metrics,
) -> Result<HealthBuilder, BuildError> {
    if !keys.is_fetched() {
        return Ok(health);
    }
    keys.register(metrics.registry())?;
    tokio::spawn(keys.clone().follow());
    let probed = keys.clone();
    Ok(health.dependency("token_keys", Need::Optional, move || {
        let keys = probed.clone();
        async move { keys.probe_after_first_fetch().await }
    }))
}

/// Gateways route new clients to instances with few live sessions. Their board shows the rest.
fn report_sessions(
    health: HealthBuilder,
    store: Arc<dyn SessionStore>,
    metrics: &SessionMetrics,
) -> Health {
    const MEMORY: [Source; 2] = [Source::Memory, Source::Unverified];
    let (hot, memory, all) = (Arc::clone(&store), metrics.clone(), metrics.clone());
    health
        .report(LIVE_SESSIONS, move || store.live_sessions())
        .figure(HOT_SESSIONS, move || hot.hot_sessions())
        .figure(MEMORY_READS, move || memory.reads_from(&MEMORY))
        .figure(SESSION_READS, move || all.reads_from(&MEMORY) + all.reads_from(&[Source::Redis]))
        .build()
}
