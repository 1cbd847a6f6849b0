//! Which server was read, and how far the replica is behind.

use std::time::Duration;

use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};

/// Why the primary was read, although there is a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It did not respond when it was asked last.
    Away,
    /// It failed, or did not respond in time.
    Failed,
    /// All its connections are in use.
    Busy,
    /// It is no standby.
    NoStandby,
    /// It may not have followed a promotion yet.
    Timeline,
    /// It has not replayed what the reader may know of.
    Behind,
    /// It lags by more than the maximum.
    Lagging,
    /// What the reader may know of is unknown.
    Unknown,
}

impl Fallback {
    const ALL: [Self; 8] = [
        Self::Away,
        Self::Failed,
        Self::Busy,
        Self::NoStandby,
        Self::Timeline,
        Self::Behind,
        Self::Lagging,
        Self::Unknown,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Failed => "failed",
            Self::Busy => "busy",
            Self::NoStandby => "no_standby",
            Self::Timeline => "timeline",
            Self::Behind => "behind",
            Self::Lagging => "lagging",
            Self::Unknown => "unknown",
        }
    }
}

/// What is read, of what a replica may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadKind {
    /// A page of the catalogue.
    Products,
    /// A page of the audit log.
    Audit,
}

impl ReadKind {
    const ALL: [Self; 2] = [Self::Products, Self::Audit];

    const fn label(self) -> &'static str {
        match self {
            Self::Products => "products",
            Self::Audit => "audit",
        }
    }
}

/// Counts the reads. Clones share their counters.
#[derive(Clone)]
pub struct ReplicaMetrics {
    registry: Registry,
    reads: IntCounterVec,
    fallbacks: IntCounterVec,
    lag: Gauge,
    serving: IntGauge,
}

impl ReplicaMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Reads that a replica may serve, by what is read and by the server that was.";
        let reads = Opts::new("database_reads_total", help);
        let help = "Reads of the primary although there is a replica, by reason.";
        let fallbacks = Opts::new("database_replica_fallbacks_total", help);
        let help = "Since when the replica may lack changes, in seconds.";
        let lag = Gauge::new("database_replica_lag_seconds", help)?;
        let help = "Whether the replica responds and is a standby of the primary.";
        let serving = IntGauge::new("database_replica_serving", help)?;
        let metrics = Self {
            registry: registry.clone(),
            reads: IntCounterVec::new(reads, &["read", "source"])?,
            fallbacks: IntCounterVec::new(fallbacks, &["read", "reason"])?,
            lag,
            serving,
        };
        registry.register(Box::new(metrics.reads.clone()))?;
        for kind in ReadKind::ALL {
            metrics.reads.with_label_values(&[kind.label(), "primary"]);
        }
        Ok(metrics)
    }

    /// Exports what there is only with a replica.
    pub(super) fn has_replica(&self) {
        // The names are this module's alone.
        let _ = self.registry.register(Box::new(self.fallbacks.clone()));
        let _ = self.registry.register(Box::new(self.lag.clone()));
        let _ = self.registry.register(Box::new(self.serving.clone()));
        for kind in ReadKind::ALL {
            self.reads.with_label_values(&[kind.label(), "replica"]);
            for reason in Fallback::ALL {
                self.fallbacks.with_label_values(&[kind.label(), reason.label()]);
            }
        }
    }

    /// Counts a read of the primary.
    pub fn from_primary(&self, kind: ReadKind, reason: Option<Fallback>) {
        self.reads.with_label_values(&[kind.label(), "primary"]).inc();
        if let Some(reason) = reason {
            self.fallbacks.with_label_values(&[kind.label(), reason.label()]).inc();
        }
    }

    /// Counts a read of the replica.
    pub fn from_replica(&self, kind: ReadKind) {
        self.reads.with_label_values(&[kind.label(), "replica"]).inc();
    }

    pub(super) fn serving(&self, is_serving: bool) {
        self.serving.set(i64::from(is_serving));
    }

    pub(super) fn lag(&self, lag: Duration) {
        self.lag.set(lag.as_secs_f64());
    }
}
