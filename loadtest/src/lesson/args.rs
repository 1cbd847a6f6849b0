//! Options of `loadtest lesson`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::lesson::catalogue::{self, Lesson};
use crate::output::ReportFiles;

/// Options of `loadtest lesson`.
#[derive(Clone, Debug, Args)]
pub struct LessonArgs {
    /// What to do
    #[command(subcommand)]
    pub action: LessonAction,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum LessonAction {
    /// List the lessons with their questions
    List,
    /// Run one lesson, or all of them
    Run(RunArgs),
    /// Put back what a killed lesson has changed on the running system
    PutBack(PutBackArgs),
}

/// Options of `loadtest lesson put-back`.
#[derive(Clone, Debug, Args)]
pub struct PutBackArgs {
    /// The state folder of the running system
    #[arg(long, value_name = "DIR", default_value = ".local")]
    pub state: PathBuf,
}

/// Options of `loadtest lesson run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// A lesson's name or number, or `all`
    pub lesson: Selection,

    /// Ask for a prediction before each lesson, and wait for Enter
    #[arg(long)]
    pub step: bool,

    /// Fewer requests, and so wider tolerances
    #[arg(long)]
    pub short: bool,

    /// Make each claim false on purpose: the lessons must then fail
    #[arg(long)]
    pub falsify: bool,

    /// The state folder of the running system
    #[arg(long, value_name = "DIR", default_value = ".local")]
    pub state: PathBuf,

    /// Use only systems that the lessons start themselves
    #[arg(long)]
    pub scratch: bool,

    /// For the traffic driver: write steps as lines of JSON, read guesses as such, and end with
    /// standard input
    #[arg(long, hide = true, conflicts_with = "step")]
    pub steps: bool,

    /// The report
    #[command(flatten)]
    pub files: ReportFiles,
}

/// The lessons to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every lesson, in order.
    All,
    /// This one.
    One(Lesson),
}

impl Selection {
    pub(crate) fn lessons(self) -> Vec<Lesson> {
        match self {
            Self::All => Lesson::ALL.to_vec(),
            Self::One(lesson) => vec![lesson],
        }
    }
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self::All);
        }
        let is_meant = |lesson: &&Lesson| {
            let entry = catalogue::entry(**lesson);
            entry.name == text || entry.number.to_string() == text
        };
        Lesson::ALL.iter().find(is_meant).copied().map(Self::One).ok_or_else(|| {
            let names = Lesson::ALL.map(|lesson| catalogue::entry(lesson).name);
            format!("the lessons are {}, or all", names.join(", "))
        })
    }
}
