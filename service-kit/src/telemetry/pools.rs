//! Metrics of connection pools, named by OpenTelemetry's conventions for database clients.

use deadpool::Status;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use super::Metrics;

const POOL: &str = "db_client_connection_pool_name";

/// Reads the pool's status on each scrape.
struct PoolGauges<S> {
    status: S,
    count: IntGaugeVec,
    max: IntGauge,
    pending: IntGauge,
}

impl Metrics {
    /// Exports the status of a pool.
    ///
    /// # Errors
    /// When a pool of this name is already exported.
    pub fn show_pool(
        &self,
        name: &'static str,
        status: impl Fn() -> Status + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        let opts = |metric: &str, help: &str| Opts::new(metric, help).const_label(POOL, name);
        let gauges = PoolGauges {
            status,
            count: IntGaugeVec::new(
                opts(
                    "db_client_connection_count",
                    "Connections of the pool, by state: idle or used.",
                ),
                &["db_client_connection_state"],
            )?,
            max: IntGauge::with_opts(opts(
                "db_client_connection_max",
                "Maximum number of connections of the pool.",
            ))?,
            pending: IntGauge::with_opts(opts(
                "db_client_connection_pending_requests",
                "Requests waiting for a free connection.",
            ))?,
        };
        self.registry().register(Box::new(gauges))
    }
}

impl<S: Fn() -> Status + Send + Sync> Collector for PoolGauges<S> {
    fn desc(&self) -> Vec<&Desc> {
        [self.count.desc(), self.max.desc(), self.pending.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Status { max_size, size, available, waiting } = (self.status)();
        let set =
            |gauge: &IntGauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.count.with_label_values(&["idle"]), available);
        set(&self.count.with_label_values(&["used"]), size.saturating_sub(available));
        set(&self.max, max_size);
        set(&self.pending, waiting);
        [self.count.collect(), self.max.collect(), self.pending.collect()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_exported_with_its_present_status() {
        let metrics =
            Metrics::new("test-svc", &"test-1".parse().expect("a name")).expect("metrics");
        let status = || Status { max_size: 16, size: 5, available: 2, waiting: 1 };
        metrics.show_pool("postgres", status).expect("shown");
        let text = String::from_utf8(metrics.render().expect("rendered")).expect("UTF-8");
        for line in [
            r#"db_client_connection_count{db_client_connection_pool_name="postgres",db_client_connection_state="used"} 3"#,
            r#"db_client_connection_count{db_client_connection_pool_name="postgres",db_client_connection_state="idle"} 2"#,
            r#"db_client_connection_max{db_client_connection_pool_name="postgres"} 16"#,
            r#"db_client_connection_pending_requests{db_client_connection_pool_name="postgres"} 1"#,
            r#"target_info{service_instance_id="test-1",service_name="test-svc",service_version="#,
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(metrics.show_pool("postgres", status).is_err(), "a name is used once");
        metrics.show_pool("redis-cache", status).expect("another pool");
    }
}
