//! Deletes what uploads and deletions left behind.

use std::time::Duration;

use futures_util::StreamExt as _;
use service_kit::telemetry::chain;

use super::Files;
use super::blobs::{BlobError, Blobs};
use super::metrics::FileMetrics;
use crate::store::StoreError;

/// Files at a time.
const BATCH: u32 = 100;
/// Leases between two searches of the whole store for content without a row.
const LEASES_PER_SCAN: u32 = 60;

/// Deletes rows and content that nobody has. Any number of instances may do it.
pub struct Sweeper {
    files: Files,
    blobs: Blobs,
    metrics: FileMetrics,
}

/// Something could not be deleted yet.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    /// The rows could not be read or changed.
    #[error("cannot read or change the rows of files")]
    Rows(#[from] StoreError),
    /// The content could not be listed or deleted.
    #[error("cannot list or delete content")]
    Content(#[from] BlobError),
}

impl Sweeper {
    /// Sweeps these files and their content.
    pub fn new(files: Files, blobs: Blobs, metrics: FileMetrics) -> Self {
        Self { files, blobs, metrics }
    }

    /// Sweeps twice in each lease.
    pub async fn sweep_continually(self) {
        loop {
            match self.sweep().await {
                Ok(()) => self.metrics.is_swept(),
                Err(error) => {
                    tracing::warn!(
                        cause = chain(&error),
                        "cannot delete what is left of files yet"
                    );
                }
            }
            // Not all instances at once.
            let pause = self.files.lease() / 2;
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..=1.0))).await;
        }
    }

    async fn sweep(&self) -> Result<(), SweepError> {
        loop {
            let left_behind = self.files.take_over(BATCH).await?;
            if left_behind.is_empty() {
                break;
            }
            // A row outlives its content: if this fails, its lease expires, and it is tried again.
            for id in &left_behind {
                self.blobs.delete(*id).await?;
            }
            self.files.forget(&left_behind).await?;
            self.metrics.swept_rows(left_behind.len());
            tracing::info!(count = left_behind.len(), "deleted files that were left behind");
        }
        if self.files.begins_scan(self.pause_between_scans()).await? {
            self.scan().await?;
        }
        Ok(())
    }

    fn pause_between_scans(&self) -> Duration {
        self.files.lease() * LEASES_PER_SCAN
    }

    /// Deletes content without a row. It was listed before its row was looked for, and a row is
    /// older than its content: so no upload loses any.
    async fn scan(&self) -> Result<(), SweepError> {
        let mut found = self.blobs.list().ready_chunks(BATCH as usize);
        while let Some(chunk) = found.next().await {
            let chunk = chunk.into_iter().collect::<Result<Vec<_>, _>>()?;
            let unknown = self.files.unknown(&chunk).await?;
            for id in &unknown {
                self.blobs.delete(*id).await?;
            }
            if !unknown.is_empty() {
                self.metrics.swept_content(unknown.len());
                tracing::warn!(count = unknown.len(), "deleted content that belonged to no file");
            }
        }
        Ok(())
    }
}
