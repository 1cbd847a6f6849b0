//! Imports of users and products, in batches. Each batch is one transaction with a row of the audit
//! log for each row that it adds; what is there stays as it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use deadpool_postgres::{ClientWrapper, Transaction};
use proto_contracts::Role;
use service_kit::outage::RetryDeadline;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::cache::{CacheError, DocumentCache};
use super::database::Database;
use super::products::{locks, product};
use super::{StoreError, audit, within_timeout};
use crate::domain::audit::{Action, Initiator, Object};
use crate::domain::import::{Fate, KnownUser, NewUser};
use crate::domain::product::{NewProduct, Product, ProductId};

/// Imports into a database.
pub struct Imports {
    database: Database,
    cache: Arc<DocumentCache>,
}

/// Why a batch was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store failed. Whether the batch was imported may be unknown; it may be repeated.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cache could not be invalidated, so nothing was imported.
    #[error("cannot invalidate the cache")]
    Cache(#[source] CacheError),
}

impl Imports {
    /// Into this database, the primary, whose products this cache may hold.
    pub fn new(database: Database, cache: Arc<DocumentCache>) -> Self {
        Self { database, cache }
    }

    /// Adds the users of a batch whose usernames are not and were never anyone's. They have no
    /// password. Returns what became of each.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub async fn users(&self, batch: &[&NewUser]) -> Result<Vec<Fate>, ImportError> {
        let by_name = sorted(batch, |user| user.id.as_str());
        let ids: Vec<_> = by_name.iter().map(|user| user.id.as_str()).collect();
        let names: Vec<_> = by_name.iter().map(|user| user.name.as_str()).collect();
        let roles: Vec<_> = by_name.iter().map(|user| user.role.as_str()).collect();
        let attempt = || async {
            let work = async |client: &mut ClientWrapper| {
                let change = client.transaction().await?;
                let sql = "INSERT INTO users (id, name, role, password_hash) \
                           SELECT id, name, role, '' FROM unnest($1, $2, $3) AS g (id, name, role) \
                           ON CONFLICT (id) DO NOTHING RETURNING id";
                let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
                    (&ids, Type::TEXT_ARRAY),
                    (&names, Type::TEXT_ARRAY),
                    (&roles, Type::TEXT_ARRAY),
                ];
                let inserted = ids_of(&change.query_typed(sql, &parameters).await?)?;
                let sql = "SELECT id, name, role, deleted_at IS NOT NULL AS is_deleted FROM users \
                           WHERE id = ANY ($1)";
                let known = change.query_typed(sql, &[(&ids, Type::TEXT_ARRAY)]).await?;
                let added = by_name.iter().filter(|user| inserted.contains(user.id.as_str()));
                let added = added.map(|user| (Object::from(&user.id), user.snapshot())).collect();
                record(&change, Action::UserImported, added).await?;
                change.commit().await?;
                Ok((inserted, known))
            };
            within_timeout(self.database.pool().get().await?, work).await
        };
        // It may be repeated: what an attempt has imported, the next one skips.
        let (inserted, known) = self.database.read(attempt).await?;
        let known = known.iter().map(known_user).collect::<Result<HashMap<_, _>, _>>()?;
        let fate = |user: &&NewUser| match known.get(user.id.as_str()) {
            _ if inserted.contains(user.id.as_str()) => Fate::Inserted,
            Some(known) => user.fate(known),
            None => vanished(),
        };
        Ok(batch.iter().map(fate).collect())
    }

    /// Adds the products of a batch whose ids are no product's. Returns what became of each.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub async fn products(&self, batch: &[&NewProduct]) -> Result<Vec<Fate>, ImportError> {
        let by_id = sorted(batch, |product| product.id.as_str());
        let deadline = RetryDeadline::start();
        let (inserted, known) = loop {
            self.database.wait_until_recovered(deadline).await;
            match self.try_products(&by_id).await {
                Ok(Ok(done)) => break done,
                Ok(Err(error)) => {
                    if !self.cache.is_worth_another_mark(&error, deadline).await {
                        return Err(ImportError::Cache(error));
                    }
                }
                Err(error) => {
                    if !self.database.may_retry(&error, deadline).await {
                        return Err(error.into());
                    }
                }
            }
        };
        self.database.responded();
        let known = known.iter().map(product).collect::<Result<Vec<_>, _>>()?;
        let known: HashMap<&ProductId, &Product> =
            known.iter().map(|product| (&product.id, product)).collect();
        let fate = |product: &&NewProduct| match known.get(&product.id) {
            _ if inserted.contains(product.id.as_str()) => Fate::Inserted,
            Some(known) => product.fate(known),
            None => vanished(),
        };
        Ok(batch.iter().map(fate).collect())
    }

    async fn try_products(
        &self,
        batch: &[&NewProduct],
    ) -> Result<Result<(HashSet<String>, Vec<Row>), CacheError>, StoreError> {
        let ids: Vec<_> = batch.iter().map(|product| product.id.as_str()).collect();
        let names: Vec<_> = batch.iter().map(|product| product.name.as_str()).collect();
        let prices: Vec<_> = batch.iter().map(|product| product.price.amount()).collect();
        let stocks: Vec<_> = batch.iter().map(|product| product.stock.units()).collect();
        let work = async |client: &mut ClientWrapper| {
            let change = client.transaction().await?;
            change.query_typed(locks::WRITE_MANY, &[(&ids, Type::TEXT_ARRAY)]).await?;
            let sql = "INSERT INTO products (id, name, price, stock) \
                       SELECT * FROM unnest($1, $2, $3, $4) \
                       ON CONFLICT (id) DO NOTHING RETURNING id";
            let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
                (&ids, Type::TEXT_ARRAY),
                (&names, Type::TEXT_ARRAY),
                (&prices, Type::NUMERIC_ARRAY),
                (&stocks, Type::INT4_ARRAY),
            ];
            let inserted = ids_of(&change.query_typed(sql, &parameters).await?)?;
            let sql = "SELECT id, name, price, stock, created_at FROM products WHERE id = ANY ($1)";
            let known = change.query_typed(sql, &[(&ids, Type::TEXT_ARRAY)]).await?;
            let added = batch.iter().filter(|product| inserted.contains(product.id.as_str()));
            let added: Vec<_> = added.collect();
            let entries = added
                .iter()
                .map(|product| (Object::from(&product.id), product.snapshot()))
                .collect();
            record(&change, Action::ProductImported, entries).await?;
            // After the locks and before the commit: see ADR 28.
            let added: Vec<_> = added.iter().map(|product| &product.id).collect();
            if !added.is_empty()
                && let Err(error) = self.cache.mark(&added).await
            {
                return Ok(Err(error));
            }
            change.commit().await?;
            Ok(Ok((inserted, known)))
        };
        within_timeout(self.database.pool().get().await?, work).await
    }
}

/// In one order, so that two imports at a time do not wait for each other's rows.
fn sorted<'a, T>(batch: &[&'a T], id: impl Fn(&'a T) -> &'a str) -> Vec<&'a T> {
    let mut sorted = batch.to_vec();
    sorted.sort_by_key(|row| id(row));
    sorted
}

async fn record(
    change: &Transaction<'_>,
    action: Action,
    added: Vec<(Object, serde_json::Value)>,
) -> Result<(), tokio_postgres::Error> {
    audit::record_added(change, &Initiator::operator(), action, added).await
}

fn ids_of(rows: &[Row]) -> Result<HashSet<String>, tokio_postgres::Error> {
    rows.iter().map(|row| row.try_get("id")).collect()
}

fn known_user(row: &Row) -> Result<(String, KnownUser), StoreError> {
    let role: Role = row
        .try_get::<_, &str>("role")
        .map_err(StoreError::row)?
        .parse()
        .map_err(StoreError::row)?;
    let known = KnownUser {
        name: row.try_get("name").map_err(StoreError::row)?,
        role,
        is_deleted: row.try_get("is_deleted").map_err(StoreError::row)?,
    };
    Ok((row.try_get("id").map_err(StoreError::row)?, known))
}

/// It was there when the row should be added, and gone a moment later.
fn vanished() -> Fate {
    Fate::Conflict("it was deleted meanwhile; repeat the import".to_owned())
}
