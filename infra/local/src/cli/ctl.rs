//! `ctl`: `gateway ctl` for the gateways of the stack.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use proto_contracts::agent::{ComponentState, StackStatus};

use super::show::print_line;
use crate::agent_client::AgentClient;
use crate::builds::Builds;

/// Commands that are run for each gateway. Others run until they are interrupted, or change
/// something, which the gateway passes on.
const FOR_EACH: [&str; 2] = ["pools", "explain"];

/// Runs `gateway ctl` for the gateway of that name alone, or for those that run.
pub(super) async fn run(state: &Path, only: Option<&str>, args: &[String]) -> Result<()> {
    let status = AgentClient::of_running(state)?.status().await?;
    let program = Builds::beside_current_exe()?.binary("gateway")?;
    let mut gateways = gateways(&status);
    match only {
        Some(only) => {
            let known = gateways.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            gateways.retain(|(name, _)| *name == only);
            if gateways.is_empty() {
                bail!("no gateway is named '{only}'; known: {known}");
            }
        }
        None => {
            // A stopped one is synchronized when it starts.
            let runs = |name: &str| {
                let mut components = status.components.iter();
                components.any(|component| {
                    component.name == name && component.state == ComponentState::Running
                })
            };
            let running: Vec<_> = gateways.iter().copied().filter(|(name, _)| runs(name)).collect();
            // If none runs, the connection error of the first one is reported.
            gateways.truncate(1);
            if !running.is_empty() {
                gateways = running;
            }
            if !args.iter().any(|arg| FOR_EACH.contains(&arg.as_str())) {
                gateways.truncate(1);
            }
        }
    }
    let command = |control: &str| {
        let mut command = Command::new(&program);
        // Explicit arguments take precedence.
        command.arg("ctl").env("GATEWAY_CONTROL", control);
        if !args.iter().any(|arg| arg.starts_with("--token-file")) {
            command.args(["--token-file", &status.control_token_file]);
        }
        if only.is_some() {
            command.arg("--alone");
        }
        command.args(args);
        command
    };
    if let [(_, control)] = gateways[..] {
        return Err(command(control).exec()).context("cannot run the gateway's program");
    }
    let mut failed = Vec::new();
    for (name, control) in gateways {
        print_line(format_args!("{name}:"))?;
        if !command(control).status().context("cannot run the gateway's program")?.success() {
            failed.push(name);
        }
    }
    match failed[..] {
        [] => Ok(()),
        _ => bail!("the command failed for {}", failed.join(" and ")),
    }
}

/// The gateways' names and the URLs of their control planes.
fn gateways(status: &StackStatus) -> Vec<(&str, &str)> {
    let first = [("gateway", status.urls.control.as_str())];
    let second =
        status.urls.second.iter().map(|second| (second.name.as_str(), second.control.as_str()));
    first.into_iter().chain(second).collect()
}
