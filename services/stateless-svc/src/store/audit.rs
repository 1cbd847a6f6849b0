//! The audit log in PostgreSQL.

use deadpool_postgres::{ClientWrapper, Pool};
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use super::replica::{self, Commits, Fallback, Known, ReadKind, Replica, ReplicaMetrics};
use super::{StoreError, within_timeout};
use crate::domain::account::Username;
use crate::domain::audit::{Action, AuditPageRequest, Entry, EntryId, Initiator, Object, Recorded};
use crate::domain::wal::WalPosition;

mod metrics;
mod partitions;
mod refusals;

pub use metrics::AuditMetrics;
pub use partitions::Partitions;
pub use refusals::Refusals;

/// Records a change in its transaction, so that each committed change has exactly one entry.
///
/// # Errors
/// When PostgreSQL rejects the entry. Then the transaction cannot be committed.
pub async fn record(
    change: &Transaction<'_>,
    by: &Initiator,
    entry: Entry,
) -> Result<(), tokio_postgres::Error> {
    let id = EntryId::now();
    let Entry { action, object, before, after } = entry;
    let parameters: [(&(dyn ToSql + Sync), Type); 10] = [
        (id.uuid(), Type::UUID),
        (id.at(), Type::TIMESTAMPTZ),
        (&by.actor.kind(), Type::TEXT),
        (&by.actor.username().map(Username::as_str), Type::TEXT),
        (&action.as_str(), Type::TEXT),
        (&object.to_string(), Type::TEXT),
        (&by.request_id.map(Uuid::from), Type::UUID),
        (&by.address, Type::INET),
        (&before, Type::JSONB),
        (&after, Type::JSONB),
    ];
    let sql = "INSERT INTO audit_log \
               (id, at, actor_kind, actor, action, object, request_id, address, before, after) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    change.execute_typed(sql, &parameters).await?;
    Ok(())
}

/// Records many additions in their transaction, an entry for each.
///
/// # Errors
/// When PostgreSQL rejects an entry. Then the transaction cannot be committed.
pub async fn record_added(
    change: &Transaction<'_>,
    by: &Initiator,
    action: Action,
    added: Vec<(Object, Value)>,
) -> Result<(), tokio_postgres::Error> {
    let ids: Vec<_> = added.iter().map(|_| EntryId::now()).collect();
    let (objects, after): (Vec<_>, Vec<_>) =
        added.into_iter().map(|(object, after)| (object.to_string(), after)).unzip();
    let parameters: [(&(dyn ToSql + Sync), Type); 9] = [
        (&ids.iter().map(EntryId::uuid).collect::<Vec<_>>(), Type::UUID_ARRAY),
        (&ids.iter().map(EntryId::at).collect::<Vec<_>>(), Type::TIMESTAMPTZ_ARRAY),
        (&by.actor.kind(), Type::TEXT),
        (&by.actor.username().map(Username::as_str), Type::TEXT),
        (&action.as_str(), Type::TEXT),
        (&objects, Type::TEXT_ARRAY),
        (&by.request_id.map(Uuid::from), Type::UUID),
        (&by.address, Type::INET),
        (&after, Type::JSONB_ARRAY),
    ];
    let sql = "INSERT INTO audit_log \
               (id, at, actor_kind, actor, action, object, request_id, address, after) \
               SELECT id, at, $3, $4, $5, object, $7, $8, after \
               FROM unnest($1, $2, $6, $9) AS entry (id, at, object, after)";
    change.execute_typed(sql, &parameters).await?;
    Ok(())
}

/// `at <= $2` alone leaves later partitions out.
const PAGE: &str = "SELECT id, actor_kind, actor, action, object, request_id, \
                    abbrev(address) AS address, before, after, count FROM audit_log \
                    WHERE ($2::timestamptz IS NULL OR (at <= $2 AND (at, id) < ($2, $3::uuid))) \
                    AND ($4::text IS NULL OR actor = $4) \
                    AND ($5::text IS NULL OR object = $5) \
                    AND ($6::text IS NULL OR action = $6) \
                    AND ($7::timestamptz IS NULL OR at >= $7) \
                    AND ($8::timestamptz IS NULL OR at < $8) \
                    ORDER BY at DESC, id DESC LIMIT $1";

type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// Reads the log. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    pool: Pool,
    replica: Option<(Replica, Commits)>,
    metrics: ReplicaMetrics,
}

impl AuditLog {
    /// Reads through this pool, and from the replica where it has what the reader may know of.
    pub fn new(pool: Pool, replica: Option<(Replica, Commits)>, metrics: ReplicaMetrics) -> Self {
        Self { pool, replica, metrics }
    }

    /// One entry more than the page has, if there are so many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn page(
        &self,
        page: &AuditPageRequest,
        reader: &Username,
    ) -> Result<Vec<Recorded>, StoreError> {
        let one_more = i64::from(page.limit) + 1;
        let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
            (&one_more, Type::INT8),
            (&page.before.as_ref().map(EntryId::at), Type::TIMESTAMPTZ),
            (&page.before.as_ref().map(EntryId::uuid), Type::UUID),
            (&page.actor.as_ref().map(Username::as_str), Type::TEXT),
            (&page.object.as_ref().map(Object::to_string), Type::TEXT),
            (&page.action.map(Action::as_str), Type::TEXT),
            (&page.from, Type::TIMESTAMPTZ),
            (&page.to, Type::TIMESTAMPTZ),
        ];
        let rows = match &self.replica {
            Some((replica, commits)) => self.read(replica, commits, reader, &parameters).await?,
            None => {
                self.metrics.from_primary(ReadKind::Audit, None);
                let client = self.pool.get().await?;
                let read =
                    async |client: &mut ClientWrapper| client.query_typed(PAGE, &parameters).await;
                within_timeout(client, read).await?
            }
        };
        rows.iter().map(recorded).collect()
    }

    /// Reads from the replica if it has what the reader may know of, else from the primary.
    async fn read(
        &self,
        replica: &Replica,
        commits: &Commits,
        reader: &Username,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let known = match replica.require_serving() {
            Ok(()) => commits.look_up(reader).await.ok_or(Fallback::Unknown),
            Err(reason) => Err(reason),
        };
        let reason = match known.as_ref().map(Known::position) {
            Ok(Some(least)) => match replica.read_since(&least, PAGE, parameters).await {
                Ok(rows) => {
                    self.metrics.from_replica(ReadKind::Audit);
                    return Ok(rows);
                }
                Err(reason) => reason,
            },
            Ok(None) => Fallback::Unknown,
            Err(reason) => *reason,
        };
        self.metrics.from_primary(ReadKind::Audit, Some(reason));
        let (rows, position) = self.read_primary(parameters).await?;
        // A position from before a promotion is of no more use.
        if let (Ok(known), Fallback::Unknown | Fallback::Timeline) = (known, reason) {
            commits.learn(&known, position).await;
        }
        Ok(rows)
    }

    /// Reads from the primary, and then its position: so later reads show nothing older.
    async fn read_primary(
        &self,
        parameters: Parameters<'_>,
    ) -> Result<(Vec<Row>, WalPosition), StoreError> {
        let work = async |client: &mut ClientWrapper| {
            let (begun, rows, position, ended) = tokio::join!(
                client.batch_execute("BEGIN READ ONLY"),
                client.query_typed(PAGE, parameters),
                client.query_typed_one(replica::POSITION, &[]),
                client.batch_execute("COMMIT"),
            );
            begun?;
            let read = (rows?, position?);
            ended?;
            Ok(read)
        };
        let (rows, position) = within_timeout(self.pool.get().await?, work).await?;
        Ok((rows, replica::position(&position)?))
    }
}

fn recorded(row: &Row) -> Result<Recorded, StoreError> {
    let id: Uuid = row.try_get("id").map_err(StoreError::row)?;
    let request_id: Option<Uuid> = row.try_get("request_id").map_err(StoreError::row)?;
    Ok(Recorded {
        id: id.try_into().map_err(StoreError::row)?,
        action: row.try_get("action").map_err(StoreError::row)?,
        actor_kind: row.try_get("actor_kind").map_err(StoreError::row)?,
        actor: row.try_get("actor").map_err(StoreError::row)?,
        object: row.try_get("object").map_err(StoreError::row)?,
        request_id: request_id.map(Into::into),
        address: row.try_get("address").map_err(StoreError::row)?,
        before: row.try_get("before").map_err(StoreError::row)?,
        after: row.try_get("after").map_err(StoreError::row)?,
        count: row.try_get("count").map_err(StoreError::row)?,
    })
}
