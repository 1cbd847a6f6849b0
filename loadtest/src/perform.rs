//! One request of a scenario.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::time::timeout_at;

use crate::client::Client;
use crate::outcome::ErrorKind;
use crate::recorder::{Performed, Recorder, Served};
use crate::scenario::Scenario;

/// Sends the scenario's next request and checks the response. At the deadline it fails with
/// `on_deadline`; if that has passed already, nothing is sent.
pub(crate) async fn perform<S: Scenario>(
    client: &mut Client,
    scenario: &mut S,
    deadline: Instant,
    on_deadline: ErrorKind,
) -> Performed {
    let (operation, request) = scenario.next();
    let mut served = None;
    let outcome = if Instant::now() >= deadline {
        Err(on_deadline)
    } else {
        match timeout_at(deadline.into(), client.send(request)).await {
            Ok(Ok(response)) => {
                served = Some(Served::from(&response));
                scenario.check(&response)
            }
            Ok(Err(error)) => Err(ErrorKind::from(&error)),
            Err(_elapsed) => Err(on_deadline),
        }
    };
    if outcome.is_err() {
        scenario.abandon();
    }
    Performed { operation, outcome, served }
}

/// Locks the recorder, even after a panic elsewhere: its counts stay consistent.
pub(crate) fn lock(recorder: &Mutex<Recorder>) -> MutexGuard<'_, Recorder> {
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}
