//! The commands of docs/API.md and docs/MIGRATION.md, in their order, against a stack as `make up`
//! starts it. Their output has the shape that the documents show.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use local_stack::Builds;
use serde_json::Value;

use crate::command_line::Installation;

/// A command of the document, and the comment below it: what it prints.
struct Shown {
    /// Counted from 1.
    line: usize,
    command: String,
    output: Option<String>,
}

#[test]
fn the_commands_of_the_api_document_print_what_it_shows() -> Result<()> {
    let installation = Installation::new()?;
    let offset = format!("--port-offset={}", installation.offset);
    installation.succeed(&["up", "--stateless=1", "--stateful=2", "--driver", &offset])?;
    // The second one relies on nothing of the first.
    for document in ["docs/API.md", "docs/MIGRATION.md"] {
        run(document, &installation)?;
    }
    Ok(())
}

fn run(document: &str, installation: &Installation) -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| std::fs::read_to_string(repository.join(file)).context(file.to_owned());
    let (readme, text) = (read("README.md")?, read(document)?);
    let definitions: Vec<_> = ["tandem()", "api="]
        .iter()
        .map(|start| readme.lines().find(|line| line.starts_with(start)).context(*start))
        .collect::<Result<_>>()?;
    let commands = commands(&text);
    ensure!(commands.len() > 8, "{} commands", commands.len());

    let outputs = tempfile::tempdir()?;
    let mut script = format!("set -euo pipefail\n{}\n", definitions.join("\n"));
    for Shown { line, command, .. } in &commands {
        let output = outputs.path().join(line.to_string());
        writeln!(script, "line={line}\n{{ {command}\n}} > '{}'", output.display())?;
    }
    script = script.replace(".local/", &format!("{}/", installation.state().display()));
    for port in [8001, 8380, 8432, 8443] {
        script = script.replace(&format!(":{port}"), &format!(":{}", port + installation.offset));
    }
    let script = format!("trap 'echo \"{document}, line $line\" >&2' ERR\n{script}");
    let programs = Builds::beside_current_exe()?.binary("stateless-svc")?;
    let programs = programs.parent().context("a folder")?.display();
    let path = format!("{programs}:{}", std::env::var("PATH")?);
    let mut bash = Command::new("bash");
    let ran = bash.args(["-c", &script]).current_dir(&repository).env("PATH", path).output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));

    for Shown { line, output, .. } in &commands {
        let printed = std::fs::read_to_string(outputs.path().join(line.to_string()))?;
        let context = || format!("{document}, line {line}: {printed}");
        match output {
            Some(shown) => {
                let shown: Value = serde_json::from_str(shown).with_context(context)?;
                let printed: Value = serde_json::from_str(&printed).with_context(context)?;
                ensure!(shape(&shown) == shape(&printed), context());
            }
            None => ensure!(!printed.contains("/docs/errors/"), context()),
        }
    }
    Ok(())
}

/// The commands of the blocks for a shell. Those of `make` are tested elsewhere, and a stream
/// (`-N`) has no end.
fn commands(document: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut in_shell = false;
    for (index, line) in document.lines().enumerate() {
        if line.starts_with("```") {
            in_shell = line == "```sh";
        } else if in_shell && let Some(comment) = line.strip_prefix("# ") {
            if let Some(last) = found.last_mut() {
                last.output = Some(comment.to_owned());
            }
        } else if in_shell && !line.starts_with("make ") && !line.contains(" -N ") {
            found.push(Shown { line: index + 1, command: line.to_owned(), output: None });
        }
    }
    found
}

/// The value with each text, number and truth value replaced by its type, and each list by its
/// first element.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => "a truth value".into(),
        Value::Number(_) => "a number".into(),
        Value::String(_) => "a text".into(),
        Value::Array(elements) => elements.iter().take(1).map(shape).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), shape(value))).collect()
        }
    }
}
