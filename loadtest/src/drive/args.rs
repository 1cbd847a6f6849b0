//! Options of `loadtest drive`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use proto_contracts::Authority;
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::cli::ProbeArgs;
use service_kit::config::{ConfigError, Env, ServiceConfig};

use crate::target::{InvalidTarget, Reach, Target};

/// The name of the program in health responses and metrics.
pub(super) const SERVICE: &str = "driver";
/// Names by which the driver may always be addressed; others are for DNS rebinding.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
/// The shortest token: 16 characters of base64 are 96 bits.
const MIN_TOKEN_LEN: usize = 16;
/// How long requests to the API may take to finish at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(6);

/// Options of `loadtest drive`. The token is in the variable `DRIVER_TOKEN`, or in the file that
/// `DRIVER_TOKEN_FILE` names.
#[derive(Debug, Args)]
pub struct DriveArgs {
    /// Address of the driver's API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8003")]
    pub listen: SocketAddr,

    /// URL of the system: its gateway's URL, or its Nginx's https URL
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub target: String,

    /// PEM file of the CA that signed an https target's certificate
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Allow a target on another machine; only use it where you are permitted to
    #[arg(long)]
    pub allow_remote: bool,

    /// The state folder of the local stack that it belongs to, whose lessons the board
    /// then starts
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// Another name by which the driver is addressed, besides those of loopback
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,

    /// The probe of a container's health check
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// Where the clients send their requests.
#[derive(Clone, Debug)]
pub(crate) struct TargetUrl {
    url: String,
    cacert: Option<PathBuf>,
    reach: Reach,
}

impl TargetUrl {
    /// Resolves the name anew: containers get other addresses.
    pub(crate) async fn resolve(&self) -> Result<Arc<Target>, InvalidTarget> {
        Target::resolve(&self.url, self.cacert.as_deref(), self.reach).await.map(Arc::new)
    }
}

/// Checked options.
pub(crate) struct DrivePlan {
    pub(crate) service: ServiceConfig,
    pub(crate) target: TargetUrl,
    pub(crate) hosts: Vec<String>,
    pub(crate) token: SecretString,
    pub(crate) state: Option<PathBuf>,
}

/// The command line or the environment is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidDrivePlan {
    #[error(transparent)]
    Environment(#[from] ConfigError),
    #[error("--target")]
    Target(#[from] InvalidTarget),
    #[error("--state {} is no folder", .0.display())]
    State(PathBuf),
    #[error("--host {0:?} is no host name without a port")]
    Host(String),
}

impl DrivePlan {
    /// Checks the options. A target whose name does not resolve yet is no fault.
    ///
    /// # Errors
    /// See [`InvalidDrivePlan`]: each names the invalid option or variable.
    pub(crate) async fn from_args(args: &DriveArgs, env: &Env) -> Result<Self, InvalidDrivePlan> {
        let example = "<the output of: openssl rand -hex 24>";
        let token = env.secret("DRIVER_TOKEN", "", example, |token| {
            if token.expose_secret().len() < MIN_TOKEN_LEN { Err(()) } else { Ok(token.clone()) }
        })?;
        let is_host = |host: &String| {
            let parsed = Authority::parse(host.as_bytes());
            parsed.is_some_and(|parsed| parsed.has_host(host.as_bytes()))
        };
        if let Some(host) = args.host.iter().find(|host| !is_host(host)) {
            return Err(InvalidDrivePlan::Host(host.clone()));
        }
        let state = match &args.state {
            Some(state) => match state.canonicalize() {
                Ok(found) if found.is_dir() => Some(found),
                _ => return Err(InvalidDrivePlan::State(state.clone())),
            },
            None => None,
        };
        let target = TargetUrl {
            url: args.target.clone(),
            cacert: args.cacert.clone(),
            reach: if args.allow_remote { Reach::Anywhere } else { Reach::ThisMachine },
        };
        match target.resolve().await {
            Ok(_) | Err(InvalidTarget::NoAddress(..)) => {}
            Err(invalid) => return Err(invalid.into()),
        }
        let listen = args.listen.to_string();
        let service = ServiceConfig::from_env(env, SERVICE, &listen, SERVICE)?;
        Ok(Self {
            // What the command line says, and nothing that a service has for its gateway.
            service: ServiceConfig {
                listen: args.listen,
                workers: std::num::NonZeroUsize::MIN,
                shutdown_timeout: SHUTDOWN_TIMEOUT,
                announce: Duration::ZERO,
                instance_token: None,
                traces: None,
                ..service
            },
            target,
            hosts: HOSTS.into_iter().map(str::to_owned).chain(args.host.iter().cloned()).collect(),
            token,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Drive {
        #[command(flatten)]
        args: DriveArgs,
    }

    async fn plan(
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<DrivePlan, InvalidDrivePlan> {
        let args = Drive::parse_from(["drive"].iter().chain(options)).args;
        DrivePlan::from_args(&args, &Env::from_pairs(variables.iter().copied())).await
    }

    const TOKEN: (&str, &str) = ("DRIVER_TOKEN", "0123456789abcdef");

    #[tokio::test]
    async fn without_a_usable_token_it_does_not_start() {
        for variables in [&[][..], &[("DRIVER_TOKEN", "short-secret")]] {
            let error = plan(&[], variables).await.err().expect("invalid").to_string();
            assert!(error.contains("DRIVER_TOKEN") && !error.contains("short-secret"), "{error}");
        }
        let plan = plan(&[], &[TOKEN]).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plan.service.listen.to_string(), "127.0.0.1:8003");
        assert_eq!(plan.service.announce, Duration::ZERO);
    }

    #[tokio::test]
    async fn a_wrong_target_or_host_is_a_fault_and_an_unknown_name_is_none() {
        for options in [
            &["--target", "http://192.0.2.7:8000"][..],
            &["--target", "ftp://127.0.0.1:8000"],
            &["--target", "http://127.0.0.1:8000/api"],
            &["--host", "driver:8003"],
            &["--host", "a b"],
            &["--host", ""],
            &["--state", "/nowhere"],
            &["--state", "/proc/self/exe"],
        ] {
            assert!(plan(options, &[TOKEN]).await.is_err(), "{options:?}");
        }
        for options in [&["--target", "http://gateway.invalid:8000"][..], &["--host", "driver"]] {
            assert!(plan(options, &[TOKEN]).await.is_ok(), "{options:?}");
        }
    }
}
