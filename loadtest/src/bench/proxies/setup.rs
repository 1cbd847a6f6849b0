//! What all contenders of a comparison share.

use std::path::Path;

use anyhow::Result;
use local_stack::Builds;

use super::certificate::Certificate;
use crate::bench::plan::BenchPlan;
use crate::bench::workload::Workload;

/// Connections beyond those of a load: a previous one may still be closing.
pub(super) const SPARE_CONNECTIONS: usize = 64;

/// What all contenders of a comparison share.
pub(super) struct Setup<'a> {
    pub(super) plan: &'a BenchPlan,
    pub(super) folder: &'a Path,
    pub(super) builds: Builds,
    pub(super) certificate: Certificate,
    /// Threads of each proxy.
    pub(super) threads: usize,
    /// Clients that each proxy must accept.
    pub(super) max_clients: usize,
    /// Workloads that some of the contenders serve through an Nginx in front of them.
    pub(super) workloads: &'a [Workload],
}

impl<'a> Setup<'a> {
    /// A setup with a new certificate, whose proxies and their files are in this folder.
    pub(super) fn new(
        plan: &'a BenchPlan,
        folder: &'a Path,
        threads: usize,
        max_clients: usize,
        workloads: &'a [Workload],
    ) -> Result<Self> {
        let (builds, certificate) = (Builds::beside_current_exe()?, Certificate::issue(folder)?);
        Ok(Self { plan, folder, builds, certificate, threads, max_clients, workloads })
    }

    /// Values by placeholder.
    pub(super) fn values(&self) -> Vec<(&'static str, String)> {
        let mut values = self.certificate.values();
        values.extend([
            ("threads", self.threads.to_string()),
            ("max_clients", self.max_clients.to_string()),
            // Each client takes a connection to an origin, too; the rest is for health checks.
            ("descriptors", (2 * self.max_clients + 128).to_string()),
            // Nginx closes idle clients when fewer than a sixteenth are free.
            ("connection_slots", (2 * self.max_clients * 5 / 4 + 128).to_string()),
        ]);
        values
    }
}
