//! `local-stack`: runs the whole system on this machine.

use std::process::ExitCode;

use clap::Parser;
use local_stack::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line with its causes, without a backtrace.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
