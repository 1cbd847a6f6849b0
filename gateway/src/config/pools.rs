//! `[pools.stateless]` and `[pools.stateful]`: instances and routing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
use proto_contracts::Weight;
use proto_contracts::control::Strategy;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use service_kit::tls::Trust;

use crate::config::check::Check;
use crate::config::lab::Lab;
use crate::config::upstream_tls::UpstreamTls;
use crate::resilience::load_bound::LoadBound;

/// Below 1 the instances together cannot take the load; above 10 the bound has no effect.
const LOAD_FACTORS: RangeInclusive<f64> = 1.0..=10.0;

/// An hour; use a weight instead of a longer slow start.
const MAX_SLOW_START_S: u64 = 3_600;

/// The protocol to a pool's instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1: one connection per request in flight.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge: requests share connections. Streams use HTTP/1.1.
    H2c,
}

/// A DNS name whose addresses are instances, and their port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// The name.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The text is not a DNS name with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a DNS name and a port, such as stateful-svc:8201")]
pub struct InvalidServiceName;

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidServiceName)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(InvalidServiceName)?;
        let is_label = |label: &str| {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(fine)
        };
        let labels = host.strip_suffix('.').unwrap_or(host);
        let is_name = labels.len() <= 253
            && labels.split('.').all(is_label)
            && labels.parse::<IpAddr>().is_err();
        // The resolver's library must accept it, too.
        let is_name = is_name && Name::from_ascii(host).is_ok();
        if is_name { Ok(Self { host: host.to_owned(), port }) } else { Err(InvalidServiceName) }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The initial strategy.
    pub strategy: Strategy,
    /// Whether it may be switched to a strategy of the lab.
    pub lab: Lab,
    /// Addresses of instances.
    pub instances: Vec<SocketAddr>,
    /// Configured weights.
    pub weights: BTreeMap<SocketAddr, Weight>,
    /// Time over which a new instance's share of new keys grows; zero: off.
    pub slow_start: Duration,
    /// DNS name for discovery.
    pub discover: Option<ServiceName>,
    /// Load bound of sticky routing; `None`: off.
    pub load_bound: Option<LoadBound>,
    /// The protocol to the instances.
    pub protocol: Protocol,
    /// TLS to the instances; `None`: without.
    pub tls: Option<UpstreamTls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    stateless: PoolSection,
    stateful: PoolSection,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PoolSection {
    strategy: Option<Strategy>,
    instances: Option<Vec<Listed>>,
    slow_start_s: u64,
    discover: Option<String>,
    bounded_load: f64,
    bounded_load_floor: u64,
    protocol: Protocol,
    tls_name: Option<String>,
}

impl Default for PoolSection {
    fn default() -> Self {
        Self {
            strategy: None,
            instances: None,
            slow_start_s: 0,
            discover: None,
            bounded_load: 1.25,
            bounded_load_floor: 64,
            protocol: Protocol::Http1,
            tls_name: None,
        }
    }
}

/// An entry of `instances`: an address, or a table of address and weight.
#[derive(Clone, Copy, Debug)]
struct Listed {
    addr: SocketAddr,
    weight: Option<Weight>,
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An untagged enum would report a wrong entry as "no variant matched".
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            addr: SocketAddr,
            weight: Weight,
        }
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an address, or a table such as { addr = \"127.0.0.1:8202\", weight = 2 }",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Listed, E> {
                let wrong =
                    |_| E::custom(format!("{text:?} is not an address such as 127.0.0.1:8201"));
                Ok(Listed { addr: text.parse().map_err(wrong)?, weight: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listed, A::Error> {
                let Table { addr, weight } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Listed { addr, weight: Some(weight) })
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

/// Names of a pool's settings, and its defaults.
struct Defaults {
    section: &'static str,
    variable: &'static str,
    discover_variable: &'static str,
    tls_variable: &'static str,
    strategy: Strategy,
    port: u16,
}

impl Section {
    pub(super) fn check(
        self,
        check: &mut Check<'_>,
        lab: Lab,
        trust: &Trust,
    ) -> (PoolConfig, PoolConfig) {
        let stateless = Defaults {
            section: "[pools.stateless]",
            variable: "GATEWAY_STATELESS_INSTANCES",
            discover_variable: "GATEWAY_STATELESS_DISCOVER",
            tls_variable: "GATEWAY_STATELESS_TLS_NAME",
            strategy: Strategy::RoundRobin,
            port: 8101,
        };
        let stateful = Defaults {
            section: "[pools.stateful]",
            variable: "GATEWAY_STATEFUL_INSTANCES",
            discover_variable: "GATEWAY_STATEFUL_DISCOVER",
            tls_variable: "GATEWAY_STATEFUL_TLS_NAME",
            strategy: Strategy::Sticky,
            port: 8201,
        };
        (
            self.stateless.check(check, &stateless, lab, trust),
            self.stateful.check(check, &stateful, lab, trust),
        )
    }
}

impl PoolSection {
    fn check(
        self,
        check: &mut Check<'_>,
        defaults: &Defaults,
        lab: Lab,
        trust: &Trust,
    ) -> PoolConfig {
        let discover = self.discover(check, defaults);
        let tls = self.tls(check, defaults, trust);
        let from_environment = check.addresses(defaults.variable);
        let instances_setting = format!("{} instances", defaults.section);
        let setting =
            if from_environment.is_some() { defaults.variable } else { &instances_setting };
        let unlisted = || {
            if discover.is_some() { vec![] } else { vec![([127, 0, 0, 1], defaults.port).into()] }
        };
        let listed = if from_environment.is_none() { self.instances } else { None };
        let weighted =
            listed.iter().flatten().filter_map(|listed| Some((listed.addr, listed.weight?)));
        let weights = weighted.collect();
        let listed = listed.map(|listed| listed.into_iter().map(|listed| listed.addr).collect());
        let instances: Vec<_> = from_environment.or(listed).unwrap_or_else(unlisted);
        check.require(
            self.slow_start_s <= MAX_SLOW_START_S,
            &format!("{} slow_start_s", defaults.section),
            format_args!("must be 0 (off) to {MAX_SLOW_START_S}, in seconds"),
        );
        let slow_start = Duration::from_secs(self.slow_start_s);
        let distinct: BTreeSet<_> = instances.iter().collect();
        check.require(distinct.len() == instances.len(), setting, "names an address twice");
        check.require(
            self.bounded_load == 0.0 || LOAD_FACTORS.contains(&self.bounded_load),
            &format!("{} bounded_load", defaults.section),
            format_args!("must be 0 (off), or {} to {}", LOAD_FACTORS.start(), LOAD_FACTORS.end()),
        );
        let bound = LoadBound { factor: self.bounded_load, floor: self.bounded_load_floor };
        let load_bound = (bound.factor > 0.0).then_some(bound);
        let strategy = self.strategy.unwrap_or(defaults.strategy);
        check.require(
            lab == Lab::Open || !strategy.is_of_the_lab(),
            &format!("{} strategy", defaults.section),
            format_args!("{strategy} is only for lessons; it needs [lab] enabled = true"),
        );
        PoolConfig {
            strategy,
            lab,
            instances,
            weights,
            slow_start,
            discover,
            load_bound,
            protocol: self.protocol,
            tls,
        }
    }

    /// TLS to the instances, if set.
    fn tls(
        &self,
        check: &mut Check<'_>,
        defaults: &Defaults,
        trust: &Trust,
    ) -> Option<UpstreamTls> {
        let from_environment = check.variable(defaults.tls_variable);
        let in_file = format!("{} tls_name", defaults.section);
        let setting = if from_environment.is_some() { defaults.tls_variable } else { &in_file };
        let name = from_environment.or_else(|| self.tls_name.clone())?;
        check.require(
            self.protocol == Protocol::Http1,
            &format!("{} protocol", defaults.section),
            "must be http1 with tls_name: h2c is HTTP/2 without TLS",
        );
        let tls = UpstreamTls::new(&name, trust);
        let fault = tls.as_ref().err().map(ToString::to_string);
        check.require(fault.is_none(), setting, format_args!("{}", fault.unwrap_or_default()));
        tls.ok()
    }

    /// The DNS name for discovery, if set.
    fn discover(&self, check: &mut Check<'_>, defaults: &Defaults) -> Option<ServiceName> {
        let from_environment = check.variable(defaults.discover_variable);
        let in_file = format!("{} discover", defaults.section);
        let setting =
            if from_environment.is_some() { defaults.discover_variable } else { &in_file };
        let text = from_environment.or_else(|| self.discover.clone())?;
        let name = text.parse();
        check.require(
            name.is_ok(),
            setting,
            format_args!(
                "is {text:?}; write a DNS name and a port, such as \"stateful-svc:8201\", and \
                 addresses under instances"
            ),
        );
        name.ok()
    }
}
