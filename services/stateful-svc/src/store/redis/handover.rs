//! Handovers: no response shows a change while another instance may still serve an older copy.
//!
//! A session's record names the copies that may still exist (`drops`, written by `claim.lua`). An
//! instance that finds them requests their holders to drop them, repeatedly, until each has
//! confirmed or its lease has ended. A holder confirms by a script (`confirm.lua`), and the
//! instance polls the record until no drop is left. Handovers are rare, since a session normally
//! stays at its home, so polling is good enough.
//!
//! `handover_state` describes how an instance decides that a lease has ended.

use std::time::{Duration, Instant};

use prometheus::core::Collector;
use proto_contracts::SessionDigest;
use service_kit::outage::RetryDeadline;

use super::RedisStore;
use super::claim::Mark;
use super::failure::Failure;
use super::fields;
use super::server::Server;
use crate::store::StoreFault;
use crate::store::failpoints::{Failpoint, is_active};

/// The interval of repeated drop requests.
const REQUEST_EVERY: Duration = Duration::from_millis(50);
/// The longest interval between two polls of the record; the first is a millisecond.
const POLL_EVERY: Duration = Duration::from_millis(8);
/// Longer than the detection of an ended lease takes, even after a restart of Redis.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(4);

impl RedisStore {
    /// The metrics of handovers and of lost sessions, to be registered.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let mut collectors = self.handovers.collectors();
        collectors.push(Box::new(self.lost.counter().clone()));
        collectors
    }

    /// Waits until all these copies of the session are dropped.
    ///
    /// # Errors
    /// When Redis becomes unavailable, or a holder neither confirms nor lets its lease expire. The
    /// operation has been executed, so its outcome is unknown to the client; the next operation on
    /// the session resumes the handover.
    pub(super) async fn finish_drops(
        &self,
        session: SessionDigest,
        drops: Vec<Mark>,
    ) -> Result<(), StoreFault> {
        if is_active(Failpoint::SkipHandover) {
            return Ok(());
        }
        let start = Instant::now();
        let deadline = RetryDeadline::start();
        // All steps are idempotent, so they are retried through a short outage.
        while let Err(fault) = self.try_to_finish(session, drops.clone()).await {
            let fault = self.logged(fault);
            if matches!(fault, StoreFault::Unfinished(_) | StoreFault::Damaged(_)) {
                return Err(fault);
            }
            if !self.outage.is_worth_another_attempt(deadline).await {
                return Err(outcome_unknown(fault));
            }
            let record_key = fields::record_key(session);
            self.outage.wait_until_recovered(deadline, || self.responds(&record_key)).await;
        }
        self.handovers.observe_duration(start.elapsed());
        Ok(())
    }

    async fn try_to_finish(
        &self,
        session: SessionDigest,
        drops: Vec<Mark>,
    ) -> Result<(), StoreFault> {
        let start = Instant::now();
        let mut left = self.drop_own(session, drops).await?;
        let mut poll_delay = Duration::from_millis(1);
        let mut requested = None::<Instant>;
        while !left.is_empty() {
            if start.elapsed() > HANDOVER_TIMEOUT {
                return Err(StoreFault::Unfinished(
                    "another instance does not drop its copy".into(),
                ));
            }
            if requested.is_none_or(|at| at.elapsed() >= REQUEST_EVERY) {
                for mark in &left {
                    self.request_or_confirm(session, *mark).await?;
                }
                requested = Some(Instant::now());
            }
            tokio::time::sleep(poll_delay).await;
            poll_delay = POLL_EVERY.min(poll_delay * 2);
            left = self.drops_left(session).await?;
        }
        Ok(())
    }

    /// Drops this process's own copies, which are listed when its operations were executed out of
    /// order.
    async fn drop_own(
        &self,
        session: SessionDigest,
        mut drops: Vec<Mark>,
    ) -> Result<Vec<Mark>, StoreFault> {
        for mark in drops.clone() {
            if let Some(ticket) = (self.drop_here)(mark.lease, session) {
                drops = self.confirm(session, mark.lease, ticket).await?;
            }
        }
        Ok(drops)
    }

    /// Requests the holder of a copy to drop it, or confirms in its place when its lease has ended.
    async fn request_or_confirm(
        &self,
        session: SessionDigest,
        mark: Mark,
    ) -> Result<(), StoreFault> {
        self.handovers.count_drop("requested");
        let ended = match self.request_drop(session, mark.lease).await? {
            None => self.is_same_server().await?,
            Some(renewals) if !self.handovers.is_stalled(mark.lease, renewals) => false,
            Some(renewals) => {
                self.is_same_server().await? && self.end_lease(mark.lease, renewals).await?
            }
        };
        if ended {
            self.handovers.forget(mark.lease);
            self.handovers.count_drop("lease_ended");
            // An ended lease is never renewed, so all its copies are void, whatever their tickets.
            self.confirm(session, mark.lease, u64::MAX).await?;
        }
        Ok(())
    }

    /// Whether leases were observed on this server, and not on one that may have had other data.
    async fn is_same_server(&self) -> Result<bool, StoreFault> {
        let mut connection = self.pool.get().await.map_err(Failure::from)?;
        let server = Server::of(&mut *connection).await.map_err(Failure::from)?;
        Ok(!self.handovers.observe_server(server) && self.handovers.is_server_settled())
    }

    pub(super) fn count_confirmed(&self) {
        self.handovers.count_drop("confirmed");
    }

    /// Notes the server of another connection.
    pub(in crate::store) fn observe_server(&self, server: Server) {
        self.handovers.observe_server(server);
    }
}

/// The operation has been executed, so "unavailable; nothing was changed" would be wrong.
fn outcome_unknown(fault: StoreFault) -> StoreFault {
    match fault {
        StoreFault::Unavailable(cause) => StoreFault::NoResponse(cause),
        other => other,
    }
}
