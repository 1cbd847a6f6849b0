//! Restarts data servers that failed, like `restart: unless-stopped` of containers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::agent::ComponentState;

use super::{Stack, level_of};
use crate::component::Component;
use crate::process::{Process, lock};
use crate::topology::Extent;

/// How often the components' states are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The pause before the first restart; each further one is twice as long, up to the limit.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// After running this long, a component's pause is reset.
const SETTLED: Duration = Duration::from_secs(30);

/// A scheduled restart.
struct Restart {
    /// The failed process.
    pid: u32,
    due: Instant,
    pause: Duration,
}

impl Stack {
    /// Restarts each data server that exits unexpectedly, as Redis does when its disk is full.
    /// Components that were stopped or killed through the agent stay down.
    pub(crate) async fn restart_failed(&self) -> Infallible {
        let mut restarts: BTreeMap<Component, Restart> = BTreeMap::new();
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            for (component, process) in self.died() {
                let (pid, now) = (process.pid(), Instant::now());
                let restart = match restarts.get_mut(&component) {
                    Some(restart) if restart.pid == pid => restart,
                    earlier => {
                        let again = earlier.filter(|_| process.started.elapsed() < SETTLED);
                        let pause =
                            again.map_or(FIRST_PAUSE, |restart| (2 * restart.pause).min(MAX_PAUSE));
                        let exit = process.exit().map_or_else(String::new, |exit| exit.to_string());
                        let seconds = pause.as_secs_f64();
                        self.report(&format!(
                            "{component} exited unexpectedly ({exit}); restarting in {seconds:.1} s"
                        ));
                        restarts.insert(component, Restart { pid, due: now + pause, pause });
                        continue;
                    }
                };
                if now < restart.due {
                    continue;
                }
                if let Err(error) = self.start_component(&component.to_string()).await {
                    self.report(&format!("cannot restart {component}: {error}"));
                }
                // If a process was started and fails too, its new pid begins another entry.
                restart.due = Instant::now() + restart.pause;
            }
        }
    }

    /// The data servers that exited unexpectedly.
    fn died(&self) -> Vec<(Component, Arc<Process>)> {
        let parts = lock(&self.parts);
        let died = parts.iter().filter(|(component, part)| {
            level_of(**component) == Extent::Data && part.state() == ComponentState::Died
        });
        died.filter_map(|(&component, part)| Some((component, part.process.clone()?))).collect()
    }
}
