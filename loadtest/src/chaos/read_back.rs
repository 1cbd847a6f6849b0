//! What follows when all clients have stopped. First, claims whose outcome is still unknown are
//! repeated. Then come the final reads: every session that the run created, with its whole history, after all writes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::chaos::calls::Caller;
use crate::chaos::ledger::{ClientNumber, Ledger, Outcome};
use crate::chaos::run::{Claim, OpenSession, Run};

/// Number of readers.
const READERS: u32 = 8;
/// Deadline for reading one session. The system has recovered, so the first attempt should succeed.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Repeats each of these claims by its key, unless the old id of an even session still lives: that
/// one stays as it is. Returns the new ids, too.
pub(crate) async fn resolve(run: &Arc<Run>, claims: Vec<Claim>) -> (Ledger, Vec<Arc<OpenSession>>) {
    let mut caller = Caller::new(ClientNumber::MAX - READERS, 0, Arc::clone(run));
    let mut found = Vec::new();
    for claim in claims {
        if claim.session.number % 2 == 0
            && matches!(caller.read(&claim.session).await, Outcome::Done(_))
        {
            continue;
        }
        let begin = run.now();
        loop {
            let (outcome, new) = caller.claim(&claim).await;
            if let Some(new) = new {
                found.push(Arc::new(claim.session.used_by(&claim.user)));
                found.push(new);
            }
            let is_over = matches!(outcome, Outcome::Done(_) | Outcome::Absent);
            if is_over || run.now() - begin > READ_TIMEOUT {
                break;
            }
            caller.back_off().await;
        }
    }
    (caller.ledger, found)
}

/// Reads each of these sessions.
pub(crate) async fn read_back(
    run: &Arc<Run>,
    sessions: impl IntoIterator<Item = Arc<OpenSession>>,
) -> Ledger {
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

/// Reads the session, then its history. Either ends the read when it reports the session gone.
async fn read(caller: &mut Caller, session: &OpenSession) {
    let begin = caller.run.now();
    while caller.run.now() - begin < READ_TIMEOUT {
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
