//! Starts a lesson, and conducts it: what the board asks for goes to its process, and the steps of
//! the process to the board.

use std::path::Path;
use std::sync::Arc;

use proto_contracts::control::LessonPhase;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::drive::classroom::{NO_STACK, Refused};
use crate::drive::driver::Driver;
use crate::drive::lesson_process::{KILL_TIMEOUT, LessonProcess};
use crate::drive::lesson_run::{Order, Run};
use crate::lesson::NOT_PUT_BACK;
use crate::lesson::catalogue::{self, Lesson};
use crate::lesson::room::journal;
use crate::lesson::steps::Step;

impl Driver {
    /// Starts a lesson, unless one runs.
    pub(super) async fn start_lesson(
        self: &Arc<Self>,
        name: &str,
        is_short: bool,
    ) -> Result<(), Refused> {
        let is_meant = |lesson: &Lesson| catalogue::entry(*lesson).name == name;
        let Some(lesson) = Lesson::ALL.into_iter().find(is_meant) else {
            return Err(Refused::NotFound("There is no lesson of this name.".to_owned()));
        };
        let Some(state) = self.lessons.state.clone() else {
            return Err(Refused::NotFound(NO_STACK.to_owned()));
        };
        // The last one may still stop a system of its own.
        let ends =
            |run: &Option<Run>| run.as_ref().is_none_or(|run| run.is_gone || !run.phase.is_over());
        self.lessons.wait_for(ends).await;
        let (send, orders) = mpsc::unbounded_channel();
        let mut running = None;
        self.lessons.run.send_if_modified(|run| {
            running = run.as_ref().filter(|run| !run.is_gone).map(|run| run.lesson);
            if running.is_none() {
                *run = Some(Run::new(lesson, is_short, send));
            }
            running.is_none()
        });
        if let Some(other) = running {
            let title = catalogue::entry(other).title;
            return Err(Refused::State(format!("The lesson \"{title}\" runs; stop it first.")));
        }
        tracing::info!(lesson = name, short = is_short, "lesson started");
        let driver = Arc::clone(self);
        let name = catalogue::entry(lesson).name;
        tokio::spawn(async move { driver.conduct(name, is_short, &state, orders).await });
        Ok(())
    }

    /// Runs the lesson to its end.
    async fn conduct(
        &self,
        name: &'static str,
        is_short: bool,
        state: &Path,
        orders: mpsc::UnboundedReceiver<Order>,
    ) {
        let words = match LessonProcess::start(name, is_short, state) {
            Ok(process) => self.follow(process, orders).await,
            Err(error) => format!("The lesson does not start: {error}"),
        };
        self.resume();
        let is_left = words.contains(NOT_PUT_BACK) || journal::is_left(state);
        self.lessons.change(|run| run.end(words.clone(), is_left));
        let phase = self.lessons.run.borrow().as_ref().map(|run| run.phase);
        let outcome = match phase {
            Some(LessonPhase::Stopped) => "stopped",
            Some(LessonPhase::Failed) => "failed",
            _ => "measured",
        };
        self.metrics.count_lesson(outcome);
        tracing::info!(lesson = name, outcome, is_left, words, "lesson ended");
    }

    /// Passes steps and orders on until the process ends; its last words.
    async fn follow(
        &self,
        mut process: LessonProcess,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> String {
        let mut kill_at = None;
        loop {
            let kill = async {
                match kill_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                step = process.next() => match step {
                    Some(step) => {
                        if matches!(step, Step::Result { .. }) {
                            self.resume();
                        }
                        self.lessons.change(|run| run.take(step));
                    }
                    None => break,
                },
                Some(order) = orders.recv() => match order {
                    Order::Guess(guess) => {
                        self.pause().await;
                        process.guess(guess).await;
                    }
                    Order::Stop => {
                        process.stop();
                        kill_at = Some(Instant::now() + KILL_TIMEOUT);
                    }
                },
                () = kill => {
                    process.kill();
                    kill_at = None;
                }
            }
        }
        let (status, words) = process.end().await;
        if let Err(error) = status {
            tracing::warn!(%error, "the end of a lesson is unknown");
        }
        words
    }
}
