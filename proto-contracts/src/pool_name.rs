//! The names of the gateway's two pools.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the gateway's two pools.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PoolName {
    /// Instances of stateless-svc.
    Stateless,
    /// Instances of stateful-svc.
    Stateful,
}

impl PoolName {
    /// Both pools.
    pub const ALL: [Self; 2] = [Self::Stateless, Self::Stateful];

    /// The name in paths, logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stateless => "stateless",
            Self::Stateful => "stateful",
        }
    }

    /// The service whose instances it holds.
    pub const fn service(self) -> &'static str {
        match self {
            Self::Stateless => "stateless-svc",
            Self::Stateful => "stateful-svc",
        }
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pools are 'stateless' and 'stateful'")]
pub struct UnknownPool;

impl FromStr for PoolName {
    type Err = UnknownPool;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|pool| pool.as_str() == text).ok_or(UnknownPool)
    }
}
