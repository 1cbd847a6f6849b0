//! The stateless service: every instance answers every call alike, so that any of them may be asked.
//!
//! `routes/` speaks HTTP and knows the wire types, `domain/` computes, `store/` reads the catalogue from PostgreSQL
//! through a cache in Redis.

pub mod config;
pub mod domain;
pub mod routes;
pub mod store;

use std::sync::Arc;

use actix_web::web;
use service_kit::health::{HealthBuilder, Need};
use service_kit::redis::RedisTimeouts;
use service_kit::server::{BindError, Server};
use service_kit::telemetry::Metrics;

pub use config::Config;
use routes::App;
use store::cache::DocumentCache;
use store::migrations::{self, Schema};
use store::products::Products;

/// The service's name, in its health answers, in `info` and on the command line.
pub const SERVICE: &str = "stateless-svc";
/// What instances are named by that have found their number by DNS.
pub const KIND: &str = "stateless";
/// What `--help` says.
pub const ABOUT: &str = "Tandem's stateless service: calls that any instance answers alike.\n\n\
    It is configured by the environment alone; docs/SETTINGS.md lists every variable. SIGTERM announces that the \
    instance leaves, lets requests finish and stops.";

/// The service could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A metric clashes with another.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The pool of PostgreSQL connections refuses its settings.
    #[error("the PostgreSQL pool cannot be built")]
    Postgres(#[from] deadpool_postgres::BuildError),
    /// The pool of Redis connections refuses its settings.
    #[error("the cache's pool cannot be built")]
    Redis(#[from] service_kit::redis::PoolUnusable),
    /// The listener could not be opened.
    #[error("the listener cannot be opened")]
    Bind(#[from] BindError),
}

/// Builds the service and binds its listener; its databases may be away. The schema is brought up to date in the
/// background. Call it within a Tokio runtime.
///
/// # Errors
/// See [`BuildError`].
pub fn build(config: Config) -> Result<Server, BuildError> {
    let metrics = Metrics::new(SERVICE, &config.service.instance)?;
    let postgres = config.database.pool(SERVICE)?;
    let redis = config.cache.pool(RedisTimeouts::CACHE)?;
    let (shown_postgres, shown_redis) = (postgres.clone(), redis.clone());
    metrics.show_pool("postgres", move || shown_postgres.status())?;
    metrics.show_pool("redis-cache", move || shown_redis.status())?;
    let schema = Schema::default();

    let (database, migrated, cache) = (postgres.clone(), schema.clone(), redis.clone());
    let health = HealthBuilder::new(SERVICE, config.service.instance.clone())
        .dependency("postgres", Need::Required, move || migrations::probe(database.clone(), migrated.clone()))
        .dependency("redis", Need::Optional, move || service_kit::redis::probe(cache.clone()))
        .build();
    let app = web::Data::new(App {
        instance: config.service.instance.clone(),
        started: std::time::Instant::now(),
        products: Products::new(postgres.clone()),
        documents: Arc::new(DocumentCache::new(redis, metrics.registry())?),
    });
    let server = Server::bind(&config.service, health, metrics, move |api| {
        api.app_data(app.clone());
        routes::mount(api);
    })?;
    // Only now: an instance that cannot listen must not touch the schema.
    tokio::spawn(migrations::bring_up_to_date(postgres, schema));
    Ok(server)
}
