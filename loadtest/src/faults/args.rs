//! Options of `loadtest faults`.

use std::path::PathBuf;

use clap::Args;

use crate::faults::table;

/// Options of `loadtest faults`.
#[derive(Clone, Debug, Args)]
pub struct FaultsArgs {
    /// Only these cases, such as redis-sessions-hung,stateful-1-killed
    #[arg(long, value_name = "CASES", value_delimiter = ',', value_parser = known_case)]
    pub only: Vec<String>,

    /// Print the runbook's table and exit
    #[arg(long)]
    pub table: bool,

    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

fn known_case(name: &str) -> Result<String, String> {
    let known = table::names();
    if known.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    Err(format!("unknown case; known: {}", known.join(", ")))
}
