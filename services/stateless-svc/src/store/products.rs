//! The catalogue in PostgreSQL.

use std::sync::Arc;

use deadpool_postgres::{ClientWrapper, Pool};
use service_kit::outage::{Outage, RetryDeadline};
use service_kit::telemetry::chain;
use service_kit::telemetry::traces::spans::Call;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::{StoreError, within_timeout};
use crate::domain::product::{Page, PageRequest, Product, ProductId};

const PAGE: &str =
    "SELECT id, name, price, stock, created_at FROM products WHERE id > $1 ORDER BY id LIMIT $2";
const ONE: &str = "SELECT id, name, price, stock, created_at FROM products WHERE id = $1";

/// Reads products. Cheap to clone.
#[derive(Clone)]
pub struct Products {
    pool: Pool,
    outage: Arc<Outage>,
}

impl Products {
    /// Reads through this pool.
    pub fn new(pool: Pool) -> Self {
        Self { pool, outage: Arc::new(Outage::of("database")) }
    }

    /// One page, by keyset pagination: as fast at the end of the catalogue as at its beginning.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn page(&self, request: &PageRequest) -> Result<Page, StoreError> {
        let one_more = i64::from(request.limit()) + 1;
        let rows =
            self.query(PAGE, &[(&request.after(), Type::TEXT), (&one_more, Type::INT8)]).await?;
        let products = rows.iter().map(product).collect::<Result<_, _>>()?;
        Ok(Page::from_one_more(products, request))
    }

    /// The product with this id, if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find(&self, id: &ProductId) -> Result<Option<Product>, StoreError> {
        self.query(ONE, &[(&id.as_str(), Type::TEXT)]).await?.first().map(product).transpose()
    }

    /// Queries, and retries through a short outage: all queries are reads.
    async fn query(
        &self,
        sql: &'static str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, StoreError> {
        let deadline = RetryDeadline::start();
        loop {
            self.outage.wait_until_recovered(deadline, || self.responds()).await;
            let error = match self.try_query(sql, parameters).await {
                Ok(rows) => {
                    self.outage.responded();
                    return Ok(rows);
                }
                Err(error) => error,
            };
            if !error.is_transient() {
                return Err(error);
            }
            self.outage.failed(|| chain(&error));
            if !self.outage.is_worth_another_attempt(deadline).await {
                return Err(error);
            }
        }
    }

    async fn responds(&self) -> bool {
        service_kit::postgres::probe(self.pool.clone()).await.is_ok()
    }

    async fn try_query(
        &self,
        sql: &'static str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.pool.get().await?;
        let call = Call::to_postgres("SELECT products", sql);
        let work = async |client: &mut ClientWrapper| client.query_typed(sql, parameters).await;
        within_timeout(client, work).await.inspect_err(|error| call.failed(error.kind()))
    }
}

fn product(row: &Row) -> Result<Product, StoreError> {
    let id: &str = row.try_get("id").map_err(StoreError::row)?;
    Ok(Product {
        id: id.parse().map_err(StoreError::row)?,
        name: row.try_get("name").map_err(StoreError::row)?,
        price: row.try_get("price").map_err(StoreError::row)?,
        stock: row.try_get("stock").map_err(StoreError::row)?,
        created_at: row.try_get("created_at").map_err(StoreError::row)?,
    })
}
