//! Files in PostgreSQL: what is known of each, who owns it, and what it counts against the quota.
//! Their content is in [`Blobs`].
//!
//! The row of a file is older than its content, and is deleted after it. So content without a row
//! belongs to nobody, and a row whose lease has expired names what an instance left behind. The
//! [`Sweeper`] deletes both.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Pool};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use super::audit::{self, AuditMetrics};
use super::{StoreError, idempotency, within_timeout};
use crate::domain::account::Username;
use crate::domain::audit::{Action, Entry, Initiator};
use crate::domain::file::{
    FileId, FileLimits, FileName, FilePageRequest, LEAST_CHARGE, Sha256, StoredFile,
};
use crate::domain::outcome::Outcome;

mod blobs;
mod metrics;
mod s3;
mod sweeper;

pub use blobs::{BlobError, BlobWriter, Blobs};
pub use metrics::{FileMetrics, UploadOutcome};
pub use s3::Misconfigured;
pub use sweeper::Sweeper;

/// Uploads that begin or end at a time, of one instance. Further ones wait here: they take no
/// connection from other requests, and those of one user would only wait for each other there.
const AT_ONCE: usize = 8;
/// How long they wait. Shorter than the gateway waits for a response, 15 s.
const LONGEST_TURN: Duration = Duration::from_secs(10);

const COLUMNS: &str = "id, name, size, sha256, content_type, created_at";

/// Reads and changes files. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    pool: Pool,
    audited: AuditMetrics,
    limits: FileLimits,
    lease: Duration,
    turns: Arc<Semaphore>,
}

/// Space that is reserved for an upload, under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The file's id.
    pub id: FileId,
    /// The most bytes that its content may have.
    pub bytes: u64,
}

/// Why no space was reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The user's files would take more than the quota.
    #[error("the quota is exceeded")]
    QuotaExceeded,
    /// The user was deleted since the token was issued.
    #[error("there is no such user")]
    NoUser,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The user has no such file; or the lease of an upload has expired.
    #[error("there is no such file")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known of a file when all of it has arrived.
#[derive(Clone, Debug)]
pub struct Uploaded {
    pub id: FileId,
    pub name: FileName,
    pub size: u64,
    pub sha256: Sha256,
    pub content_type: &'static str,
}

impl Files {
    /// Reads and writes through this pool. An upload that is not renewed for `lease` is given up.
    pub fn new(pool: Pool, audited: AuditMetrics, limits: FileLimits, lease: Duration) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { pool, audited, limits, lease, turns }
    }

    /// How large files may be.
    pub const fn limits(&self) -> FileLimits {
        self.limits
    }

    /// How long an upload may go without [`renew`](Self::renew).
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// Reserves space for an upload: as much as its sender declared, or as much as there may be.
    /// Uploads of one user reserve one after the other, so all together never exceed the quota.
    ///
    /// # Errors
    /// See [`ReserveError`].
    pub async fn reserve(
        &self,
        owner: &Username,
        declared: Option<u64>,
    ) -> Result<Reservation, ReserveError> {
        let id = FileId::new();
        let FileLimits { file, quota } = self.limits;
        let _turn = self.turn().await?;
        self.run(async |client| {
            let transaction = client.transaction().await?;
            // Others of the user wait for the commit, so not for the disk. If PostgreSQL loses the
            // row, the upload fails at its end.
            transaction.execute_typed("SET LOCAL synchronous_commit = off", &[]).await?;
            let owner: (&(dyn ToSql + Sync), Type) = (&owner.as_str(), Type::TEXT);
            let lock = "SELECT FROM users WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE";
            let user = transaction.query_typed_opt(lock, std::slice::from_ref(&owner)).await?;
            if user.is_none() {
                return Ok(Err(ReserveError::NoUser));
            }
            let sum = "SELECT coalesce(sum(charged), 0)::bigint FROM files WHERE owner = $1";
            let sum = transaction.query_typed_one(sum, std::slice::from_ref(&owner)).await?;
            let left = quota.saturating_sub(unsigned(sum.try_get(0)?));
            let charged = match declared {
                Some(declared) => declared.min(file).max(LEAST_CHARGE),
                None => file.min(left).max(LEAST_CHARGE),
            };
            if charged > left {
                return Ok(Err(ReserveError::QuotaExceeded));
            }
            let insert = "INSERT INTO files (id, owner, state, charged, lease_until) \
                          VALUES ($2, $1, 'uploading', $3, now() + $4 * interval '1 second')";
            let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
                owner,
                (id.uuid(), Type::UUID),
                (&signed(charged), Type::INT8),
                (&self.lease.as_secs_f64(), Type::FLOAT8),
            ];
            transaction.execute_typed(insert, &parameters).await?;
            transaction.commit().await?;
            Ok(Ok(Reservation { id, bytes: charged.min(file) }))
        })
        .await?
    }

    /// Extends the lease of an upload. Returns whether it still has one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn renew(&self, id: FileId) -> Result<bool, StoreError> {
        let sql = "UPDATE files SET lease_until = now() + $2 * interval '1 second' \
                   WHERE id = $1 AND state = 'uploading'";
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(id.uuid(), Type::UUID), (&self.lease.as_secs_f64(), Type::FLOAT8)];
        let renewed = self.run(async |client| client.execute_typed(sql, &parameters).await).await?;
        Ok(renewed == 1)
    }

    /// Ends an upload whose content is stored: from now on, its owner has the file.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn add(
        &self,
        owner: &Username,
        uploaded: &Uploaded,
        by: &Initiator,
    ) -> Result<StoredFile, FileError> {
        let Uploaded { id, name, size, sha256, content_type } = uploaded;
        let _turn = self.turn().await?;
        self.run(async |client| {
            let transaction = client.transaction().await?;
            // Its deletion waits, or was before.
            let user = "SELECT FROM users WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE";
            let user = transaction.query_typed_opt(user, &[(&owner.as_str(), Type::TEXT)]).await?;
            if user.is_none() {
                return Ok(Err(FileError::NotFound));
            }
            let sql = format!(
                "UPDATE files SET state = 'stored', lease_until = NULL, charged = $3, name = $4, \
                 size = $5, sha256 = $6, content_type = $7 \
                 WHERE id = $1 AND owner = $2 AND state = 'uploading' RETURNING {COLUMNS}"
            );
            let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
                (id.uuid(), Type::UUID),
                (&owner.as_str(), Type::TEXT),
                (&signed((*size).max(LEAST_CHARGE)), Type::INT8),
                (&name.as_str(), Type::TEXT),
                (&signed(*size), Type::INT8),
                (&&sha256.0[..], Type::BYTEA),
                (content_type, Type::TEXT),
            ];
            let Some(row) = transaction.query_typed_opt(&sql, &parameters).await? else {
                return Ok(Err(FileError::NotFound));
            };
            let file = match stored(&row) {
                Ok(file) => file,
                Err(error) => return Ok(Err(error.into())),
            };
            let after = Some(file.snapshot());
            let entry = Entry { after, ..Entry::new(Action::FileUploaded, owner) };
            audit::record(&transaction, by, entry).await?;
            idempotency::keep(&transaction, by, Some(Outcome::File(file.clone()))).await?;
            transaction.commit().await?;
            self.audited.recorded(Action::FileUploaded, 1);
            Ok(Ok(file))
        })
        .await?
    }

    /// The user's file with this id, if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find(
        &self,
        owner: &Username,
        id: FileId,
    ) -> Result<Option<StoredFile>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM files WHERE id = $1 AND owner = $2 AND state = 'stored'"
        );
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(id.uuid(), Type::UUID), (&owner.as_str(), Type::TEXT)];
        let found =
            self.run(async |client| client.query_typed_opt(&sql, &parameters).await).await?;
        found.as_ref().map(stored).transpose()
    }

    /// One of the user's files more than the page has, if there are so many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn page(
        &self,
        owner: &Username,
        page: &FilePageRequest,
    ) -> Result<Vec<StoredFile>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM files WHERE owner = $1 AND state = 'stored' \
             AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $2"
        );
        let one_more = i64::from(page.limit) + 1;
        let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
            (&owner.as_str(), Type::TEXT),
            (&one_more, Type::INT8),
            (&page.before.as_ref().map(FileId::uuid), Type::UUID),
        ];
        let rows = self.run(async |client| client.query_typed(&sql, &parameters).await).await?;
        rows.iter().map(stored).collect()
    }

    /// Takes a file from its owner. Its content is to be deleted, then its row by
    /// [`forget`](Self::forget); if that fails, the sweeper does both.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn delete(
        &self,
        owner: &Username,
        id: FileId,
        by: &Initiator,
    ) -> Result<(), FileError> {
        self.run(async |client| {
            let transaction = client.transaction().await?;
            let sql = format!(
                "UPDATE files SET state = 'deleting', lease_until = now() + $3 * interval '1 second' \
                 WHERE id = $1 AND owner = $2 AND state = 'stored' RETURNING {COLUMNS}"
            );
            let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
                (id.uuid(), Type::UUID),
                (&owner.as_str(), Type::TEXT),
                (&self.lease.as_secs_f64(), Type::FLOAT8),
            ];
            let Some(row) = transaction.query_typed_opt(&sql, &parameters).await? else {
                return Ok(Err(FileError::NotFound));
            };
            let before = match stored(&row) {
                Ok(file) => Some(file.snapshot()),
                Err(error) => return Ok(Err(error.into())),
            };
            let entry = Entry { before, ..Entry::new(Action::FileDeleted, owner) };
            audit::record(&transaction, by, entry).await?;
            idempotency::keep(&transaction, by, None).await?;
            transaction.commit().await?;
            self.audited.recorded(Action::FileDeleted, 1);
            Ok(Ok(()))
        })
        .await?
    }

    /// Deletes the rows of files whose content is gone, unless their owner has them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget(&self, ids: &[FileId]) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| *id.uuid()).collect();
        let sql = "DELETE FROM files WHERE id = ANY ($1) AND state <> 'stored'";
        self.run(async |client| client.execute_typed(sql, &[(&ids, Type::UUID_ARRAY)]).await)
            .await?;
        Ok(())
    }

    /// Takes over up to `most` files that an instance left behind, and those of deleted users. One
    /// instance does it at a time; the lease lets each file be one instance's.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_over(&self, most: u32) -> Result<Vec<FileId>, StoreError> {
        let rows = self
            .run(async |client| {
                let transaction = client.transaction().await?;
                if !lock(&transaction).await? {
                    return Ok(Vec::new());
                }
                let sql = "\
                    WITH expired AS ( \
                        SELECT id FROM files WHERE state <> 'stored' AND lease_until < now() \
                        ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED), \
                    without_owner AS ( \
                        SELECT f.id FROM users u JOIN files f ON f.owner = u.id \
                        WHERE u.deleted_at IS NOT NULL AND f.state = 'stored' \
                        LIMIT $1 FOR UPDATE OF f SKIP LOCKED) \
                    UPDATE files SET state = 'deleting', \
                        lease_until = now() + $2 * interval '1 second' \
                    WHERE id IN (SELECT id FROM expired UNION ALL SELECT id FROM without_owner) \
                    RETURNING id";
                let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                    [(&i64::from(most), Type::INT8), (&self.lease.as_secs_f64(), Type::FLOAT8)];
                let rows = transaction.query_typed(sql, &parameters).await?;
                transaction.commit().await?;
                Ok(rows)
            })
            .await?;
        ids(&rows)
    }

    /// Whether this instance is to search the store now, for content without a row. Then no other
    /// one does so for `pause`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begins_scan(&self, pause: Duration) -> Result<bool, StoreError> {
        let sql = "UPDATE file_scans SET next_at = now() + $1 * interval '1 second' \
                   WHERE next_at < now()";
        let pause = pause.as_secs_f64();
        let due =
            self.run(async |client| client.execute_typed(sql, &[(&pause, Type::FLOAT8)]).await);
        Ok(due.await? == 1)
    }

    /// Which of these have no row.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unknown(&self, found: &[FileId]) -> Result<Vec<FileId>, StoreError> {
        let found: Vec<Uuid> = found.iter().map(|id| *id.uuid()).collect();
        let sql = "SELECT f.id FROM unnest($1::uuid[]) f (id) \
                   WHERE NOT EXISTS (SELECT FROM files WHERE files.id = f.id)";
        let rows = self
            .run(async |client| client.query_typed(sql, &[(&found, Type::UUID_ARRAY)]).await)
            .await?;
        ids(&rows)
    }

    async fn turn(&self) -> Result<Option<SemaphorePermit<'_>>, StoreError> {
        let turn = tokio::time::timeout(LONGEST_TURN, self.turns.acquire()).await;
        // It is never closed.
        turn.map(Result::ok).map_err(|_| StoreError::Timeout)
    }

    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        within_timeout(self.pool.get().await?, work).await
    }
}

/// Whether no other instance takes over files now. Of the transaction, not of the session: it works
/// through PgBouncer.
async fn lock(transaction: &Transaction<'_>) -> Result<bool, tokio_postgres::Error> {
    let sql = "SELECT pg_try_advisory_xact_lock(hashtext('files left behind'))";
    transaction.query_typed_one(sql, &[]).await?.try_get(0)
}

fn ids(rows: &[Row]) -> Result<Vec<FileId>, StoreError> {
    let id = |row: &Row| row.try_get::<_, Uuid>("id").map(FileId::from).map_err(StoreError::row);
    rows.iter().map(id).collect()
}

fn stored(row: &Row) -> Result<StoredFile, StoreError> {
    let id: Uuid = row.try_get("id").map_err(StoreError::row)?;
    let sha256: &[u8] = row.try_get("sha256").map_err(StoreError::row)?;
    Ok(StoredFile {
        id: id.into(),
        name: row.try_get("name").map_err(StoreError::row)?,
        size: unsigned(row.try_get("size").map_err(StoreError::row)?),
        sha256: Sha256(sha256.try_into().map_err(StoreError::row)?),
        content_type: row.try_get("content_type").map_err(StoreError::row)?,
        created_at: row.try_get("created_at").map_err(StoreError::row)?,
    })
}

/// Sizes of the database are never negative.
fn unsigned(size: i64) -> u64 {
    size.unsigned_abs()
}

/// Limits keep sizes far below the largest number.
fn signed(size: u64) -> i64 {
    size.try_into().unwrap_or(i64::MAX)
}
