//! What a health check changes: health, name, weight, announcement.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use proto_contracts::{InstanceName, PoolName};

use crate::pool::health::Health;
use crate::pool::instance::Instance;
use crate::pool::registry::Registry;
use crate::pool::report::{ProbeError, Report};

/// Whether an address becomes a member after a passed check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    /// Yes, if its name is unique.
    Now,
    /// Not yet: more checks must pass.
    Later,
}

impl Registry {
    /// Applies the result of a health check. Returns the addresses whose state or name changed.
    pub fn record_probe(
        &mut self,
        pool: PoolName,
        addr: SocketAddr,
        result: Result<Report, ProbeError>,
    ) -> Vec<SocketAddr> {
        self.changed_with(pool, |registry| registry.apply_probe(pool, addr, result)).0
    }

    fn apply_probe(
        &mut self,
        pool: PoolName,
        addr: SocketAddr,
        result: Result<Report, ProbeError>,
    ) {
        let (thresholds, now) = (self.thresholds, Instant::now());
        // It may have been removed during the check.
        let Some(host) = self.host(addr) else { return };
        match result {
            Err(error) => {
                host.health = host.health.fail(thresholds);
                host.mismatch = match &error {
                    // Requests to it would fail, so one check is enough.
                    ProbeError::Mismatch(mismatch) => {
                        host.health = Health::DOWN;
                        Some(mismatch.label())
                    }
                    _ => None,
                };
                host.last_error = Some(error.to_string());
                host.announced = None;
                // Its weight stays, so that homes stay while it is down.
            }
            Ok(report) => {
                host.health = host.health.pass(thresholds);
                host.last_error = None;
                host.mismatch = None;
                if host.version.as_deref() != report.version.as_deref() {
                    host.version = report.version.clone();
                }
                if host.health.is_up()
                    && host.ejections.end_if_over(now)
                    && let Some(instance) = &host.instance
                {
                    instance.clear_failures();
                }
                host.reports_sessions = report.live_sessions.is_some();
                host.sessions = report.sessions;
                let join = if host.health.is_up() || host.instance.is_some() {
                    Join::Now
                } else {
                    Join::Later
                };
                self.claim(pool, addr, report.name.clone(), join);
                if let (Some(sessions), Some(instance)) =
                    (report.live_sessions, self.host(addr).and_then(|host| host.instance.as_ref()))
                {
                    instance.report_sessions(sessions);
                }
                self.apply_weight(addr, &report);
                self.apply_announcement(addr, &report, now);
            }
        }
        self.update_drain_states(now);
    }

    /// Assigns the reported name to the address, unless another healthy address has it.
    ///
    /// A holder whose last check failed loses the name: the instance moved to this address.
    fn claim(&mut self, pool: PoolName, addr: SocketAddr, name: InstanceName, join: Join) {
        if self.host(addr).is_some_and(|host| host.name() == Some(&name)) {
            return;
        }
        let holder =
            self.hosts.iter_mut().find(|host| host.addr != addr && host.name() == Some(&name));
        let refused = match holder {
            Some(holder) if holder.health.is_up() && holder.last_error.is_none() => {
                let held_by = holder.addr;
                let is_new =
                    self.host(addr).is_some_and(|host| host.refused.as_ref() != Some(&name));
                if is_new {
                    tracing::error!(
                        %pool, instance = %name, %addr, %held_by,
                        "duplicate INSTANCE_ID; second instance rejected"
                    );
                }
                if let Some(host) = self.host(addr) {
                    host.last_error = Some(format!(
                        "duplicate INSTANCE_ID {name}: the healthy instance at {held_by} has it; \
                         give each instance its own"
                    ));
                }
                true
            }
            _ if join == Join::Later => false,
            Some(holder) => {
                let from = holder.addr;
                tracing::info!(%pool, instance = %name, %from, to = %addr, "instance moved");
                holder.instance = None;
                false
            }
            None => false,
        };
        let tls = self.tls.clone();
        let Some(host) = self.host(addr) else { return };
        if refused {
            host.instance = None;
            host.refused = Some(name);
        } else {
            host.refused = None;
            if join == Join::Now {
                host.instance = Some(Arc::new(Instance::new(name, addr, tls.as_ref())));
            }
        }
    }
}
