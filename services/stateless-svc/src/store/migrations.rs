//! Migrates the schema in the background. Safe with any number of instances starting at once, and
//! with a database that becomes reachable later.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use service_kit::health::Fault;
use service_kit::telemetry::chain;
use tokio::sync::watch;
use tokio_postgres::types::Type;

/// Key of the advisory lock that the migrating instance holds: "tandem" in ASCII.
const LOCK: i64 = 0x7461_6e64_656d;
/// Limit of the wait for the lock while another instance migrates. A migration with a statement
/// that takes more than a few seconds begins with `SET LOCAL statement_timeout`.
const LOCK_TIMEOUT: &str = "60s";
/// The first and the longest delay between two attempts.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// How far the migrations are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The first attempt has not ended.
    Begun,
    /// An attempt failed, and there will be more.
    Failing,
    /// All of them are applied.
    Done,
}

/// Whether the migrations have run. Clones share one state.
#[derive(Clone, Debug)]
pub struct Schema(Arc<watch::Sender<Progress>>);

impl Default for Schema {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Progress::Begun)))
    }
}

impl Schema {
    /// Whether all migrations have been applied.
    pub fn is_current(&self) -> bool {
        *self.0.borrow() == Progress::Done
    }

    /// Waits until the first attempt to migrate has ended, successful or not.
    pub async fn first_attempt(&self) {
        // It ends with an error only when the sender is gone, which `self` holds.
        let mut progress = self.0.subscribe();
        let _ended = progress.wait_for(|progress| *progress != Progress::Begun).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum MigrationError {
    #[error("no connection to PostgreSQL")]
    NoConnection(#[from] deadpool_postgres::PoolError),
    #[error("cannot acquire the migration lock")]
    Lock(#[from] tokio_postgres::Error),
    #[error("a migration failed")]
    Migration(#[from] refinery::Error),
}

/// Migrates, and retries until it succeeds.
pub async fn run_until_current(pool: Pool, schema: Schema) {
    let (mut delay, longest) = RETRY_DELAYS;
    while let Err(error) = migrate(&pool).await {
        tracing::warn!(cause = chain(&error), "schema migration failed; retrying");
        schema.0.send_replace(Progress::Failing);
        tokio::time::sleep(delay.mul_f64(rand::random_range(0.5..=1.0))).await;
        delay = (delay * 2).min(longest);
    }
    schema.0.send_replace(Progress::Done);
    tracing::info!("schema is up to date");
}

async fn migrate(pool: &Pool) -> Result<(), MigrationError> {
    // Both are detached from the pool, so that every return closes them.
    let (mut lock, mut client) = (Object::take(pool.get().await?), Object::take(pool.get().await?));
    // A lock of a transaction: PgBouncer would leave one of the session to others. The migrations
    // are transactions of another connection.
    let held = lock.transaction().await?;
    held.batch_execute(&format!("SET LOCAL statement_timeout = '{LOCK_TIMEOUT}'")).await?;
    held.execute_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    // After a rollback the database has a migration of the next release, which this one reads.
    embedded::migrations::runner().set_abort_missing(false).run_async(&mut *client).await?;
    held.commit().await?;
    Ok(())
}

/// Readiness probe: the database responds and the schema is current.
///
/// # Errors
/// The reason why the service is not ready. The text contains no secret.
pub async fn probe(pool: Pool, schema: Schema) -> Result<(), Fault> {
    service_kit::postgres::probe(pool).await?;
    if schema.is_current() { Ok(()) } else { Err("the schema is not yet up to date".into()) }
}
