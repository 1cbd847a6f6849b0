//! The `stateless-svc` program; see the library.

use std::process::ExitCode;

use service_kit::cli::Scheme;
use service_kit::config::Env;
use service_kit::telemetry;
use stateless_svc::{Config, cli};

pub(crate) fn main() -> ExitCode {
    let (probe, command) = cli::parse();
    let config = match Env::process(stateless_svc::KIND).and_then(|env| Config::from_env(&env)) {
        Ok(config) => config,
        Err(fault) => return fault.exit(),
    };
    if let Some(probe) = probe {
        let scheme = Scheme::of(config.service.tls.as_ref());
        return probe.run(scheme, config.service.listen, "localhost");
    }
    if let Some(command) = command {
        return manage(command, config);
    }
    let _log = match telemetry::start(&config.service.log_filter, config.service.traces.as_ref()) {
        Ok(log) => log,
        Err(error) => return error.exit(),
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_logged) => ExitCode::FAILURE,
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let ended = async {
        stateless_svc::check(&config).await?;
        anyhow::Ok(stateless_svc::build(config)?.run_until_stopped().await?)
    };
    ended.await.inspect_err(|error| tracing::error!("{error:#}"))
}

#[tokio::main]
async fn manage(command: cli::Command, config: Config) -> ExitCode {
    command.run(&config).await
}
