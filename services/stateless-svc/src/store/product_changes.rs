//! Changes of the catalogue. Each is one transaction, with its row of the audit log and the key of
//! its request, and invalidates what is cached before its commit (ADR 28).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Transaction};
use service_kit::outage::RetryDeadline;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::audit::{self, AuditMetrics};
use super::cache::{CacheError, DocumentCache};
use super::database::Database;
use super::products::turns::Turns;
use super::products::{locks, product};
use super::{StoreError, idempotency, within_timeout};
use crate::domain::audit::{Action, Entry, Initiator, product_snapshot};
use crate::domain::outcome::Outcome;
use crate::domain::product::{
    NewProduct, Product, ProductChange, ProductId, Quantity, Reservation,
};

/// How long a write waits for those of its product before it, as long as for a database that is away.
/// Clients get 503 then. With one attempt after it, it is less than the gateway waits.
const LONGEST_TURN: Duration = Duration::from_secs(8);

/// Changes products. Cheap to clone.
#[derive(Clone)]
pub struct ProductChanges {
    database: Database,
    cache: Arc<DocumentCache>,
    audited: AuditMetrics,
    turns: Turns,
}

/// A condition of a change, by the product before it.
pub type Guard<'a> = &'a (dyn Fn(&Product) -> bool + Sync);

/// Why a product was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such product.
    #[error("there is no such product")]
    NotFound,
    /// Another product has the id.
    #[error("another product has this id")]
    Exists,
    /// The guard rejects the product as it is.
    #[error("the product does not satisfy the condition")]
    PreconditionFailed,
    /// Fewer units are in stock.
    #[error("{left} units are in stock")]
    OutOfStock {
        /// The units.
        left: i32,
    },
    /// An earlier attempt of this request was executed, and its key has the outcome.
    #[error("the request was executed already")]
    Repeated,
    /// The cache could not be invalidated, so nothing was changed.
    #[error("cannot invalidate the cache")]
    Cache(#[source] CacheError),
    /// The store failed, and nothing was changed.
    #[error("the change was not executed")]
    NotExecuted(#[source] StoreError),
    /// The store failed, and whether the change was made is unknown.
    #[error("the outcome of the change is unknown")]
    Unknown(#[source] StoreError),
}

/// What a change did to the locked product.
struct Made {
    /// `None` if nothing is changed.
    entry: Option<Entry>,
    outcome: Option<Outcome>,
}

type Making = Result<Result<Made, ChangeError>, tokio_postgres::Error>;

impl ProductChanges {
    /// Changes this database, the primary.
    pub fn new(database: Database, cache: Arc<DocumentCache>, audited: AuditMetrics) -> Self {
        Self { database, cache, audited, turns: Turns::new() }
    }

    /// Adds a product.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn create(&self, new: &NewProduct, by: &Initiator) -> Result<Product, ChangeError> {
        let make = async |change: &Transaction<'_>, found: Option<Product>| -> Making {
            if found.is_some() {
                return Ok(Err(ChangeError::Exists));
            }
            let sql = "INSERT INTO products (id, name, price, stock) VALUES ($1, $2, $3, $4) \
                       RETURNING id, name, price, stock, created_at";
            let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
                (&new.id.as_str(), Type::TEXT),
                (&new.name.as_str(), Type::TEXT),
                (&new.price.amount(), Type::NUMERIC),
                (&new.stock.units(), Type::INT4),
            ];
            let row = change.query_typed_one(sql, &parameters).await?;
            Ok(product(&row).map_err(ChangeError::NotExecuted).map(|added| {
                let after = Some(product_snapshot(&added));
                let entry = Entry { after, ..Entry::new(Action::ProductCreated, &added.id) };
                Made { entry: Some(entry), outcome: Some(Outcome::Product(added)) }
            }))
        };
        expect_product(self.execute(&new.id, by, make).await?)
    }

    /// Changes a product.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change(
        &self,
        id: &ProductId,
        change_to: &ProductChange,
        guard: Guard<'_>,
        by: &Initiator,
    ) -> Result<Product, ChangeError> {
        let make = async |change: &Transaction<'_>, found: Option<Product>| -> Making {
            let before = match guarded(found, guard) {
                Ok(before) => before,
                Err(error) => return Ok(Err(error)),
            };
            let after = change_to.applied_to(&before);
            if after == before {
                return Ok(Ok(Made { entry: None, outcome: Some(Outcome::Product(after)) }));
            }
            let sql = "UPDATE products SET name = $2, price = $3, stock = $4 WHERE id = $1";
            let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
                (&id.as_str(), Type::TEXT),
                (&after.name, Type::TEXT),
                (&after.price, Type::NUMERIC),
                (&after.stock, Type::INT4),
            ];
            change.execute_typed(sql, &parameters).await?;
            let entry = Entry {
                before: Some(product_snapshot(&before)),
                after: Some(product_snapshot(&after)),
                ..Entry::new(Action::ProductChanged, id)
            };
            Ok(Ok(Made { entry: Some(entry), outcome: Some(Outcome::Product(after)) }))
        };
        expect_product(self.execute(id, by, make).await?)
    }

    /// Deletes a product. Its reservations stay.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn delete(
        &self,
        id: &ProductId,
        guard: Guard<'_>,
        by: &Initiator,
    ) -> Result<(), ChangeError> {
        let make = async |change: &Transaction<'_>, found: Option<Product>| -> Making {
            let before = match guarded(found, guard) {
                Ok(before) => before,
                Err(error) => return Ok(Err(error)),
            };
            let sql = "DELETE FROM products WHERE id = $1";
            change.execute_typed(sql, &[(&id.as_str(), Type::TEXT)]).await?;
            let before = Some(product_snapshot(&before));
            let entry = Entry { before, ..Entry::new(Action::ProductDeleted, id) };
            Ok(Ok(Made { entry: Some(entry), outcome: None }))
        };
        self.execute(id, by, make).await.map(drop)
    }

    /// Takes units from the stock, if there are so many.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn reserve(
        &self,
        id: &ProductId,
        quantity: Quantity,
        guard: Guard<'_>,
        by: &Initiator,
    ) -> Result<Reservation, ChangeError> {
        let make = async |change: &Transaction<'_>, found: Option<Product>| -> Making {
            let before = match guarded(found, guard) {
                Ok(before) => before,
                Err(error) => return Ok(Err(error)),
            };
            // The row is locked, and its table has a check, too.
            let left = before.stock - quantity.units();
            if left < 0 {
                return Ok(Err(ChangeError::OutOfStock { left: before.stock }));
            }
            let update = "UPDATE products SET stock = $2 WHERE id = $1";
            let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                [(&id.as_str(), Type::TEXT), (&left, Type::INT4)];
            change.execute_typed(update, &parameters).await?;
            let insert = "INSERT INTO reservations (id, product_id, user_id, quantity) \
                          VALUES ($1, $2, $3, $4) RETURNING created_at";
            let reservation_id = Uuid::now_v7();
            let user = by.actor.username().map_or("", |user| user.as_str());
            let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
                (&reservation_id, Type::UUID),
                (&id.as_str(), Type::TEXT),
                (&user, Type::TEXT),
                (&quantity.units(), Type::INT4),
            ];
            let created_at = change.query_typed_one(insert, &parameters).await?.try_get(0)?;
            let after = Product { stock: left, ..before.clone() };
            let mut snapshot = product_snapshot(&after);
            snapshot["reservation"] = reservation_id.to_string().into();
            let entry = Entry {
                before: Some(product_snapshot(&before)),
                after: Some(snapshot),
                ..Entry::new(Action::ProductReserved, id)
            };
            let product = id.clone();
            let reservation = Reservation { id: reservation_id, product, quantity, created_at };
            Ok(Ok(Made { entry: Some(entry), outcome: Some(Outcome::Reservation(reservation)) }))
        };
        match self.execute(id, by, make).await? {
            Some(Outcome::Reservation(reservation)) => Ok(reservation),
            _ => Err(ChangeError::Repeated),
        }
    }

    /// Executes a change, and again after a failure that left nothing, or whose outcome the
    /// request's key resolves.
    async fn execute(
        &self,
        id: &ProductId,
        by: &Initiator,
        make: impl AsyncFn(&Transaction<'_>, Option<Product>) -> Making,
    ) -> Result<Option<Outcome>, ChangeError> {
        let deadline = RetryDeadline::start();
        let Some(_turn) = self.turns.of(id, LONGEST_TURN).await else {
            return Err(ChangeError::NotExecuted(StoreError::Timeout));
        };
        let mut is_unknown = false;
        loop {
            self.database.wait_until_recovered(deadline).await;
            let attempt = Attempt { id, by, is_repeated: is_unknown, is_committed: false.into() };
            let error = match self.attempt(&attempt, &make).await {
                Ok(Err(ChangeError::Cache(error))) => {
                    if self.cache.is_worth_another_mark(&error, deadline).await {
                        continue;
                    }
                    return Err(ChangeError::Cache(error));
                }
                Ok(done) => {
                    self.database.responded();
                    return done;
                }
                Err(error) => error,
            };
            is_unknown |= attempt.is_committed.into_inner();
            let is_resolvable = !is_unknown || by.keyed.is_some();
            if is_resolvable && self.database.may_retry(&error, deadline).await {
                continue;
            }
            return Err(match is_unknown {
                true => ChangeError::Unknown(error),
                false => ChangeError::NotExecuted(error),
            });
        }
    }

    async fn attempt(
        &self,
        attempt: &Attempt<'_>,
        make: &impl AsyncFn(&Transaction<'_>, Option<Product>) -> Making,
    ) -> Result<Result<Option<Outcome>, ChangeError>, StoreError> {
        let client = self.database.pool().get().await?;
        let id = attempt.id.as_str();
        let work = async |client: &mut ClientWrapper| {
            let change = client.transaction().await?;
            change.query_typed(locks::WRITE, &[(&id, Type::TEXT)]).await?;
            if attempt.is_repeated && idempotency::is_kept(&change, attempt.by).await? {
                return Ok(Err(ChangeError::Repeated));
            }
            let sql = "SELECT id, name, price, stock, created_at FROM products WHERE id = $1 \
                       FOR UPDATE";
            let found = change.query_typed_opt(sql, &[(&id, Type::TEXT)]).await?;
            let found = match found.as_ref().map(product).transpose() {
                Ok(found) => found,
                Err(error) => return Ok(Err(ChangeError::NotExecuted(error))),
            };
            let Made { entry, outcome } = match make(&change, found).await? {
                Ok(made) => made,
                Err(error) => return Ok(Err(error)),
            };
            let action = entry.as_ref().map(|entry| entry.action);
            if let Some(entry) = entry {
                audit::record(&change, attempt.by, entry).await?;
            }
            idempotency::keep(&change, attempt.by, outcome.clone()).await?;
            // After the locks and before the commit: see ADR 28.
            if action.is_some()
                && let Err(error) = self.cache.mark(&[attempt.id]).await
            {
                return Ok(Err(ChangeError::Cache(error)));
            }
            attempt.is_committed.store(true, Ordering::Relaxed);
            change.commit().await?;
            if let Some(action) = action {
                self.audited.recorded(action, 1);
            }
            Ok(Ok(outcome))
        };
        within_timeout(client, work).await
    }
}

struct Attempt<'a> {
    id: &'a ProductId,
    by: &'a Initiator,
    /// Whether the outcome of an earlier attempt is unknown.
    is_repeated: bool,
    /// Whether the commit was sent: before that, a failure leaves nothing.
    is_committed: AtomicBool,
}

fn guarded(found: Option<Product>, guard: Guard<'_>) -> Result<Product, ChangeError> {
    let found = found.ok_or(ChangeError::NotFound)?;
    if guard(&found) { Ok(found) } else { Err(ChangeError::PreconditionFailed) }
}

fn expect_product(outcome: Option<Outcome>) -> Result<Product, ChangeError> {
    match outcome {
        Some(Outcome::Product(product)) => Ok(product),
        _ => Err(ChangeError::Repeated),
    }
}
