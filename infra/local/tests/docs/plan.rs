//! docs/PLAN.md has each section of the original plan, and what it names exists.

use anyhow::Result;

use crate::repository::Repository;
use crate::{evidence, faults};

const DOCUMENT: &str = "docs/PLAN.md";
/// The numbers of the plan's sections, and how many subsections each has.
const SECTIONS: [(&str, u32); 30] = [
    ("1", 3),
    ("2", 3),
    ("2.1", 3),
    ("2.3", 3),
    ("3", 5),
    ("3.1", 2),
    ("3.2", 2),
    ("3.3", 2),
    ("3.4", 3),
    ("3.5", 2),
    ("4", 4),
    ("4.1", 2),
    ("4.2", 2),
    ("4.3", 2),
    ("4.4", 2),
    ("5", 4),
    ("5.1", 2),
    ("5.2", 2),
    ("5.3", 2),
    ("5.4", 3),
    ("6", 4),
    ("6.1", 2),
    ("6.2", 2),
    ("6.3", 3),
    ("7", 4),
    ("7.3", 3),
    ("7.4", 3),
    ("8", 4),
    ("9", 4),
    ("10", 4),
];

#[test]
fn every_section_of_the_plan_has_a_place_or_a_reason() -> Result<()> {
    let repository = Repository::read()?;
    let text = repository.text(DOCUMENT)?;
    let mut found = faults(&repository, DOCUMENT, &text);
    found.extend(evidence::faults(&repository, DOCUMENT)?);
    let words: Vec<&str> =
        text.split_whitespace().map(|word| word.trim_matches([';', ':', ',', '.', '|'])).collect();
    let subsections = SECTIONS
        .iter()
        .flat_map(|(section, count)| (1..=*count).map(move |number| format!("{section}.{number}")));
    for section in subsections.chain((1..=10).map(|section| section.to_string())) {
        if !words.contains(&&*section) {
            found.push(format!("{section} is missing"));
        }
    }
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('|') && line.split('|').any(|cell| cell == " " || cell == "  ") {
            found.push(format!("line {}: an empty cell", index + 1));
        }
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
    Ok(())
}
