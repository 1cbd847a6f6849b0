//! `stateful-svc-broken`: the service with guarantees that tests can take out. Nobody else should run it.

use std::process::ExitCode;

#[path = "../main.rs"]
mod program;

fn main() -> ExitCode {
    program::main()
}
