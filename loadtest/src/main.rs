//! `loadtest`: see `loadtest --help`.

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use loadtest::{Cli, exit};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _unwritable = error.print();
            return if asked_for { exit::CLEAN } else { exit::usage() };
        }
    };
    // One thread drives every connection: the client must leave the cores to the system that it measures.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("loadtest: cannot start the runtime: {error}");
            return exit::ERRORS;
        }
    };
    runtime.block_on(loadtest::run(cli))
}
