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
    let file = cli.config.clone();
    let config = || Config::load(&file, |name| std::env::var(name).ok());
    match cli.command() {
        Command::Ctl(ctl) => ctl.run(),
        Command::CheckConfig => match config() {
            Ok(_) => cli::config_is_fine(&file),
            Err(error) => cli::wrong_config(&error),
        },
        Command::Run => match config().map(run) {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => cli::failed(&error),
            Err(error) => cli::wrong_config(&error),
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
