//! The `stateful-svc` program; see the library.

use std::process::ExitCode;

use anyhow::Context as _;
use service_kit::cli::{self, Scheme};
use service_kit::config::Env;
use service_kit::telemetry;
use stateful_svc::config::Config;

pub(crate) fn main() -> ExitCode {
    let probe = cli::probe_of_service(
        stateful_svc::SERVICE,
        env!("CARGO_PKG_VERSION"),
        stateful_svc::ABOUT,
    );
    let config = match Env::process(stateful_svc::KIND).and_then(|env| Config::from_env(&env)) {
        Ok(config) => config,
        Err(error) => return error.exit(),
    };
    if let Some(probe) = probe {
        let scheme = Scheme::of(config.service.tls.as_ref());
        return probe.run(scheme, config.service.listen, "localhost");
    }
    let _log = match telemetry::start(&config.service.log_filter, config.service.traces.as_ref()) {
        Ok(log) => log,
        Err(error) => return error.exit(),
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[actix_web::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let server = stateful_svc::build(config).context("cannot start")?;
    server.run_until_stopped().await.context("the server ended")
}
