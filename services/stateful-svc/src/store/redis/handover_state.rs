//! What an instance has observed of other instances' leases, and the metrics of handovers.
//!
//! Whether a lease has ended is decided without comparing clocks. Its holder increments the lease's
//! counter about three times in [`TRUST`], and trusts the lease for that long from *before* the
//! last renewal that it received. An instance that has seen the same count for longer than that,
//! from *after* it first read it, ends the lease, unless it was renewed in between. Observations
//! are discarded on another Redis, or after a restart of Redis, which may have lost a renewal.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts};

use super::claim::LeaseId;
use super::server::Server;

/// How long an instance trusts its lease, from before the last renewal that it received.
pub(in crate::store) const TRUST: Duration = Duration::from_millis(1000);
/// How long a lease must be stalled before it is ended. The difference allows for a clock drift of
/// 10 %.
const STALLED_AFTER: Duration = Duration::from_millis(1100);

pub(super) struct Handovers {
    // Shared by all sessions that wait for a lease.
    observed: DashMap<LeaseId, Observation>,
    // Locked when a lease seems to have ended, and after a connection: rarely.
    server: Mutex<Option<(Server, Instant)>>,
    duration: Histogram,
    drops: IntCounterVec,
}

#[derive(Clone, Copy)]
struct Observation {
    renewals: u64,
    since: Instant,
}

impl Handovers {
    pub(super) fn new() -> Self {
        let duration =
            HistogramOpts::new("stateful_handover_seconds", "Duration of handovers of a session.")
                .buckets(vec![0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]);
        let drops = Opts::new(
            "stateful_drops_total",
            "Requests to other instances to drop a copy, and their outcomes.",
        );
        let drops = IntCounterVec::new(drops, &["event"]).expect("the names are valid");
        for event in ["requested", "lease_ended", "confirmed"] {
            drops.with_label_values(&[event]);
        }
        let duration = Histogram::with_opts(duration).expect("the names are valid");
        Self { observed: DashMap::new(), server: Mutex::new(None), duration, drops }
    }

    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.duration.clone()), Box::new(self.drops.clone())]
    }

    pub(super) fn observe_duration(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    pub(super) fn count_drop(&self, event: &str) {
        self.drops.with_label_values(&[event]).inc();
    }

    /// Notes the current server; `true` when it differs from the last one, which discards all
    /// observations.
    pub(super) fn observe_server(&self, server: Server) -> bool {
        let mut known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|(known, _)| *known == server) {
            return false;
        }
        self.observed.clear();
        *known = Some((server, Instant::now()));
        true
    }

    /// Whether the server has been the same for so long that a lease missing on it has ended.
    pub(super) fn is_server_settled(&self) -> bool {
        let known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|(_, since)| since.elapsed() >= STALLED_AFTER)
    }

    /// Notes a lease's number of renewals; `true` when it has not changed for [`STALLED_AFTER`].
    pub(super) fn is_stalled(&self, lease: LeaseId, renewals: u64) -> bool {
        let now = Instant::now();
        let mut observed =
            self.observed.entry(lease).or_insert(Observation { renewals, since: now });
        if observed.renewals != renewals {
            *observed = Observation { renewals, since: now };
        }
        now.duration_since(observed.since) >= STALLED_AFTER
    }

    /// Discards the observation of an ended lease.
    pub(super) fn forget(&self, lease: LeaseId) {
        self.observed.remove(&lease);
    }
}
