//! Metrics of files.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counts uploads, and what the sweeper finds. Cheap to clone.
#[derive(Clone)]
pub struct FileMetrics {
    uploads: IntCounterVec,
    stored_bytes: IntCounter,
    in_flight: IntGauge,
    swept: IntCounterVec,
    last_sweep: IntGauge,
}

/// How an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The file is stored.
    Stored,
    /// It repeated one that was stored.
    Replayed,
    /// Its size, name or form is not accepted.
    Rejected,
    /// It would exceed the user's quota.
    OverQuota,
    /// The client did not send all of it.
    BrokenOff,
    /// The database or the store of content failed.
    Failed,
}

impl UploadOutcome {
    const ALL: [Self; 6] = [
        Self::Stored,
        Self::Replayed,
        Self::Rejected,
        Self::OverQuota,
        Self::BrokenOff,
        Self::Failed,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Replayed => "replayed",
            Self::Rejected => "rejected",
            Self::OverQuota => "over_quota",
            Self::BrokenOff => "broken_off",
            Self::Failed => "failed",
        }
    }
}

/// An upload that has begun, for the gauge.
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl FileMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a metric of the same name is registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let uploads = IntCounterVec::new(
            Opts::new("files_uploads_total", "Uploads that ended, by outcome"),
            &["outcome"],
        )?;
        let swept = IntCounterVec::new(
            Opts::new("files_swept_total", "What uploads and deletions left behind, deleted"),
            &["kind"],
        )?;
        // So that rates begin at 0.
        for outcome in UploadOutcome::ALL {
            uploads.with_label_values(&[outcome.as_str()]);
        }
        for kind in ["row", "content"] {
            swept.with_label_values(&[kind]);
        }
        let metrics = Self {
            uploads,
            swept,
            stored_bytes: IntCounter::new(
                "files_stored_bytes_total",
                "Bytes of uploaded files that were stored",
            )?,
            in_flight: IntGauge::new("files_uploads_in_flight", "Uploads that are arriving")?,
            last_sweep: IntGauge::new(
                "files_sweep_last_success_timestamp_seconds",
                "When this instance last deleted what was left behind, or found nothing",
            )?,
        };
        registry.register(Box::new(metrics.uploads.clone()))?;
        registry.register(Box::new(metrics.swept.clone()))?;
        registry.register(Box::new(metrics.stored_bytes.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.last_sweep.clone()))?;
        Ok(metrics)
    }

    /// An upload begins.
    pub fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// An upload has ended.
    pub fn ended(&self, outcome: UploadOutcome) {
        self.uploads.with_label_values(&[outcome.as_str()]).inc();
    }

    /// A file of so many bytes was stored.
    pub fn stored(&self, bytes: u64) {
        self.stored_bytes.inc_by(bytes);
    }

    /// So many rows were deleted with their content, if they had any.
    pub(super) fn swept_rows(&self, count: usize) {
        self.swept.with_label_values(&["row"]).inc_by(count as u64);
    }

    /// So much content had no row.
    pub(super) fn swept_content(&self, count: usize) {
        self.swept.with_label_values(&["content"]).inc_by(count as u64);
    }

    /// Nothing is left behind.
    pub(super) fn is_swept(&self) {
        self.last_sweep.set(jiff::Timestamp::now().as_second());
    }
}
