//! The pool of connections, and how a short outage of PostgreSQL is waited for.

use std::sync::Arc;

use deadpool_postgres::Pool;
use service_kit::outage::{Outage, RetryDeadline};
use service_kit::telemetry::chain;

use super::StoreError;

/// The database, with what is known of its outages. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    outage: Arc<Outage>,
}

impl Database {
    /// Reached through this pool.
    pub fn new(pool: Pool) -> Self {
        Self { pool, outage: Arc::new(Outage::of("database")) }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Reads, and retries through a short outage.
    pub(super) async fn read<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let deadline = RetryDeadline::start();
        loop {
            self.wait_until_recovered(deadline).await;
            let error = match attempt().await {
                Ok(read) => {
                    self.outage.responded();
                    return Ok(read);
                }
                Err(error) => error,
            };
            if !self.may_retry(&error, deadline).await {
                return Err(error);
            }
        }
    }

    /// Waits for the end of an outage, if there is one.
    pub(super) async fn wait_until_recovered(&self, deadline: RetryDeadline) {
        self.outage.wait_until_recovered(deadline, || self.responds()).await;
    }

    async fn responds(&self) -> bool {
        service_kit::postgres::probe(self.pool.clone()).await.is_ok()
    }

    /// Records a response.
    pub(super) fn responded(&self) {
        self.outage.responded();
    }

    /// Records a failure. Pauses and returns true while a retry may succeed.
    pub(super) async fn may_retry(&self, error: &StoreError, deadline: RetryDeadline) -> bool {
        if !error.is_transient() {
            return false;
        }
        self.outage.failed(|| chain(error));
        self.outage.is_worth_another_attempt(deadline).await
    }
}
