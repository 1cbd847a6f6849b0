//! A crowd that comes to one session, so that the session's home has more to do than its load bound allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::RngExt as _;
use tokio::task::JoinSet;

use crate::chaos::calls::Caller;
use crate::chaos::ledger::{Ledger, Message, Outcome};
use crate::chaos::run::Run;

/// How many come: more than the load bound's floor, since only those count whose request is on its way.
const SIZE: usize = 96;
/// One call in so many is a message; the others read.
const SAYS_ONE_IN: u32 = 40;

/// How long the first spilled request may take to be seen. It is a matter of milliseconds, unless the machine is very busy or
/// the session was just deleted.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

/// Clients that all use one session at a time.
pub(crate) struct Crowd {
    run: Arc<Run>,
    leaving: Arc<AtomicBool>,
    /// Whether one of their requests was spilled.
    spilled: Arc<AtomicBool>,
    members: JoinSet<Ledger>,
}

impl Crowd {
    /// Comes to the session in this slot, whichever that is at a time.
    pub(crate) fn gather(run: &Arc<Run>, seed: u64, slot: usize) -> Self {
        let (leaving, spilled) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let mut members = JoinSet::new();
        for _ in 0..SIZE {
            let caller = Caller::new(run.next_client(), seed, Arc::clone(run));
            members.spawn(crowd(caller, slot, Arc::clone(&leaving), Arc::clone(&spilled)));
        }
        Self { run: Arc::clone(run), leaving, spilled, members }
    }

    /// Goes away, but not before the gateway has spilled, and tells what it did.
    ///
    /// # Errors
    /// When the gateway never spilled: then the fault was none.
    pub(crate) async fn leave(self) -> Result<Ledger> {
        let begin = Instant::now();
        while !self.spilled.load(Ordering::Relaxed) && begin.elapsed() < PATIENCE && !self.run.is_interrupted() {
            tokio::time::sleep(STEP).await;
        }
        self.leaving.store(true, Ordering::Relaxed);
        let mut all = Ledger::default();
        self.members.join_all().await.into_iter().for_each(|ledger| all.extend(ledger));
        let is_fault = all.spilled > 0 || self.run.is_interrupted();
        ensure!(is_fault, "a crowd of {SIZE} came to one session, and the gateway spilled none of its requests");
        Ok(all)
    }
}

async fn crowd(mut caller: Caller, slot: usize, leaving: Arc<AtomicBool>, spilled: Arc<AtomicBool>) -> Ledger {
    let mut sequence = 0;
    while !leaving.load(Ordering::Relaxed) {
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
