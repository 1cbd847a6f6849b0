//! A burst of clients on one session, so that its home exceeds its load bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::RngExt as _;
use tokio::task::JoinSet;

use crate::chaos::calls::Caller;
use crate::chaos::ledger::{Ledger, Message, Outcome};
use crate::chaos::run::Run;

/// Clients: more than the load bound's floor, since only requests in flight count.
const SIZE: usize = 96;
/// One request in so many posts a message; the others are reads.
const SAYS_ONE_IN: u32 = 40;

/// Limit for the first spilled request. It takes milliseconds, unless the machine is very busy or
/// the session was just deleted.
const SPILL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Clients that all use the same session: the one that is open in a slot.
pub(crate) struct Burst {
    run: Arc<Run>,
    stopping: Arc<AtomicBool>,
    /// Whether one of their requests was spilled.
    spilled: Arc<AtomicBool>,
    clients: JoinSet<Ledger>,
}

impl Burst {
    /// Starts clients that use the session in this slot, and the next one when it is replaced.
    pub(crate) fn start(run: &Arc<Run>, seed: u64, slot: usize) -> Self {
        let (stopping, spilled) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let mut clients = JoinSet::new();
        for _ in 0..SIZE {
            let caller = Caller::new(run.next_client(), seed, Arc::clone(run));
            clients.spawn(work(caller, slot, Arc::clone(&stopping), Arc::clone(&spilled)));
        }
        Self { run: Arc::clone(run), stopping, spilled, clients }
    }

    /// Stops after the gateway has spilled a request; returns the clients' ledger.
    ///
    /// # Errors
    /// When the gateway never spilled, so that no fault was injected.
    pub(crate) async fn stop(self) -> Result<Ledger> {
        let begin = Instant::now();
        while !self.spilled.load(Ordering::Relaxed)
            && begin.elapsed() < SPILL_TIMEOUT
            && !self.run.is_interrupted()
        {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        self.stopping.store(true, Ordering::Relaxed);
        let mut all = Ledger::default();
        self.clients.join_all().await.into_iter().for_each(|ledger| all.extend(ledger));
        let is_fault = all.spilled > 0 || self.run.is_interrupted();
        ensure!(
            is_fault,
            "the gateway spilled no request of {SIZE} concurrent clients of one session"
        );
        Ok(all)
    }
}

async fn work(
    mut caller: Caller,
    slot: usize,
    stopping: Arc<AtomicBool>,
    spilled: Arc<AtomicBool>,
) -> Ledger {
    let mut sequence = 0;
    while !stopping.load(Ordering::Relaxed) {
        let Some(session) = caller.run.session_in(slot) else {
            caller.back_off().await;
            continue;
        };
        let outcome = if caller.random.random_range(0..SAYS_ONE_IN) == 0 {
            sequence += 1;
            let message = Message { session: session.number, client: caller.number, sequence };
            caller.append(&session, message).await
        } else {
            caller.read(&session).await
        };
        if caller.ledger.spilled > 0 {
            spilled.store(true, Ordering::Relaxed);
        }
        if !matches!(outcome, Outcome::Done(_)) {
            caller.back_off().await;
        }
    }
    caller.ledger
}
