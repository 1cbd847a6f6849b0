//! Prometheus metrics under OpenTelemetry's semantic names.

use std::time::Duration;

use prometheus::{Encoder as _, HistogramOpts, HistogramVec, IntGauge, Opts, Registry, TextEncoder};

use super::traces;

/// Upper bounds of the duration's buckets, in seconds: OpenTelemetry's advice, and three below its smallest, since
/// most of these requests take less than 5 ms.
pub const DURATION_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The metrics of one server. Cheap to clone; the clones share everything.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    duration: HistogramVec,
    active: IntGauge,
}

impl Metrics {
    /// A registry with the metrics that every service has.
    ///
    /// # Errors
    /// Never in practice: the names are constant and each is registered once.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        if let Some(spans) = traces::counts() {
            registry.register(Box::new(spans))?;
        }
        Self::of(registry, "")
    }

    /// The same for a second server of the process, in the same registry. Each name has `namespace` and `_` before it.
    ///
    /// # Errors
    /// When there is one of this namespace already.
    pub fn beside(&self, namespace: &str) -> Result<Self, prometheus::Error> {
        Self::of(self.registry.clone(), namespace)
    }

    fn of(registry: Registry, namespace: &str) -> Result<Self, prometheus::Error> {
        let duration = HistogramVec::new(
            HistogramOpts::new("http_server_request_duration_seconds", "Duration of HTTP server requests.")
                .namespace(namespace)
                .buckets(DURATION_BUCKETS.to_vec()),
            &["http_request_method", "http_route", "http_response_status_code"],
        )?;
        let active = Opts::new("http_server_active_requests", "HTTP server requests in flight.").namespace(namespace);
        let active = IntGauge::with_opts(active)?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(active.clone()))?;
        Ok(Self { registry, duration, active })
    }

    /// Where a service registers metrics of its own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a request as in flight for as long as the guard lives.
    pub fn enter(&self) -> InFlight {
        self.active.inc();
        InFlight(self.active.clone())
    }

    /// Requests in flight now.
    pub fn active(&self) -> u64 {
        u64::try_from(self.active.get()).unwrap_or(0)
    }

    /// Records a request that was answered. `status` is text, since it may be one that HTTP does not know (499).
    pub fn observe(&self, method: &'static str, route: &'static str, status: &str, duration: Duration) {
        self.duration.with_label_values(&[method, route, status]).observe(duration.as_secs_f64());
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// When a collector gives two metrics of one name.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The method as a label: clients can invent methods, labels must stay few.
pub fn method_label(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}
