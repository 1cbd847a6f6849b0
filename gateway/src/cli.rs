//! The command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service_kit::cli::{Probe, ProbeArgs};
use service_kit::config::EX_USAGE;

use crate::config::{Config, ConfigError};
use crate::ctl::Ctl;

/// Tandem's edge gateway: round robin for stateless calls, sticky routing for stateful ones.
///
/// The environment overrides the file: GATEWAY_LISTEN, GATEWAY_CONTROL_LISTEN, GATEWAY_METRICS_LISTEN, GATEWAY_STATE_FILE,
/// GATEWAY_UPGRADE_SOCK, GATEWAY_STATELESS_INSTANCES, GATEWAY_STATEFUL_INSTANCES, GATEWAY_STATELESS_DISCOVER,
/// GATEWAY_STATEFUL_DISCOVER, GATEWAY_TRUSTED_PROXIES, GATEWAY_RATE_LIMIT_EXEMPT, INSTANCE_ID (this gateway's name; with
/// INSTANCE_ID_FROM=dns it is found by DNS), LOG_LEVEL. OpenTelemetry's OTEL_EXPORTER_OTLP_ENDPOINT and its likes say where
/// traces are sent. JWT_PUBLIC_KEY or JWT_JWKS_FILE, with JWT_ISSUER and JWT_AUDIENCE, let the rate limit tell users from each
/// other. CONTROL_TOKEN is the secret that changes over the control API must present; CONTROL_TOKEN_FILE names a file with it.
/// SIGTERM drains and stops; SIGHUP reads the configuration again.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "gateway/config/gateway.toml")]
    pub config: PathBuf,
    /// Tell whether the configuration is right, and what and where is not, and exit.
    #[arg(long)]
    check_config: bool,
    /// Take the place of the gateway that runs, without a gap: with its listeners, once the instances are healthy. Where
    /// none runs at `[server] upgrade_sock`, this one just starts.
    #[arg(long, conflicts_with = "check_config")]
    upgrade: bool,
    #[command(flatten)]
    probe: ProbeArgs,
    #[command(subcommand)]
    subcommand: Option<Sub>,
}

#[derive(Debug, Subcommand)]
enum Sub {
    Ctl(Ctl),
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Run,
    /// Take over from the gateway that serves, and serve.
    Upgrade,
    /// Operate a gateway that runs.
    Ctl(Ctl),
    /// Ask a gateway that runs for its health.
    Probe(Probe),
    /// Check the configuration alone.
    CheckConfig,
}

impl Cli {
    /// What to do.
    pub fn command(self) -> Command {
        match (self.subcommand, self.probe.probe()) {
            (Some(Sub::Ctl(ctl)), _) => Command::Ctl(ctl),
            (None, Some(probe)) => Command::Probe(probe),
            (None, None) if self.check_config => Command::CheckConfig,
            (None, None) if self.upgrade => Command::Upgrade,
            (None, None) => Command::Run,
        }
    }
}

/// Says that the configuration is right.
pub fn config_is_fine(path: &Path) -> ExitCode {
    let _nobody_reads = writeln!(io::stdout(), "{} is fine", path.display());
    ExitCode::SUCCESS
}

/// Asks the gateway that runs with this configuration. Alive is who serves clients; only the control plane knows the pools.
pub fn ask(probe: Probe, config: &Config) -> ExitCode {
    let listen = match probe {
        Probe::Health => config.server.listen,
        Probe::Ready => config.control.listen,
    };
    probe.ask(listen, config.control.allowed_hosts.first().map_or("localhost", String::as_str))
}

/// Says what is wrong with the configuration.
pub fn wrong_config(error: &ConfigError) -> ExitCode {
    let _nobody_reads = writeln!(io::stderr(), "gateway: {error}");
    ExitCode::from(EX_USAGE)
}

/// Says why the gateway could not run.
pub fn failed(error: &anyhow::Error) -> ExitCode {
    let _nobody_reads = writeln!(io::stderr(), "gateway: {error:#}");
    ExitCode::FAILURE
}
