//! A lesson that another program conducts, as the traffic driver does for the board: each step is a
//! line of JSON on standard output, and a guess is one on standard input. When standard input ends,
//! the lesson does, as after Ctrl-C: so a killed program leaves nothing changed.

use std::io::{self, BufRead as _, Write as _};

use anyhow::{Context as _, Result};
use proto_contracts::control::LessonResult;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

/// A step, in its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(crate) enum Step {
    /// Nothing has been changed; a [`Guess`] starts the measurement.
    Question,
    /// What it does now, in words.
    Does {
        /// Such as `measures on the running system`.
        what: String,
    },
    /// It has measured, and put everything back.
    Result {
        /// Predicted and measured.
        result: LessonResult,
    },
}

/// What the class predicts; `null` when it predicts nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Guess {
    pub(crate) guess: Option<String>,
}

/// Where the steps are written, if anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(super) are_written: bool,
}

impl Steps {
    pub(crate) fn write(self, step: &Step) -> Result<()> {
        if !self.are_written {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        let line = serde_json::to_string(step)?;
        writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write a step")
    }

    pub(crate) fn does(self, what: &str) -> Result<()> {
        self.write(&Step::Does { what: what.to_owned() })
    }
}

/// Standard input, read by a thread of its own: a read that never ends must not hold up the end of
/// the program.
pub(super) struct Input {
    guesses: mpsc::UnboundedReceiver<Guess>,
    ended: watch::Receiver<bool>,
}

impl Input {
    pub(super) fn read() -> Self {
        let (send, guesses) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(false);
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                let Ok(guess) =
                    line.map_err(drop).and_then(|line| serde_json::from_str(&line).map_err(drop))
                else {
                    break;
                };
                if send.send(guess).is_err() {
                    break;
                }
            }
            end.send_replace(true);
        });
        Self { guesses, ended }
    }

    /// What tells the end of the input.
    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// # Errors
    /// When the input ends.
    pub(super) async fn guess(&mut self) -> Result<Option<String>> {
        Ok(self.guesses.recv().await.context("no input")?.guess)
    }
}
