//! The catalogue and the accounts in PostgreSQL. Redis caches recently requested documents of the
//! catalogue.

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

pub mod accounts;
pub mod cache;
mod flights;
pub mod migrations;
pub mod products;

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
    /// Whether a retry may succeed: PostgreSQL is unreachable, shutting down, or starting.
    fn is_transient(&self) -> bool {
        match self {
            Self::NoConnection(error) => !matches!(error, PoolError::Timeout(TimeoutType::Wait)),
            Self::Unavailable(error) => error.code() != Some(&SqlState::QUERY_CANCELED),
            Self::Timeout | Self::Query(_) | Self::Row(_) | Self::Document(_) => false,
        }
    }
}

/// Distinguishes transient failures. A missing table is transient: migrations run in the
/// background.
fn classify(error: tokio_postgres::Error) -> StoreError {
    let Some(code) = error.code() else { return StoreError::Unavailable(error) };
    let is_transient = *code == SqlState::UNDEFINED_TABLE
        || *code == SqlState::QUERY_CANCELED
        // Connection exceptions, insufficient resources, operator intervention (shutting down,
        // starting up).
        || ["08", "53", "57"].iter().any(|class| code.code().starts_with(class));
    if is_transient { StoreError::Unavailable(error) } else { StoreError::Query(error) }
}
