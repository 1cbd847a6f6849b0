//! Evidence: the files, tests and targets that a document names as proof must exist.
//!
//! A document refers to a file by a link, to a target as inline code (`make target`), and to a test
//! by a link to its file with the test's name as inline code after it. Several names may follow,
//! separated by commas.

use anyhow::Result;

use crate::repository::Repository;

/// What a line refers to, in its order.
#[derive(Debug, PartialEq, Eq)]
enum Reference<'a> {
    /// A link's target, without its anchor.
    Link(&'a str),
    Code(&'a str),
    Text(&'a str),
}

/// Every fault of the document's evidence, each with its line.
pub(crate) fn faults(repository: &Repository, path: &str) -> Result<Vec<String>> {
    Ok(faults_of(repository, path, &repository.text(path)?))
}

pub(crate) fn faults_of(repository: &Repository, path: &str, text: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut fault = |fault: String| found.push(format!("{path}:{}: {fault}", index + 1));
        // The file whose tests the next names are.
        let mut file = None;
        for reference in references(line) {
            match reference {
                Reference::Link(target) if target.contains("://") || target.is_empty() => {
                    file = None;
                }
                Reference::Link(target) => {
                    let target = resolved(folder, target);
                    if !repository.has_file(&target) {
                        fault(format!("there is no {target}"));
                    }
                    file = Some(target);
                }
                Reference::Code(code) => {
                    if let Some(command) = code.strip_prefix("make ") {
                        let target = command.split_whitespace().next().unwrap_or_default();
                        if !repository.targets.contains(target) {
                            fault(format!("the Makefile has no target '{target}'"));
                        }
                    } else if let Some(file) = &file
                        && !has(repository, file, code)
                    {
                        fault(format!("{file} has no {code}"));
                    }
                }
                // Names belong to the link before them, up to any other text.
                Reference::Text(text) => {
                    if !text.trim_matches([' ', ',']).is_empty() {
                        file = None;
                    }
                }
            }
        }
    }
    found
}

/// Whether a Rust file has this test, or another file has this text.
fn has(repository: &Repository, file: &str, code: &str) -> bool {
    let Ok(text) = repository.text(file) else { return false };
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if file.ends_with(".rs") && code.bytes().all(is_name) {
        has_test(&text, code, file.contains("/tests/"))
    } else {
        text.contains(code)
    }
}

/// In a folder of tests, a step of a test will do: the compiler rejects one that nothing calls.
fn has_test(text: &str, name: &str, of_tests: bool) -> bool {
    let begin = format!("fn {name}(");
    let Some(at) = text.find(&begin) else { return false };
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let mut attributes = text[..line].lines().rev().take_while(|line| {
        let line = line.trim_start();
        line.starts_with("#[") || line.starts_with("//")
    });
    of_tests || attributes.any(|line| line.contains("test]") || line.contains("test("))
}

fn references(line: &str) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let code = rest.find('`');
        // A link's text may itself be code.
        let link = rest.find('[').and_then(|open| {
            let close = open + rest[open..].find("](")?;
            let end = close + rest[close..].find(')')?;
            (!rest[open + 1..close].contains('[')).then_some((open, close + 2, end))
        });
        match (code, link) {
            (code, Some((open, target, end))) if code.is_none_or(|code| open < code) => {
                found.push(Reference::Text(&rest[..open]));
                let target = &rest[target..end];
                found.push(Reference::Link(target.split('#').next().unwrap_or(target)));
                rest = &rest[end + 1..];
            }
            (Some(open), _) => {
                let Some(length) = rest[open + 1..].find('`') else { break };
                found.push(Reference::Text(&rest[..open]));
                found.push(Reference::Code(&rest[open + 1..open + 1 + length]));
                rest = &rest[open + length + 2..];
            }
            (None, _) => break,
        }
    }
    found
}

/// The path from the repository's root.
fn resolved(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn what_does_not_exist_is_found_with_its_line() -> Result<()> {
    let repository = Repository::read()?;
    let this = "[`evidence.rs`](../infra/local/tests/docs/evidence.rs)";
    let makefile = "[`Makefile`](../Makefile)";
    for right in [
        format!("{this} `what_does_not_exist_is_found_with_its_line`, `faults_of`, `make test`"),
        format!("{makefile} `lint-infra:`, and `no_name_of_a_file`"),
        "[`edge.rs`](../service-kit/src/origin.rs) \
         `an_own_page_has_the_same_scheme_host_and_port`"
            .to_owned(),
        "[`tests.rs`](../gateway/src/http_strict/tests.rs) `each_fault_is_found`".to_owned(),
        "see [RFC](https://example.org/none.rs) `anything`, `make lint-infra`".to_owned(),
    ] {
        let found = faults_of(&repository, "docs/PAGE.md", &right);
        assert!(found.is_empty(), "{right}: {found:?}");
    }
    for (wrong, named) in [
        (format!("{this} `a_test_that_is_gone`"), "evidence.rs has no a_test_that_is_gone"),
        (format!("{this} `faults_of`, `gone`"), "evidence.rs has no gone"),
        (format!("{makefile} `lint-infrastructure:`"), "Makefile has no lint-infrastructure:"),
        ("[`x`](../infra/none.rs) `gone`".to_owned(), "there is no infra/none.rs"),
        ("[a page](NONE.md#here)".to_owned(), "there is no docs/NONE.md"),
        ("`make lint-everything`".to_owned(), "no target 'lint-everything'"),
        // No test, in a file that is not of tests alone.
        (
            "[`origin.rs`](../service-kit/src/origin.rs) `is_own`".to_owned(),
            "origin.rs has no is_own",
        ),
    ] {
        let found = faults_of(&repository, "docs/PAGE.md", &format!("# A page\n\n| 1 | {wrong} |"));
        assert!(found.iter().any(|fault| fault.ends_with(named)), "{wrong}: {found:?}");
        assert!(found.iter().all(|fault| fault.starts_with("docs/PAGE.md:3: ")), "{found:?}");
    }
    Ok(())
}
