//! docs/ASVS.md has each requirement of the standard once, with a verdict and its evidence.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::evidence;
use crate::repository::Repository;

const DOCUMENT: &str = "docs/ASVS.md";
/// The ids of OWASP ASVS 5.0.0 of levels 1 and 2, each with its level.
const IDS: &str = include_str!("asvs-5.0.0.txt");
const VERDICTS: [&str; 3] = ["held", "not applicable", "open"];
/// A verdict without a file or test has a reason of so many words.
const MIN_WORDS: usize = 3;

/// Every fault of the table, each with its line, and how many rows have each verdict.
fn faults(text: &str) -> (Vec<String>, [usize; 3]) {
    let (mut found, mut counts) = (Vec::new(), [0; 3]);
    let mut levels: BTreeMap<&str, &str> =
        IDS.lines().filter_map(|line| line.split_once(' ')).collect();
    for (index, line) in text.lines().enumerate() {
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            continue;
        };
        let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
        if !cells[0].starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let mut fault = |fault: &str| found.push(format!("line {}: {fault}", index + 1));
        let [id, what, level, verdict, evidence] = cells[..] else {
            fault("is not of five cells");
            continue;
        };
        match levels.remove(id) {
            None => fault(&format!("{id} is there already, or is not in the standard")),
            Some(right) if right != level => fault(&format!("{id} is of level {right}")),
            Some(_) => {}
        }
        if what.is_empty() {
            fault("the requirement is missing");
        }
        let has_link = evidence.contains("](");
        match VERDICTS.iter().position(|known| *known == verdict) {
            None => fault(&format!("'{verdict}' is no verdict")),
            Some(0) if !has_link => fault("what is held has a file or a test that holds it"),
            Some(verdict) => counts[verdict] += 1,
        }
        if !has_link && evidence.split_whitespace().count() < MIN_WORDS {
            fault("the reason is missing");
        }
    }
    found.extend(levels.keys().map(|id| format!("{id} is missing")));
    (found, counts)
}

#[test]
fn every_requirement_has_a_verdict_and_evidence_that_exists() -> Result<()> {
    let repository = Repository::read()?;
    let text = repository.text(DOCUMENT)?;
    let (mut found, [held, not_applicable, open]) = faults(&text);
    found.extend(evidence::faults(&repository, DOCUMENT)?);
    let sum = format!("{held} are held, {not_applicable} are not applicable, {open} are open");
    if !text.contains(&sum) {
        found.push(format!("the sum is missing: {sum}"));
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
    Ok(())
}

#[test]
fn a_wrong_row_is_found() -> Result<()> {
    let right = Repository::read()?.text(DOCUMENT)?;
    let row = right.lines().find(|line| line.starts_with("| 1.2.4 |")).unwrap_or_default();
    let cells: Vec<&str> = row.split(" | ").collect();
    for (wrong, named) in [
        (String::new(), "1.2.4 is missing"),
        (format!("{row}\n{row}"), "1.2.4 is there already"),
        (row.replace("| 1 |", "| 2 |"), "1.2.4 is of level 1"),
        (row.replace("| held |", "| hold |"), "'hold' is no verdict"),
        (row.replace("| held |", "|  |"), "'' is no verdict"),
        (row.replace(cells[4], "a promise of ours |"), "what is held has a file"),
        (row.replace("| held |", "| open |").replace(cells[4], "later |"), "reason is missing"),
        (row.replace(" | held", ""), "is not of five cells"),
    ] {
        let (found, _) = faults(&right.replace(row, &wrong));
        assert!(found.iter().any(|fault| fault.contains(named)), "{named}: {found:?}");
    }
    Ok(())
}
