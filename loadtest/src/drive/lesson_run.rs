//! The state of the lesson that runs or ended last: a pure function of its steps and of what the
//! board asks for.

use proto_contracts::control::{LessonPhase, LessonResult, LessonRun};
use tokio::sync::mpsc;

use crate::lesson::catalogue::{self, Lesson};
use crate::lesson::steps::Step;

/// A command for the process of a lesson.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Measure.
    Guess(Option<String>),
    /// Put everything back, and end.
    Stop,
}

#[derive(Clone)]
pub(super) struct Run {
    pub(super) lesson: Lesson,
    pub(super) is_short: bool,
    pub(super) phase: LessonPhase,
    step: u32,
    guess: Option<String>,
    activity: Option<String>,
    result: Option<LessonResult>,
    /// Numbers of the result that are shown.
    revealed: usize,
    detail: Option<String>,
    /// Whether its process has ended.
    pub(super) is_gone: bool,
    /// Whether the board has removed it from sight.
    pub(super) is_hidden: bool,
    orders: mpsc::UnboundedSender<Order>,
}

impl Run {
    pub(super) fn new(
        lesson: Lesson,
        is_short: bool,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Self {
        Self {
            lesson,
            is_short,
            phase: LessonPhase::Starting,
            step: 1,
            guess: None,
            activity: None,
            result: None,
            revealed: 0,
            detail: None,
            is_gone: false,
            is_hidden: false,
            orders,
        }
    }

    /// Takes over a step of the process. What a stopped lesson still writes is nothing new.
    pub(super) fn take(&mut self, step: Step) {
        match (step, self.phase) {
            (Step::Question, LessonPhase::Starting) => self.enter(LessonPhase::Predict),
            (Step::Does { what }, LessonPhase::Measuring) => self.activity = Some(what),
            (Step::Result { result }, LessonPhase::Measuring) => {
                self.activity = None;
                self.result = Some(result);
                self.enter(LessonPhase::Reveal);
            }
            _ => {}
        }
    }

    /// Takes the step that the board asks for, if this one is shown and waits.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn go_on(&mut self, step: u32, guess: Option<String>) -> Result<(), &'static str> {
        if step != self.step {
            return Err("Another step is shown than the request names.");
        }
        match self.phase {
            LessonPhase::Predict => {
                self.guess = guess.filter(|guess| !guess.trim().is_empty());
                // Its end is noticed elsewhere.
                let _gone = self.orders.send(Order::Guess(self.guess.clone()));
                self.enter(LessonPhase::Measuring);
                Ok(())
            }
            LessonPhase::Reveal if self.hidden() > 0 => {
                self.revealed += 1;
                self.step += 1;
                Ok(())
            }
            LessonPhase::Reveal => {
                self.enter(LessonPhase::Finished);
                Ok(())
            }
            _ => Err("No step of the lesson waits."),
        }
    }

    /// Ends it if it runs, else removes it from sight.
    pub(super) fn stop(&mut self) {
        if self.phase.is_over() {
            self.is_hidden = true;
        } else if self.phase != LessonPhase::Stopping {
            let _gone = self.orders.send(Order::Stop);
            self.enter(LessonPhase::Stopping);
        }
    }

    /// Its process has ended, with these last words. `is_left`: it has not put everything back.
    pub(super) fn end(&mut self, last_words: String, is_left: bool) {
        self.is_gone = true;
        self.activity = None;
        if self.phase.is_over() {
            return;
        }
        let is_stopped = self.phase == LessonPhase::Stopping && !is_left;
        if !is_stopped {
            self.detail = Some(if last_words.is_empty() {
                "The lesson ended without a word; see the driver's log.".to_owned()
            } else {
                last_words
            });
        }
        self.enter(if is_stopped { LessonPhase::Stopped } else { LessonPhase::Failed });
    }

    fn enter(&mut self, phase: LessonPhase) {
        self.phase = phase;
        self.step += 1;
    }

    fn hidden(&self) -> usize {
        self.result.as_ref().map_or(0, |result| result.findings.len() - self.revealed)
    }

    /// What is revealed of it.
    pub(super) fn show(&self, traffic_paused: bool) -> LessonRun {
        let entry = catalogue::entry(self.lesson);
        let is_finished = self.phase == LessonPhase::Finished;
        let result = self.result.as_ref();
        LessonRun {
            number: entry.number,
            name: entry.name.to_owned(),
            title: entry.title.to_owned(),
            question: entry.question.to_owned(),
            short: self.is_short,
            phase: self.phase,
            step: self.step,
            guess: self.guess.clone(),
            activity: self.activity.clone(),
            traffic_paused,
            system: result.map(|result| result.system.clone()),
            theory: result.map(|result| result.theory.clone()),
            findings: result
                .map_or_else(Vec::new, |result| result.findings[..self.revealed].to_vec()),
            hidden: u16::try_from(self.hidden()).unwrap_or(u16::MAX),
            holds: result.filter(|_| is_finished).map(|result| result.holds),
            explanations: result
                .filter(|_| is_finished)
                .map_or_else(Vec::new, |result| result.explanations.clone()),
            detail: self.detail.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_contracts::control::{LessonFinding, LessonUnit};

    use super::*;

    fn run() -> (Run, mpsc::UnboundedReceiver<Order>) {
        let (send, orders) = mpsc::unbounded_channel();
        (Run::new(Lesson::Memory, true, send), orders)
    }

    fn result() -> Step {
        let finding = |what: &str| LessonFinding {
            what: what.to_owned(),
            unit: LessonUnit::Percent,
            predicted: None,
            measured: 1.0,
            sample: None,
            holds: true,
        };
        let result = LessonResult {
            system: "a system".to_owned(),
            theory: "a theory".to_owned(),
            findings: vec![finding("first"), finding("second")],
            holds: true,
            explanations: vec!["because".to_owned()],
        };
        Step::Result { result }
    }

    fn does() -> Step {
        Step::Does { what: "measures".to_owned() }
    }

    #[test]
    fn nothing_is_shown_before_its_step() {
        let (mut run, mut orders) = run();
        assert!(run.go_on(1, None).is_err(), "it has no question yet");
        run.take(Step::Question);
        let shown = run.show(false);
        assert_eq!((shown.phase, shown.theory, shown.step), (LessonPhase::Predict, None, 2));
        assert!(run.go_on(1, None).is_err(), "a step that is not shown");
        run.go_on(2, Some("a half".to_owned())).expect("it waits");
        assert_eq!(orders.try_recv(), Ok(Order::Guess(Some("a half".to_owned()))));
        assert!(run.go_on(3, None).is_err(), "it measures");
        run.take(does());
        assert_eq!(run.show(false).activity.as_deref(), Some("measures"));
        run.take(result());
        let shown = run.show(false);
        assert_eq!(shown.theory.as_deref(), Some("a theory"));
        assert_eq!((shown.findings.len(), shown.hidden, shown.holds), (0, 2, None));
        for revealed in 1..=2 {
            run.go_on(run.step, None).expect("it waits");
            assert!(run.go_on(run.step - 1, None).is_err(), "a second press skips nothing");
            let shown = run.show(false);
            assert_eq!(shown.findings.len(), revealed);
            assert_eq!((shown.holds, shown.explanations.len()), (None, 0));
        }
        run.go_on(run.step, None).expect("it waits");
        let shown = run.show(false);
        assert_eq!((shown.phase, shown.holds), (LessonPhase::Finished, Some(true)));
        assert_eq!(shown.explanations, ["because"]);
        assert_eq!(shown.guess.as_deref(), Some("a half"));
        assert!(run.go_on(run.step, None).is_err(), "the end");
    }

    #[test]
    fn a_stopped_lesson_shows_nothing_more_and_says_what_it_left() {
        let (mut run, mut orders) = run();
        run.take(Step::Question);
        run.go_on(2, None).expect("it waits");
        assert_eq!(orders.try_recv(), Ok(Order::Guess(None)));
        run.stop();
        run.stop();
        assert_eq!(orders.try_recv(), Ok(Order::Stop));
        assert!(orders.try_recv().is_err(), "once");
        run.take(does());
        run.take(result());
        assert_eq!((run.show(false).phase, run.show(false).theory), (LessonPhase::Stopping, None));
        let mut left = run.clone();
        run.end("lesson 3 ended early: stopped".to_owned(), false);
        assert_eq!((run.phase, run.show(false).detail), (LessonPhase::Stopped, None));
        left.end("not as before".to_owned(), true);
        let shown = left.show(false);
        assert_eq!(
            (shown.phase, &*shown.detail.expect("why")),
            (LessonPhase::Failed, "not as before")
        );
        run.stop();
        assert!(run.is_hidden, "the next press clears the board");
    }

    #[test]
    fn an_end_without_a_result_is_a_failure_and_after_it_none() {
        let (mut run, _orders) = run();
        let mut killed = run.clone();
        killed.end(String::new(), false);
        assert_eq!(killed.phase, LessonPhase::Failed);
        assert!(killed.show(false).detail.is_some());
        run.take(Step::Question);
        run.go_on(2, Some(" ".to_owned())).expect("it waits");
        assert_eq!(run.show(false).guess, None);
        run.take(result());
        run.end(String::new(), false);
        assert_eq!((run.phase, run.is_gone), (LessonPhase::Reveal, true));
        run.go_on(run.step, None).expect("the reveal needs no process");
    }
}
