//! The table of failures as the runbook shows it.

use std::fmt::Write as _;

use super::table::{CASES, Request, Row};

/// The table in Markdown, as in the runbook.
pub fn table() -> String {
    let mut text = String::from(
        "| what | fault | request | a client sees at first | and then | may be repeated |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for case in CASES {
        for row in case.rows {
            let requests: Vec<_> = row.requests.iter().map(|request| request.name()).collect();
            let requests = if row.requests.len() == Request::ALL.len() {
                "any".to_owned()
            } else {
                requests.join(", ")
            };
            let Row { at_first, then, repeat, .. } = row;
            let (part, fault) = (case.part.name(), case.fault.name());
            let _infallible = writeln!(
                text,
                "| {part} | {fault} | {requests} | {at_first} | {then} | {repeat} |"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::table::Case;

    /// The lines before and after the table in the runbook.
    const MARKERS: [&str; 2] = ["<!-- faults: begin -->\n", "<!-- faults: end -->"];

    #[test]
    fn the_runbook_has_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/RUNBOOK.md");
        let runbook = std::fs::read_to_string(path).expect("the runbook");
        let (_, rest) = runbook.split_once(MARKERS[0]).expect("the first marker");
        let (table, _) = rest.split_once(MARKERS[1]).expect("the second marker");
        assert_eq!(
            table,
            super::table(),
            "put the output of `loadtest faults --table` between the markers"
        );
    }

    #[test]
    fn each_case_appears_once_and_each_request_has_at_most_one_row() {
        let mut names: Vec<_> = CASES.iter().map(Case::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            for request in Request::ALL {
                assert!(
                    case.rows.iter().filter(|row| row.requests.contains(&request)).count() <= 1,
                    "{}",
                    case.name()
                );
            }
        }
    }
}
