//! Collects all faults of the file and the environment, so that they are reported together.

use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;
use proto_contracts::{DeploymentName, InstanceName};
use secrecy::SecretString;
use service_kit::config::Env;
use service_kit::telemetry::TraceConfig;
use service_kit::tls::Trust;
use service_kit::tokens::TokenSettings;

/// The shortest token: 16 characters of base64 are 96 bits.
const MIN_TOKEN_LEN: usize = 16;

/// The IPv4 form of a network of IPv4-mapped IPv6 addresses: addresses are compared in that form.
pub(super) fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let (Some(v4), Some(length)) =
            (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96))
    {
        return IpNet::new_assert(v4.into(), length);
    }
    network
}

/// The faults, one per line.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(|problem| format!("  {problem}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// The environment, and the faults found so far.
pub(super) struct Check<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    problems: Problems,
}

impl<'a> Check<'a> {
    pub(super) fn new(environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { environment, problems: Problems::default() }
    }

    /// Records a fault unless the condition holds.
    pub(super) fn require(&mut self, holds: bool, setting: &str, rule: impl fmt::Display) {
        if !holds {
            self.problems.0.push(format!("{setting} {rule}"));
        }
    }

    /// A variable; an empty one counts as unset.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// A secret, if set.
    pub(super) fn token(&mut self, variable: &'static str) -> Option<SecretString> {
        let token = self.variable(variable)?;
        self.require(
            token.len() >= MIN_TOKEN_LEN,
            variable,
            format_args!(
                "must have at least {MIN_TOKEN_LEN} characters; generate one with: \
                 openssl rand -hex 24"
            ),
        );
        Some(SecretString::from(token))
    }

    /// An address, if set.
    pub(super) fn address(&mut self, variable: &'static str) -> Option<SocketAddr> {
        let text = (self.environment)(variable)?;
        self.parse_address(variable, &text)
    }

    /// Comma-separated addresses, if set.
    pub(super) fn addresses(&mut self, variable: &'static str) -> Option<Vec<SocketAddr>> {
        let list = (self.environment)(variable)?;
        let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
        Some(texts.filter_map(|text| self.parse_address(variable, text)).collect())
    }

    /// Comma-separated networks, if set and not empty.
    pub(super) fn networks(&mut self, variable: &'static str) -> Option<Vec<IpNet>> {
        let list = self.variable(variable)?;
        let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
        let read = texts.filter_map(|text| {
            let network: Option<IpNet> = text.parse().ok();
            self.require(
                network.is_some(),
                variable,
                format_args!("has {text:?}, which is not a network such as 10.0.0.0/8"),
            );
            network
        });
        Some(read.collect())
    }

    /// The log filter.
    pub(super) fn log_filter(&mut self) -> String {
        let filter = (self.environment)("LOG_LEVEL").unwrap_or_else(|| "info".to_owned());
        self.require(
            tracing_subscriber::EnvFilter::try_new(&filter).is_ok(),
            "LOG_LEVEL",
            format_args!(
                "is {filter:?}; write a level such as info, or a filter such as info,gateway=debug"
            ),
        );
        filter
    }

    /// This gateway's name.
    pub(super) fn name(&mut self) -> Option<InstanceName> {
        let text = (self.environment)("INSTANCE_ID").unwrap_or_else(|| "gateway-1".to_owned());
        text.parse()
            .map_err(|error| self.problems.0.push(format!("INSTANCE_ID is {text:?}: {error}")))
            .ok()
    }

    /// The deployment, if set.
    pub(super) fn deployment(&mut self) -> Option<DeploymentName> {
        let text = self.variable("DEPLOYMENT")?;
        text.parse()
            .map_err(|error| self.problems.0.push(format!("DEPLOYMENT is {text:?}: {error}")))
            .ok()
    }

    /// Where traces are sent, from OpenTelemetry's variables.
    pub(super) fn traces(&mut self, name: Option<&InstanceName>) -> Option<TraceConfig> {
        let env = self.env(&TraceConfig::VARIABLES);
        TraceConfig::from_env(&env, "gateway", name?).unwrap_or_else(|error| {
            self.problems.0.push(error.to_string());
            None
        })
    }

    /// How tokens are verified, from the same variables as the services.
    pub(super) fn tokens(&mut self) -> Option<TokenSettings> {
        TokenSettings::from_env(&self.env(&TokenSettings::VARIABLES)).unwrap_or_else(|error| {
            self.problems.0.push(error.to_string());
            None
        })
    }

    /// The authorities of servers that are reached by TLS, from the same variable as the services.
    pub(super) fn trust(&mut self) -> Trust {
        Trust::from_env(&self.env(&["TLS_CA_FILE"])).unwrap_or_else(|error| {
            self.problems.0.push(error.to_string());
            Trust::system()
        })
    }

    /// These variables, for code shared with the services.
    fn env(&self, names: &[&'static str]) -> Env {
        let variables: Vec<_> =
            names.iter().filter_map(|name| Some((*name, self.variable(name)?))).collect();
        Env::from_pairs(variables.iter().map(|(name, value)| (*name, value.as_str())))
    }

    /// The result, if there are no faults.
    pub(super) fn finish<T>(self, parsed: Option<T>) -> Result<T, Problems> {
        match parsed {
            Some(parsed) if self.problems.0.is_empty() => Ok(parsed),
            _ => Err(self.problems),
        }
    }

    fn parse_address(&mut self, setting: &str, text: &str) -> Option<SocketAddr> {
        let address = text.parse().ok();
        self.require(
            address.is_some(),
            setting,
            format_args!("has {text:?}, which is not an address such as 127.0.0.1:8000"),
        );
        address
    }
}
