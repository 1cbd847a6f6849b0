//! Answers of `/livez` and `/readyz`. `/health` is the text [`HEALTHY`] and depends on nothing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::InstanceName;

/// Body of a good `/health` answer.
pub const HEALTHY: &str = "healthy";

/// Where a gateway tells an instance that it is drained (`PUT`, with a [`DrainInstance`](crate::control::DrainInstance)) and
/// that it is no longer (`DELETE`). No client gets there: gateways route none of it.
pub const DRAIN_PATH: &str = "/internal/drain";

/// State of one dependency, or of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It answers.
    Up,
    /// It does not; what needs it fails with 503 until it does.
    Down,
    /// The process is shutting down, or its drain is over.
    Draining,
}

/// Body of `/livez` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// `up` when every dependency is that some call cannot do without; readiness then answers 200, else 503.
    pub status: Status,
    /// Which service this is.
    pub service: String,
    /// Which instance this is.
    pub instance: InstanceName,
    /// Each dependency's state, by name.
    pub dependencies: BTreeMap<String, Dependency>,
}

/// One dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    /// Whether it answers.
    pub status: Status,
    /// What is wrong, in words that carry no secret; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
