//! The catalogue in PostgreSQL.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use rust_decimal::Decimal;
use service_kit::telemetry::traces::spans::Call;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::database::Database;
use super::replica::{self, Fallback, ReadKind, Replica, ReplicaMetrics};
use super::{StoreError, within_timeout};
use crate::domain::product::{
    Filter, Page, PageRequest, Price, Product, ProductId, Search, Sort, SortKey,
};
use crate::domain::wal::WalPosition;

pub(super) mod locks;
pub(super) mod turns;

/// What restricts a page. Each filter is null where it does not, which PostgreSQL sees when it
/// plans, as the statement has no name.
macro_rules! conditions {
    ($key:literal of $type:literal $follows:literal) => {
        concat!(
            "($3::numeric IS NULL OR price >= $3) AND ($4::numeric IS NULL OR price <= $4) ",
            "AND (NOT $5::bool OR stock > 0) AND ($6::",
            $type,
            " IS NULL OR (",
            $key,
            ", id) ",
            $follows,
            " ($6, $7))"
        )
    };
}

/// A page in an order.
macro_rules! listed {
    ($key:literal of $type:literal $follows:literal $direction:literal) => {
        concat!(
            "SELECT id, name, price, stock, created_at FROM products WHERE $2::text IS NULL AND ",
            conditions!($key of $type $follows),
            order!($key $direction)
        )
    };
}

/// The same of what has all words. A few are found by them, and sorted. Where there are many, the
/// next ones in the order are near. PostgreSQL cannot know of rare words how many rows have them,
/// and would read the whole table in the order.
macro_rules! searched {
    ($key:literal of $type:literal $follows:literal $direction:literal) => {
        concat!(
            "WITH found AS MATERIALIZED (SELECT id, name, price, stock, created_at FROM products ",
            "WHERE to_tsvector('simple', name) @@ websearch_to_tsquery('simple', $2) LIMIT 5001), ",
            "few AS MATERIALIZED (SELECT count(*) <= 5000 AS are_all FROM found) ",
            "SELECT * FROM ((SELECT * FROM found WHERE (SELECT are_all FROM few) AND ",
            conditions!($key of $type $follows),
            order!($key $direction),
            ") UNION ALL (SELECT id, name, price, stock, created_at FROM products ",
            "WHERE NOT (SELECT are_all FROM few) ",
            "AND to_tsvector('simple', name) @@ websearch_to_tsquery('simple', $2) AND ",
            conditions!($key of $type $follows),
            order!($key $direction),
            ")) AS page",
            order!($key $direction)
        )
    };
}

macro_rules! order {
    ($key:literal $direction:literal) => {
        concat!(" ORDER BY ", $key, " ", $direction, ", id ", $direction, " LIMIT $1")
    };
}

/// The statements of an order, without words and with them.
macro_rules! page {
    ($($order:tt)+) => {
        (listed!($($order)+), searched!($($order)+))
    };
}

const fn page_sql(sort: Sort) -> (&'static str, &'static str) {
    match sort {
        Sort::Id => page!("id" of "text" ">" "ASC"),
        Sort::IdDescending => page!("id" of "text" "<" "DESC"),
        Sort::Name => page!("name COLLATE \"C\"" of "text" ">" "ASC"),
        Sort::NameDescending => page!("name COLLATE \"C\"" of "text" "<" "DESC"),
        Sort::Price => page!("price" of "numeric" ">" "ASC"),
        Sort::PriceDescending => page!("price" of "numeric" "<" "DESC"),
        Sort::CreatedAt => page!("created_at" of "timestamptz" ">" "ASC"),
        Sort::CreatedAtDescending => page!("created_at" of "timestamptz" "<" "DESC"),
    }
}

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
    replica: Option<Replica>,
    metrics: ReplicaMetrics,
}

impl Products {
    /// Reads from this database, the primary, and pages from its replica where that has all that
    /// the primary has.
    pub fn new(database: Database, replica: Option<Replica>, metrics: ReplicaMetrics) -> Self {
        Self { database, replica, metrics }
    }

    /// One page, by keyset pagination: as fast at the end of the catalogue as at its beginning.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn page(&self, request: &PageRequest) -> Result<Read<Page>, StoreError> {
        let one_more = i64::from(request.limit()) + 1;
        let Filter { search, min_price, max_price, in_stock } = request.filter();
        let search = search.as_ref().map(Search::as_str);
        let (min, max) = (min_price.map(Price::amount), max_price.map(Price::amount));
        let after = request.after();
        let (key, key_type) = key(request);
        let id = after.map(|after| after.id.as_str());
        let parameters: Parameters<'_> = &[
            (&one_more, Type::INT8),
            (&search, Type::TEXT),
            (&min, Type::NUMERIC),
            (&max, Type::NUMERIC),
            (in_stock, Type::BOOL),
            (&*key, key_type),
            (&id, Type::TEXT),
        ];
        let (listed, searched) = page_sql(request.sort());
        let sql = if search.is_some() { searched } else { listed };
        let Read { value: rows, is_settled } = self.read_page(sql, parameters).await?;
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

    async fn read_page(
        &self,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Read<Vec<Row>>, StoreError> {
        let reason = match &self.replica {
            None => None,
            Some(replica) => match self.read_page_of(replica, sql, parameters).await {
                Ok(read) => {
                    self.metrics.from_replica(ReadKind::Products);
                    return Ok(read);
                }
                Err(reason) => Some(reason),
            },
        };
        self.metrics.from_primary(ReadKind::Products, reason);
        self.database.read(|| self.try_read(locks::TRY_PAGE, &[], sql, parameters)).await
    }

    /// Reads a page from the replica, if it has replayed what the primary has after the lock: a
    /// page is shared by all users, and must show what any of them may know of. See ADR 30.
    async fn read_page_of(
        &self,
        replica: &Replica,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Read<Vec<Row>>, Fallback> {
        replica.require_serving()?;
        let (is_settled, least) = self.try_lock_pages().await.map_err(|_| Fallback::Unknown)?;
        let value = replica.read_at(&least, sql, parameters).await?;
        Ok(Read { value, is_settled })
    }

    /// Whether no write is in progress, and the primary's position after that.
    async fn try_lock_pages(&self) -> Result<(bool, WalPosition), StoreError> {
        let client = self.database.pool().get().await?;
        let work = async |client: &mut ClientWrapper| {
            let (begun, lock, position, ended) = tokio::join!(
                client.batch_execute("BEGIN READ ONLY"),
                client.query_typed_one(locks::TRY_PAGE, &[]),
                client.query_typed_one(replica::POSITION, &[]),
                client.batch_execute("COMMIT"),
            );
            begun?;
            let is_settled = lock?.try_get(0)?;
            let position = position?;
            ended?;
            Ok((is_settled, position))
        };
        let (is_settled, position) = within_timeout(client, work).await?;
        Ok((is_settled, replica::position(&position)?))
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

/// The key after which the page begins, and its type.
fn key(request: &PageRequest) -> (Box<dyn ToSql + Sync + Send>, Type) {
    let key = request.after().map(|after| after.key.clone());
    match (key, request.sort()) {
        (Some(SortKey::Id(key) | SortKey::Name(key)), _) => (Box::new(key), Type::TEXT),
        (Some(SortKey::Price(key)), _) => (Box::new(key), Type::NUMERIC),
        (Some(SortKey::Age(key)), _) => (Box::new(key), Type::TIMESTAMPTZ),
        (None, Sort::Id | Sort::IdDescending | Sort::Name | Sort::NameDescending) => {
            (Box::new(None::<String>), Type::TEXT)
        }
        (None, Sort::Price | Sort::PriceDescending) => (Box::new(None::<Decimal>), Type::NUMERIC),
        (None, Sort::CreatedAt | Sort::CreatedAtDescending) => {
            (Box::new(None::<Timestamp>), Type::TIMESTAMPTZ)
        }
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
