//! What a program prints.

use std::io;
use std::process::Command;

/// Runs a program to its end, in this environment alone. Returns its standard output, then its
/// standard error.
///
/// # Errors
/// When it does not start, or prints what is not UTF-8.
pub fn printed(
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> io::Result<String> {
    let mut command = Command::new(program);
    let output = command.env_clear().envs(environment.iter().copied()).args(arguments).output()?;
    String::from_utf8([output.stdout, output.stderr].concat()).map_err(io::Error::other)
}
