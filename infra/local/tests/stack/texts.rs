//! Snapshots of the command lines' help. CONTRIBUTING.md describes how to accept a change.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;
use insta::assert_snapshot;
use local_stack::Builds;

/// What the program prints, on standard output and then on standard error.
fn run(program: &'static str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(Builds::beside_current_exe()?.binary(program)?)
        .env_clear()
        .args(arguments)
        .output()?;
    Ok(String::from_utf8([output.stdout, output.stderr].concat())?)
}

/// The help of a program and of its commands.
fn help(program: &'static str, commands: &[&str]) -> Result<String> {
    let mut text = run(program, &["--help"])?;
    for command in commands {
        write!(text, "\n--- {program} {command}\n\n{}", run(program, &[command, "--help"])?)?;
    }
    Ok(text)
}

#[test]
fn help_of_local_stack() -> Result<()> {
    assert_snapshot!(help("local-stack", &["up", "scale", "kill", "roll", "logs"])?);
    Ok(())
}

#[test]
fn help_of_loadtest() -> Result<()> {
    assert_snapshot!(help(
        "loadtest",
        &["compare", "routing", "bench", "chaos", "rollout", "faults", "abuse"]
    )?);
    Ok(())
}
