//! The catalogue, the accounts and the audit log in PostgreSQL. Redis caches recently requested
//! documents of the catalogue, and counts failed logins.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, PoolError, TimeoutType};
use service_kit::postgres::QUERY_TIMEOUT;
use tokio_postgres::error::{Severity, SqlState};

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

/// Distinguishes transient failures.
fn classify(error: tokio_postgres::Error) -> StoreError {
    let is_outage =
        error.as_db_error().is_none_or(|reply| is_outage(reply.code(), reply.parsed_severity()));
    if is_outage { StoreError::Unavailable(error) } else { StoreError::Query(error) }
}

/// Whether PostgreSQL replies so although the query is right. A missing table or column is one
/// case: migrations run in the background.
fn is_outage(code: &SqlState, severity: Option<Severity>) -> bool {
    // It ended the connection, whatever for: such as a transaction that was idle for too long,
    // whose code is in none of the classes.
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
        || *code == SqlState::UNDEFINED_TABLE
        || *code == SqlState::UNDEFINED_COLUMN
        || *code == SqlState::LOCK_NOT_AVAILABLE
        // A former primary, which became a standby.
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        // Connection exceptions, rollbacks (deadlocks among them), insufficient resources, operator
        // intervention (canceled, shutting down, starting up).
        || ["08", "40", "53", "57"].iter().any(|class| code.code().starts_with(class))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_connection_is_an_outage_and_a_rejected_query_is_not() {
        let (error, fatal) = (Some(Severity::Error), Some(Severity::Fatal));
        let idle = SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT;
        assert!(is_outage(&idle, fatal) && !is_outage(&idle, error));
        for code in [SqlState::UNIQUE_VIOLATION, SqlState::SYNTAX_ERROR, SqlState::INTERNAL_ERROR] {
            assert!(!is_outage(&code, error) && is_outage(&code, fatal), "{}", code.code());
        }
        for code in [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::UNDEFINED_TABLE,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ] {
            assert!(is_outage(&code, error), "{}", code.code());
        }
    }
}
