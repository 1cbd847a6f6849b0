//! The systems of a run: the running one, and those that lessons start beside it.

use anyhow::{Result, bail};
use local_stack::Store;

use crate::lesson::catalogue::Needs;
use crate::lesson::room::Room;
use crate::lesson::steps::Steps;
use crate::lesson::stop::Stop;

/// A kind of system: its store, and whether its gateway waits for suspended instances.
type Kind = (Store, bool);

/// How a lesson is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Divides the sizes of samples.
    pub(crate) divisor: usize,
    /// Whether the claim is made false.
    pub(crate) falsify: bool,
}

impl Options {
    /// The size of a sample, or a fraction of it.
    pub(crate) fn sample(self, size: usize) -> usize {
        (size / self.divisor).max(1)
    }
}

/// The systems of a run.
pub(crate) struct School {
    running: Option<Room>,
    /// Each is started by the first lesson that needs it.
    scratch: Vec<(Kind, Room)>,
    /// Titles of the systems that the current lesson used.
    used: Vec<String>,
    steps: Steps,
    stop: Stop,
}

impl School {
    pub(crate) fn new(running: Option<Room>, steps: Steps, stop: Stop) -> Self {
        Self { running, scratch: Vec::new(), used: Vec::new(), steps, stop }
    }

    /// The system for these needs: the running one if it offers them, else one that is started.
    pub(crate) async fn room(&mut self, needs: Needs) -> Result<&Room> {
        let running = self.running.as_ref();
        let offers = running.is_some_and(|room| room.offers(needs.store));
        let kind = (needs.store.unwrap_or_default(), needs.patient);
        let is_running = offers && !needs.own;
        if !is_running && !self.scratch.iter().any(|(of, _)| *of == kind) {
            self.steps.does(&format!("starts a system of its own, {} store", kind.0.as_str()))?;
            let room = tokio::select! {
                room = Room::scratch(kind.0, kind.1, self.stop.clone()) => room?,
                // What has started ends with it.
                () = self.stop.requested() => bail!("interrupted"),
            };
            self.scratch.push((kind, room));
        }
        let room = match &self.running {
            Some(room) if is_running => Some(room),
            _ => self.scratch.iter().find(|(of, _)| *of == kind).map(|(_, room)| room),
        };
        let room = room.ok_or_else(|| anyhow::anyhow!("there is no system"))?;
        if is_running {
            room.begin()?;
        }
        if !self.used.contains(&room.title()) {
            self.used.push(room.title());
        }
        self.steps.does(&format!("measures on {}", room.title()))?;
        Ok(room)
    }

    /// The systems that the lesson used, in words.
    pub(crate) fn used(&mut self) -> String {
        std::mem::take(&mut self.used).join("; ")
    }

    /// Undoes the changes of a lesson in all systems.
    ///
    /// # Errors
    /// The first failure; the other systems are put back nevertheless.
    pub(crate) async fn put_back(&self) -> Result<()> {
        let mut outcome = Ok(());
        for room in self.running.iter().chain(self.scratch.iter().map(|(_, room)| room)) {
            outcome = outcome.and(room.put_back().await);
        }
        outcome
    }

    /// Stops what the lessons started.
    pub(crate) async fn leave(self) {
        for (_, room) in self.scratch {
            room.leave().await;
        }
    }
}
