//! Each worker sends its next request when it has the answer to the last.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::phase::{self, perform};
use crate::recorder::{ErrorKind, Recorder};
use crate::scenario::Scenario;

/// How long a worker rests when it could not even connect, so that a dead target is not hammered.
const REST: Duration = Duration::from_millis(100);

/// One worker, from now until that time. A request that is on its way then is waited for.
pub(crate) async fn work<S: Scenario>(
    mut client: Client,
    mut scenario: S,
    until: Instant,
    timeout: Duration,
    recorder: &Mutex<Recorder>,
) {
    loop {
        let start = Instant::now();
        if start >= until {
            return;
        }
        let (operation, outcome) = perform(&mut client, &mut scenario, start + timeout, ErrorKind::Timeout).await;
        phase::lock(recorder).record(operation, start, outcome);
        if outcome == Err(ErrorKind::Connect) {
            tokio::time::sleep(REST).await;
        }
    }
}
