//! The report as a page.

use anyhow::Result;

use crate::lesson::finding::{Finding, Unit};
use crate::lesson::report::{LessonReport, LessonsReport};
use crate::output::plots::{self, Measured};
use crate::output::{Page, ToPage};

impl ToPage for LessonsReport {
    fn page(&self) -> Result<Page> {
        let about = format!("Predicted from theory, and measured on live systems, {:.0}", self.at);
        let mut page = Page::new("Lessons", &about);
        let failed = self.lessons.iter().filter(|lesson| !lesson.holds).count();
        let verdict = match failed {
            0 => format!("Predictions of {} lessons: all hold.", self.lessons.len()),
            _ => format!("Of {} lessons, {failed} did not hold.", self.lessons.len()),
        };
        page.verdict(failed == 0, &verdict);
        for lesson in &self.lessons {
            write(&mut page, lesson)?;
        }
        Ok(page)
    }
}

fn write(page: &mut Page, lesson: &LessonReport) -> Result<()> {
    let entry = lesson.entry;
    page.section(&format!("Lesson {}: {}", entry.number, entry.title));
    page.text(&format!("Question: {}", entry.question));
    if let Some(guess) = &lesson.guess {
        page.text(&format!("The class said: {guess}"));
    }
    page.text(&format!("Theory: {}", entry.theory));
    page.verdict(lesson.holds, lesson.verdict());
    let shares: Vec<_> = lesson
        .findings
        .iter()
        .filter(|finding| finding.unit == Unit::Percent)
        .map(|finding| Measured {
            name: &finding.what,
            percent: finding.measured,
            predicted: finding.predicted.map(|by| (by.value, by.tolerance)),
            holds: finding.holds(),
        })
        .collect();
    if !shares.is_empty() {
        let caption = format!(
            "Measured on {}. The line across a bar is the prediction, the area around it the \
             tolerance.",
            lesson.system
        );
        page.plot(&plots::predictions(&shares)?, &caption);
    }
    let rows: Vec<_> = lesson.findings.iter().map(row).collect();
    page.table(&["", "predicted", "measured", "sample", ""], &rows);
    lesson.explanations().iter().for_each(|text| page.text(text));
    Ok(())
}

fn row(finding: &Finding) -> Vec<String> {
    let sign = match finding.predicted {
        None => "",
        Some(_) if finding.holds() => "✓",
        Some(_) => "✗",
    };
    let sample = finding.sample.map_or_else(String::new, |sample| sample.to_string());
    vec![
        finding.what.clone(),
        finding.predicted_text(),
        finding.measured_text(),
        sample,
        sign.to_owned(),
    ]
}
