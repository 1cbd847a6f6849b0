//! What the control plane passes on to a traffic driver of a local stack: lessons, one at a time.
//! Each asks for a prediction first, measures, and is then revealed step by step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::FieldError;

/// The path of the lessons at the driver.
pub const DRIVER_LESSONS_PATH: &str = "/driver/v1/lessons";
/// The path of the lesson that runs, at the driver.
pub const DRIVER_LESSON_PATH: &str = "/driver/v1/lesson";

/// `GET /control/v1/lessons`, and the response to each change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lessons {
    /// Whether the gateway has a driver to pass changes on to.
    pub driver: bool,
    /// Why no lesson can run here; absent where some can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// What a lesson that was killed has not put back yet, in words; absent when all is as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// All lessons, in order.
    pub lessons: Vec<LessonEntry>,
    /// The lesson that runs, or that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<LessonRun>,
}

impl Lessons {
    /// What a gateway without a driver shows.
    pub fn without_driver() -> Self {
        let unavailable = "This gateway has no traffic driver ([control] driver), so it runs no \
                           lessons.";
        Self {
            driver: false,
            unavailable: Some(unavailable.to_owned()),
            left: None,
            lessons: Vec::new(),
            run: None,
        }
    }
}

/// A lesson that can be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LessonEntry {
    /// Its number in the lesson plans.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The question to the class.
    pub question: String,
    /// What it needs of its system, in words.
    pub needs: String,
    /// Where it would run now.
    pub place: LessonPlace,
    /// About how long it measures, in seconds; a system of its own takes some seconds more.
    pub about_s: u16,
}

/// Where a lesson runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LessonPlace {
    /// On the running system, so that the board shows its requests.
    RunningSystem,
    /// On a system that it starts beside the running one, and stops.
    OwnSystem,
    /// It cannot run here: there is no local stack.
    Unavailable,
}

/// `POST /control/v1/lessons/{lesson}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartLesson {
    /// Whether it sends fewer requests, and so has wider tolerances.
    #[serde(default)]
    pub short: bool,
}

/// `POST /control/v1/lesson`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContinueLesson {
    /// The step that is shown, so that a second press skips none.
    pub step: u32,
    /// What the class predicts, in its own words: at most 120 characters, without control
    /// characters. Only in the phase `predict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 120))]
    pub guess: Option<String>,
}

impl ContinueLesson {
    /// The longest guess, in characters.
    const MAX_GUESS: usize = 120;

    /// The fields that do not fit.
    pub fn faults(&self) -> Vec<FieldError> {
        let guess = self.guess.as_deref().unwrap_or_default();
        let fault = if guess.chars().count() > Self::MAX_GUESS {
            format!("must be at most {} characters", Self::MAX_GUESS)
        } else if guess.chars().any(char::is_control) {
            "must have no control character".to_owned()
        } else {
            return Vec::new();
        };
        vec![FieldError::in_body("/guess", fault)]
    }
}

/// How far a lesson is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LessonPhase {
    /// It is being started.
    Starting,
    /// It shows its question, and waits for a prediction. Nothing has been changed.
    Predict,
    /// It measures.
    Measuring,
    /// It has measured and put everything back; each step reveals more.
    Reveal,
    /// All is revealed.
    Finished,
    /// It was stopped, and puts everything back.
    Stopping,
    /// It was stopped, and has put everything back.
    Stopped,
    /// It ended without a result; `detail` says why.
    Failed,
}

impl LessonPhase {
    /// Whether another lesson may begin.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Reveal | Self::Finished | Self::Stopped | Self::Failed)
    }
}

/// A lesson that runs, or has run. What is not revealed yet is not here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LessonRun {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The question to the class.
    pub question: String,
    /// Whether it sends fewer requests.
    pub short: bool,
    /// How far it is.
    pub phase: LessonPhase,
    /// Grows with each step.
    pub step: u32,
    /// What the class predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guess: Option<String>,
    /// What it does at the moment, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    /// Whether the traffic of the driver is paused for it.
    pub traffic_paused: bool,
    /// The system that it ran on, once it has measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What theory says, and why: the first that is revealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theory: Option<String>,
    /// The numbers that are revealed.
    pub findings: Vec<LessonFinding>,
    /// How many numbers are still hidden.
    pub hidden: u16,
    /// Whether every measured number agrees with its prediction: the last that is revealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// What the numbers show, a paragraph each: revealed with `holds`.
    pub explanations: Vec<String>,
    /// Why it ended without a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What a lesson measured, as it reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LessonResult {
    /// The system that it ran on.
    pub system: String,
    /// What theory says, and why.
    pub theory: String,
    /// The numbers.
    pub findings: Vec<LessonFinding>,
    /// Whether every measured number agrees with its prediction.
    pub holds: bool,
    /// What the numbers show, a paragraph each.
    pub explanations: Vec<String>,
}

/// One number of a lesson.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LessonFinding {
    /// What was measured.
    pub what: String,
    /// Its unit.
    pub unit: LessonUnit,
    /// What theory says; absent: the number is only shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<LessonPrediction>,
    /// The measured value.
    pub measured: f64,
    /// The size of the sample, for a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u64>,
    /// Whether the measured value agrees with the prediction.
    pub holds: bool,
}

/// A prediction of theory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LessonPrediction {
    /// The predicted value.
    pub value: f64,
    /// By how much the measured value may differ.
    pub tolerance: f64,
}

/// The unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LessonUnit {
    /// A share, in per cent.
    Percent,
    /// A duration, in milliseconds.
    Ms,
    /// Per request.
    PerRequest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_short_and_one_line() {
        let faults = |guess: Option<&str>| {
            ContinueLesson { step: 1, guess: guess.map(str::to_owned) }.faults().len()
        };
        for guess in [None, Some(""), Some("2/3"), Some("ein Drittel, „33 %“ 🙂")] {
            assert_eq!(faults(guess), 0, "{guess:?}");
        }
        assert_eq!(faults(Some(&"ä".repeat(120))), 0, "characters, not bytes");
        for guess in ["\n", "a\u{0}b", "\u{7f}", "\u{85}", &"x".repeat(121)] {
            assert_eq!(faults(Some(guess)), 1, "{guess:?}");
        }
    }

    #[test]
    fn a_start_has_no_other_option() {
        let start = |body: &str| serde_json::from_str::<StartLesson>(body);
        assert_eq!(start("{}").expect("an object"), StartLesson { short: false });
        for body in [
            r#"{"state": "/"}"#,
            r#"{"short": 1}"#,
            r#"{"short": true, "falsify": true}"#,
            r#"{"args": ["--state", "/"]}"#,
        ] {
            assert!(start(body).is_err(), "{body}");
        }
        assert!(serde_json::from_str::<ContinueLesson>("{}").is_err(), "the step is required");
    }
}
