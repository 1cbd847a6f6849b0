//! Brings the database's schema up to date, however many instances start at once and whenever the database appears.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use service_kit::health::Fault;
use service_kit::telemetry::chain;

/// Key of the advisory lock that one migrating instance holds: "tandem" in ASCII.
const LOCK: i64 = 0x7461_6e64_656d;
/// How long a migration, or the wait for another instance's, may take.
const PATIENCE: &str = "60s";
/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Whether the schema is known to be up to date. Cheap to clone; the clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Schema(Arc<AtomicBool>);

impl Schema {
    /// Whether queries will find their tables.
    pub fn is_current(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Debug, thiserror::Error)]
enum MigrationError {
    #[error("no connection to PostgreSQL")]
    NoConnection(#[from] deadpool_postgres::PoolError),
    #[error("the migration lock cannot be taken")]
    Lock(#[from] tokio_postgres::Error),
    #[error("a migration failed")]
    Migration(#[from] refinery::Error),
}

/// Migrates, and tries again until it works.
pub async fn bring_up_to_date(pool: Pool, schema: Schema) {
    let (mut pause, longest) = PAUSES;
    while let Err(error) = migrate(&pool).await {
        tracing::warn!(cause = chain(&error), "the schema is not up to date; trying again");
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
        pause = (pause * 2).min(longest);
    }
    schema.0.store(true, Ordering::Release);
    tracing::info!("the schema is up to date");
}

async fn migrate(pool: &Pool) -> Result<(), MigrationError> {
    // A connection of its own: it is closed at the end, whatever happens, and the lock goes with it.
    let mut client = Object::take(pool.get().await?);
    client.batch_execute(&format!("SET statement_timeout = '{PATIENCE}'")).await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    embedded::migrations::runner().run_async(&mut *client).await?;
    Ok(())
}

/// A readiness probe: the database answers and has the tables.
///
/// # Errors
/// In words without a secret.
pub async fn probe(pool: Pool, schema: Schema) -> Result<(), Fault> {
    service_kit::postgres::probe(pool).await?;
    if schema.is_current() { Ok(()) } else { Err("the schema is not up to date yet".into()) }
}
