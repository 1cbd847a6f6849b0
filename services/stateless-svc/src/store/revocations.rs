//! The outbox of revocations in PostgreSQL.

use std::time::Duration;

use deadpool_postgres::Pool;
use tokio_postgres::types::Type;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use super::{StoreError, within_timeout};
use crate::domain::account::Username;
use crate::domain::revocation::Revocation;

/// How long a delivered row is kept, as an interval of PostgreSQL.
const KEPT_FOR: &str = "7 days";

/// Ends all logins of a user and revokes its access tokens, in the transaction of a change. Returns
/// the number of ended logins.
///
/// # Errors
/// When PostgreSQL rejects it. Then the transaction cannot be committed.
pub(super) async fn revoke(
    change: &Transaction<'_>,
    user: &Username,
) -> Result<u64, tokio_postgres::Error> {
    // In this order, each login and refresh either issues its token before the last statement reads
    // the clock, or sees the revocation.
    let lock = "SELECT FROM users WHERE id = $1 FOR UPDATE";
    change.execute_typed(lock, &[(&user.as_str(), Type::TEXT)]).await?;
    let end = "UPDATE logins SET ended_at = now() WHERE user_id = $1 AND ended_at IS NULL";
    let ended = change.execute_typed(end, &[(&user.as_str(), Type::TEXT)]).await?;
    // Later than any token issued so far, also than one issued after a revocation in this second.
    let revoke = "WITH revoked AS ( \
                    UPDATE users SET not_before = interval '1 second' + \
                      greatest(not_before, date_trunc('second', clock_timestamp())) \
                    WHERE id = $1 RETURNING id, not_before) \
                  INSERT INTO revocations (user_id, not_before) SELECT id, not_before FROM revoked";
    change.execute_typed(revoke, &[(&user.as_str(), Type::TEXT)]).await?;
    Ok(ended)
}

/// Reads and changes the outbox. Cheap to clone.
#[derive(Clone)]
pub struct Revocations {
    pool: Pool,
}

/// What waits in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    /// The number of rows.
    pub rows: i64,
    /// The age of the oldest one.
    pub oldest: Duration,
}

impl Revocations {
    /// Reads and writes through this pool.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Takes up to so many revocations to be delivered now. Until a while later, longer with each
    /// attempt, no relay takes them again. It needs no connection meanwhile.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take(&self, most: usize) -> Result<Vec<Revocation>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = within_timeout(self.pool.get().await?, async |client| {
            let sql = "UPDATE revocations SET attempts = attempts + 1, \
                       next_attempt_at = clock_timestamp() + interval '1 second' * \
                         least(5, 2 + attempts) \
                       WHERE id IN (SELECT id FROM revocations \
                         WHERE delivered_at IS NULL AND next_attempt_at <= clock_timestamp() \
                         ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED) \
                       RETURNING id, user_id, not_before";
            client.query_typed(sql, &[(&most, Type::INT8)]).await
        })
        .await?;
        rows.iter().map(revocation).collect()
    }

    /// Marks a revocation as delivered.
    ///
    /// # Errors
    /// See [`StoreError`]. It is delivered again then, which does no harm.
    pub async fn delivered(&self, id: Uuid) -> Result<(), StoreError> {
        within_timeout(self.pool.get().await?, async |client| {
            let sql = "UPDATE revocations SET delivered_at = clock_timestamp() \
                       WHERE id = $1 AND delivered_at IS NULL";
            client.execute_typed(sql, &[(&id, Type::UUID)]).await
        })
        .await?;
        Ok(())
    }

    /// What is not delivered yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let row = within_timeout(self.pool.get().await?, async |client| {
            let sql = "SELECT count(*) AS rows, \
                       coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 \
                       AS oldest_s FROM revocations WHERE delivered_at IS NULL";
            client.query_typed_one(sql, &[]).await
        })
        .await?;
        let oldest_s: f64 = row.try_get("oldest_s").map_err(StoreError::row)?;
        let oldest = Duration::try_from_secs_f64(oldest_s.max(0.0)).unwrap_or_default();
        Ok(Backlog { rows: row.try_get("rows").map_err(StoreError::row)?, oldest })
    }

    /// Deletes rows that were delivered long ago.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_old(&self) -> Result<u64, StoreError> {
        within_timeout(self.pool.get().await?, async |client| {
            let sql = format!(
                "DELETE FROM revocations WHERE delivered_at < now() - interval '{KEPT_FOR}'"
            );
            client.execute_typed(&sql, &[]).await
        })
        .await
    }
}

fn revocation(row: &Row) -> Result<Revocation, StoreError> {
    let user: &str = row.try_get("user_id").map_err(StoreError::row)?;
    Ok(Revocation {
        id: row.try_get("id").map_err(StoreError::row)?,
        user: user.parse().map_err(StoreError::row)?,
        not_before: row.try_get("not_before").map_err(StoreError::row)?,
    })
}
