//! The catalogue in PostgreSQL.

use deadpool_postgres::ClientWrapper;
use service_kit::telemetry::traces::spans::Call;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::database::Database;
use super::{StoreError, within_timeout};
use crate::domain::product::{Page, PageRequest, Product, ProductId};

pub(super) mod locks;

const PAGE: &str =
    "SELECT id, name, price, stock, created_at FROM products WHERE id > $1 ORDER BY id LIMIT $2";
const ONE: &str = "SELECT id, name, price, stock, created_at FROM products WHERE id = $1";

type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// What was read.
#[derive(Clone, Debug)]
pub struct Read<T> {
    pub value: T,
    /// Whether no write was between its locks and the end of its transaction meanwhile. If one was,
    /// its change may be committed at any time, so the value must not be cached.
    pub is_settled: bool,
}

/// Reads products. Cheap to clone.
#[derive(Clone)]
pub struct Products {
    database: Database,
}

impl Products {
    /// Reads from this database, the primary.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// One page, by keyset pagination: as fast at the end of the catalogue as at its beginning.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn page(&self, request: &PageRequest) -> Result<Read<Page>, StoreError> {
        let one_more = i64::from(request.limit()) + 1;
        let after = request.after();
        let parameters: Parameters<'_> = &[(&after, Type::TEXT), (&one_more, Type::INT8)];
        let read = || self.try_read(locks::TRY_PAGE, &[], PAGE, parameters);
        let Read { value: rows, is_settled } = self.database.read(read).await?;
        let products = rows.iter().map(product).collect::<Result<_, _>>()?;
        Ok(Read { value: Page::from_one_more(products, request), is_settled })
    }

    /// The product with this id, if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find(&self, id: &ProductId) -> Result<Read<Option<Product>>, StoreError> {
        let id = id.as_str();
        let parameters: Parameters<'_> = &[(&id, Type::TEXT)];
        let read = || self.try_read(locks::TRY_PRODUCT, parameters, ONE, parameters);
        let Read { value: rows, is_settled } = self.database.read(read).await?;
        Ok(Read { value: rows.first().map(product).transpose()?, is_settled })
    }

    /// Tries to lock, and reads in a later snapshot, in one round trip: all statements are sent
    /// before the first response. So an instance that is stopped meanwhile holds no lock.
    async fn try_read(
        &self,
        lock: &'static str,
        locked: Parameters<'_>,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Read<Vec<Row>>, StoreError> {
        let client = self.database.pool().get().await?;
        let call = Call::to_postgres("SELECT products", sql);
        let work = async |client: &mut ClientWrapper| {
            let (begun, lock, rows, ended) = tokio::join!(
                client.batch_execute("BEGIN READ ONLY"),
                client.query_typed_one(lock, locked),
                client.query_typed(sql, parameters),
                client.batch_execute("COMMIT"),
            );
            begun?;
            let is_settled = lock?.try_get(0)?;
            let value = rows?;
            ended?;
            Ok(Read { value, is_settled })
        };
        within_timeout(client, work).await.inspect_err(|error| call.failed(error.kind()))
    }
}

pub(super) fn product(row: &Row) -> Result<Product, StoreError> {
    let id: &str = row.try_get("id").map_err(StoreError::row)?;
    Ok(Product {
        id: id.parse().map_err(StoreError::row)?,
        name: row.try_get("name").map_err(StoreError::row)?,
        price: row.try_get("price").map_err(StoreError::row)?,
        stock: row.try_get("stock").map_err(StoreError::row)?,
        created_at: row.try_get("created_at").map_err(StoreError::row)?,
    })
}
