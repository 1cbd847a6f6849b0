//! The gauges of the hybrid store, read at each scrape.

use std::sync::{Arc, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Opts};

use super::shared::Shared;
use crate::domain::clock::SteadyClock;

/// The state of the hot set and of the lease.
pub(super) struct Gauges<C> {
    store: Weak<Shared<C>>,
    sessions: IntGauge,
    bytes: IntGauge,
    lease: IntGauge,
}

impl<C: SteadyClock> Gauges<C> {
    pub(super) fn new(store: &Arc<Shared<C>>) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGauge::with_opts(Opts::new(name, help));
        Ok(Self {
            store: Arc::downgrade(store),
            sessions: gauge(
                "stateful_hot_sessions",
                "Sessions that this instance holds in memory.",
            )?,
            bytes: gauge("stateful_hot_bytes", "Approximate memory of these sessions, in bytes.")?,
            lease: gauge(
                "stateful_lease_held",
                "1 while the instance holds a trusted lease and may serve sessions from memory, \
                 else 0.",
            )?,
        })
    }

    fn all(&self) -> [&IntGauge; 3] {
        [&self.sessions, &self.bytes, &self.lease]
    }
}

impl<C: SteadyClock> Collector for Gauges<C> {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shared = self.store.upgrade();
        let lease = shared.as_ref().and_then(|shared| shared.lease.load_full());
        let trusted = shared
            .zip(lease.as_ref())
            .is_some_and(|(shared, lease)| lease.is_trusted(shared.clock.now()));
        let (sessions, bytes) = lease.map_or((0, 0), |lease| lease.hot.size());
        self.sessions.set(i64::try_from(sessions).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.lease.set(trusted.into());
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}
