//! The gateway's program: see `gateway --help`.

use std::process::ExitCode;

use clap::Parser;
use gateway::cli::{self, Cli, Command};
use gateway::{Config, build};
use service_kit::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(&cli.config, |name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => return cli::wrong_config(&error),
    };
    match cli.command() {
        Command::CheckConfig => cli::config_is_fine(&cli.config),
        Command::Run => match run(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => cli::failed(&error),
        },
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let _log = telemetry::start(&server_log_filter(&config), config.traces.as_ref())?;
    build(config)?.run_until_stopped();
    Ok(())
}

/// Pingora logs each failed request as an error of its own; the access log tells of it with the request's id.
fn server_log_filter(config: &Config) -> String {
    format!("{},pingora_proxy=off", config.log_filter)
}
