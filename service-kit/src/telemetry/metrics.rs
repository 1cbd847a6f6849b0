//! Prometheus metrics under OpenTelemetry's semantic names.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder as _, Histogram, HistogramOpts, HistogramVec, IntGauge, Opts, Registry, TextEncoder};
use proto_contracts::InstanceName;

use super::traces;

/// Upper bounds of the duration's buckets, in seconds: OpenTelemetry's advice, and three below its smallest, since
/// most of these requests take less than 5 ms.
pub const DURATION_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Told apart in the threads' memory, as a test runs several servers in one process.
static SERVERS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The histograms that this thread has used, so that a request does not look its own up by three labels behind a lock.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// More than a server has kinds of requests that matter; others are looked up by their labels.
const MAX_KNOWN: usize = 64;

struct Known {
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
    /// A registry with the metrics that every process has: of its requests, of what it takes of the machine, and who it is.
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
        Ok(Self { server: SERVERS.fetch_add(1, Ordering::Relaxed), registry, duration, active })
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
        let seconds = duration.as_secs_f64();
        KNOWN.with_borrow_mut(|known| {
            let same = |known: &Known| {
                // Static texts: most differ in length or at their end, and those that are equal have one address.
                known.server == self.server
                    && std::ptr::eq(known.route, route)
                    && std::ptr::eq(known.method, method)
                    && known.status == status
            };
            if let Some(place) = known.iter().position(same) {
                known[place].duration.observe(seconds);
                // What is asked for most comes to the front.
                known.swap(place, place.saturating_sub(1));
                return;
            }
            let duration = self.duration.with_label_values(&[method, route, status]);
            duration.observe(seconds);
            if known.len() < MAX_KNOWN {
                known.push(Known { server: self.server, method, route, status: status.to_owned(), duration });
            }
        });
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

/// OpenTelemetry's way to tell what a target is, whatever address it is scraped at.
fn target_info(service: &str, instance: &InstanceName) -> Result<IntGauge, prometheus::Error> {
    let opts = Opts::new("target_info", "1, with the name and version of the service, and of the instance.")
        .const_label("service_name", service)
        .const_label("service_instance_id", instance.as_str())
        .const_label("service_version", env!("CARGO_PKG_VERSION"));
    let info = IntGauge::with_opts(opts)?;
    info.set(1);
    Ok(info)
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
