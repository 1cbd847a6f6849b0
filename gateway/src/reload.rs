//! Reload of the configuration: all of it is applied, or nothing.
//!
//! [`Traffic`], health checks, discovery and pools change at once. Changes made by the control API
//! are kept, as across a restart. Settings that need a restart keep their values and are reported.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, Opts};
use proto_contracts::control::{Event, Reloaded};
use tokio::sync::watch;

use crate::config::{
    Config, ConfigError, DiscoveryConfig, FIXED, HealthCheckConfig, ServiceName, Source, Traffic,
};
use crate::events::Events;
use crate::pool::Pools;

/// Reloads the configuration.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    traffic: Arc<ArcSwap<Traffic>>,
    pools: Arc<Pools>,
    health: watch::Sender<HealthCheckConfig>,
    discovery: watch::Sender<DiscoveryConfig>,
    events: Events,
    /// Locked so that reloads do not overlap.
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    fixed: [(&'static str, String); FIXED],
    fingerprint: String,
    succeeded: Timestamp,
    failed: Option<Timestamp>,
}

impl Reloader {
    /// A reloader from this source; `config` is the initial configuration.
    pub fn new(
        source: Source,
        config: &Config,
        traffic: Arc<ArcSwap<Traffic>>,
        pools: Arc<Pools>,
        events: Events,
    ) -> Self {
        let last = Last {
            fixed: config.fixed(),
            fingerprint: config.fingerprint(),
            succeeded: Timestamp::now(),
            failed: None,
        };
        let (health, discovery) =
            (watch::Sender::new(config.health), watch::Sender::new(config.discovery));
        Self { source, traffic, pools, health, discovery, events, last: Mutex::new(last) }
    }

    /// The current settings of health checks.
    pub fn health(&self) -> watch::Receiver<HealthCheckConfig> {
        self.health.subscribe()
    }

    /// The current settings of discovery.
    pub fn discovery(&self) -> watch::Receiver<DiscoveryConfig> {
        self.discovery.subscribe()
    }

    /// The current traffic settings.
    pub fn traffic(&self) -> Guard<Arc<Traffic>> {
        self.traffic.load()
    }

    /// Loads the configuration and applies it.
    ///
    /// # Errors
    /// When it is invalid; then nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, ConfigError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.source.load() {
            Ok(config) => Ok(self.apply(config, &mut last)),
            Err(error) => {
                last.failed = Some(Timestamp::now());
                tracing::error!(%error, "configuration reload failed: nothing has changed");
                self.events.publish(|| Event::ConfigRejected { detail: error.to_string() });
                Err(error)
            }
        }
    }

    fn service_names(&self) -> Vec<Option<ServiceName>> {
        self.pools.iter().map(|pool| pool.service_name()).collect()
    }

    fn apply(&self, config: Config, last: &mut Last) -> Reloaded {
        let differs =
            |((name, new), (_, old)): (&(&'static str, String), &(&'static str, String))| {
                (new != old).then(|| (*name).to_owned())
            };
        let fixed = config.fixed();
        let needs_restart: Vec<_> = fixed.iter().zip(&last.fixed).filter_map(differs).collect();
        let names = self.service_names();
        for pool in self.pools.iter() {
            pool.reconfigure(config.pool(pool.name()), config.health.thresholds);
        }
        last.fingerprint = config.fingerprint();
        last.succeeded = Timestamp::now();
        self.health
            .send_if_modified(|health| std::mem::replace(health, config.health) != config.health);
        let other_names = names != self.service_names();
        self.discovery.send_if_modified(|discovery| {
            std::mem::replace(discovery, config.discovery) != config.discovery || other_names
        });
        self.traffic.store(Arc::new(config.traffic));
        let reloaded = Reloaded { fingerprint: last.fingerprint.clone(), needs_restart };
        let path = self.source.path().display();
        tracing::info!(%path, fingerprint = reloaded.fingerprint, "configuration reloaded");
        if !reloaded.needs_restart.is_empty() {
            let settings = reloaded.needs_restart.join(", ");
            tracing::warn!(settings, "these settings change only with a restart or an upgrade");
        }
        self.events.publish(|| Event::ConfigReloaded(reloaded.clone()));
        reloaded
    }
}

/// Metrics of the configuration.
pub struct ReloadMetrics {
    reloader: Arc<Reloader>,
    succeeded: Gauge,
    failed: Gauge,
    info: GaugeVec,
}

impl ReloadMetrics {
    /// The metrics of this reloader.
    ///
    /// # Errors
    /// When Prometheus rejects a name.
    pub fn new(reloader: Arc<Reloader>) -> Result<Self, prometheus::Error> {
        let time = |outcome| {
            let name = format!("gateway_config_last_{outcome}_timestamp_seconds");
            Gauge::with_opts(Opts::new(
                name,
                format!("Time of the last configuration load with {outcome}; 0 for never."),
            ))
        };
        let info = Opts::new(
            "gateway_config_info",
            "1, with the fingerprint of the current configuration.",
        );
        Ok(Self {
            reloader,
            succeeded: time("success")?,
            failed: time("failure")?,
            info: GaugeVec::new(info, &["fingerprint"])?,
        })
    }
}

impl Collector for ReloadMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.succeeded.desc(), self.failed.desc(), self.info.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let last = self.reloader.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.succeeded.set(last.succeeded.as_second() as f64);
        self.failed.set(last.failed.map_or(0.0, |failed| failed.as_second() as f64));
        // The old fingerprint must not remain as a label.
        self.info.reset();
        self.info.with_label_values(&[&last.fingerprint]).set(1.0);
        [self.succeeded.collect(), self.failed.collect(), self.info.collect()].concat()
    }
}
