//! The report of lessons: JSON by its `Serialize`, for the projector by its `Display`.

use std::fmt;
use std::io;

use jiff::Timestamp;
use proto_contracts::control::LessonResult;
use serde::Serialize;

use crate::lesson::catalogue::{self, Entry, Lesson};
use crate::lesson::finding::{Finding, Prediction, Unit};

/// Width of texts, in columns.
const WIDTH: usize = 76;
/// Width of a bar that shows 100 %.
const BAR: usize = 24;

/// The result of `loadtest lesson run`.
#[derive(Clone, Debug, Serialize)]
pub struct LessonsReport {
    /// Start of the run.
    #[serde(rename = "timestamp")]
    pub at: Timestamp,
    /// The lessons that were run, in order.
    pub lessons: Vec<LessonReport>,
}

impl LessonsReport {
    /// Whether every claim was confirmed.
    pub fn holds(&self) -> bool {
        self.lessons.iter().all(|lesson| lesson.holds)
    }
}

/// The summary: each lesson was printed when it ended.
impl fmt::Display for LessonsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.lessons.iter().filter(|lesson| !lesson.holds);
        let failed: Vec<_> = failed.map(|lesson| lesson.name).collect();
        match (self.lessons.len(), &failed[..]) {
            (0 | 1, _) => Ok(()),
            (all, []) => writeln!(f, "\nAll predictions of {all} lessons hold."),
            (all, failed) => writeln!(
                f,
                "\nOf {all} lessons, {} did not hold: {}.",
                failed.len(),
                failed.join(", ")
            ),
        }
    }
}

/// The result of one lesson.
#[derive(Clone, Debug, Serialize)]
pub struct LessonReport {
    /// Its number.
    pub number: u8,
    /// Its name on the command line.
    pub name: &'static str,
    /// The system that it ran on.
    pub system: String,
    /// What the class had guessed.
    pub guess: Option<String>,
    /// What was predicted and measured.
    pub findings: Vec<Finding>,
    /// Whether every measured number agrees with its prediction.
    pub holds: bool,
    #[serde(skip)]
    pub(super) entry: Entry,
}

impl LessonReport {
    pub(crate) fn new(
        entry: Entry,
        system: String,
        guess: Option<String>,
        findings: Vec<Finding>,
    ) -> Self {
        let predicted = findings.iter().any(|finding| finding.predicted.is_some());
        let holds = predicted && findings.iter().all(Finding::holds);
        Self { number: entry.number, name: entry.name, system, guess, findings, holds, entry }
    }

    /// What other programs get to know of it.
    pub(super) fn result(&self) -> LessonResult {
        LessonResult {
            system: self.system.clone(),
            theory: self.entry.theory.to_owned(),
            findings: self.findings.iter().map(Finding::wire).collect(),
            holds: self.holds,
            explanations: self.explanations(),
        }
    }

    pub(super) const fn verdict(&self) -> &'static str {
        if self.holds {
            "The prediction holds."
        } else {
            "The prediction does NOT hold: see the lines marked with ✗."
        }
    }

    /// What is left between theory and measurement, the reasons of unusual tolerances, and what the
    /// numbers show.
    pub(super) fn explanations(&self) -> Vec<String> {
        let reasons = self.findings.iter().filter_map(|finding| {
            let Prediction { tolerance, because, .. } = finding.predicted?;
            let unit = finding.unit.symbol();
            Some(format!("± {tolerance:.1} {unit} of \"{}\": {}.", finding.what, because?))
        });
        let difference = std::iter::once(difference(&self.findings));
        let explanation = std::iter::once(self.entry.explanation.to_owned());
        difference.chain(reasons).chain(explanation).collect()
    }
}

/// The lessons with their questions.
pub fn list() -> String {
    let line = |lesson| {
        let Entry { number, name, title, question, .. } = catalogue::entry(lesson);
        format!("{number:>3}  {name:<12} {title}\n{}\n", wrapped(question, 18))
    };
    Lesson::ALL.map(line).concat()
}

/// The title and the question.
pub(crate) fn write_question(out: &mut impl io::Write, entry: Entry) -> io::Result<()> {
    writeln!(out, "\nLesson {}: {}\n", entry.number, entry.title)?;
    writeln!(out, "{}", wrapped(entry.question, 2))
}

impl fmt::Display for LessonReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.entry;
        writeln!(f, "\nLesson {}: {}\n", entry.number, entry.title)?;
        writeln!(f, "{}\n", wrapped(&format!("Question: {}", entry.question), 2))?;
        if let Some(guess) = &self.guess {
            writeln!(f, "{}\n", wrapped(&format!("You said: {guess}"), 2))?;
        }
        writeln!(f, "{}\n", wrapped(&format!("Theory: {}", entry.theory), 2))?;
        writeln!(f, "{}\n", wrapped(&format!("Measured on {}:", self.system), 2))?;
        let what = |finding: &Finding| finding.what.chars().count();
        let width = self.findings.iter().map(what).max().unwrap_or_default();
        writeln!(f, "  {:width$} {:>15} {:>10}", "", "predicted", "measured")?;
        for finding in &self.findings {
            writeln!(f, "  {:width$} {}", finding.what, Row(finding))?;
        }
        for paragraph in self.explanations() {
            writeln!(f, "\n{}", wrapped(&paragraph, 2))?;
        }
        writeln!(f, "\n  {}", self.verdict())
    }
}

/// What is left between theory and measurement, and whether chance explains it.
fn difference(findings: &[Finding]) -> String {
    let off = |finding: &Finding| {
        finding.predicted.map(|predicted| (finding.measured - predicted.value).abs())
    };
    let failed = findings.iter().filter(|finding| !finding.holds()).count();
    let largest = findings.iter().filter(|finding| finding.holds()).filter_map(off);
    let largest = largest.fold(0.0, f64::max);
    if failed > 0 {
        format!("{failed} differ by more than the tolerance, which is what chance explains.")
    } else if largest < 0.05 {
        "Theory and measurement agree to the last digit.".to_owned()
    } else {
        format!(
            "The largest difference is {largest:.1} points. After ±, the tolerance: four standard \
             errors of the sample, which chance exceeds once in 16,000."
        )
    }
}

/// The numbers of a finding.
struct Row<'a>(&'a Finding);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { unit, predicted, measured, sample, .. } = self.0;
        write!(f, "{:>15} {:>10}", self.0.predicted_text(), self.0.measured_text())?;
        if *unit == Unit::Percent {
            write!(f, "  {}", bar(*measured, predicted.map(|predicted| predicted.value)))?;
        }
        if predicted.is_some() {
            write!(f, "  {}", if self.0.holds() { '✓' } else { '✗' })?;
        }
        match sample {
            Some(sample) => write!(f, "  of {sample}"),
            None => Ok(()),
        }
    }
}

/// A bar of the measured share, with a mark at the predicted one.
fn bar(measured: f64, predicted: Option<f64>) -> String {
    let cells = |percent: f64| (percent / 100.0 * BAR as f64).round() as usize;
    let (filled, mark) = (cells(measured), predicted.map(cells));
    (0..=BAR)
        .map(|cell| match cell {
            cell if mark == Some(cell) => '┃',
            cell if cell < filled => '█',
            _ => '·',
        })
        .collect()
}

/// The text in lines of at most [`WIDTH`] columns, indented.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let length = lines.last().map_or(0, |line| line.chars().count());
        if length > 0 && length + 1 + word.chars().count() > WIDTH - indent {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    let margin = " ".repeat(indent);
    lines.iter().map(|line| format!("{margin}{line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(part: usize) -> LessonReport {
        let findings = vec![
            Finding::share("sessions not found", part, 300, 2.0 / 3.0),
            Finding::shown("p99", Unit::Ms, 3.25),
        ];
        let entry = catalogue::entry(Lesson::Memory);
        LessonReport::new(entry, "a system".to_owned(), Some("half".to_owned()), findings)
    }

    #[test]
    fn predicted_stands_beside_measured() {
        let text = report(210).to_string();
        for part in [
            "66.7 ± 10.9 %     70.0 %  ████████████████┃·",
            "✓  of 300",
            "You said: half",
            "The prediction holds.",
            "The largest difference is 3.3 points.",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn a_false_claim_is_named_and_nothing_measured_is_no_success() {
        let failed = report(0);
        assert!(!failed.holds);
        let text = failed.to_string();
        assert!(text.contains('✗') && text.contains("does NOT hold"), "{text}");
        let entry = catalogue::entry(Lesson::Memory);
        assert!(!LessonReport::new(entry, String::new(), None, Vec::new()).holds);
    }

    #[test]
    fn the_list_has_every_lesson() {
        let text = list();
        for lesson in Lesson::ALL {
            assert!(text.contains(catalogue::entry(lesson).name), "{text}");
        }
    }
}
