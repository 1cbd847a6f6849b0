//! Ejection of an instance that fails requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::PoolName;
use proto_contracts::control::InstanceState;

use crate::pool::health::Health;
use crate::pool::host::Host;
use crate::pool::instance::Instance;
use crate::pool::registry::{Registry, log_change};
use crate::resilience::outlier::{Policy, Reason};

/// Instances with timeouts within this time may have the same cause.
const RECENT: Duration = Duration::from_secs(5);

impl Registry {
    /// Ejects an instance that failed requests, and returns its address. It does nothing if too few
    /// would be left, or if all instances time out, since a shared dependency is the likelier
    /// cause.
    ///
    /// After connection failures, which health checks also find, the instance is unhealthy until
    /// its checks pass. After other failures it is ejected for a time.
    pub fn eject(
        &mut self,
        pool: PoolName,
        instance: &Arc<Instance>,
        reason: Reason,
        policy: Policy,
        now: Instant,
    ) -> Option<SocketAddr> {
        let members = self.hosts.iter().filter(|host| host.instance.is_some());
        let out = members.clone().filter(|host| host.state() != InstanceState::Healthy).count() + 1;
        let members = members.count();
        // The product is far below the range of a `usize`.
        let too_few_left = out >= members || out * 100 > policy.max_percent as usize * members;
        let is_it = |host: &&mut Host| {
            host.instance.as_ref().is_some_and(|known| Arc::ptr_eq(known, instance))
        };
        let do_others_time_out = || {
            let healthy = self.hosts.iter().filter(|host| host.state() == InstanceState::Healthy);
            let mut others = healthy
                .filter_map(|host| host.instance.as_ref())
                .filter(|other| !Arc::ptr_eq(other, instance));
            others.all(|other| other.has_timed_out_within(RECENT, now))
        };
        let is_shared = reason == Reason::Timeouts && do_others_time_out();
        let host = self.hosts.iter_mut().find(is_it)?;
        if host.state() != InstanceState::Healthy {
            return None;
        }
        let why = reason.describe(policy.consecutive_failures);
        let spared = match (too_few_left, is_shared) {
            (true, _) => Some("max_percent would be exceeded"),
            (_, true) => Some(
                "all other instances time out as well, so a shared dependency is the likelier \
                 cause",
            ),
            _ => None,
        };
        if let Some(spared) = spared {
            tracing::warn!(%pool, instance = %instance.name(), why, "not ejected: {spared}");
            return None;
        }
        match reason {
            Reason::Connections => {
                host.health = Health::DOWN;
                host.last_error = Some(why);
            }
            Reason::Errors | Reason::Timeouts => {
                host.ejections.begin(now, policy.base, policy.max, why)
            }
        }
        log_change(pool, host);
        Some(host.addr)
    }
}
