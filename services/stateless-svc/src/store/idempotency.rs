//! The keys of requests that were executed, so that a repetition is not.

use deadpool_postgres::ClientWrapper;
use serde_json::Value;
use tokio_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

use super::database::Database;
use super::failpoints::{Failpoint, is_active};
use super::{StoreError, within_timeout};
use crate::domain::account::Account;
use crate::domain::audit::Initiator;
use crate::domain::keyed::Keyed;
use crate::domain::outcome::Outcome;

/// Keeps the key of a request, if it has one, in the transaction of its change. `outcome` is what
/// its response shows.
///
/// # Errors
/// A violated constraint when another request with the key was executed meanwhile: the change must
/// not be committed.
pub async fn keep(
    change: &Transaction<'_>,
    by: &Initiator,
    outcome: Option<Outcome>,
) -> Result<(), tokio_postgres::Error> {
    let Some(Keyed { key, fingerprint }) = &by.keyed else { return Ok(()) };
    if is_active(Failpoint::NoKeptKey) {
        return Ok(());
    }
    // Users have a column of their own: see V7.
    let (account, outcome) = match outcome {
        Some(Outcome::Account(account)) => (Some(account.to_json()), None),
        other => (None, other.map(|outcome| outcome.to_json())),
    };
    let sql = "INSERT INTO idempotency_keys (key, fingerprint, account, outcome) \
               VALUES ($1, $2, $3, $4)";
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&&key[..], Type::BYTEA),
        (&&fingerprint[..], Type::BYTEA),
        (&account, Type::JSONB),
        (&outcome, Type::JSONB),
    ];
    change.execute_typed(sql, &parameters).await?;
    Ok(())
}

/// Whether the key of a request is kept, by an attempt before this transaction.
///
/// # Errors
/// When PostgreSQL rejects the query.
pub async fn is_kept(
    change: &Transaction<'_>,
    by: &Initiator,
) -> Result<bool, tokio_postgres::Error> {
    let Some(Keyed { key, .. }) = &by.keyed else { return Ok(false) };
    let sql = "SELECT FROM idempotency_keys WHERE key = $1";
    Ok(change.query_typed_opt(sql, &[(&&key[..], Type::BYTEA)]).await?.is_some())
}

/// What is known of a key.
#[derive(Debug)]
pub enum Kept {
    /// The request was executed, and its response showed this, if it had a body.
    Executed(Option<Outcome>),
    /// Another request was.
    OfAnother,
}

/// Reads keys. Cheap to clone.
#[derive(Clone)]
pub struct IdempotencyKeys {
    database: Database,
}

impl IdempotencyKeys {
    /// Reads from this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// What is known of the key of a request, if anything is. Waits for the end of a short outage.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find(&self, keyed: &Keyed) -> Result<Option<Kept>, StoreError> {
        let sql = "SELECT fingerprint, account, outcome FROM idempotency_keys WHERE key = $1";
        let find = || async {
            let client = self.database.pool().get().await?;
            let key = &keyed.key[..];
            let find = async |client: &mut ClientWrapper| {
                client.query_typed_opt(sql, &[(&key, Type::BYTEA)]).await
            };
            within_timeout(client, find).await
        };
        let Some(row) = self.database.read(find).await? else { return Ok(None) };
        let fingerprint: &[u8] = row.try_get("fingerprint").map_err(StoreError::row)?;
        if fingerprint != keyed.fingerprint {
            return Ok(Some(Kept::OfAnother));
        }
        let account: Option<Value> = row.try_get("account").map_err(StoreError::row)?;
        if let Some(account) = account {
            let account = Account::from_json(account).map_err(StoreError::row)?;
            return Ok(Some(Kept::Executed(Some(Outcome::Account(account)))));
        }
        let outcome: Option<Value> = row.try_get("outcome").map_err(StoreError::row)?;
        let outcome = outcome.map(Outcome::from_json).transpose().map_err(StoreError::row)?;
        Ok(Some(Kept::Executed(outcome)))
    }

    /// Deletes old keys, and returns how many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete_expired(&self) -> Result<u64, StoreError> {
        let sql = "DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'";
        let client = self.database.pool().get().await?;
        within_timeout(client, async |client| client.execute_typed(sql, &[]).await).await
    }
}
