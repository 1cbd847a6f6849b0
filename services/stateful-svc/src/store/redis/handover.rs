//! Finishing hand-overs: what one instance changed is told to nobody while another may still serve a copy from before.
//!
//! A session's record names the copies that are not known to be gone (`drops`, written by `claim.lua`). Whoever meets them
//! asks their holders to drop them, again and again, until each has said so or its lease has ended. A holder confirms by a
//! script (`confirm.lua`); here the record is looked at until nothing is left. That is rare, so it may be simple: a session
//! that stays at home is never handed over.
//!
//! When a lease has ended is decided without comparing clocks: its holder counts it up about three times in [`TRUST`], and
//! trusts it for that long from *before* the last renewal that it heard of. Who has seen the same count for longer than that,
//! from *after* it first read it, ends the lease, unless it was renewed in between. What an instance has seen it forgets when
//! it meets another Redis, or the same one restarted, as that may have lost a renewal.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts};
use proto_contracts::SessionDigest;
use service_kit::outage::RetryDeadline;

use super::RedisStore;
use super::claim::{LeaseId, Mark};
use super::failure::Failure;
use super::fields;
use super::leases::Server;
use crate::store::StoreFault;
use crate::store::broken::{Guarantee, is_broken};

/// For how long an instance trusts its lease, counted from before the renewal that it heard of last.
pub(in crate::store) const TRUST: Duration = Duration::from_millis(1000);
/// How long a lease must stand still before it is ended. The difference is what clocks may go wrong by: 10 %.
const WATCH: Duration = Duration::from_millis(1100);
/// A holder that has not answered is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// The longest pause between two looks at the record; the first is a millisecond.
const LOOK_AGAIN: Duration = Duration::from_millis(8);
/// Longer than it takes to find out that a lease has ended, behind a Redis that was just restarted.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is known of others' leases, and what is counted of hand-overs.
pub(super) struct Handovers {
    // What is seen of a lease is seen for all sessions that wait for it.
    watched: DashMap<LeaseId, Watched>,
    // Locked when a lease seems to have ended, or a connection was made: seldom.
    server: Mutex<Option<(Server, Instant)>>,
    delay: Histogram,
    drops: IntCounterVec,
}

#[derive(Clone, Copy)]
struct Watched {
    renewed: u64,
    since: Instant,
}

impl Handovers {
    pub(super) fn new() -> Self {
        let delay = HistogramOpts::new("stateful_handover_seconds", "How long a session's hand-over took.")
            .buckets(vec![0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]);
        let drops = Opts::new("stateful_drops_total", "Copies that others were asked to drop, and what came of it.");
        let drops = IntCounterVec::new(drops, &["event"]).expect("the names are valid");
        for event in ["asked", "lease_ended", "confirmed"] {
            drops.with_label_values(&[event]);
        }
        let delay = Histogram::with_opts(delay).expect("the names are valid");
        Self { watched: DashMap::new(), server: Mutex::new(None), delay, drops }
    }

    fn drops(&self, event: &str) -> IntCounter {
        self.drops.with_label_values(&[event])
    }

    /// Whether this is another server than before. Then nothing that was seen of leases counts any more.
    pub(super) fn met(&self, server: Server) -> bool {
        let mut known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|(known, _)| *known == server) {
            return false;
        }
        self.watched.clear();
        *known = Some((server, Instant::now()));
        true
    }

    /// Whether the server has been the same one for so long that what it lacks is gone.
    fn is_known(&self) -> bool {
        let known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|(_, since)| since.elapsed() >= WATCH)
    }

    /// Notes how often a lease was renewed; whether that is as often as a while ago.
    fn stands_still(&self, lease: LeaseId, renewed: u64) -> bool {
        let now = Instant::now();
        let mut watched = self.watched.entry(lease).or_insert(Watched { renewed, since: now });
        if watched.renewed != renewed {
            *watched = Watched { renewed, since: now };
        }
        now.duration_since(watched.since) >= WATCH
    }
}

impl RedisStore {
    /// The counters of hand-overs and of lost sessions, to be registered.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let Handovers { delay, drops, .. } = &self.handovers;
        vec![Box::new(delay.clone()), Box::new(drops.clone()), Box::new(self.lost.counter().clone())]
    }

    /// Has every copy of the session dropped that is not known to be gone.
    ///
    /// # Errors
    /// When Redis goes away meanwhile, or a holder neither answers nor dies. The act before has been done, so its outcome is
    /// unknown to who asked for it; whoever meets the session next goes on here.
    pub(super) async fn finish_drops(&self, session: SessionDigest, drops: Vec<Mark>) -> Result<(), StoreFault> {
        if is_broken(Guarantee::Handover) {
            return Ok(());
        }
        let start = Instant::now();
        let deadline = RetryDeadline::start();
        // Nothing of it does harm when it is done again, so a Redis that was away for a moment is waited for.
        while let Err(fault) = self.have_dropped(session, drops.clone()).await {
            let fault = self.noted(fault);
            if matches!(fault, StoreFault::Unfinished(_) | StoreFault::Damaged(_)) {
                return Err(fault);
            }
            if !self.outage.is_worth_another_attempt(deadline).await {
                return Err(after_the_act(fault));
            }
            let record_key = fields::record_key(session);
            self.outage.wait_until_recovered(deadline, || self.answers(&record_key)).await;
        }
        self.handovers.delay.observe(start.elapsed().as_secs_f64());
        Ok(())
    }

    async fn have_dropped(&self, session: SessionDigest, drops: Vec<Mark>) -> Result<(), StoreFault> {
        let start = Instant::now();
        let mut left = self.drop_own(session, drops).await?;
        let mut pause = Duration::from_millis(1);
        let mut asked = None::<Instant>;
        while !left.is_empty() {
            if start.elapsed() > PATIENCE {
                return Err(StoreFault::Unfinished("another instance does not give up its copy".into()));
            }
            if asked.is_none_or(|at| at.elapsed() >= ASK_AGAIN) {
                for mark in &left {
                    self.ask(session, *mark).await?;
                }
                asked = Some(Instant::now());
            }
            tokio::time::sleep(pause).await;
            pause = LOOK_AGAIN.min(pause * 2);
            left = self.drops_left(session).await?;
        }
        Ok(())
    }

    /// Drops copies of this process's own. They are met when one of its acts has overtaken another.
    async fn drop_own(&self, session: SessionDigest, mut drops: Vec<Mark>) -> Result<Vec<Mark>, StoreFault> {
        for mark in drops.clone() {
            if let Some(ticket) = (self.drop_here)(mark.lease, session) {
                drops = self.confirm(session, mark.lease, ticket).await?;
            }
        }
        Ok(drops)
    }

    /// Asks the holder of a copy to drop it, and confirms for it when its lease has ended.
    async fn ask(&self, session: SessionDigest, mark: Mark) -> Result<(), StoreFault> {
        self.handovers.drops("asked").inc();
        let ended = match self.ask_holder(session, mark.lease).await? {
            None => self.is_same_server().await?,
            Some(renewed) if !self.handovers.stands_still(mark.lease, renewed) => false,
            Some(renewed) => self.is_same_server().await? && self.end_lease(mark.lease, renewed).await?,
        };
        if ended {
            self.handovers.watched.remove(&mark.lease);
            self.handovers.drops("lease_ended").inc();
            // It is never renewed again, so nothing of it is left, whatever its tickets.
            self.confirm(session, mark.lease, u64::MAX).await?;
        }
        Ok(())
    }

    /// Whether this is the server that leases were watched on, and not one that may lack what another had.
    async fn is_same_server(&self) -> Result<bool, StoreFault> {
        let mut connection = self.pool.get().await.map_err(Failure::from)?;
        let server = Server::of(&mut *connection).await.map_err(Failure::from)?;
        Ok(!self.handovers.met(server) && self.handovers.is_known())
    }

    pub(super) fn count_confirmed(&self) {
        self.handovers.drops("confirmed").inc();
    }

    /// Another connection has met this server.
    pub(in crate::store) fn has_met(&self, server: Server) {
        self.handovers.met(server);
    }
}

/// The act has been done; that the rest failed does not undo it.
fn after_the_act(fault: StoreFault) -> StoreFault {
    match fault {
        StoreFault::Unavailable(cause) => StoreFault::NoAnswer(cause),
        other => other,
    }
}
