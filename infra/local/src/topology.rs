//! The choices that a stack is made from: session store, Redis topology, gateways, components.

use serde::{Deserialize, Serialize};

/// Where the stateful service keeps its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In the memory of the instance: lost when it ends, and not visible to the others.
    Memory,
    /// In Redis: every read is a round trip.
    Redis,
    /// In Redis, with a copy in the memory of the session's home instance.
    #[default]
    Hybrid,
}

impl Store {
    /// The value of `SESSION_STORE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Hybrid => "hybrid",
        }
    }
}

/// How many Redis servers hold the sessions, and how they fail over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// One server.
    #[default]
    Single,
    /// A master with two replicas, and three Sentinels that promote one when the master fails.
    Sentinel,
    /// A cluster of three masters with a replica each.
    Cluster,
}

impl Topology {
    /// The value of `--redis`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// The number of gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Gateways {
    /// One: it can be upgraded without a failed request, but not stopped.
    #[default]
    #[value(name = "1")]
    One,
    /// Two behind Nginx: either may be stopped.
    #[value(name = "2")]
    Two,
}

impl Gateways {
    /// The value of `--gateways`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Two => "2",
        }
    }
}

/// Which layers a stack has. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// PostgreSQL and both Redis.
    Data,
    /// The services' instances.
    Services,
    /// The gateway.
    Gateway,
    /// Nginx in front of it.
    Edge,
    /// Prometheus beside it.
    Monitoring,
}
