//! Metrics of instances and pools, collected at each scrape, so that the data path touches no
//! labels.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{GaugeVec, IntCounterVec, Opts};
use proto_contracts::control::{InstanceState, PutBack, Strategy};
use service_kit::telemetry::metrics::DURATION_BUCKETS;

use crate::pool::responses::Times;
use crate::pool::{Host, Pools, label};

/// Reads one value of an instance, if it has it.
type Read = fn(&Host) -> Option<f64>;

/// Name, help and source of each metric.
const FIGURES: [(&str, &str, Read); 11] = [
    ("gateway_upstream_healthy", "1 while the instance's health checks pass, else 0.", |slot| {
        // An address that never was a member is counted in `gateway_upstream_refused`, not here.
        let never_member =
            matches!(slot.state(), InstanceState::WrongInstance | InstanceState::DuplicateName)
                && slot.instance().is_none();
        (!never_member)
            .then(|| f64::from(u8::from(slot.is_up() && slot.state() != InstanceState::Ejected)))
    }),
    (
        "gateway_upstream_ejected",
        "1 while the instance is ejected as an outlier, else 0.",
        |host| Some(f64::from(u8::from(host.state() == InstanceState::Ejected))),
    ),
    ("gateway_upstream_draining", "1 while the instance is draining or drained, else 0.", |host| {
        Some(f64::from(u8::from(host.drain(Instant::now()).is_some())))
    }),
    (
        "gateway_upstream_drain_seconds_left",
        "Seconds until the keys of a draining instance move to other instances.",
        |host| host.drain(Instant::now()).map(|drain| drain.seconds_left as f64),
    ),
    (
        "gateway_upstream_in_flight",
        "Requests in flight at the instance, streams not counted.",
        |host| host.instance().map(|instance| instance.in_flight() as f64),
    ),
    (
        "gateway_upstream_transfers",
        "Long responses of the instance that are still being sent to clients.",
        |host| host.instance().map(|instance| instance.transfers() as f64),
    ),
    ("gateway_upstream_requests", "Requests sent to the instance since it joined.", |host| {
        host.instance().map(|instance| instance.requests() as f64)
    }),
    (
        "gateway_upstream_connect_failures",
        "Connections to the instance that failed since it joined.",
        |host| host.instance().map(|instance| instance.connect_failures() as f64),
    ),
    (
        "gateway_upstream_failures",
        "Requests that the instance failed since it joined: 5xx, timeouts, failed and broken \
         connections.",
        |host| host.instance().map(|instance| instance.responses().failed() as f64),
    ),
    (
        "gateway_upstream_rejections",
        "Requests that the instance rejected with 4xx since it joined.",
        |host| host.instance().map(|instance| instance.responses().rejected() as f64),
    ),
    ("gateway_upstream_live_sessions", "Live sessions by the instance's last report.", |host| {
        host.live_sessions().map(|count| count as f64)
    }),
];

/// Metrics of all instances and pools.
pub(super) struct InstanceMetrics {
    pools: Arc<Pools>,
    gauges: Vec<(GaugeVec, Read)>,
    healthy: GaugeVec,
    strategy: GaugeVec,
    refused: GaugeVec,
    put_back: IntCounterVec,
    times: Desc,
}

/// The name of the histogram of each instance. It ends with the instance, so it is no sum of the
/// pool's.
const TIMES: &str = "gateway_upstream_response_seconds";
const TIMES_HELP: &str = "Time from the choice of the instance to its response header, since it \
                          joined; without uploads.";

/// The labels of [`Host::refused_for`]. Each has a series, also at 0.
const REFUSALS: [&str; 6] = [
    "wrong_service",
    "wrong_protocol",
    "wrong_deployment",
    "not_an_instance",
    "duplicate_name",
    "unreachable",
];

impl InstanceMetrics {
    /// The metrics of these pools.
    ///
    /// # Errors
    /// When Prometheus rejects a name.
    pub(super) fn new(pools: Arc<Pools>) -> Result<Self, prometheus::Error> {
        let gauges = FIGURES.into_iter().map(|(name, help, read)| {
            GaugeVec::new(Opts::new(name, help), &["pool", "upstream"]).map(|gauge| (gauge, read))
        });
        let gauges = gauges.collect::<Result<_, _>>()?;
        let healthy = Opts::new(
            "gateway_pool_healthy_instances",
            "Instances of the pool that are healthy, draining ones included.",
        );
        let strategy =
            Opts::new("gateway_pool_strategy", "1 for the pool's current strategy, else 0.");
        let healthy = GaugeVec::new(healthy, &["pool"])?;
        let strategy = GaugeVec::new(strategy, &["pool", "strategy"])?;
        let refused = "Addresses of the pool that are not accepted as members, by reason.";
        let refused =
            GaugeVec::new(Opts::new("gateway_upstream_refused", refused), &["pool", "reason"])?;
        let put_back = "Canaries that were put back, by reason.";
        let put_back = Opts::new("gateway_canaries_put_back_total", put_back);
        let put_back = IntCounterVec::new(put_back, &["pool", "reason"])?;
        let labels = ["pool", "upstream"].map(str::to_owned).to_vec();
        let times = Desc::new(TIMES.to_owned(), TIMES_HELP.to_owned(), labels, HashMap::new())?;
        Ok(Self { pools, gauges, healthy, strategy, refused, put_back, times })
    }
}

impl Collector for InstanceMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let instances = self.gauges.iter().flat_map(|(gauge, _)| gauge.desc());
        instances
            .chain(self.healthy.desc())
            .chain(self.strategy.desc())
            .chain(self.refused.desc())
            .chain(self.put_back.desc())
            .chain([&self.times])
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (gauge, _) in &self.gauges {
            // Removed instances must not remain as labels.
            gauge.reset();
        }
        self.put_back.reset();
        let mut times = Vec::new();
        for pool in self.pools.iter() {
            let name = pool.name().as_str();
            let serves = |host: &&Host| {
                matches!(host.state(), InstanceState::Healthy | InstanceState::Draining)
            };
            let healthy = pool.hosts(|hosts| hosts.iter().filter(serves).count());
            self.healthy.with_label_values(&[name]).set(healthy as f64);
            let current = pool.snapshot().strategy;
            for strategy in Strategy::ALL {
                let is_current = f64::from(u8::from(strategy == current));
                self.strategy.with_label_values(&[name, strategy.as_str()]).set(is_current);
            }
            for reason in REFUSALS {
                let is_refused = |host: &&Host| host.refused_for() == Some(reason);
                let count = pool.hosts(|hosts| hosts.iter().filter(is_refused).count());
                self.refused.with_label_values(&[name, reason]).set(count as f64);
            }
            for reason in PutBack::ALL {
                let counter = self.put_back.with_label_values(&[name, reason.as_str()]);
                counter.inc_by(pool.count_put_back(reason));
            }
            pool.hosts(|hosts| {
                for host in hosts {
                    let instance = label(host.name(), host.addr());
                    for (gauge, read) in &self.gauges {
                        if let Some(value) = read(host) {
                            gauge.with_label_values(&[pool.name().as_str(), &instance]).set(value);
                        }
                    }
                    if let Some(measured) = host.instance() {
                        times.push(histogram(name, instance, &measured.responses().times()));
                    }
                }
            });
        }
        let mut family = MetricFamily::default();
        family.set_name(TIMES.to_owned());
        family.set_help(TIMES_HELP.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(times);
        let instances = self.gauges.iter().flat_map(|(gauge, _)| gauge.collect());
        let pools = [&self.healthy, &self.strategy, &self.refused];
        let pools = pools.into_iter().flat_map(Collector::collect);
        instances.chain(pools).chain(self.put_back.collect()).chain([family]).collect()
    }
}

/// The times of an instance as a histogram.
fn histogram(pool: &str, upstream: String, times: &Times) -> Metric {
    let mut sum = 0;
    let buckets = DURATION_BUCKETS.iter().zip(times.counts).map(|(bound, count)| {
        sum += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(sum);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(times.counts.iter().sum());
    histogram.set_sample_sum(times.total_us as f64 / 1_000_000.0);
    let labels = [("pool", pool.to_owned()), ("upstream", upstream)].map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value);
        label
    });
    let mut metric = Metric::default();
    metric.set_label(labels.to_vec());
    metric.set_histogram(histogram);
    metric
}
