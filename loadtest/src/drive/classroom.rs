//! The lessons of the board: which there are, and the one that runs.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use local_stack::{AgentClient, Store};
use proto_contracts::control::{LessonEntry, LessonPlace, Lessons};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::drive::lesson_process;
use crate::drive::lesson_run::Run;
use crate::lesson::catalogue::{self, Lesson, Needs, needs};
use crate::lesson::room::journal;

/// How long a request waits for a lesson to put everything back; it goes on afterwards.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);
/// How often, and after which pause, the driver tries to put back what a killed lesson has left.
const PUT_BACK_TRIALS: u32 = 60;
const PUT_BACK_PAUSE: Duration = Duration::from_secs(2);

pub(super) const NO_STACK: &str = "Lessons need a local stack, which `make up` starts: they start, stop and \
                        scale instances. In containers, run them on your own machine.";

/// The lesson that runs, and what lessons need.
pub(super) struct Classroom {
    /// The state folder of the local stack; without one there are no lessons.
    pub(super) state: Option<PathBuf>,
    /// The session store of the running system, once it is known.
    store: OnceLock<String>,
    pub(super) run: watch::Sender<Option<Run>>,
}

/// Why a lesson does not start or go on.
pub(super) enum Refused {
    /// There is no local stack, or no such lesson.
    NotFound(String),
    /// The state of the lesson does not allow it.
    State(String),
}

impl Classroom {
    /// Without a lesson.
    pub(super) fn new(state: Option<PathBuf>) -> Self {
        Self { state, store: OnceLock::new(), run: watch::Sender::new(None) }
    }

    /// All lessons, and what is revealed of the one that runs.
    pub(super) async fn show(&self, traffic_paused: bool) -> Lessons {
        let store = self.store().await;
        let run = self.run.borrow().clone().filter(|run| !run.is_hidden);
        let entry = |lesson| {
            let entry = catalogue::entry(lesson);
            LessonEntry {
                number: entry.number,
                name: entry.name.to_owned(),
                title: entry.title.to_owned(),
                question: entry.question.to_owned(),
                needs: needs(lesson).text().to_owned(),
                place: match self.state {
                    Some(_) => place(needs(lesson), store.as_deref()),
                    None => LessonPlace::Unavailable,
                },
                about_s: catalogue::about_s(lesson),
            }
        };
        let is_left = self.state.as_deref().is_some_and(journal::is_left);
        let left = "A lesson was killed before it could put everything back. The next lesson does \
                    that first, or `loadtest lesson put-back`.";
        Lessons {
            driver: true,
            unavailable: self.state.is_none().then(|| NO_STACK.to_owned()),
            left: is_left.then(|| left.to_owned()),
            lessons: Lesson::ALL.into_iter().map(entry).collect(),
            run: run.map(|run| run.show(traffic_paused)),
        }
    }

    /// The session store of the system that runs on the state folder.
    async fn store(&self) -> Option<String> {
        if let Some(store) = self.store.get() {
            return Some(store.clone());
        }
        let agent = AgentClient::of_running(self.state.as_deref()?).ok()?;
        let store = agent.status().await.ok()?.store;
        Some(self.store.get_or_init(|| store).clone())
    }

    /// Takes the next step.
    pub(super) fn go_on(&self, step: u32, guess: Option<String>) -> Result<(), Refused> {
        let mut outcome = Err("No lesson runs.");
        self.run.send_if_modified(|run| {
            if let Some(run) = run.as_mut().filter(|run| !run.is_hidden) {
                outcome = run.go_on(step, guess);
            }
            outcome.is_ok()
        });
        outcome.map_err(|why| Refused::State(why.to_owned()))
    }

    /// Stops the lesson, and waits for some seconds until it has put everything back. One that is
    /// over is removed from sight.
    pub(super) async fn stop(&self) {
        self.change(Run::stop);
        let is_over = |run: &Option<Run>| run.as_ref().is_none_or(|run| run.phase.is_over());
        self.wait_for(is_over).await;
    }

    /// Waits for some seconds until the lesson is so.
    pub(super) async fn wait_for(&self, is_so: impl FnMut(&Option<Run>) -> bool) {
        let mut run = self.run.subscribe();
        // What it borrows must not be held: the lesson goes on.
        drop(timeout(STOP_TIMEOUT, run.wait_for(is_so)).await);
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Run)) {
        self.run.send_modify(|run| {
            if let Some(run) = run {
                change(run);
            }
        });
    }

    /// Puts back what a lesson has left whose driver was killed with it.
    pub(super) async fn put_back(&self) {
        let Some(state) = &self.state else { return };
        for _ in 0..PUT_BACK_TRIALS {
            if !journal::is_left(state) {
                return;
            }
            match lesson_process::put_back(state).await {
                Ok(()) => tracing::info!("put back what a killed lesson had left"),
                // As long as the stack is starting.
                Err(error) => tracing::warn!(error, "cannot put back yet what a lesson has left"),
            }
            sleep(PUT_BACK_PAUSE).await;
        }
    }
}

/// Where a lesson with these needs runs, on a machine with this session store.
fn place(needs: Needs, store: Option<&str>) -> LessonPlace {
    let fits = store.is_some_and(|store| match needs.store {
        Some(needed) => needed.as_str() == store,
        None => store != Store::Memory.as_str(),
    });
    if fits && !needs.own { LessonPlace::RunningSystem } else { LessonPlace::OwnSystem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesson_runs_where_its_needs_are_met() {
        let places = |store| Lesson::ALL.map(|lesson| place(needs(lesson), store));
        let here = |store| {
            let here = Lesson::ALL.into_iter().zip(places(store));
            let here = here.filter(|(_, place)| *place == LessonPlace::RunningSystem);
            here.map(|(lesson, _)| catalogue::entry(lesson).number).collect::<Vec<_>>()
        };
        assert_eq!(here(Some("hybrid")), [1, 2, 5, 6]);
        assert_eq!(here(Some("redis")), [1, 2, 5]);
        assert_eq!(here(Some("memory")), [3]);
        assert_eq!(here(None), [0; 0], "nothing runs");
    }

    #[tokio::test]
    async fn without_a_local_stack_none_can_run() {
        let lessons = Classroom::new(None).show(false).await;
        assert!(lessons.unavailable.is_some_and(|why| why.contains("make up")));
        assert!(lessons.lessons.iter().all(|entry| entry.place == LessonPlace::Unavailable));
        assert_eq!(lessons.lessons.len(), Lesson::ALL.len());
    }
}
