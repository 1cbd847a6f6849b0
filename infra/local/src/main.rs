//! `local-stack`: runs the whole system on this machine.

use anyhow::Result;
use clap::{Parser, Subcommand};
use local_stack::ExecChild;

#[derive(Parser)]
#[command(about, version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Becomes a program that ends with its launcher.
    #[command(hide = true)]
    ExecChild(ExecChild),
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::ExecChild(exec) => match exec.run()? {},
    }
}
