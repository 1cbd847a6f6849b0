//! The instances' figures, read when Prometheus asks, so that the data path touches no label.

use std::sync::Arc;
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};
use proto_contracts::control::{InstanceState, Strategy};

use crate::pool::{Pools, Slot, label};

/// Reads one figure of an instance; `None` where it has none.
type Read = fn(&Slot) -> Option<f64>;

/// Name, help and source of each figure.
const FIGURES: [(&str, &str, Read); 9] = [
    ("gateway_upstream_healthy", "1 while the instance's health checks pass, else 0.", |slot| {
        // An address that is refused and never was a member counts as refused, and not as an instance that is down.
        let never_member = matches!(slot.state(), InstanceState::WrongInstance | InstanceState::DuplicateName)
            && slot.instance().is_none();
        (!never_member).then(|| f64::from(u8::from(slot.is_up() && slot.state() != InstanceState::Ejected)))
    }),
    ("gateway_upstream_ejected", "1 while the instance is left out for failing requests, else 0.", |slot| {
        Some(f64::from(u8::from(slot.state() == InstanceState::Ejected)))
    }),
    ("gateway_upstream_draining", "1 while the instance is drained, or was and is no member, else 0.", |slot| {
        Some(f64::from(u8::from(slot.drain(Instant::now()).is_some())))
    }),
    ("gateway_upstream_drain_seconds_left", "Until the keys of an instance that is drained move away.", |slot| {
        slot.drain(Instant::now()).map(|drain| drain.seconds_left as f64)
    }),
    ("gateway_upstream_in_flight", "Requests sent to the instance and not yet answered.", |slot| {
        slot.instance().map(|instance| instance.in_flight() as f64)
    }),
    ("gateway_upstream_transfers", "Long responses of the instance that are on their way to their clients.", |slot| {
        slot.instance().map(|instance| instance.transfers() as f64)
    }),
    ("gateway_upstream_requests", "Requests sent to the instance since it joined.", |slot| {
        slot.instance().map(|instance| instance.requests() as f64)
    }),
    ("gateway_upstream_connect_failures", "Connections to the instance that failed since it joined.", |slot| {
        slot.instance().map(|instance| instance.connect_failures() as f64)
    }),
    ("gateway_upstream_live_sessions", "Live sessions by the instance's last report.", |slot| {
        slot.live_sessions().map(|count| count as f64)
    }),
];

/// Every figure of every instance, and those of the pools, which are there even when a pool is empty.
pub(super) struct InstanceMetrics {
    pools: Arc<Pools>,
    gauges: Vec<(GaugeVec, Read)>,
    healthy: GaugeVec,
    strategy: GaugeVec,
    refused: GaugeVec,
}

/// Why an address is refused: the labels of [`Slot::refused_for`], each of which is there at 0.
const REFUSALS: [&str; 6] =
    ["wrong_service", "wrong_protocol", "wrong_deployment", "not_an_instance", "duplicate_name", "unreachable"];

impl InstanceMetrics {
    /// The figures of these pools' instances.
    ///
    /// # Errors
    /// When a name is not one that Prometheus allows.
    pub(super) fn new(pools: Arc<Pools>) -> Result<Self, prometheus::Error> {
        let gauges = FIGURES.into_iter().map(|(name, help, read)| {
            GaugeVec::new(Opts::new(name, help), &["pool", "upstream"]).map(|gauge| (gauge, read))
        });
        let gauges = gauges.collect::<Result<_, _>>()?;
        let healthy = Opts::new("gateway_pool_healthy_instances", "Instances of the pool that serve.");
        let strategy = Opts::new("gateway_pool_strategy", "1 for the strategy by which the pool is routed, else 0.");
        let healthy = GaugeVec::new(healthy, &["pool"])?;
        let strategy = GaugeVec::new(strategy, &["pool", "strategy"])?;
        let refused = "Addresses of the pool that are refused: what listens there is no instance for it.";
        let refused = GaugeVec::new(Opts::new("gateway_upstream_refused", refused), &["pool", "reason"])?;
        Ok(Self { pools, gauges, healthy, strategy, refused })
    }
}

impl Collector for InstanceMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let instances = self.gauges.iter().flat_map(|(gauge, _)| gauge.desc());
        instances.chain(self.healthy.desc()).chain(self.strategy.desc()).chain(self.refused.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (gauge, _) in &self.gauges {
            // An instance that has left must not linger as a label.
            gauge.reset();
        }
        for pool in self.pools.iter() {
            let name = pool.name().as_str();
            let serves = |slot: &&Slot| matches!(slot.state(), InstanceState::Healthy | InstanceState::Draining);
            let healthy = pool.slots(|slots| slots.iter().filter(serves).count());
            self.healthy.with_label_values(&[name]).set(healthy as f64);
            let current = pool.snapshot().strategy;
            for strategy in Strategy::ALL {
                let is_current = f64::from(u8::from(strategy == current));
                self.strategy.with_label_values(&[name, strategy.as_str()]).set(is_current);
            }
            for reason in REFUSALS {
                let is_refused = |slot: &&Slot| slot.refused_for() == Some(reason);
                let count = pool.slots(|slots| slots.iter().filter(is_refused).count());
                self.refused.with_label_values(&[name, reason]).set(count as f64);
            }
            pool.slots(|slots| {
                for slot in slots {
                    let instance = label(slot.name(), slot.addr());
                    for (gauge, read) in &self.gauges {
                        if let Some(value) = read(slot) {
                            gauge.with_label_values(&[pool.name().as_str(), &instance]).set(value);
                        }
                    }
                }
            });
        }
        let instances = self.gauges.iter().flat_map(|(gauge, _)| gauge.collect());
        let pools = [&self.healthy, &self.strategy, &self.refused];
        instances.chain(pools.into_iter().flat_map(Collector::collect)).collect()
    }
}
