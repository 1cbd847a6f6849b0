//! The gateway's program: see `gateway --help`.

use std::process::ExitCode;

use clap::Parser;
use gateway::cli::{self, Cli, Command};
use gateway::config::Source;
use gateway::{Config, Start, build};
use service_kit::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let file = cli.config.clone();
    let source = Source::new(&file, |name| std::env::var(name).ok());
    let start = match cli.command() {
        Command::Ctl(ctl) => return ctl.run(),
        Command::CheckConfig => None,
        Command::Run => Some(Start::Afresh),
        Command::Upgrade => Some(Start::AsSuccessor),
    };
    match (source.load(), start) {
        (Err(error), _) => cli::wrong_config(&error),
        (Ok(_), None) => cli::config_is_fine(&file),
        (Ok(config), Some(start)) => match run(config, source, start) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => cli::failed(&error),
        },
    }
}

fn run(config: Config, source: Source, start: Start) -> anyhow::Result<()> {
    let _log = telemetry::start(&server_log_filter(&config), config.traces.as_ref())?;
    Ok(build(config, source, start)?.run_until_stopped()?)
}

/// Pingora logs each failed request as an error of its own; the access log tells of it with the request's id.
fn server_log_filter(config: &Config) -> String {
    format!("{},pingora_proxy=off", config.log_filter)
}
