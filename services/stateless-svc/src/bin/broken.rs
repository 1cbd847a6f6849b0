//! `stateless-svc-broken`: the service with failpoints, for tests only.

use std::process::ExitCode;

#[path = "../main.rs"]
mod program;

fn main() -> ExitCode {
    program::main()
}
