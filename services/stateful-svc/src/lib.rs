//! The stateful service: sessions, and the conversations held in them.
//!
//! A request goes `routes/` (HTTP) → `store/` (where sessions are kept) → `domain/` (what they are) and back. A handler
//! reads the request into domain types, does one act on the store, and writes the result as the contract's body.
//!
//! **Invariant:** a session's id never leaves `routes/`. Stores, logs and metrics know its digest.

use std::sync::Arc;

use proto_contracts::headers::LIVE_SESSIONS;
use secrecy::SecretString;
use service_kit::health::{Health, HealthBuilder, Need};
use service_kit::redis::{Acks, PoolUnusable, RedisTimeouts, probe};
use service_kit::server::{BindError, Server};
use service_kit::telemetry::Metrics;
use service_kit::tokens::TokenVerifier;

use crate::config::{Config, StoreConfig};
use crate::domain::caller::Caller;
use crate::domain::clock::{BootClock, SystemClock};
use crate::domain::lifetime::Lifetime;
use crate::domain::session_ids::SessionIds;
use crate::domain::shared_secret::SharedSecret;
use crate::domain::tickets::Tickets;
use crate::metrics::SessionMetrics;
use crate::routes::{Live, Sessions};
use crate::store::SessionStore;
use crate::store::hybrid::HybridStore;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;

pub mod config;
pub mod domain;
pub mod feed;
pub mod metrics;
pub mod routes;
pub mod store;

/// The service's name, in health answers and on the command line.
pub const SERVICE: &str = "stateful-svc";
/// What instances are named by that have found their number by DNS.
pub const KIND: &str = "stateful";
/// What `--help` says.
pub const ABOUT: &str = "Tandem's stateful service: sessions, and the conversations held in them.\n\n\
    It is configured by the environment alone; docs/SETTINGS.md lists every variable. SIGTERM announces that the \
    instance leaves, lets requests finish and stops.";

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Redis cannot be used as the configuration says.
    #[error(transparent)]
    Redis(#[from] PoolUnusable),
    /// Two metrics have one name.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Makes the store and binds the server; must be called within a Tokio runtime. Redis need not be there yet.
///
/// # Errors
/// When the address cannot be bound or the store cannot be made from its settings.
pub fn build(config: Config) -> Result<Server, BuildError> {
    let Config { service, store, acks, lifetime, live, secret, tokens } = config;
    let secret = shared_secret(secret.as_ref(), &store);
    let (ids, tickets) = (SessionIds::new(secret.clone()), Tickets::new(secret, live.ticket_validity));
    let health = HealthBuilder::new(SERVICE, service.instance.clone());
    let metrics = Metrics::new(SERVICE, &service.instance)?;
    let (store, health) = session_store(store, acks, lifetime, health, &metrics)?;
    let counted = SessionMetrics::register(metrics.registry(), Arc::clone(&store))?;
    let tokens = tokens.map(|settings| Arc::new(TokenVerifier::new(settings, Caller::subject)));
    let health = report_live_sessions(health, Arc::clone(&store));
    let live = Live::new(live, tickets, health.draining());
    let sessions = Sessions { store: Arc::clone(&store), ids, tokens, live, metrics: counted };
    let server = Server::bind(&service, health, metrics, move |app| routes::mount(app, sessions.clone()))?;
    Ok(server.giving_back(async move { store.close().await }))
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

/// The secret that instances share, or one of this process alone.
fn shared_secret(secret: Option<&SecretString>, store: &StoreConfig) -> SharedSecret {
    match (secret, store) {
        (Some(secret), _) => SharedSecret::new(secret),
        // Nobody else knows these sessions, nor does this process after a restart.
        (None, StoreConfig::Memory) => SharedSecret::of_this_process(),
        (None, StoreConfig::Redis { .. } | StoreConfig::Hybrid { .. }) => {
            tracing::warn!(
                "SESSION_ID_SECRET is not set: a ticket opens a connection only at the instance that issued it"
            );
            SharedSecret::of_this_process()
        }
    }
}

/// Gateways place newcomers where few sessions live.
fn report_live_sessions(health: HealthBuilder, store: Arc<dyn SessionStore>) -> Health {
    health.report(LIVE_SESSIONS, move || store.live_sessions()).build()
}
