//! Prometheus metrics, named by OpenTelemetry's semantic conventions.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntGauge, Opts, Registry, TextEncoder,
};
use proto_contracts::InstanceName;

use super::traces;

/// Upper bounds of the duration's buckets, in seconds: OpenTelemetry's recommendation, and three
/// smaller ones, since most requests take less than 5 ms.
pub const DURATION_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0,
];

/// Identifies servers in the threads' caches: a test runs several in one process.
static SERVERS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Cached histograms of this thread: a lookup by three labels would take a lock.
    static CACHE: RefCell<Vec<CachedHistogram>> = const { RefCell::new(Vec::new()) };
}

/// Cache size; other histograms are looked up by their labels.
const MAX_CACHED: usize = 64;

struct CachedHistogram {
    server: u64,
    method: &'static str,
    route: &'static str,
    status: String,
    duration: Histogram,
}

/// The metrics of one server. Cheap to clone; the clones share everything.
#[derive(Clone, Debug)]
pub struct Metrics {
    server: u64,
    registry: Registry,
    duration: HistogramVec,
    active: IntGauge,
}

impl Metrics {
    /// A registry with the metrics of every process: requests, resources and `target_info`.
    ///
    /// # Errors
    /// Never in practice: the names are constant and each is registered once.
    pub fn new(service: &str, instance: &InstanceName) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        registry.register(Box::new(target_info(service, instance)?))?;
        if let Some(spans) = traces::counts() {
            registry.register(Box::new(spans))?;
        }
        Self::of(registry, "")
    }

    /// Metrics of a second server in the process, in the same registry. Names get the prefix
    /// `namespace_`.
    ///
    /// # Errors
    /// When the namespace is already in use.
    pub fn beside(&self, namespace: &str) -> Result<Self, prometheus::Error> {
        Self::of(self.registry.clone(), namespace)
    }

    fn of(registry: Registry, namespace: &str) -> Result<Self, prometheus::Error> {
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "http_server_request_duration_seconds",
                "Duration of HTTP server requests.",
            )
            .namespace(namespace)
            .buckets(DURATION_BUCKETS.to_vec()),
            &["http_request_method", "http_route", "http_response_status_code"],
        )?;
        let active = Opts::new("http_server_active_requests", "HTTP server requests in flight.")
            .namespace(namespace);
        let active = IntGauge::with_opts(active)?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(active.clone()))?;
        Ok(Self { server: SERVERS.fetch_add(1, Ordering::Relaxed), registry, duration, active })
    }

    /// For a service's own metrics.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn enter(&self) -> ActiveRequest {
        self.active.inc();
        ActiveRequest(self.active.clone())
    }

    /// Number of requests in flight.
    pub fn active(&self) -> u64 {
        u64::try_from(self.active.get()).unwrap_or(0)
    }

    /// Records a finished request. `status` is text, since it may be nonstandard (499).
    pub fn observe(
        &self,
        method: &'static str,
        route: &'static str,
        status: &str,
        duration: Duration,
    ) {
        let seconds = duration.as_secs_f64();
        CACHE.with_borrow_mut(|cache| {
            let same = |cached: &CachedHistogram| {
                // Static texts: equal ones have the same address.
                cached.server == self.server
                    && std::ptr::eq(cached.route, route)
                    && std::ptr::eq(cached.method, method)
                    && cached.status == status
            };
            if let Some(place) = cache.iter().position(same) {
                cache[place].duration.observe(seconds);
                // Frequent ones move to the front.
                cache.swap(place, place.saturating_sub(1));
                return;
            }
            let duration = self.duration.with_label_values(&[method, route, status]);
            duration.observe(seconds);
            if cache.len() < MAX_CACHED {
                cache.push(CachedHistogram {
                    server: self.server,
                    method,
                    route,
                    status: status.to_owned(),
                    duration,
                });
            }
        });
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// When two metrics have the same name.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// OpenTelemetry's description of a scrape target.
fn target_info(service: &str, instance: &InstanceName) -> Result<IntGauge, prometheus::Error> {
    let opts =
        Opts::new("target_info", "Name and version of the service, and the instance; always 1.")
            .const_label("service_name", service)
            .const_label("service_instance_id", instance.as_str())
            .const_label("service_version", env!("CARGO_PKG_VERSION"));
    let info = IntGauge::with_opts(opts)?;
    info.set(1);
    Ok(info)
}

/// A request in flight; dropping it ends the count.
#[derive(Debug)]
pub struct ActiveRequest(IntGauge);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The method as a label. Unknown methods share `_OTHER`, to bound the number of labels.
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
