//! The configuration is read again while the gateway runs: all of it is applied, or nothing.
//!
//! What a request is held to ([`Traffic`]), the health checks and the pools change at once. What the control API changed
//! stays changed, as it does over a restart. A setting that only a restart or an upgrade changes keeps its value and is
//! named.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, Opts};
use proto_contracts::control::{Event, Reloaded};
use tokio::sync::watch;

use crate::config::{Config, ConfigError, Discovery, HealthChecks, ServiceName, Source, Traffic};
use crate::events::Events;
use crate::pool::Pools;

/// Reads the configuration again and applies it.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    traffic: Arc<ArcSwap<Traffic>>,
    pools: Arc<Pools>,
    health: watch::Sender<HealthChecks>,
    discovery: watch::Sender<Discovery>,
    events: Events,
    /// Two reloads at once must not mix.
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    fixed: [(&'static str, String); 15],
    fingerprint: String,
    succeeded: Timestamp,
    failed: Option<Timestamp>,
}

impl Reloader {
    /// Reloads from this source; `config` is what was read from it at the start.
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
        let (health, discovery) = (watch::Sender::new(config.health), watch::Sender::new(config.discovery));
        Self { source, traffic, pools, health, discovery, events, last: Mutex::new(last) }
    }

    /// The health checks as they are configured, and each change of them.
    pub fn health(&self) -> watch::Receiver<HealthChecks> {
        self.health.subscribe()
    }

    /// How DNS is asked as it is configured, and each change of it.
    pub fn discovery(&self) -> watch::Receiver<Discovery> {
        self.discovery.subscribe()
    }

    /// What the data path goes by now.
    pub fn traffic(&self) -> Guard<Arc<Traffic>> {
        self.traffic.load()
    }

    /// Reads the configuration and applies it.
    ///
    /// # Errors
    /// When it is wrong. Then nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, ConfigError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.source.load() {
            Ok(config) => Ok(self.apply(config, &mut last)),
            Err(error) => {
                last.failed = Some(Timestamp::now());
                tracing::error!(%error, "the configuration was not reloaded: nothing has changed");
                self.events.publish(|| Event::ConfigRejected { detail: error.to_string() });
                Err(error)
            }
        }
    }

    fn service_names(&self) -> Vec<Option<ServiceName>> {
        self.pools.iter().map(|pool| pool.service_name()).collect()
    }

    fn apply(&self, config: Config, last: &mut Last) -> Reloaded {
        let differs = |((name, new), (_, old)): (&(&'static str, String), &(&'static str, String))| {
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
        self.health.send_if_modified(|health| std::mem::replace(health, config.health) != config.health);
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
            tracing::warn!(settings, "these settings keep their values until a restart or an upgrade");
        }
        self.events.publish(|| Event::ConfigReloaded(reloaded.clone()));
        reloaded
    }
}

/// When the configuration was read, and which one it is.
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
    /// When a name is not one that Prometheus allows.
    pub fn new(reloader: Arc<Reloader>) -> Result<Self, prometheus::Error> {
        let time = |outcome| {
            let name = format!("gateway_config_last_{outcome}_timestamp_seconds");
            Gauge::with_opts(Opts::new(name, format!("When the configuration was last read with {outcome}; 0: never.")))
        };
        let info = Opts::new("gateway_config_info", "1, with the fingerprint of the configuration in force.");
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
        // A configuration that is no longer in force must not linger as a label.
        self.info.reset();
        self.info.with_label_values(&[&last.fingerprint]).set(1.0);
        [self.succeeded.collect(), self.failed.collect(), self.info.collect()].concat()
    }
}
