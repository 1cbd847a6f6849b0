//! Changes of the gateway's configuration while the stack runs.

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::{Result, ensure};
use local_stack::Stack;

/// Adds sections to the gateway's file, and reloads it.
pub(crate) async fn add_to_gateway_config(stack: &Stack, sections: &str) -> Result<()> {
    let path = stack.state_dir().join("gateway/gateway.toml");
    write!(OpenOptions::new().append(true).open(path)?, "\n{sections}")?;
    let reloaded = stack.control().reload().await?;
    ensure!(reloaded.needs_restart.is_empty(), "{reloaded:?}");
    Ok(())
}
