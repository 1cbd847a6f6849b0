//! The stateless service. Any instance can serve any request.
//!
//! `routes/` holds the HTTP handlers and wire types, `domain/` the computations. `store/` holds the
//! accounts in PostgreSQL, and reads the catalogue from there through a cache in Redis. `issuer`
//! signs access tokens, `passwords` hashes passwords.

mod auth_metrics;
pub mod blob_target;
pub mod cli;
pub mod config;
pub mod domain;
pub mod issuer;
pub mod passwords;
pub mod relay;
pub mod routes;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use deadpool_postgres::Pool;
use proto_contracts::Role;
use service_kit::health::{HealthBuilder, Need};
use service_kit::postgres::PostgresTimeouts;
use service_kit::redis::RedisTimeouts;
use service_kit::server::{BindError, Server};
use service_kit::telemetry::{Metrics, chain};
use tokio::time::timeout;

use auth_metrics::AuthMetrics;
use config::ReplicaConfig;
pub use config::{Config, SERVICE};
use domain::keyed::KeyDigests;
use issuer::{Issuer, KeysError};
use passwords::{HashError, PasswordHasher};
use relay::{Relay, RelayMetrics};
use routes::{App, Auth, FilesState, Repetitions};
use store::accounts::{Accounts, UserCount};
use store::attempts::SharedAttempts;
use store::audit::{AuditLog, AuditMetrics, Partitions, Refusals};
use store::cache::DocumentCache;
use store::database::Database;
use store::files::{BlobError, Blobs, FileMetrics, Files, Sweeper};
use store::idempotency::IdempotencyKeys;
use store::migrations::{self, Schema};
use store::product_changes::ProductChanges;
use store::products::Products;
use store::replica::{Commits, Replica, ReplicaMetrics};
use store::revocations::Revocations;

/// The prefix of instance names whose number is resolved by DNS: `stateless-3`.
pub const KIND: &str = "stateless";
/// How long a start waits for the schema. PostgreSQL may be away, or a migration take long; then
/// readiness shows it.
const FIRST_MIGRATION_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the users are counted.
const COUNT_USERS: Duration = Duration::from_mins(1);

/// The service could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Two metrics have the same name.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The settings of the PostgreSQL pool are invalid.
    #[error("cannot build the PostgreSQL pool")]
    Postgres(#[from] deadpool_postgres::BuildError),
    /// The settings of the Redis pool are invalid.
    #[error("cannot build the cache's pool")]
    Redis(#[from] service_kit::redis::PoolUnusable),
    /// The keys of tokens cannot be used.
    #[error("cannot read the keys of AUTH_KEYS_DIR")]
    Keys(#[from] KeysError),
    /// Argon2 rejects its parameters.
    #[error("cannot hash passwords")]
    Passwords(#[from] HashError),
    /// The HTTP client of the relay cannot be made.
    #[error("cannot make the client of the gateway")]
    Relay(#[from] reqwest::Error),
    /// The store of files cannot be used.
    #[error("cannot use the store of files")]
    Files(#[from] BlobError),
    /// The listener could not be opened.
    #[error("cannot open the listener")]
    Bind(#[from] BindError),
}

/// Looks at the bucket of files before the start. If S3 does not respond, the start goes on.
///
/// # Errors
/// See [`BuildError`].
pub async fn check(config: &Config) -> Result<(), BuildError> {
    let blobs = Blobs::new(&config.files.target, &config.files.s3)?;
    Ok(blobs.check().await?)
}

/// Builds the service and binds its listener. The databases need not be reachable yet; migrations
/// run in the background. Call it within a Tokio runtime.
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
        .dependency("postgres", Need::Required, move || {
            migrations::probe(database.clone(), migrated.clone())
        })
        .dependency("redis", Need::Optional, move || service_kit::redis::probe(cache.clone()));
    let replica_metrics = ReplicaMetrics::register(metrics.registry())?;
    let replica = replica(config.replica.as_ref(), &postgres, &metrics, &replica_metrics)?;
    let health = match replica.clone() {
        Some(replica) => {
            health.dependency("replica", Need::Optional, move || replica.clone().probe())
        }
        None => health,
    };
    let health = health.build();
    let commits = replica.clone().map(|replica| Commits::new(redis.clone(), replica));
    let audited = AuditMetrics::register(metrics.registry())?;
    let database = Database::new(postgres.clone());
    let documents = Arc::new(DocumentCache::new(redis.clone(), metrics.registry())?);
    let app = web::Data::new(App {
        instance: config.service.instance.clone(),
        started: std::time::Instant::now(),
        products: Products::new(database.clone(), replica.clone(), replica_metrics.clone()),
        changes: ProductChanges::new(database.clone(), Arc::clone(&documents), audited.clone()),
        documents,
        commits: commits.clone(),
    });
    let issuer = Issuer::new(config.issuer)?;
    let passwords = PasswordHasher::new(config.password_threads)?;
    let accounts = Accounts::new(postgres.clone(), audited.clone());
    let refusals = Refusals::new(postgres.clone(), audited.clone());
    let keys = IdempotencyKeys::new(database);
    let auth_metrics = AuthMetrics::register(metrics.registry(), passwords.clone())?;
    let digests = KeyDigests::new(config.idempotency_secret.as_ref());
    let auth = web::Data::new(Auth {
        accounts: accounts.clone(),
        passwords,
        issuer: issuer.clone(),
        attempts: SharedAttempts::new(redis),
        metrics: auth_metrics.clone(),
        audit: AuditLog::new(postgres.clone(), replica.clone().zip(commits), replica_metrics),
        refusals: refusals.clone(),
        repetitions: Repetitions { keys: keys.clone(), digests: digests.clone() },
    });
    let files =
        Files::new(postgres.clone(), audited.clone(), config.files.limits, config.files.lease);
    let blobs = Blobs::new(&config.files.target, &config.files.s3)?;
    let file_metrics = FileMetrics::register(metrics.registry())?;
    let sweeper = Sweeper::new(files.clone(), blobs.clone(), file_metrics.clone());
    let files = web::Data::new(FilesState {
        files,
        blobs,
        metrics: file_metrics,
        repetitions: Repetitions { keys: keys.clone(), digests },
    });
    let relay = Relay::new(
        Revocations::new(postgres.clone()),
        issuer.clone(),
        (&config.gateway, &config.trust),
        RelayMetrics::register(metrics.registry())?,
    )?;
    let admission = routes::admission(issuer.clone(), refusals.clone());
    let server = Server::bind(&config.service, health, metrics, admission, move |api| {
        api.app_data(app.clone());
        api.app_data(auth.clone());
        api.app_data(files.clone());
        routes::mount(api);
    })?;
    // A gateway that did not notice the restart sends requests as soon as they are accepted, and
    // these need the tables of this version.
    let migrating = schema.clone();
    let server = server.start_after(async move {
        let _at_the_latest = timeout(FIRST_MIGRATION_TIMEOUT, migrating.first_attempt()).await;
    });
    // Only now: an instance that cannot listen must not migrate the schema.
    let partitions = Partitions::new(postgres.clone(), config.audit_retention_months, audited);
    tokio::spawn(async {
        migrations::run_until_current(postgres, schema).await;
        let relay = relay.run(accounts.revoked());
        tokio::join!(
            partitions.maintain_hourly(),
            count_users(accounts.clone(), auth_metrics),
            delete_expired_daily(accounts, keys),
            sweeper.sweep_continually(),
            relay,
        );
    });
    tokio::spawn(refusals.clone().write_continually());
    tokio::spawn(issuer.follow_keys());
    if let Some(replica) = replica {
        tokio::spawn(replica.follow());
    }
    Ok(server.on_stop(async move { refusals.write().await }))
}

/// The replica, if one is configured.
fn replica(
    config: Option<&ReplicaConfig>,
    primary: &Pool,
    metrics: &Metrics,
    replica_metrics: &ReplicaMetrics,
) -> Result<Option<Replica>, BuildError> {
    let Some(ReplicaConfig { target, max_lag }) = config else { return Ok(None) };
    let pool = target.pool_within(SERVICE, PostgresTimeouts::REPLICA)?;
    let shown = pool.clone();
    metrics.show_pool("postgres-replica", move || shown.status())?;
    Ok(Some(Replica::new(primary.clone(), pool, *max_lag, replica_metrics.clone())))
}

/// Counts the users now, and every minute.
async fn count_users(accounts: Accounts, metrics: AuthMetrics) {
    loop {
        match accounts.count().await {
            Ok(counts) => {
                for role in Role::ALL {
                    for is_disabled in [false, true] {
                        // A kind without users is in no row.
                        let kind = |count: &&UserCount| {
                            count.role == role && count.is_disabled == is_disabled
                        };
                        let users = counts.iter().find(kind).map_or(0, |count| count.users);
                        metrics.users(role, is_disabled, users);
                    }
                }
            }
            Err(error) => tracing::warn!(cause = chain(&error), "cannot count the users"),
        }
        tokio::time::sleep(COUNT_USERS).await;
    }
}

/// Deletes expired logins, invitations and keys now, and again and again. Any number of instances may do it.
async fn delete_expired_daily(accounts: Accounts, keys: IdempotencyKeys) {
    loop {
        match accounts.delete_expired_logins().await {
            Ok(count) => tracing::info!(count, "deleted expired logins"),
            Err(error) => tracing::warn!(cause = chain(&error), "cannot delete expired logins"),
        }
        match accounts.delete_expired_invitations().await {
            Ok(count) => tracing::info!(count, "deleted expired invitations"),
            Err(error) => {
                tracing::warn!(cause = chain(&error), "cannot delete expired invitations")
            }
        }
        match keys.delete_expired().await {
            Ok(count) => tracing::info!(count, "deleted expired idempotency keys"),
            Err(error) => tracing::warn!(cause = chain(&error), "cannot delete expired keys"),
        }
        let hours = rand::random_range(12..36_u64);
        tokio::time::sleep(Duration::from_secs(3_600 * hours)).await;
    }
}
