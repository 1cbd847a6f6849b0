//! `loadtest lesson`: each states a question, predicts numbers from theory, measures them on a live
//! system, shows both with the tolerance of the sample, and puts everything back.
//!
//! `catalogue` has the texts, `lessons` the measurements. A lesson asks the `school` for a `room`:
//! the running system if it offers what the lesson needs, else one that is started beside it.

pub mod args;
pub mod catalogue;
pub mod finding;
pub mod report;

mod hashing;
mod lessons;
mod page;
pub(crate) mod room;
mod school;
pub(crate) mod steps;
mod stop;
mod user;
mod visitor;

use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::lesson::args::{PutBackArgs, RunArgs};
use crate::lesson::catalogue::Entry;
use crate::lesson::report::{LessonReport, LessonsReport};
use crate::lesson::room::Room;
use crate::lesson::school::{Options, School};
use crate::lesson::steps::{Input, Step, Steps};
use crate::lesson::stop::{Stop, Stopper};

/// The divisor of samples with `--short`.
const SHORT: usize = 4;
/// How long the request or change that an interrupted lesson has begun may take to end.
const GRACE: Duration = Duration::from_secs(20);
/// What an error says when something is not as before.
pub(crate) const NOT_PUT_BACK: &str = "not everything was put back";

/// Runs the lessons in order. Each prints its report when it ends.
///
/// # Errors
/// When a system cannot be started or put back, or the run is interrupted; what the lesson changed
/// is undone first.
pub async fn lesson(args: &RunArgs) -> Result<LessonsReport> {
    // Before the first change, so that each one is undone.
    let input = args.steps.then(Input::read);
    let mut signals = Signals::new(input.as_ref())?;
    let stopper = Stopper::new();
    let running = if args.scratch {
        None
    } else {
        // What it puts back stays on disk until it has done so.
        signals.or_end(Room::running(&args.state, stopper.stop_of_lesson())).await?
    };
    let steps = Steps { are_written: args.steps };
    let mut school = School::new(running, steps, stopper.stop_of_lesson());
    let taught = teach(args, &mut school, &stopper, (signals, input)).await;
    school.leave().await;
    taught
}

async fn teach(
    args: &RunArgs,
    school: &mut School,
    stopper: &Stopper,
    (mut signals, mut input): (Signals, Option<Input>),
) -> Result<LessonsReport> {
    let steps = Steps { are_written: args.steps };
    let options = Options { divisor: if args.short { SHORT } else { 1 }, falsify: args.falsify };
    let mut report = LessonsReport { at: Timestamp::now(), lessons: Vec::new() };
    for lesson in args.lesson.lessons() {
        let entry = catalogue::entry(lesson);
        let guess = match &mut input {
            Some(input) => {
                steps.write(&Step::Question)?;
                signals.or_end(input.guess()).await?
            }
            None if args.step => signals.or_end(guess(entry)).await?,
            None => None,
        };
        let findings = lessons::run(lesson, school, options);
        let findings = signals.or_stop(stopper, findings).await;
        let put_back = school.put_back().await.context(NOT_PUT_BACK);
        let findings = match (findings, put_back) {
            (Ok(findings), Ok(())) => findings,
            (Err(error), Ok(())) => {
                return Err(error.context(format!("lesson {} ended early", entry.number)));
            }
            (Ok(_), Err(error)) => return Err(error),
            (Err(error), Err(left)) => bail!("lesson {}: {error:#}; {left:#}", entry.number),
        };
        let lesson = LessonReport::new(entry, school.used(), guess, findings);
        if args.steps {
            steps.write(&Step::Result { result: lesson.result() })?;
        } else {
            write!(io::stdout().lock(), "{lesson}").context("cannot write to standard output")?;
        }
        report.lessons.push(lesson);
    }
    Ok(report)
}

/// Puts back what a killed lesson has left on the running system.
///
/// # Errors
/// When none runs, a lesson runs on it, or something could not be put back.
pub async fn put_back(args: &PutBackArgs) -> Result<()> {
    let room = Room::running(&args.state, Stop::never()).await?;
    room.context("not running; `make up` starts the system")?;
    Ok(())
}

/// Ctrl-C, the signal of `kill`, and the end of the input of a program that conducts the lesson.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    input_ended: Option<watch::Receiver<bool>>,
}

impl Signals {
    fn new(input: Option<&Input>) -> Result<Self> {
        let [interrupt, terminate] = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        let input_ended = input.map(Input::ended);
        Ok(Self { interrupt: interrupt?, terminate: terminate?, input_ended })
    }

    /// Waits for a signal, and says that it came.
    async fn received(&mut self) -> anyhow::Error {
        tokio::select! {
            _ = self.interrupt.recv() => anyhow!("interrupted"),
            _ = self.terminate.recv() => anyhow!("terminated"),
            () = ended(&mut self.input_ended) => anyhow!("stopped"),
        }
    }

    /// Runs to its end, or until a signal.
    async fn or_end<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            outcome = work => outcome,
            error = self.received() => Err(error),
        }
    }

    /// Runs to its end. After a signal, only what has begun is completed; not even that after
    /// another signal.
    async fn or_stop<T>(
        &mut self,
        stopper: &Stopper,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut work = pin!(work);
        let error = tokio::select! {
            outcome = &mut work => return outcome,
            error = self.received() => error,
        };
        let _notice = writeln!(io::stderr().lock(), "{error}: putting everything back");
        stopper.stop();
        tokio::select! {
            _stopped = tokio::time::timeout(GRACE, work) => {}
            _again = self.received() => {}
        }
        Err(error)
    }
}

/// Waits for the end of the input, once.
async fn ended(input: &mut Option<watch::Receiver<bool>>) {
    let Some(input_ended) = input else { return std::future::pending().await };
    // Its thread ends only after it has sent the end.
    drop(input_ended.wait_for(|is_ended| *is_ended).await);
    *input = None;
}

/// Asks for a prediction; `None` when only Enter was pressed.
async fn guess(entry: Entry) -> Result<Option<String>> {
    let mut out = io::stdout().lock();
    report::write_question(&mut out, entry)?;
    write!(out, "\n  Your guess, then Enter: ")?;
    out.flush()?;
    drop(out);
    // A thread of its own: a read that is never answered must not hold up the end of the program.
    let (line, answered) = oneshot::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _interrupted = line.send(io::stdin().read_line(&mut text).map(|_| text));
    });
    let text = answered.await.context("no input")?.context("cannot read standard input")?;
    if !io::stdin().is_terminal() {
        writeln!(io::stdout())?;
    }
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
