//! The catalogue, the accounts and the audit log in PostgreSQL. Redis caches recently requested
//! documents of the catalogue, and counts failed logins.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, PoolError, TimeoutType};
use service_kit::postgres::QUERY_TIMEOUT;
use tokio_postgres::error::SqlState;

pub mod accounts;
pub mod attempts;
pub mod audit;
pub mod cache;
pub mod database;
mod failpoints;
pub mod files;
mod flights;
pub mod idempotency;
pub mod imports;
pub mod migrations;
pub mod product_changes;
pub mod products;
pub mod replica;
pub mod revocations;

/// The database could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The pool returned no connection.
    #[error("no connection to PostgreSQL")]
    NoConnection(#[from] PoolError),
    /// The connection broke, or the server is starting or shutting down.
    #[error("PostgreSQL is unavailable")]
    Unavailable(#[source] tokio_postgres::Error),
    /// No response within the query timeout.
    #[error("the PostgreSQL query timed out")]
    Timeout,
    /// The server rejected the query.
    #[error("PostgreSQL rejected the query")]
    Query(#[source] tokio_postgres::Error),
    /// A row holds a value that the domain types reject.
    #[error("a row has an invalid value")]
    Row(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The response cannot be serialized.
    #[error("cannot serialize the document")]
    Document(#[source] serde_json::Error),
}

impl StoreError {
    /// A row whose value cannot be read.
    fn row(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Row(error.into())
    }

    /// Whether PostgreSQL is away or too slow: a client may repeat the request.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::NoConnection(_) | Self::Unavailable(_) | Self::Timeout => true,
            Self::Query(_) | Self::Row(_) | Self::Document(_) => false,
        }
    }

    /// What the span of a failed call names.
    fn kind(&self) -> &str {
        match self {
            Self::Timeout => "timeout",
            Self::Unavailable(error) | Self::Query(error) => {
                error.code().map_or("connection", SqlState::code)
            }
            Self::NoConnection(_) => "connection",
            Self::Row(_) | Self::Document(_) => "value",
        }
    }

    /// Whether a retry may succeed: PostgreSQL is unreachable, shutting down, or starting.
    fn is_transient(&self) -> bool {
        match self {
            Self::NoConnection(error) => !matches!(error, PoolError::Timeout(TimeoutType::Wait)),
            Self::Unavailable(error) => error.code() != Some(&SqlState::QUERY_CANCELED),
            Self::Timeout | Self::Query(_) | Self::Row(_) | Self::Document(_) => false,
        }
    }
}

/// Distinguishes transient failures. A missing table or column is transient: migrations run in the
/// background.
fn classify(error: tokio_postgres::Error) -> StoreError {
    let Some(code) = error.code() else { return StoreError::Unavailable(error) };
    let is_transient = *code == SqlState::UNDEFINED_TABLE
        || *code == SqlState::UNDEFINED_COLUMN
        || *code == SqlState::LOCK_NOT_AVAILABLE
        // Connection exceptions, rollbacks (deadlocks among them), insufficient resources, operator
        // intervention (canceled, shutting down, starting up).
        || ["08", "40", "53", "57"].iter().any(|class| code.code().starts_with(class));
    if is_transient { StoreError::Unavailable(error) } else { StoreError::Query(error) }
}

/// Works on a connection within the timeout.
///
/// PgBouncer in transaction mode may give each transaction another session. So what outlives one is
/// forbidden: session settings, session locks, and prepared statements. So all statements are sent
/// by `query_typed` and `execute_typed`, in one message and without a name. The others prepare a
/// statement, which lasts as long as a row of its result.
async fn within_timeout<T>(
    client: Object,
    work: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, tokio_postgres::Error>,
) -> Result<T, StoreError> {
    within(QUERY_TIMEOUT, client, work).await
}

/// Like [`within_timeout`], with another timeout.
async fn within<T>(
    timeout: Duration,
    mut client: Object,
    work: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, tokio_postgres::Error>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout, work(&mut client)).await {
        Ok(result) => result.map_err(classify),
        Err(_) => {
            // Closes the connection: the late response would block its next user.
            drop(Object::take(client));
            Err(StoreError::Timeout)
        }
    }
}
