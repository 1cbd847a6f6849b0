//! The operations of lessons, for the table of the control API.

use super::lessons::{ContinueLesson, Lessons, StartLesson};
use crate::error::ErrorCode;
use crate::openapi::{Caller, Details};

/// Their tag.
pub(super) const LESSONS: &str = "Lessons";

const LESSONS_EXAMPLE: &str = r#"{"driver": true, "lessons": [
    {"number": 1, "name": "round-robin", "title": "Round robin is even",
     "question": "What share of the requests does each instance get?",
     "needs": "sessions in Redis", "place": "running_system", "about_s": 5}],
    "run": {"number": 1, "name": "round-robin", "title": "Round robin is even",
     "question": "What share of the requests does each instance get?", "short": true,
     "phase": "reveal", "step": 4, "guess": "half", "traffic_paused": false,
     "system": "the running system, hybrid store", "theory": "1/N each.", "findings": [
     {"what": "stateless-1", "unit": "percent", "predicted": {"value": 50.0, "tolerance": 20.0},
      "measured": 50.0, "sample": 100, "holds": true}], "hidden": 1, "explanations": []}}"#;

pub(super) const GET_LESSONS: Details = Details::new(
    LESSONS,
    "Show the lessons, and the one that runs",
)
.described_as(
    "What a lesson has not revealed yet is not in it. Without a driver (`[control] driver`), or \
         without a local stack beside it, `unavailable` says so.",
)
.returns::<Lessons>(200, "The lessons, and the one that runs or ended last.", LESSONS_EXAMPLE)
.fails_with(&[ErrorCode::UpstreamFailed]);

/// A change that the driver makes; 404 without one (`[control] driver`).
const fn change_of_lesson(summary: &'static str) -> Details {
    Details::new(LESSONS, summary)
        .called_by(Caller::TokenHolder)
        .returns::<Lessons>(200, "The lessons after it.", LESSONS_EXAMPLE)
        .fails_with(&[ErrorCode::NotFound, ErrorCode::UpstreamFailed])
}

pub(super) const START_LESSON: Details = change_of_lesson("Start a lesson")
    .described_as(
        "One at a time: 409 while another one runs. It changes nothing before its first step. 404 \
         without a driver or a local stack, and for an unknown name.",
    )
    .body::<StartLesson>(r#"{"short": true}"#)
    .fails_with(&[ErrorCode::WrongLessonState]);

pub(super) const CONTINUE_LESSON: Details = change_of_lesson("Take the next step of the lesson")
    .described_as(
        "In the phase `predict` it measures, on the running system or on one of its own, and puts \
         everything back; the driver's traffic is paused meanwhile. In the phase `reveal` each step \
         shows one number more, and the last one what they show. 409 where no step waits, and for \
         another `step` than the one that is shown.",
    )
    .body::<ContinueLesson>(r#"{"step": 2, "guess": "one third"}"#)
    .fails_with(&[ErrorCode::WrongLessonState]);

pub(super) const STOP_LESSON: Details = change_of_lesson("Stop the lesson").described_as(
    "It puts everything back, as after Ctrl-C in a terminal; a lesson that has ended is removed from \
     sight. Without a lesson it has no effect. 404 without a driver.",
);
