//! The stateless service: see the library for what it does.

use std::process::ExitCode;

use service_kit::config::Env;
use service_kit::telemetry;
use stateless_svc::Config;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Config::from_env(&Env::process()) {
        Ok(config) => config,
        Err(fault) => return fault.exit(),
    };
    let _log = match telemetry::start(&config.service.log_filter, config.service.traces.as_ref()) {
        Ok(log) => log,
        Err(error) => return error.exit(),
    };
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(_logged) => ExitCode::FAILURE,
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let ended = async { anyhow::Ok(stateless_svc::build(config)?.run_until_stopped().await?) }.await;
    ended.inspect_err(|error| tracing::error!("{error:#}"))
}
