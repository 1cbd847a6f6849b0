//! The gateway's program: see `gateway --help`.

use std::process::ExitCode;

use clap::Parser;
use gateway::cli::{self, Cli, Command};
use gateway::config::Source;
use gateway::{Config, Start, build};
use service_kit::config::Env;
use service_kit::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let file = cli.config.clone();
    let command = match cli.command() {
        Command::Ctl(ctl) => return ctl.run(),
        command => command,
    };
    let env = match Env::process(gateway::KIND) {
        Ok(env) => env,
        Err(error) => return error.exit(),
    };
    let source = Source::new(&file, move |name| env.variable(name));
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => return cli::print_config_error(&error),
    };
    let ended = match command {
        Command::Ctl(_) | Command::CheckConfig => return cli::print_config_ok(&file),
        Command::Probe(probe) => return cli::probe(probe, &config),
        Command::Run => run(config, source, Start::Fresh),
        Command::Upgrade => run(config, source, Start::TakeOver),
    };
    ended.map_or_else(|error| cli::failed(&error), |()| ExitCode::SUCCESS)
}

fn run(config: Config, source: Source, start: Start) -> anyhow::Result<()> {
    let _log = telemetry::start(&server_log_filter(&config), config.traces.as_ref())?;
    Ok(build(config, source, start)?.run_until_stopped()?)
}

/// Pingora logs each failed request as an error; the access log has it already, with its id.
fn server_log_filter(config: &Config) -> String {
    format!("{},pingora_proxy=off", config.log_filter)
}
