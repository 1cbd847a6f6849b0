//! `loadtest during`: a steady load at the gateway while a command runs.

use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use local_stack::{Builds, Stack};
use tokio::process::Command;

/// The load of 200 requests/s on 32 connections, reported to a file. Its options may follow, then
/// `--` and the command.
pub(crate) fn load(stack: &Stack, report: &Path) -> Result<Command> {
    let gateway = stack.urls().gateway;
    let mut load = Command::new(Builds::beside_current_exe()?.binary("loadtest")?);
    load.args(["during", "--target", &gateway, "--rate", "200", "--connections", "32", "--json"])
        .arg(report)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if gateway.starts_with("https:") {
        load.arg("--cacert").arg(stack.ca_path());
    }
    Ok(load)
}
