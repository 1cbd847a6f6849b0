//! The command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service_kit::cli::{Probe, ProbeArgs, Scheme};
use service_kit::config::EX_USAGE;

use crate::config::{Config, ConfigError};
use crate::ctl::Ctl;

/// Tandem's edge gateway: round robin for stateless calls, sticky routing for stateful ones.
///
/// The environment overrides the file: GATEWAY_LISTEN, GATEWAY_CONTROL_LISTEN,
/// GATEWAY_METRICS_LISTEN, GATEWAY_STATE_FILE, GATEWAY_UPGRADE_SOCK, GATEWAY_STATELESS_INSTANCES,
/// GATEWAY_STATEFUL_INSTANCES, GATEWAY_STATELESS_DISCOVER, GATEWAY_STATEFUL_DISCOVER,
/// GATEWAY_STATELESS_TLS_NAME, GATEWAY_STATEFUL_TLS_NAME, GATEWAY_TLS_CERT, GATEWAY_TLS_KEY,
/// GATEWAY_TRUSTED_PROXIES, GATEWAY_RATE_LIMIT_EXEMPT, INSTANCE_ID (this gateway's name; with
/// INSTANCE_ID_FROM=dns it comes from DNS) and LOG_LEVEL. OTEL_EXPORTER_OTLP_ENDPOINT and
/// OpenTelemetry's other variables configure traces. With JWT_JWKS_URL or a key,
/// JWT_ISSUER and JWT_AUDIENCE, rate limits apply per user instead of per address. Changes over the
/// control API need CONTROL_TOKEN, or the content of the file CONTROL_TOKEN_FILE.
/// SIGTERM drains and stops; SIGHUP reloads the configuration.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "gateway/config/gateway.toml")]
    pub config: PathBuf,
    /// Validate the configuration, print its faults, and exit.
    #[arg(long)]
    check_config: bool,
    /// Hot restart: take over the running gateway's listeners once the instances are healthy.
    /// Without a gateway at `[server] upgrade_sock`, just start.
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
    /// Take over from the old process, then serve.
    Upgrade,
    /// Operate a running gateway.
    Ctl(Ctl),
    /// Check the health of a running gateway.
    Probe(Probe),
    /// Validate the configuration.
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

/// Prints that the configuration is valid.
pub fn print_config_ok(path: &Path) -> ExitCode {
    let _nobody_reads = writeln!(io::stdout(), "{} is valid", path.display());
    ExitCode::SUCCESS
}

/// Probes the gateway that runs with this configuration: liveness at the data plane, readiness at
/// the control plane, which reflects the pools.
pub fn probe(probe: Probe, config: &Config) -> ExitCode {
    let (scheme, listen) = match probe {
        Probe::Health => (Scheme::of(config.server.tls.as_ref()), config.server.listen),
        Probe::Ready => (Scheme::Http, config.control.listen),
    };
    probe.run(
        scheme,
        listen,
        config.control.allowed_hosts.first().map_or("localhost", String::as_str),
    )
}

/// Prints the faults of the configuration.
pub fn print_config_error(error: &ConfigError) -> ExitCode {
    let _nobody_reads = writeln!(io::stderr(), "gateway: {error}");
    ExitCode::from(EX_USAGE)
}

/// Prints why the gateway failed.
pub fn failed(error: &anyhow::Error) -> ExitCode {
    let _nobody_reads = writeln!(io::stderr(), "gateway: {error:#}");
    ExitCode::FAILURE
}
