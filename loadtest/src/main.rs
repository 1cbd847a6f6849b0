//! `loadtest`: see `loadtest --help`.

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use loadtest::{Cli, exit};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_help =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _unwritable = error.print();
            return if is_help { exit::CLEAN } else { exit::usage() };
        }
    };
    if let Some(status) = cli.probed() {
        return status;
    }
    // One thread drives all connections and leaves the other cores to the system under load.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("loadtest: cannot start the runtime: {error}");
            return exit::ERRORS;
        }
    };
    runtime.block_on(loadtest::run(cli))
}
