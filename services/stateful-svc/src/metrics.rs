//! The service's own metrics.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use proto_contracts::ErrorCode;

use crate::store::{SessionStore, Source, WriteOutcome};

mod live;

pub use live::{Closed, LiveConnection, LiveKind, LiveMetrics};

/// Counters of reads and writes of sessions. Clones share one state.
#[derive(Clone, Debug)]
pub struct SessionMetrics {
    reads: IntCounterVec,
    writes: IntCounterVec,
    /// Metrics of live connections.
    pub live: LiveMetrics,
}

/// The operation of a write, as in the label `act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Append,
    Patch,
    Claim,
    Delete,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Append => "append",
            Self::Patch => "patch",
            Self::Claim => "claim",
            Self::Delete => "delete",
        }
    }
}

impl SessionMetrics {
    /// Registers the counters, and a gauge of the store's live sessions.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(
        registry: &Registry,
        store: Arc<dyn SessionStore>,
    ) -> Result<Self, prometheus::Error> {
        let reads = Opts::new(
            "stateful_session_reads_total",
            "Successful reads of a session or its history, by source.",
        );
        let writes = Opts::new(
            "stateful_session_writes_total",
            "Writes that reached the store, by operation and outcome.",
        );
        let metrics = Self {
            reads: IntCounterVec::new(reads, &["source"])?,
            writes: IntCounterVec::new(writes, &["act", "outcome"])?,
            live: LiveMetrics::register(registry)?,
        };
        let gauge = IntGauge::new(
            "stateful_sessions_live",
            "Live sessions that this instance holds or has recently served.",
        )?;
        // A rate needs a first value: a series starts at 0 and is never absent.
        for source in [Source::Memory, Source::Unverified, Source::Redis] {
            metrics.reads.with_label_values(&[source.label()]);
        }
        for operation in [
            Operation::Create,
            Operation::Append,
            Operation::Patch,
            Operation::Claim,
            Operation::Delete,
        ] {
            for outcome in ["ok", "replayed", ErrorCode::SessionStoreUnavailable.as_str()] {
                metrics.writes.with_label_values(&[operation.as_str(), outcome]);
            }
        }
        registry.register(Box::new(metrics.reads.clone()))?;
        registry.register(Box::new(metrics.writes.clone()))?;
        registry.register(Box::new(LiveSessionsGauge { gauge, store }))?;
        Ok(metrics)
    }

    /// Counts a read.
    pub fn read(&self, source: Source) {
        self.reads.with_label_values(&[source.label()]).inc();
    }

    /// Reads so far from any of these sources.
    pub fn reads_from(&self, sources: &[Source]) -> u64 {
        let reads = |source: &Source| self.reads.with_label_values(&[source.label()]).get();
        sources.iter().map(reads).sum()
    }

    /// Counts a write: `ok`, `replayed`, or the code of the error that the client got.
    pub fn write(&self, operation: Operation, outcome: Result<WriteOutcome, ErrorCode>) {
        let outcome = match outcome {
            Ok(WriteOutcome::Applied) => "ok",
            Ok(WriteOutcome::Replayed) => "replayed",
            Err(code) => code.as_str(),
        };
        self.writes.with_label_values(&[operation.as_str(), outcome]).inc();
    }
}

/// Reads the gauge from the store at each scrape.
struct LiveSessionsGauge {
    gauge: IntGauge,
    store: Arc<dyn SessionStore>,
}

impl Collector for LiveSessionsGauge {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::try_from(self.store.live_sessions()).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}
