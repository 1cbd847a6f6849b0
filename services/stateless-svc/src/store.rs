//! Where the catalogue is kept: PostgreSQL has the truth, Redis a copy of what was asked lately.

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

pub mod cache;
mod flights;
pub mod migrations;
pub mod products;

/// The catalogue could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection was to be had.
    #[error("no connection to PostgreSQL")]
    NoConnection(#[from] PoolError),
    /// The connection broke, or the server is not ready to answer.
    #[error("PostgreSQL cannot answer now")]
    Unavailable(#[source] tokio_postgres::Error),
    /// No answer came in time.
    #[error("PostgreSQL did not answer in time")]
    Timeout,
    /// The server refuses the query.
    #[error("PostgreSQL refuses the query")]
    Query(#[source] tokio_postgres::Error),
    /// A row holds what the domain does not allow.
    #[error("a row cannot be read")]
    Row(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was read cannot be written as JSON.
    #[error("the answer cannot be written as JSON")]
    Document(#[source] serde_json::Error),
}

impl StoreError {
    /// Whether it is worth to ask again in a moment: PostgreSQL cannot be reached, ends, or has only just begun.
    fn may_pass(&self) -> bool {
        match self {
            Self::NoConnection(error) => !matches!(error, PoolError::Timeout(TimeoutType::Wait)),
            Self::Unavailable(error) => error.code() != Some(&SqlState::QUERY_CANCELED),
            Self::Timeout | Self::Query(_) | Self::Row(_) | Self::Document(_) => false,
        }
    }
}
