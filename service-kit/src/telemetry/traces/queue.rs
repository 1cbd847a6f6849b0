//! The queue of finished spans: bounded, so that a slow collector never delays a request, with a
//! count of dropped spans.
//!
//! The SDK's queue drops spans too, but does not export the count. So this counts the waiting spans
//! itself and drops those beyond the size of the SDK's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfig, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use prometheus::{IntCounter, IntCounterVec, Opts};

/// `trace_spans_total` by outcome; each is looked up once.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    metric: IntCounterVec,
    exported: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
}

impl Counts {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let help =
            "Finished spans, by outcome: exported, failed to export, or dropped from a full queue.";
        let metric = IntCounterVec::new(Opts::new("trace_spans_total", help), &["outcome"])?;
        let count = |outcome| metric.with_label_values(&[outcome]);
        Ok(Self {
            exported: count("exported"),
            failed: count("failed"),
            dropped: count("dropped"),
            metric,
        })
    }

    pub(super) fn into_metric(self) -> IntCounterVec {
        self.metric
    }
}

/// Exports spans in batches.
#[derive(Debug)]
pub(super) struct Batches {
    batches: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    most: usize,
    dropped: IntCounter,
}

impl Batches {
    /// `most` is the queue size in `config`.
    pub(super) fn new(
        exporter: impl SpanExporter + 'static,
        config: BatchConfig,
        most: usize,
        counts: &Counts,
    ) -> Self {
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = Counted { exporter, waiting: Arc::clone(&waiting), counts: counts.clone() };
        let batches = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
        Self { batches, waiting, most, dropped: counts.dropped.clone() }
    }
}

impl SpanProcessor for Batches {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc();
            return;
        }
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts the outcomes of an exporter.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    waiting: Arc<AtomicUsize>,
    counts: Counts,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        // They have left the queue, so others may enter it.
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let sent = self.exporter.export(batch).await;
        let outcome = if sent.is_ok() { &self.counts.exported } else { &self.counts.failed };
        outcome.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        if let Err(error) = &sent {
            tracing::warn!(%error, spans = count, "spans were not sent");
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::{BatchConfigBuilder, SdkTracerProvider};

    use super::*;

    /// A collector that takes each batch when the test sends its result.
    #[derive(Debug)]
    struct Collector(Mutex<mpsc::Receiver<OTelSdkResult>>);

    impl SpanExporter for Collector {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().expect("a lock").recv().unwrap_or(Ok(()))
        }
    }

    fn eventually(condition: impl Fn() -> bool) {
        let begin = std::time::Instant::now();
        while !condition() {
            assert!(begin.elapsed() < Duration::from_secs(20), "in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_slow_collector_blocks_nothing_and_each_span_is_counted() {
        let (results, received) = mpsc::channel();
        let counts = Counts::new().expect("counts");
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(8)
            .with_max_export_batch_size(4)
            .with_scheduled_delay(Duration::from_millis(10))
            .build();
        let batches = Batches::new(Collector(Mutex::new(received)), config, 8, &counts);
        let waiting = Arc::clone(&batches.waiting);
        let provider = SdkTracerProvider::builder().with_span_processor(batches).build();
        let tracer = provider.tracer("test");
        let end_spans = |count| (0..count).for_each(|_| drop(tracer.start("a span")));

        end_spans(4);
        eventually(|| waiting.load(Ordering::Relaxed) == 0);
        // The first batch is being exported and stays so.
        end_spans(8);
        assert_eq!(counts.dropped.get(), 0, "the queue holds eight");
        end_spans(5);
        assert_eq!(counts.dropped.get(), 5);

        results
            .send(Err(OTelSdkError::InternalFailure("refused".to_owned())))
            .expect("a collector");
        eventually(|| counts.failed.get() == 4);
        drop(results);
        eventually(|| counts.exported.get() == 8);
        assert_eq!(counts.dropped.get(), 5);
        assert!(provider.shutdown().is_ok());
    }
}
