//! Starts again what has ended by itself, as `restart: unless-stopped` does in containers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_contracts::agent::ComponentState;

use super::{Stack, level_of};
use crate::component::Component;
use crate::plan::Extent;
use crate::process::{Process, lock};

/// How often the components are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The pause before the first restart; each further one is twice as long, up to the limit.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// One that has run for so long begins again with the first pause.
const SETTLED: Duration = Duration::from_secs(30);

/// When a component is started again that has ended.
struct Restart {
    /// The process that has ended.
    pid: u32,
    due: Instant,
    pause: Duration,
}

impl Stack {
    /// Starts each data server again that ends by itself: Redis does so when its disk is full. What somebody has
    /// stopped or killed over the agent stays as it is.
    pub(crate) async fn keep_up(&self) -> Infallible {
        let mut restarts: BTreeMap<Component, Restart> = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK).await;
            for (component, process) in self.died() {
                let (pid, now) = (process.pid(), Instant::now());
                let restart = match restarts.get_mut(&component) {
                    Some(restart) if restart.pid == pid => restart,
                    earlier => {
                        let again = earlier.filter(|_| process.started.elapsed() < SETTLED);
                        let pause = again.map_or(FIRST_PAUSE, |restart| (2 * restart.pause).min(MAX_PAUSE));
                        let exit = process.exit().map_or_else(String::new, |exit| exit.to_string());
                        let seconds = pause.as_secs_f64();
                        self.tell(&format!(
                            "{component} has ended by itself ({exit}); started again in {seconds:.1} s"
                        ));
                        restarts.insert(component, Restart { pid, due: now + pause, pause });
                        continue;
                    }
                };
                if now < restart.due {
                    continue;
                }
                if let Err(error) = self.start_component(&component.to_string()).await {
                    self.tell(&format!("{component} is not up again: {error}"));
                }
                // Unless another process was started, and then it counts as its end.
                restart.due = Instant::now() + restart.pause;
            }
        }
    }

    /// The data servers that ended by themselves.
    fn died(&self) -> Vec<(Component, Arc<Process>)> {
        let parts = lock(&self.parts);
        let died = parts
            .iter()
            .filter(|(component, part)| level_of(**component) == Extent::Data && part.state() == ComponentState::Died);
        died.filter_map(|(&component, part)| Some((component, part.process.clone()?))).collect()
    }
}
