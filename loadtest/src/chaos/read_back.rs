//! The final reading: every session that was ever created, whole, when nobody writes any more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::chaos::calls::Caller;
use crate::chaos::ledger::{ClientNumber, Ledger, Outcome};
use crate::chaos::run::{OpenSession, Run};

/// Who reads.
const READERS: u32 = 8;
/// How long it is tried to read one session. Nothing is wrong with the system any more, so the first try succeeds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads each of these sessions.
pub(crate) async fn read_back(run: &Arc<Run>, sessions: impl IntoIterator<Item = Arc<OpenSession>>) -> Ledger {
    let left = Arc::new(Mutex::new(sessions.into_iter().collect::<VecDeque<_>>()));
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let left = Arc::clone(&left);
        let mut caller = Caller::new(ClientNumber::MAX - reader, 0, Arc::clone(run));
        readers.spawn(async move {
            let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            while let Some(session) = next() {
                read(&mut caller, &session).await;
            }
            caller.ledger
        });
    }
    let mut ledger = Ledger::default();
    for part in readers.join_all().await {
        ledger.extend(part);
    }
    ledger
}

/// The session first and then its messages; both say when it is gone.
async fn read(caller: &mut Caller, session: &OpenSession) {
    let begin = caller.run.now();
    while caller.run.now() - begin < PATIENCE {
        match caller.read(session).await {
            Outcome::Done(_) => {}
            Outcome::Absent => return,
            Outcome::Refused | Outcome::Unknown => {
                caller.back_off().await;
                continue;
            }
        }
        match caller.history(session).await {
            Outcome::Done(_) | Outcome::Absent => return,
            Outcome::Refused | Outcome::Unknown => caller.back_off().await,
        }
    }
}
