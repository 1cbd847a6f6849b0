//! The keys of requests that were executed, so that a repetition is not.

use deadpool_postgres::Pool;
use serde_json::Value;
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::{StoreError, within_timeout};
use crate::domain::account::Account;
use crate::domain::audit::Initiator;
use crate::domain::keyed::Keyed;

/// Keeps the key of a request, if it has one, in the transaction of its change. `account` is what
/// its response shows.
///
/// # Errors
/// A violated constraint when another request with the key was executed meanwhile: the change must
/// not be committed.
pub async fn keep(
    change: &Transaction<'_>,
    by: &Initiator,
    account: Option<&Account>,
) -> Result<(), tokio_postgres::Error> {
    let Some(Keyed { key, fingerprint }) = &by.keyed else { return Ok(()) };
    let account = account.map(Account::to_json);
    let sql = "INSERT INTO idempotency_keys (key, fingerprint, account) VALUES ($1, $2, $3)";
    change
        .execute_typed(
            sql,
            &[(&&key[..], Type::BYTEA), (&&fingerprint[..], Type::BYTEA), (&account, Type::JSONB)],
        )
        .await?;
    Ok(())
}

/// What is known of a key.
#[derive(Debug)]
pub enum Kept {
    /// The request was executed, and its response showed this account.
    Executed(Option<Account>),
    /// Another request was.
    OfAnother,
}

/// Reads keys. Cheap to clone.
#[derive(Clone)]
pub struct IdempotencyKeys {
    pool: Pool,
}

impl IdempotencyKeys {
    /// Reads through this pool.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// What is known of the key of a request, if anything is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find(&self, keyed: &Keyed) -> Result<Option<Kept>, StoreError> {
        let sql = "SELECT fingerprint, account FROM idempotency_keys WHERE key = $1";
        let found = within_timeout(self.pool.get().await?, async |client| {
            client.query_typed_opt(sql, &[(&&keyed.key[..], Type::BYTEA)]).await
        });
        let Some(row) = found.await? else { return Ok(None) };
        let fingerprint: &[u8] = row.try_get("fingerprint").map_err(StoreError::row)?;
        if fingerprint != keyed.fingerprint {
            return Ok(Some(Kept::OfAnother));
        }
        let account: Option<Value> = row.try_get("account").map_err(StoreError::row)?;
        let account = account.map(Account::from_json).transpose().map_err(StoreError::row)?;
        Ok(Some(Kept::Executed(account)))
    }

    /// Deletes old keys, and returns how many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_expired(&self) -> Result<u64, StoreError> {
        let sql = "DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'";
        let client = self.pool.get().await?;
        within_timeout(client, async |client| client.execute_typed(sql, &[]).await).await
    }
}
