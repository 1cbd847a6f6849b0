//! Memberships that end by themselves, for canaries, and what became of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto_contracts::control::PutBack;

use crate::pool::Pool;
use crate::pool::host::label;
use crate::pool::registry::AddError;
use crate::pool::state_file::ChangeError;

impl Pool {
    /// Renews the lease of an address; without a lease the membership lasts from now on.
    ///
    /// # Errors
    /// When it is a member without a lease and would get one, or the change cannot be saved; then
    /// nothing has changed.
    pub fn renew(
        &self,
        addr: SocketAddr,
        lease: Option<Duration>,
    ) -> Result<(), ChangeError<AddError>> {
        match lease {
            // In memory alone, since a restart ends all leases.
            Some(lease) => {
                let until = Instant::now() + lease;
                self.change(|registry| registry.renew(addr, Some(until)))
                    .map_err(ChangeError::Refused)
            }
            None => self.change_durably(|registry| registry.renew(addr, None)),
        }
    }

    /// Removes the instances whose leases have ended. The last available one stays.
    pub fn end_leases(&self, now: Instant) {
        if !self.hosts(|hosts| hosts.iter().any(|host| host.lease_has_ended(now))) {
            return;
        }
        for host in self.change(|registry| registry.end_leases(self.name(), now)) {
            self.put_back(&label(host.name(), host.addr()), PutBack::LeaseEnded);
            self.publish_removed(&host);
        }
    }

    /// Records that a canary was put back.
    pub fn put_back(&self, instance: &str, reason: PutBack) {
        let (pool, why) = (self.name(), reason.as_str());
        tracing::warn!(%pool, instance, reason = why, "canary put back");
        self.put_back.add(reason);
    }

    /// How many canaries were put back for this reason.
    pub fn count_put_back(&self, reason: PutBack) -> u64 {
        self.put_back.of(reason)
    }
}
